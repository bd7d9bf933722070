"""Codes beyond those that structure refuses: of no system, unknown to their system, outside a set.

R4/terminologies.html, R4/datatypes.html#Coding. An error is a code that its system does not have, a
system that is none, a unit that is none of UCUM, and a code outside a required value set that only
`task.knowledge` has. A warning is a code outside an extensible value set, a display that is not the
code's, a code without a system.

Like the invariants: a type is compiled when it is first met, to a walk through the members that can
hold codes, and what was found faultless once is known by its look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from fhir_server.definitions import structures
from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.definitions.structures import Binding, Field
from fhir_server.outcome import Issue
from fhir_server.validation import bindings
from fhir_server.validation.knowledge import R4, Knowledge, NoTerminology, Task, Terminology
from fhir_server.validation.structure import has_sibling
from fhir_server.validation.verdicts import CORE, FORMS, Bound, Look, Problem, Verdicts
from terminology.terms import Terms

QUANTITIES = frozenset(
    {"Quantity", "Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"}
)
# Members that a coding may have and still be known by its look.
LOOK = frozenset({"system", "code", "display", "userSelected"})


class Found(NamedTuple):
    """A problem, and the way to its element: (name, index or None), innermost first."""

    problem: Problem
    way: list[tuple[str, int | None]]


Visit: TypeAlias = Callable[[Any, Verdicts], list[Found] | None]

_VERDICTS: WeakKeyDictionary[Terminology, Verdicts] = WeakKeyDictionary()


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Yield what is wrong with the codes of a structurally right resource.

    >>> coding = {"system": "http://hl7.org/fhir/observation-status", "code": "finl"}
    >>> for issue in check({"resourceType": "Basic", "code": {"coding": [coding]}}):
    ...     print(issue.severity, issue.expression, issue.diagnostics.partition("; ")[2])
    error Basic.code.coding[0].code did you mean 'final'?
    """
    try:
        found = _resource(resource, _verdicts(task.knowledge))
    except RecursionError:  # deeper than we can follow
        return
    for problem, way in found or ():
        path = resource["resourceType"]
        for name, index in reversed(way):
            path += f".{name}" if index is None else f".{name}[{index}]"
        yield Issue(problem.severity, problem.code, problem.text, path, problem.rule)


def system_issue(system: str, knowledge: Knowledge, place: str) -> Iterator[Issue]:
    """Yield why the system at a place names no code system; nothing where it may.

    >>> [issue.severity for issue in system_issue("#mine", R4.knowledge, "Coding.system")]
    ['error']
    """
    problem = _verdicts(knowledge).system(system)
    if problem is None and isinstance(knowledge.terminology, NoTerminology):
        problem = Verdicts(knowledge.terminology, knowledge.conformance).system(system)
    if problem is not None:
        yield Issue(problem.severity, problem.code, problem.text, place, problem.rule)


def _verdicts(knowledge: Knowledge) -> Verdicts:
    terminology = knowledge.terminology
    if isinstance(terminology, NoTerminology):
        return _own()
    if terminology not in _VERDICTS:
        _VERDICTS[terminology] = Verdicts(terminology, knowledge.conformance)
    return _VERDICTS[terminology]


@cache
def _own() -> Verdicts:
    """Return the verdicts from R4's own code systems and value sets."""
    conformance = Conformance([Core()])
    return Verdicts(Terms(conformance.find), conformance)


def _resource(value: Any, verdicts: Verdicts) -> list[Found] | None:
    name: Any = value.get("resourceType") if value.__class__ is dict else None
    return _object(name)(value, verdicts) if structures.is_resource_type(name) else None


@cache
def _object(path: str, without: str = "") -> Visit:
    """Return the visit of objects of a type or of an element that has children; `without` a member."""
    members: dict[str, tuple[str, Visit]] = {}
    plain: set[str] = {"resourceType"}
    ready = False

    def prepare() -> None:
        # Not before the first visit: HumanName has extensions, which have HumanNames.
        nonlocal ready
        for key, field in structures.fields(path).items():
            visit = _field(field) if key != without else None
            if visit is None:
                plain.add(key)
            else:
                members[key] = (field.element.name.removesuffix("[x]"), visit)
            if has_sibling(field):
                members[f"_{key}"] = (field.element.name.removesuffix("[x]"), _object("Element"))
        ready = True

    def visit(node: Any, verdicts: Verdicts) -> list[Found] | None:
        if not ready:
            prepare()
        if node.__class__ is not dict or node.keys() <= plain:
            return None
        found: list[Found] | None = None
        for key, member in node.items():
            if key not in members:
                continue
            name, below = members[key]
            if member.__class__ is list:
                for index, item in enumerate(member):
                    if item is not None:
                        problems = below(item, verdicts)
                        if problems:
                            found = _noted(found, problems, name, index)
            else:
                problems = below(member, verdicts)
                if problems:
                    found = _noted(found, problems, name, None)
        return found

    return visit


def _noted(found: list[Found] | None, problems: list[Found], name: str, index: int | None) -> list[Found]:
    for problem in problems:
        problem.way.append((name, index))
    if found is None:
        return problems
    found += problems  # in place: of thousands beside each other each is moved once
    return found


def _field(field: Field) -> Visit | None:
    """Return the visit of a field's values, None if they can hold no code."""
    bound = _bound(field)
    if field.primitive:
        return None if bound is None else _code(bound, is_uri=field.type == "uri")
    if field.type == "Resource":
        return _resource
    if field.type == "Coding":
        return _coding(bound)
    if field.type == "CodeableConcept":
        return _concept(bound)
    if field.type in QUANTITIES:
        return _quantity(field.type)
    return _object(field.type)


def _bound(field: Field) -> Bound | None:
    """Return the binding that is to be looked at, None if structure has done so or it is advice."""
    binding = field.element.binding
    if binding is None or binding.strength not in ("required", "extensible"):
        return None
    if binding.value_set in bindings.limits(binding) and field.type in ("code", "CodeableConcept"):
        return None
    return _named(binding, field.element.path)


def _named(binding: Binding, path: str) -> Bound:
    rule = f"{CORE}{path.partition('.')[0]}#{path}"
    return Bound(binding.value_set, binding.strength == "required", rule)


@cache
def _code(bound: Bound, *, is_uri: bool) -> Visit:
    """Return the visit of a plain code, or of a uri that may be the name of a type."""

    def visit(value: Any, verdicts: Verdicts) -> list[Found] | None:
        if value.__class__ is not str:
            return None
        code = value.removeprefix(CORE) if is_uri else value
        if (is_uri and ":" in code) or verdicts.may_be_in(bound.value_set, None, code):
            return None
        return [Found(verdicts.outside(bound, [{"code": value}]), [])]

    return visit


@cache
def _coding(bound: Bound | None) -> Visit:
    """Return the visit of a Coding."""
    value_set = bound.value_set if bound is not None else None
    inside = _object("Coding")

    def visit(node: Any, verdicts: Verdicts) -> list[Found] | None:
        if node.__class__ is not dict:
            return None
        look = (value_set, node.get("system"), node.get("code"), node.get("display"))
        try:
            if verdicts.fine.get(look) and node.keys() <= LOOK:
                return None
        except TypeError:  # an array or object in the place of a text
            return None
        if not _is_text(look):
            return None
        problems, fits = verdicts.of(look, node.get("version"))
        found = _placed(problems)
        if bound is not None and not fits and not _explained(problems, bound):
            found.append(Found(verdicts.outside(bound, [node]), []))
        return found + (inside(node, verdicts) or [])

    return visit


# The structure may be faulty where a resource is refused anyway and all of its faults are wanted.
def _is_text(look: tuple[Any, ...]) -> bool:
    return all(part is None or part.__class__ is str for part in look)


def _is_coding(value: Any) -> bool:
    return value.__class__ is dict and _is_text(
        (value.get("system"), value.get("code"), value.get("display"), value.get("version"))
    )


def _placed(problems: Iterable[Problem]) -> list[Found]:
    return [Found(problem, [(problem.tail, None)] if problem.tail else []) for problem in problems]


def _explained(problems: Iterable[Problem], bound: Bound) -> bool:
    """Return whether what is wrong with the codings says already why none is from the value set."""
    return any(
        problem.severity == "error" or (problem.tail != "display" and not bound.required)
        for problem in problems
    )


@cache
def _concept(bound: Bound | None) -> Visit:
    """Return the visit of a CodeableConcept: one of its codings should be from the value set.

    A concept of text alone is right under an extensible binding (R4/terminologies.html#extensible).
    """
    value_set = bound.value_set if bound is not None else None
    inside, inside_coding = _object("CodeableConcept", without="coding"), _object("Coding")

    def known(codings: Any, fine: Mapping[Look, bool]) -> bool:
        fits = False
        for coding in codings:
            verdict = fine.get((value_set, coding.get("system"), coding.get("code"), coding.get("display")))
            if verdict is None or not coding.keys() <= LOOK:
                return False
            fits = fits or verdict
        return fits

    def visit(node: Any, verdicts: Verdicts) -> list[Found] | None:
        if node.__class__ is not dict:
            return None
        codings = node.get("coding")
        if codings.__class__ is not list:
            return inside(node, verdicts)
        try:
            if known(codings, verdicts.fine):
                return inside(node, verdicts)
        except (AttributeError, TypeError):  # something else in the place of a coding or of a text
            return inside(node, verdicts)
        if not all(map(_is_coding, codings)):
            return inside(node, verdicts)
        found: list[Found] = []
        all_problems: list[Problem] = []
        fitting = False
        for index, coding in enumerate(codings):
            look = (value_set, coding.get("system"), coding.get("code"), coding.get("display"))
            problems, fits = verdicts.of(look, coding.get("version"))
            fitting = fitting or fits
            all_problems += problems
            here = _placed(problems) + (inside_coding(coding, verdicts) or [])
            if here:
                found = _noted(found, here, "coding", index)
        coded = [coding for coding in codings if "code" in coding]
        if bound is not None and coded and not fitting and not _explained(all_problems, bound):
            found.append(Found(verdicts.outside(bound, coded), []))
        return found + (inside(node, verdicts) or [])

    return visit


@cache
def _quantity(type_name: str) -> Visit:
    """Return the visit of a Quantity: its unit is one of its system, and of the kind that the type wants.

    The code of a Coding SHALL be right by the syntax of its system (R4/datatypes.html#Coding). Of a
    Quantity nothing like it is said, and R4's own examples have `mcg`, `hr` and `TAB`: a warning.
    """
    root = structures.structure(type_name).elements[type_name].binding
    bound = _named(root, type_name) if root is not None and root.strength == "extensible" else None
    value_set = bound.value_set if bound is not None else None
    inside = _object(type_name)

    def visit(node: Any, verdicts: Verdicts) -> list[Found] | None:
        if node.__class__ is not dict:
            return None
        system, code = node.get("system"), node.get("code")
        if system.__class__ is not str or (code is not None and code.__class__ is not str):
            return inside(node, verdicts)
        look = (value_set, system, code, None)
        if verdicts.fine.get(look):
            return inside(node, verdicts)
        problems, fits = verdicts.of(look)
        if system in FORMS:
            problems = tuple(problem._replace(severity="warning") for problem in problems)
        found = _placed(problems)
        if bound is not None and not fits and not problems:
            found.append(Found(verdicts.outside(bound, [node]), [("code", None)]))
        return found + (inside(node, verdicts) or [])

    return visit
