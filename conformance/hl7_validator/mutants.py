"""Examples with one change each, the same for the same seed.

What is changed is what people get wrong: a member left out or told twice, another type of value, a code
of another system, a reference to another type, an extension where it does not belong, a profile claimed.
"""

from __future__ import annotations

import copy
import json
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Place = tuple[str | int, ...]

MOST_BYTES = 30_000
"""Of an example; the rest says nothing new and takes long."""

TEXTS = (
    "", " ", "x", "a b", "2020-13-01", "2020-02-30", "2020", "2020-01-01T00:00:00Z", "10:00:00", "Patient/1",
    "Foo/1", "#nope", "http://x y", "urn:uuid:1", "urn:oid:1.2.3", "true", "5", "male", "final", "<b>x</b>",
    "é\u00a0", "http://example.org/x", "abc_def", "x" * 70, "Patient/x y", "mailto:a@b", "http://loinc.org",
)  # fmt: skip
CODINGS = (
    {"system": "http://loinc.org", "code": "8867-4"},
    {"system": "http://loinc.org", "code": "85354-9"},
    {"system": "http://snomed.info/sct", "code": "73211009"},
    {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"},
    {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"},
    {"system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "code": "UNK"},
    {"system": "http://hl7.org/fhir/administrative-gender", "code": "male"},
    {"code": "x"},
    {"display": "x"},
)
EXTENSIONS = (
    {"url": "http://here.org/e"},
    {"url": "http://here.org/e", "valueString": "x"},
    {"valueString": "x"},
    {"url": "relative", "valueCode": "x"},
    {"url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace", "valueAddress": {"text": "x"}},
    {"url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace", "valueString": "x"},
    {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"},
    {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "whatever"},
    {"url": "http://hl7.org/fhir/StructureDefinition/structuredefinition-standards-status", "valueCode": "x"},
)
PROFILES = (
    "http://hl7.org/fhir/StructureDefinition/vitalsigns",
    "http://hl7.org/fhir/StructureDefinition/bp",
    "http://hl7.org/fhir/StructureDefinition/Patient",
    "http://hl7.org/fhir/StructureDefinition/shareablecodesystem",
    "http://hl7.org/fhir/StructureDefinition/nowhere",
)
VALUES: dict[str, Any] = {
    "valueString": "x", "valueBoolean": True, "valueInteger": 5, "valueDateTime": "2020", "valueCode": "x",
    "valueQuantity": {"value": 5, "unit": "mg"}, "valueCodeableConcept": {"text": "x"},
    "valuePeriod": {"start": "2021", "end": "2020"},
    "valueRange": {"low": {"value": 5}, "high": {"value": 1}},
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A changed example, and what was done to it."""

    name: str
    change: str
    resource: Json


def examples(paths: Iterable[Path]) -> Iterator[tuple[str, Json]]:
    """Yield the resources of JSON files, folders of them and tar archives, with their names."""
    for path in paths:
        if path.is_dir():
            yield from examples(sorted(path.glob("*.json")))
        elif path.suffix == ".json":
            yield from _read(path.name, path.read_bytes())
        else:
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.name.endswith(".json") else None
                    if file is not None:
                        yield from _read(member.name.rpartition("/")[2], file.read())


def _read(name: str, data: bytes) -> Iterator[tuple[str, Json]]:
    if len(data) > MOST_BYTES:
        return
    try:
        resource = json.loads(data)
    except ValueError:
        return
    if isinstance(resource, dict) and "resourceType" in resource:
        yield name, resource


def mutants(found: Iterable[tuple[str, Json]], seed: int, count: int) -> Iterator[Mutant]:
    """Yield mutants, each type of resource as often as any other."""
    chance = random.Random(seed)
    by_type: dict[str, list[tuple[str, Json]]] = {}
    for name, resource in found:
        by_type.setdefault(resource["resourceType"], []).append((name, resource))
    types = sorted(by_type)
    while count:
        name, resource = chance.choice(by_type[chance.choice(types)])
        mutant = _changed(name, copy.deepcopy(resource), chance)
        if mutant is not None:
            count -= 1
            yield mutant


Change = Callable[[Any, Any, Any, random.Random], object]
"""(what holds the value, its key or index, the value, chance): False where it does not apply."""


def _set(value: Any) -> Change:
    def change(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
        holder[key] = copy.deepcopy(value(old, chance) if callable(value) else value)
        return holder[key] != old or holder[key].__class__ is not old.__class__

    return change


def _delete(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
    del holder[key]
    return True


def _rename(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
    if not isinstance(holder, dict):
        return False
    holder[f"{key}x"] = holder.pop(key)
    return True


def _again(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
    if not isinstance(holder, list):
        return False
    holder.append(copy.deepcopy(old))
    return True


def _other_value(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
    if not (isinstance(holder, dict) and isinstance(key, str) and key.startswith("value")):
        return False
    del holder[key]
    name = chance.choice(sorted(VALUES))
    holder[name] = copy.deepcopy(VALUES[name])
    return name != key


def _within(member: str, values: tuple[Any, ...]) -> Change:
    """Return the change that puts one of some values into an object, as a list of one."""

    def change(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
        old[member] = [copy.deepcopy(chance.choice(values))]
        return True

    return change


def _coding(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
    if key != "coding" or not isinstance(old, list):
        return False
    old[chance.randrange(len(old)) if old else 0 :] = [dict(chance.choice(CODINGS))]
    return True


def _contained(holder: Any, key: Any, old: Any, chance: random.Random) -> object:
    if key != "contained" or not isinstance(old, list) or not old:
        return False
    inner = copy.deepcopy(chance.choice(old))
    if isinstance(inner, dict) and chance.random() < 0.5:
        inner["id"] = "nobody-points-here"
    old.append(inner)
    return True


ANY: tuple[Change, ...] = (
    _delete, _delete, _again, _rename, _set(None), _set(lambda old, chance: [old]),
    _set(lambda old, chance: chance.choice([5, 1.5, True, "x", {}, {"a": 1}, []])), _other_value,
)  # fmt: skip
OF: dict[type, tuple[Change, ...]] = {
    str: (_set(lambda old, chance: chance.choice(TEXTS)),) * 5 + (_set(7), _set(True)),
    bool: (_set(lambda old, chance: not old), _set("x")),
    int: (_set(-1), _set(1.5), _set("5"), _set(99999999999)),
    float: (_set(-1.0), _set("1.5"), _set(0)),
    list: (
        _set([]), _set(lambda old, chance: old[:1]), _set(lambda old, chance: old + old), _coding, _coding,
        _set(lambda old, chance: [*old, None]), _set(lambda old, chance: old[0] if old else 1), _contained,
    ),
    dict: (
        _set({}), _within("extension", EXTENSIONS), _within("extension", EXTENSIONS),
        _set(lambda old, chance: {**old, "unknown": "x"}),
        _set(lambda old, chance: {**old, "id": chance.choice(["ok", "not ok", 5, "a_b", "x" * 70])}),
    ),
}  # fmt: skip


def _changed(name: str, resource: Json, chance: random.Random) -> Mutant | None:
    if chance.random() < 0.03:
        resource.setdefault("meta", {})["profile"] = [chance.choice(PROFILES)]
        return Mutant(name, "claims a profile", resource)
    places = [place for place in _places(resource) if place != ("resourceType",) and place[0] != "text"]
    if not places:
        return None
    place = chance.choice(places)
    holder: Any = resource
    for step in place[:-1]:
        holder = holder[step]
    old = holder[place[-1]]
    change = chance.choice(ANY + OF.get(type(old), ()))
    try:
        applies = change(holder, place[-1], old, chance)
    except (IndexError, TypeError):
        return None
    return Mutant(name, ".".join(map(str, place)), resource) if applies else None


def _places(value: Any, way: Place = ()) -> Iterator[Place]:
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        yield (*way, key)
        yield from _places(member, (*way, key))


def write(found: Iterable[Mutant], folder: Path) -> int:
    """Write mutants as files with a `list` of them, and beside each what was changed; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with (folder / "list").open("w", encoding="utf-8") as names:
        for mutant in found:
            path = (folder / f"{count:05}.json").resolve()
            path.write_text(json.dumps(mutant.resource, ensure_ascii=False), encoding="utf-8")
            path.with_suffix(".txt").write_text(f"{mutant.name} {mutant.change}\n", encoding="utf-8")
            print(path, file=names)
            count += 1
    return count
