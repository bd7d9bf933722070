"""Search parameter expressions → closures from a resource to (type name, JSON value) pairs.

R4/searchparameter.html: an expression selects the elements that a parameter searches. Indexing
evaluates some twenty of them for every resource written, so they are not interpreted: types are
followed through the expression when it is compiled, what cannot match is dropped, and what is
left are dictionary look-ups (`walk`). An expression outside the shapes that occur in practice is
handed to the general engine and gives the same pairs, only slower.

Three readings differ from the engine's, as everybody's do who runs the expressions of R4:
` as ` filters and may repeat (R4 writes `Observation.component.value as Quantity`); a union may
give one value twice (an index is a set); an expression that begins with the name of another
resource type selects nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

from fhir_server.fhirpath import api, nodes, types
from fhir_server.fhirpath.conditions import Unplanned, condition, is_condition
from fhir_server.fhirpath.errors import FhirPathTypeError
from fhir_server.fhirpath.parser import parse
from fhir_server.fhirpath.walk import (
    Branch,
    Emit,
    Pairs,
    Path,
    Predicate,
    emit,
    emit_all,
    emit_resources,
    walk,
)
from fhir_server.fhirpath.watch import Watch

_UCUM = "http://unitsofmeasure.org"


class Extractor(Protocol):
    """(element, resource that holds it) → pairs; without the second, the element is the resource."""

    def __call__(self, element: dict[str, Any], resource: dict[str, Any] | None = None, /) -> Pairs:
        """Return the (FHIR type name, plain JSON value) pairs that the expression selects."""
        ...


@lru_cache(maxsize=8192)
def extractor(expression: str, type_name: str) -> Extractor:
    """Return a function from a `type_name` as JSON to the pairs that `expression` selects.

    `type_name` is a resource type, or for the components of a composite the type of its elements
    ("Observation.component"); then give the resource as second argument when the expression may
    say `%resource`. A primitive with extensions but no value gives nothing.

    >>> family = extractor("Patient.name.family | Practitioner.name.family", "Patient")
    >>> family({"resourceType": "Patient", "name": [{"family": "Everyman"}]})
    [('string', 'Everyman')]

    Raises FhirPathSyntaxError, or FhirPathTypeError for elements that the type does not have.
    """
    tree = parse(expression)
    try:
        return _Planner(expression, type_name).compile(tree)
    except Unplanned:
        return by_engine(expression, type_name)


class _Planner:
    def __init__(self, text: str, type_name: str) -> None:
        if types.find(type_name) is None:
            raise FhirPathTypeError(f"{type_name!r} is no type of R4", text, 0)
        self.text, self.type_name = text, type_name

    def compile(self, tree: nodes.Expression) -> Extractor:
        if is_condition(tree):
            return _answer(self.condition(tree, self.type_name, at_start=True))
        return _emission(self.branches(tree, (Branch((), self.type_name),), at_start=True))

    def branches(
        self, tree: nodes.Expression, focus: tuple[Branch, ...], *, at_start: bool = False
    ) -> tuple[Branch, ...]:
        """Return where `tree` leads from `focus`; `at_start` when a type's name may come first."""
        match tree:
            case nodes.MemberInvocation(name=name):
                if at_start and name[:1].isupper() and types.find(name):
                    return tuple(branch for branch in focus if types.is_a(branch.type_name, name))
                return tuple(step for branch in focus for step in self.member(branch, name, tree.position))
            case nodes.InvocationExpression(subject=subject, invocation=invocation):
                return self.branches(invocation, self.branches(subject, focus, at_start=at_start))
            case nodes.BinaryExpression(operator="|", left=left, right=right):
                both = self.branches(left, focus, at_start=at_start)
                return (*both, *self.branches(right, focus, at_start=at_start))
            case nodes.TypeExpression(operator="as", operand=operand, specifier=specifier):
                inner = self.branches(operand, focus, at_start=at_start)
                return self.of_type(inner, specifier, tree.position)
            case nodes.IndexerExpression(subject=subject, index=nodes.NumberLiteral(value=int() as ordinal)):
                return self.ordinal(self.branches(subject, focus, at_start=at_start), ordinal)
            case nodes.ThisInvocation():
                return focus
            case nodes.ExternalConstant(name="resource"):
                return (Branch((), self.type_name.partition(".")[0], True),)
            case nodes.FunctionInvocation():
                return self.function(tree, focus)
        raise Unplanned

    def function(self, call: nodes.FunctionInvocation, focus: tuple[Branch, ...]) -> tuple[Branch, ...]:
        match call:
            case nodes.FunctionInvocation(name="where", arguments=(condition,)):
                return tuple(self.where(branch, condition) for branch in focus)
            case nodes.FunctionInvocation(name="as" | "ofType", arguments=(specifier,)):
                return self.of_type(focus, _specifier(specifier), call.position)
            case nodes.FunctionInvocation(name="extension", arguments=(nodes.StringLiteral(value=url),)):
                steps = (step for branch in focus for step in self.member(branch, "extension", call.position))
                is_it: Predicate = lambda node, resource: node.get("url") == url  # noqa: E731
                return tuple(Branch((*step.path, is_it), "Extension", step.rooted) for step in steps)
            case nodes.FunctionInvocation(name="first", arguments=()):
                return self.ordinal(focus, 0)
        raise Unplanned

    def where(self, branch: Branch, criteria: nodes.Expression) -> Branch:
        predicate = self.condition(criteria, branch.type_name)
        return Branch((*branch.path, predicate), branch.type_name, branch.rooted)

    def condition(self, tree: nodes.Expression, type_name: str, *, at_start: bool = False) -> Predicate:
        here = (Branch((), type_name),)
        return condition(tree, lambda inner: self.branches(inner, here, at_start=at_start))

    def ordinal(self, focus: tuple[Branch, ...], ordinal: int) -> tuple[Branch, ...]:
        # the n-th of several branches is not the n-th of each, except that of a choice only one exists
        if len(focus) > 1 and (ordinal or len({branch.path[:-1] for branch in focus}) > 1):
            raise Unplanned
        return tuple(Branch((*branch.path, ordinal), branch.type_name, branch.rooted) for branch in focus)

    def member(self, branch: Branch, name: str, position: int) -> tuple[Branch, ...]:
        kind = types.find(branch.type_name)
        if kind is None or kind.is_primitive:
            raise Unplanned
        if name in kind.members:
            choices = kind.members[name].choices
        elif name in kind.keys:  # Observation.valueQuantity: not FHIRPath, but found in the wild
            choices = ((name, kind.keys[name][1]),)
        elif types.is_resource_base(branch.type_name):
            raise Unplanned
        else:
            known = ", ".join(sorted(kind.members))
            raise FhirPathTypeError(f"{kind.name} has no {name!r}; it has {known}", self.text, position)
        return tuple(Branch((*branch.path, key), type_name, branch.rooted) for key, type_name in choices)

    def of_type(self, focus: tuple[Branch, ...], specifier: str, position: int) -> tuple[Branch, ...]:
        wanted = wanted_type(specifier, self.text, position)
        kept = []
        for branch in focus:
            if types.is_a(branch.type_name, wanted):
                kept.append(branch)
            elif types.is_resource_base(branch.type_name) and types.is_a(wanted, branch.type_name):
                says_so: Predicate = lambda node, resource: node.get("resourceType") == wanted  # noqa: E731
                kept.append(Branch((*branch.path, says_so), wanted, branch.rooted))
        return tuple(kept)


@lru_cache(maxsize=4096)
def predicate(expression: str, type_name: str) -> Predicate | None:
    """Return a condition on a `type_name` as a function of JSON, or None when only the engine can judge it.

    The function takes the element and the resource that holds it, both as JSON, and answers True,
    False or None (empty). Many invariants are of this kind; they cost a tenth of an evaluation.

    >>> predicate("code.empty() or system.exists()", "Quantity")({"code": "mg"}, None)
    False
    >>> predicate("start <= end", "Period") is None
    True
    """
    planner = _Planner(expression, type_name)
    try:
        return planner.condition(parse(expression), type_name, at_start=True)
    except (Unplanned, FhirPathTypeError):
        return None


def by_engine(expression: str, type_name: str) -> Extractor:
    """Return an extractor for what is none of the common shapes."""
    compiled = api.compile(expression, lenient=True)
    return _evaluating(type_name, lambda: compiled)


def _evaluating(type_name: str, expression: Callable[[], api.Expression]) -> Extractor:
    def extract(element: dict[str, Any], resource: dict[str, Any] | None = None, /) -> Pairs:
        holder = [api.root(element if resource is None else resource)]
        environment = {"resource": holder, "rootResource": holder}
        items = expression().evaluate(api.Element(element, type_name), environment=environment)
        return [pair for pair in map(_pair, items) if pair[1] is not None]

    return extract


STRANGERS_SECONDS = 0.25
STRANGERS_STEPS = 100_000


def watched_extractor(expression: str, type_name: str) -> Extractor:
    """Return the same as `extractor` for an expression of a stranger: the engine is watched.

    An evaluation that takes more than a quarter of a second raises TooCostly.
    """
    try:
        return _Planner(expression, type_name).compile(parse(expression))
    except Unplanned:
        api.compile(expression)  # for what is wrong with it
    return _evaluating(
        type_name, lambda: api.compile_watched(expression, Watch(STRANGERS_SECONDS, STRANGERS_STEPS))
    )


@lru_cache(maxsize=1024)
def selected(expression: str, type_name: str) -> frozenset[tuple[str, str]] | None:
    """Return (path, type) of the elements that an expression selects; None where only the engine can tell.

    >>> selected("Patient.contact.name | Person.name", "Patient")
    frozenset({('contact.name', 'HumanName')})

    Raises what `extractor` raises.
    """
    planner = _Planner(expression, type_name)
    tree = parse(expression)
    if is_condition(tree):
        return frozenset({("", "boolean")})
    try:
        branches = planner.branches(tree, (Branch((), type_name),), at_start=True)
    except Unplanned:
        return None
    return frozenset(
        (".".join(step for step in branch.path if isinstance(step, str)), branch.type_name)
        for branch in branches
    )


@lru_cache(maxsize=8192)
def beginnings(expression: str, type_name: str) -> frozenset[str] | None:
    """Return the members of which a `type_name` as JSON must have one, or nothing is selected of it.

    None where that cannot be told: of conditions, of the element itself, of what the engine evaluates.

    >>> sorted(beginnings("(Observation.effective as dateTime) | Observation.issued", "Observation"))
    ['effectiveDateTime', 'issued']

    Raises what `extractor` raises.
    """
    tree = parse(expression)
    if is_condition(tree):
        return None
    try:
        branches = _Planner(expression, type_name).branches(tree, (Branch((), type_name),), at_start=True)
    except Unplanned:
        return None
    firsts = [branch.path[0] if branch.path else None for branch in branches]
    names = frozenset(first for first in firsts if isinstance(first, str))
    return names if all(isinstance(first, str) for first in firsts) else None


def _pair(item: Any) -> tuple[str, Any]:
    if isinstance(item, api.Element):
        return item.type, item.value
    name = api.type_of(item).name
    if isinstance(item, api.Quantity):
        return name, {"value": item.value, "unit": item.unit, "code": item.unit, "system": _UCUM}
    return types.FHIR_OF.get(name, name), api.to_json(item)


def wanted_type(specifier: str, text: str, position: int) -> str:
    """Return the FHIR type that `specifier` means in a search expression."""
    wanted = specifier.removeprefix("FHIR.").removeprefix("System.")
    wanted = types.FHIR_OF.get(wanted, wanted)
    if types.find(wanted) is None:
        raise FhirPathTypeError(f"{specifier!r} is no type of R4", text, position)
    return wanted


def _specifier(tree: nodes.Expression) -> str:
    match tree:
        case nodes.MemberInvocation(name=name):
            return name
        case nodes.InvocationExpression(
            subject=nodes.MemberInvocation(name=space), invocation=nodes.MemberInvocation(name=name)
        ):
            return f"{space}.{name}"
    raise Unplanned


def _emission(branches: tuple[Branch, ...]) -> Extractor:
    """Return one function for all branches; those that part at their last key share a walk."""
    groups: dict[tuple[bool, Path], list[tuple[str, str]]] = {}
    emits: list[tuple[bool, Emit]] = []
    for branch in branches:
        last = branch.path[-1] if branch.path else None
        if types.is_resource_base(branch.type_name):
            emits.append((branch.rooted, emit_resources(walk(branch.path))))
        elif isinstance(last, str):
            groups.setdefault((branch.rooted, branch.path[:-1]), []).append((last, branch.type_name))
        else:
            emits.append((branch.rooted, emit_all(walk(branch.path), branch.type_name)))
    for (rooted, path), choices in groups.items():
        for group in _exclusive(choices):
            emits.append((rooted, emit(path, group)))
    if len(emits) == 1 and not emits[0][0]:
        needs_resource = any(not isinstance(step, (str, int)) for branch in branches for step in branch.path)
        return _only(emits[0][1]) if needs_resource else emits[0][1]
    return _several(emits)


def _exclusive(choices: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Part `choices` into groups of which a valid object has at most one key: one choice each."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, type_name in dict.fromkeys(choices):
        suffix = type_name[:1].upper() + type_name[1:]
        groups.setdefault(key.removesuffix(suffix) + "[x]" if key.endswith(suffix) else key, []).append(
            (key, type_name)
        )
    return list(groups.values())


def _answer(predicate: Predicate) -> Extractor:
    def extract(element: dict[str, Any], resource: dict[str, Any] | None = None, /) -> Pairs:
        value = predicate(element, element if resource is None else resource)
        return [] if value is None else [("boolean", value)]

    return extract


def _only(emission: Emit) -> Extractor:
    return lambda element, resource=None: emission(element, element if resource is None else resource)


def _several(emits: list[tuple[bool, Emit]]) -> Extractor:
    def extract(element: dict[str, Any], resource: dict[str, Any] | None = None, /) -> Pairs:
        if resource is None:
            resource = element
        found: Pairs = []
        for rooted, emission in emits:
            found += emission(resource if rooted else element, resource)
        return found

    return extract
