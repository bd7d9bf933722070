"""The invariants of R4 as closures compiled from the facts (R4/conformance-rules.html#constraints).

A resource is walked once. At every element a cheap test, which asks no more than whether an
invariant could be broken there, sees most of them kept; where it is not sure, FHIRPath has the last
word. Values that the structure does not allow are passed over.

Not looked at: `ele-1`, `txt-1`, `txt-2` and `sqty-1`, which `structure` holds (an element has a value
or children, narratives are safe and not blank, a SimpleQuantity has no comparator); and `dom-6`, a
narrative for robust management: advice that most writes of machines would get, so nobody read it.
The other 33 of severity warning are told: names that a machine can use, and Condition's con-3,
NutritionOrder's nor-1, ElementDefinition's eld-20 and eld-21.

What the budget of `judge` leaves open is told as a warning, by the rule's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field
from fhir_server.outcome import Issue
from fhir_server.validation.judge import Judge, Rule
from fhir_server.validation.kept import surely_kept
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.structure import has_sibling

NOT_ASKED = frozenset({"ele-1", "txt-1", "txt-2", "sqty-1", "dom-6"})


class Suspect(NamedTuple):
    """A rule that may be broken, and the way to the element: (name, index or None), innermost first."""

    rule: Rule
    way: list[tuple[str, int | None]]


Visit: TypeAlias = Callable[[Any, Any], list[Suspect] | None]
"""(value, resource that holds it, the outermost if that is contained) → suspects."""


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Yield the invariants that a resource breaks, each with its element.

    >>> patient = {"resourceType": "Patient", "contact": [{"gender": "female"}]}
    >>> [(issue.severity, issue.expression, issue.rule) for issue in check(patient)]
    [('error', 'Patient.contact[0]', 'http://hl7.org/fhir/StructureDefinition/Patient#pat-1')]

    What the engine cannot evaluate counts as kept: a flaw of ours refuses nobody's resource. It is
    counted as events.RuleUnanswered.
    """
    try:
        suspects = _resource(resource, None) or ()
    except RecursionError:  # deeper than we can follow
        return
    judge = Judge(resource, is_telling=not task.malformed)
    for rule, way in suspects:
        item = judge.element(way)
        if item is not None and not judge.keeps(item, rule):
            what = f"{rule.invariant.human} ({rule.key})"
            yield Issue(rule.invariant.severity, "invariant", what, item.path, rule.name)
    for rule, path, count in judge.unfinished():
        more = f", and {count - 1} more" if count > 1 else ""
        what = f"{rule.key} was not checked to the end, here{more}: too costly in so large a resource"
        yield Issue("warning", "too-costly", what, path, rule.name)


def _resource(value: Any, container: Any) -> list[Suspect] | None:
    if value.__class__ is not dict or not structures.is_resource_type(value.get("resourceType")):
        return None
    return _object(value["resourceType"])(value, value if container is None else container)


@cache
def _object(path: str) -> Visit:
    """Return the visit of objects of a type, or of an element that has children."""
    rules = _rules(path, structures.structure(path.partition(".")[0]).elements[path].constraints)
    members: dict[str, tuple[str, Visit]] = {}
    plain: set[str] = {"resourceType"}
    ready = False

    def prepare() -> None:
        # Not before the first visit: HumanName has extensions, which have HumanNames.
        nonlocal ready
        for key, field in structures.fields(path).items():
            name = field.element.name.removesuffix("[x]")
            visit = _field(field)
            if visit is None:
                plain.add(key)
            else:
                members[key] = (name, visit)
            if has_sibling(field):
                members[f"_{key}"] = (name, _object("Element"))
        ready = True

    def visit(node: Any, container: Any) -> list[Suspect] | None:
        if node.__class__ is not dict:
            return None
        found = None
        for rule in rules:
            if rule.kept(node, container) is False:
                found = found or []
                found.append(Suspect(rule, []))
        if not ready:
            prepare()
        if node.keys() <= plain:
            return found
        for key, member in node.items():
            if key not in members:
                continue
            name, below = members[key]
            if member.__class__ is list:
                for index, item in enumerate(member):
                    if item is not None:
                        suspects = below(item, container)
                        if suspects:
                            found = _noted(found, suspects, name, index)
            else:
                suspects = below(member, container)
                if suspects:
                    found = _noted(found, suspects, name, None)
        return found

    return visit


def _noted(
    found: list[Suspect] | None, suspects: list[Suspect], name: str, index: int | None
) -> list[Suspect]:
    for suspect in suspects:
        suspect.way.append((name, index))
    if found is None:
        return suspects
    found += suspects
    return found


def _field(field: Field) -> Visit | None:
    """Return the visit of a field's values, None if nothing can be wrong with them."""
    if field.type == "Resource":
        return _contained if field.key == "contained" else lambda value, container: _resource(value, None)
    inner = None if field.primitive else _object(field.type)
    constraints: Iterable[str] = ()
    if field.type != field.element.path:
        there = structures.structure(field.type.partition(".")[0]).elements
        already = there[field.type].constraints if field.type in there else ()
        constraints = [key for key in field.element.constraints if key not in already]
    rules = _rules(field.element.path, constraints, field.type)
    if not rules:
        return inner

    def visit(value: Any, container: Any) -> list[Suspect] | None:
        found = [Suspect(rule, []) for rule in rules if rule.kept(value, container) is False]
        return found + ((inner(value, container) if inner else None) or [])

    return visit


def _contained(value: Any, container: Any) -> list[Suspect] | None:
    return _resource(value, container)


def _rules(path: str, keys: Iterable[str], type_name: str = "") -> tuple[Rule, ...]:
    """Return the rules of the element at `path`, whose values are of `type_name` if that has a name."""
    home = path.partition(".")[0]
    found = []
    for key in keys:
        invariant = structures.invariant(home, key)
        if key not in NOT_ASKED and invariant.expression:
            kept = surely_kept(home, key, invariant.expression, type_name or path)
            found.append(Rule(key, invariant, kept, _home(path, key)))
    return tuple(found)


def _home(path: str, key: str) -> str:
    """Return the type that states a rule: the most general one that has it.

    >>> _home("Patient", "dom-2"), _home("Patient.contact", "pat-1"), _home("Age", "qty-3")
    ('DomainResource', 'Patient', 'Quantity')
    """
    home = path.partition(".")[0]
    while path == home:
        base = structures.structure(home).base
        if not base or key not in structures.structure(base).elements[base].constraints:
            break
        path = home = base
    return home
