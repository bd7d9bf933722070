"""The conditions of search expressions, `.where(system='email')`, as predicates on JSON values.

Three-valued as in N1 §6.5: a predicate says True, False, or None for the empty collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from fhir_server.fhirpath import nodes, types
from fhir_server.fhirpath.walk import Branch, Predicate, Walk, walk

Follow = Callable[[nodes.Expression], tuple[Branch, ...]]

_RESTFUL = re.compile(
    r"(?:^|.*/)([A-Z][A-Za-z]{1,63})/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?(?:#.*)?$"
)


class Unplanned(Exception):
    """The expression is none of the common shapes."""


def is_condition(tree: nodes.Expression) -> bool:
    """Say whether `tree` answers true or false rather than with elements."""
    match tree:
        case nodes.BinaryExpression(operator=operator):
            return operator in ("and", "or", "xor", "implies", "=", "!=")
        case nodes.TypeExpression(operator="is"):
            return True
        case nodes.InvocationExpression(invocation=nodes.FunctionInvocation(name=name)) | (
            nodes.FunctionInvocation(name=name)
        ):
            return name in ("exists", "empty", "not", "hasExtension", "hasValue")
    return False


def condition(tree: nodes.Expression, follow: Follow) -> Predicate:
    """Return a predicate for `tree`; `follow` says where a path within it leads.

    Raises Unplanned for what is none of the common shapes.
    """
    match tree:
        case nodes.BinaryExpression(operator="and", left=left, right=right):
            return _both(condition(left, follow), condition(right, follow))
        case nodes.BinaryExpression(operator="or", left=left, right=right):
            return _either(condition(left, follow), condition(right, follow))
        case nodes.BinaryExpression(operator="implies", left=left, right=right):
            return _either(_negated(condition(left, follow)), condition(right, follow))
        case nodes.BinaryExpression(operator="xor", left=left, right=right):
            return _one_of(condition(left, follow), condition(right, follow))
        case nodes.BinaryExpression(operator="=" | "!=" as operator, left=left, right=right):
            if is_condition(left) and is_condition(right):
                differ = _one_of(condition(left, follow), condition(right, follow))
                return differ if operator == "!=" else _negated(differ)
            if isinstance(left, (nodes.StringLiteral, nodes.BooleanLiteral)):
                left, right = right, left
            return _compare(left, right, follow, operator == "=")
        case nodes.TypeExpression(operator="is", operand=operand, specifier=specifier):
            return _is(operand, specifier, follow)
        case nodes.InvocationExpression(subject=subject, invocation=nodes.FunctionInvocation() as call):
            return _called(subject, call, follow)
        case nodes.FunctionInvocation():
            return _called(nodes.ThisInvocation(tree.position), tree, follow)
        case nodes.BooleanLiteral(value=value):
            return lambda node, resource: value
    return _flag(tree, follow)


def _called(subject: nodes.Expression, call: nodes.FunctionInvocation, follow: Follow) -> Predicate:
    match call:
        case nodes.FunctionInvocation(name="exists", arguments=()):
            return _present(subject, follow)
        case nodes.FunctionInvocation(name="exists", arguments=(_,)):
            where = nodes.FunctionInvocation(call.position, "where", call.arguments)
            values = _values(nodes.InvocationExpression(call.position, subject, where), follow)
            return lambda node, resource: len(values(node, resource)) > 0
        case nodes.FunctionInvocation(name="empty", arguments=()):
            return _negated(_present(subject, follow))
        case nodes.FunctionInvocation(name="hasValue", arguments=()):
            return _valued(subject, follow)
        case nodes.FunctionInvocation(name="not", arguments=()):
            return _negated(condition(subject, follow))
        case nodes.FunctionInvocation(name="hasExtension", arguments=(nodes.StringLiteral(),)):
            extension = nodes.FunctionInvocation(call.position, "extension", call.arguments)
            values = _values(nodes.InvocationExpression(call.position, subject, extension), follow)
            return lambda node, resource: len(values(node, resource)) > 0
    return _flag(nodes.InvocationExpression(call.position, subject, call), follow)


def _values(tree: nodes.Expression, follow: Follow) -> Walk:
    """Return a walk to everything that `tree` selects."""
    return _joined(follow(tree))


def _joined(branches: Sequence[Branch]) -> Walk:
    if any(branch.rooted for branch in branches):
        raise Unplanned
    walks = [walk(branch.path) for branch in branches]
    if len(walks) == 1:
        return walks[0]

    def all_of_them(node: Any, resource: Any) -> Sequence[Any]:
        found: list[Any] = []
        for one in walks:
            found += one(node, resource)
        return found

    return all_of_them


def _present(tree: nodes.Expression, follow: Follow) -> Predicate:
    """Return whether `tree` selects anything; a primitive that has only extensions is something."""
    branches = follow(tree)
    siblings = [
        Branch((*branch.path[:-1], f"_{branch.path[-1]}"), branch.type_name, branch.rooted)
        for branch in branches
        if branch.type_name in types.SYSTEM_OF and branch.path and isinstance(branch.path[-1], str)
    ]
    both = [*branches, *siblings]
    if both and all(len(branch.path) == 1 and not branch.rooted for branch in both):
        keys = {branch.path[0] for branch in both}
        if all(isinstance(key, str) for key in keys):
            return lambda node, resource: not keys.isdisjoint(node)
    values = _joined(both)
    return lambda node, resource: len(values(node, resource)) > 0


def _valued(tree: nodes.Expression, follow: Follow) -> Predicate:
    branches = follow(tree)
    if any(branch.type_name not in types.SYSTEM_OF for branch in branches):
        raise Unplanned
    values = _joined(branches)
    return lambda node, resource: len(values(node, resource)) == 1


def _flag(tree: nodes.Expression, follow: Follow) -> Predicate:
    """Return the predicate of a path to a boolean."""
    branches = follow(tree)
    if any(branch.type_name != "boolean" for branch in branches):
        raise Unplanned
    values = _joined(branches)

    def says(node: Any, resource: Any) -> bool | None:
        found = values(node, resource)
        return found[0] if len(found) == 1 else None

    return says


def _compare(left: nodes.Expression, right: nodes.Expression, follow: Follow, wanted: bool) -> Predicate:
    if not isinstance(right, (nodes.StringLiteral, nodes.BooleanLiteral, nodes.NumberLiteral)):
        raise Unplanned
    literal = right.value
    branches = follow(left)
    for branch in branches:
        system = types.SYSTEM_OF.get(branch.type_name)
        # a date is no string although JSON writes it as one; comparing them is the engine's business
        if system is None or (isinstance(literal, str) and system not in ("String", "Boolean", "Integer")):
            raise Unplanned
    values = _joined(branches)
    kind = (int, Decimal) if not isinstance(literal, (str, bool)) else type(literal)

    def compare(node: Any, resource: Any) -> bool | None:
        found = values(node, resource)
        if not found:
            return None
        if len(found) > 1:
            return not wanted
        value = found[0]
        if (kind is not bool and value is True) or value is False:
            return (kind is bool and value is literal) is wanted
        return (isinstance(value, kind) and value == literal) is wanted

    return compare


def _is(operand: nodes.Expression, specifier: str, follow: Follow) -> Predicate:
    wanted = specifier.removeprefix("FHIR.")
    match operand:
        case nodes.FunctionInvocation(name="resolve", arguments=()):
            subject: nodes.Expression = nodes.ThisInvocation(operand.position)
        case nodes.InvocationExpression(
            subject=subject, invocation=nodes.FunctionInvocation(name="resolve", arguments=())
        ):
            pass
        case _:
            raise Unplanned
    branches = follow(subject)
    if not all(branch.type_name in ("Reference", "canonical", "uri", "url") for branch in branches):
        raise Unplanned
    values = _joined(branches)
    relative = f"{wanted}/"

    def resolves(node: Any, resource: Any) -> bool | None:
        found = values(node, resource)
        if len(found) != 1:
            return None
        reference = found[0]
        if type(reference) is dict and (reference.get("reference") or "").startswith(relative):
            return True  # by far the most
        return refers_to(reference, wanted, resource)

    return resolves


def refers_to(reference: Any, type_name: str, resource: Any = None) -> bool | None:
    """Say whether a Reference (or uri) leads to a `type_name`, from its own words; None: nobody knows.

    The text "Type/id" speaks first, then what is contained in `resource`, then Reference.type.

    >>> refers_to({"reference": "http://example.org/fhir/Patient/7/_history/2"}, "Patient")
    True
    >>> refers_to({"reference": "urn:uuid:0", "type": "Group"}, "Patient")
    False
    """
    said = referred_type(reference, resource)
    return None if said is None else types.is_a(said, type_name)


def referred_type(reference: Any, resource: Any = None) -> str | None:
    """Return the type that a Reference (or uri) says it leads to, or None.

    >>> referred_type({"reference": "#p"}, {"contained": [{"resourceType": "Device", "id": "p"}]})
    'Device'
    """
    text = reference if isinstance(reference, str) else reference.get("reference")
    if isinstance(text, str):
        if text.startswith("urn:"):
            return _said_type(reference)
        if text.startswith("#"):
            return _contained_type(text[1:], resource or {})
        head, slash, tail = text.partition("/")
        if slash and "/" not in tail and "?" not in head:  # Type/id
            return head if head[:1].isupper() else None
        conditional, question, _ = text.partition("?")
        if question and conditional.isalpha():
            return conditional
        match = _RESTFUL.match(text)
        if match is not None:
            return match.group(1)
    return _said_type(reference)


def _said_type(reference: Any) -> str | None:
    said = None if isinstance(reference, str) else reference.get("type")
    return said.rpartition("/")[2] if isinstance(said, str) else None


def _contained_type(name: str, resource: dict[str, Any]) -> str | None:
    candidates = resource.get("contained", ()) if name else (resource,)
    for candidate in candidates:
        if not name or candidate.get("id") == name:
            said: str | None = candidate.get("resourceType")
            return said
    return None


def _both(left: Predicate, right: Predicate) -> Predicate:
    def both(node: Any, resource: Any) -> bool | None:
        first = left(node, resource)
        if first is False:
            return False
        second = right(node, resource)
        if second is False:
            return False
        return True if first and second else None

    return both


def _either(left: Predicate, right: Predicate) -> Predicate:
    def either(node: Any, resource: Any) -> bool | None:
        first = left(node, resource)
        if first:
            return True
        second = right(node, resource)
        if second:
            return True
        return False if first is False and second is False else None

    return either


def _one_of(left: Predicate, right: Predicate) -> Predicate:
    def one_of(node: Any, resource: Any) -> bool | None:
        first, second = left(node, resource), right(node, resource)
        return None if first is None or second is None else first is not second

    return one_of


def _negated(inner: Predicate) -> Predicate:
    def negated(node: Any, resource: Any) -> bool | None:
        value = inner(node, resource)
        return None if value is None else not value

    return negated
