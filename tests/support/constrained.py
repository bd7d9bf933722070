"""Resources that keep or break an invariant, found by chance: its element with random content, in place."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, NamedTuple

from fhir_server.definitions import structures, value_sets
from fhir_server.definitions.structures import Field
from fhir_server.validation import bindings
from tests.support import made

NOT_MADE = frozenset(("contained", "modifierExtension", "implicitRules", "meta", "text"))


class Constraint(NamedTuple):
    """An invariant at the element that lists it."""

    path: str
    key: str

    @property
    def invariant(self) -> structures.Invariant:
        return structures.invariant(self.path.partition(".")[0], self.key)


def constraints() -> list[Constraint]:
    """Return every invariant where it is stated first: dom-2 at DomainResource, ele-1 at Element."""
    found: dict[tuple[str, str], Constraint] = {}
    for name in structures.type_names():
        structure = structures.structure(name)
        for path, element in structure.elements.items():
            for key in element.constraints:
                inherited = path == name and structure.base and _states(structure.base, key)
                if not inherited:
                    place = Constraint(path, key)
                    found.setdefault((key, place.invariant.expression), place)
    return list(found.values())


def _states(base: str, key: str) -> bool:
    return key in structures.structure(base).elements[base].constraints


@cache
def _ways() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return for each type or element with children a resource type and the keys that lead to it."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    todo = deque((name, name, ()) for name in structures.resource_types())
    while todo:
        path, name, keys = todo.popleft()
        if path in found:
            continue
        found[path] = (name, keys)
        for key, field in structures.fields(path).items():
            if not field.primitive and field.type != "Resource":
                kind = (
                    field.element.profiles[0]
                    if field.type == "Quantity" and field.element.profiles
                    else field.type
                )
                todo.append((kind, name, (*keys, key)))
    return found


CONCRETE = {
    "DomainResource": "Basic",
    "Resource": "Basic",
    "Element": "HumanName",
    "BackboneElement": "Patient.contact",
}


def candidates(place: Constraint, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield resources without end that have the element of an invariant, with random content."""
    chance = Random(f"{place}{seed}")
    node = place.path
    wanted: str | None = None
    if node not in _ways() and node not in CONCRETE:
        node, _, name = node.rpartition(".")
        wanted = name
    node = CONCRETE.get(node, node)
    if node not in _ways():  # a type that nothing uses
        return
    type_name, keys = _ways()[node]
    words = re.findall(r"'([^'\\]+)'", place.invariant.expression) or ["Text"]
    while True:
        content = _Content(chance, words, chance.choice((0.15, 0.4, 0.7)))
        inner = content.object(node, 2, wanted)
        yield _around(type_name, keys, inner)


def _around(type_name: str, keys: tuple[str, ...], inner: dict[str, Any]) -> dict[str, Any]:
    if not keys:
        return {"resourceType": type_name, **inner}
    resource = made.resource(type_name)
    holder, path = resource, type_name
    for number, key in enumerate(keys):
        field = structures.fields(path)[key]
        for other in structures.fields(path).values():
            if other.element is field.element and other.key != key:
                holder.pop(other.key, None)
        path = (
            field.element.profiles[0] if field.type == "Quantity" and field.element.profiles else field.type
        )
        below = inner if number == len(keys) - 1 else made._object(path, 0)
        holder[key] = [below] if field.many else below
        holder = below
    return resource


class _Content:
    def __init__(self, chance: Random, words: list[str], share: float) -> None:
        self.chance, self.words, self.share = chance, words, share

    def object(self, path: str, depth: int, wanted: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        chosen: set[str] = set()
        fields = list(structures.fields(path).values())
        self.chance.shuffle(fields)
        for field in fields:
            name = field.element.name
            if name in chosen or name in NOT_MADE or (name == "extension" and depth < 2):
                continue
            if field.element.min == 0 and name != wanted and self.chance.random() > self.share:
                continue
            if (
                depth <= 0
                and field.element.min == 0
                and not field.primitive
                and field.type != "CodeableConcept"
            ):
                continue
            chosen.add(name)
            count = self.chance.choice((1, 1, 2, 3)) if field.many else 1
            values = [self.value(field, depth - 1) for _ in range(count)]
            found[field.key] = values if field.many else values[0]
        if not found or found.keys() == {"id"}:
            found |= made._object(path, 0)
        return found

    def value(self, field: Field, depth: int) -> Any:
        chance = self.chance
        if field.primitive:
            return self.primitive(field)
        if field.type == "CodeableConcept":
            return {"coding": [self.coding(field)]}
        if field.type == "Coding":
            return self.coding(field)
        if field.type in ("Reference", "Resource"):
            return made.value(field, 0)
        kind = (
            field.element.profiles[0] if field.type == "Quantity" and field.element.profiles else field.type
        )
        if field.type in made._PLAIN and chance.random() < 0.4:
            return made.value(field, 0)
        return self.object(kind, depth)

    def coding(self, field: Field) -> dict[str, Any]:
        limits = bindings.limits(field.element.binding)
        url = limits[0] if limits else field.element.binding.value_set if field.element.binding else ""
        enumerated = value_sets.enumeration(url) if url not in bindings.RULES else None
        if enumerated and (limits or self.chance.random() < 0.7):
            system = self.chance.choice(sorted(enumerated))
            return {"system": system, "code": self.chance.choice(sorted(enumerated[system]))}
        if limits:
            return made._coding(limits[0])
        urls = [word for word in self.words if ":" in word] or self.words
        return {"system": self.chance.choice(urls), "code": self.chance.choice(self.words).replace("  ", "")}

    def primitive(self, field: Field) -> Any:
        chance = self.chance
        match field.type:
            case "boolean":
                return chance.random() < 0.5
            case "integer":
                return chance.choice((-1, 0, 1, 2, 7))
            case "positiveInt" | "unsignedInt":
                return chance.choice((1, 2, 7))
            case "decimal":
                return chance.choice((Decimal("-1.0"), Decimal("1.5"), 0, 101, 2))
            case "date" | "dateTime":
                return chance.choice(("2020", "2019-02", "2020-02-29"))
            case "instant":
                return chance.choice(("2020-02-29T10:00:00Z", "2019-02-28T10:00:00Z"))
            case "string" | "uri" | "url" | "canonical" | "markdown":
                words = [word for word in self.words if " " not in word]
                extra = (
                    ("*", "1", "0", "a b")
                    if field.type in ("string", "markdown")
                    else ("http://x/_history/1", "#a")
                )
                own = ("Text", "Patient", "Patient.name", "1", *extra)
                return chance.choice((*words, *own))
            case "code" if not bindings.limits(field.element.binding):
                return chance.choice((*self.words, "Patient", "Reference", "string")).strip()
            case "code":
                value_set = bindings.limits(field.element.binding)[0]
                known = sorted(bindings.codes(value_set)) if value_set not in bindings.RULES else []
                named = [word for word in self.words if word in known]
                return (
                    chance.choice(named if named and chance.random() < 0.5 else known)
                    if known
                    else made.value(field, 0)
                )
        return made.value(field, 0)
