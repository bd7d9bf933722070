"""The syntax tree of an expression: frozen dataclasses in the grammar's own names (N1, appendix B).

Every node knows its `position`, the offset in the text; two nodes that say the same are equal
wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Node:
    """One place in the tree."""

    position: int = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NullLiteral(Node):
    """`{}`, the empty collection."""


@dataclass(frozen=True, slots=True)
class BooleanLiteral(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class StringLiteral(Node):
    """`'text'`, its escapes undone."""

    value: str


@dataclass(frozen=True, slots=True)
class NumberLiteral(Node):
    """`5` (an int) or `5.10` (a Decimal with its digits)."""

    value: int | Decimal


@dataclass(frozen=True, slots=True)
class TemporalLiteral(Node):
    """`@2020-01` (date), `@2020-01-01T` (dateTime) or `@T10:30` (time), without the `@`."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class QuantityLiteral(Node):
    """`5.1 'mg'` or `4 days`; `calendar` says that the unit is a word and not a UCUM code."""

    value: int | Decimal
    unit: str
    calendar: bool


@dataclass(frozen=True, slots=True)
class ExternalConstant(Node):
    """`%resource`, `%ucum`, ``%`vs-name` ``."""

    name: str


@dataclass(frozen=True, slots=True)
class ThisInvocation(Node):
    """`$this`."""


@dataclass(frozen=True, slots=True)
class IndexInvocation(Node):
    """`$index`."""


@dataclass(frozen=True, slots=True)
class TotalInvocation(Node):
    """`$total`."""


@dataclass(frozen=True, slots=True)
class MemberInvocation(Node):
    """`name`: an element, or a type where the expression begins."""

    name: str


@dataclass(frozen=True, slots=True)
class FunctionInvocation(Node):
    """`where(…)`: a function with the expressions that it was given."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class InvocationExpression(Node):
    """`subject.invocation`."""

    subject: Expression
    invocation: Expression


@dataclass(frozen=True, slots=True)
class IndexerExpression(Node):
    """`subject[index]`."""

    subject: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class PolarityExpression(Node):
    """`-operand` or `+operand`."""

    sign: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class BinaryExpression(Node):
    """`left operator right`, for every operator but `is` and `as`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class TypeExpression(Node):
    """`operand is Type` or `operand as Type`; `specifier` may be qualified ("FHIR.Patient")."""

    operator: str
    operand: Expression
    specifier: str


@dataclass(frozen=True, slots=True)
class SortKey(Node):
    """`key desc`, an argument of sort()."""

    key: Expression
    descending: bool


Expression: TypeAlias = (
    NullLiteral
    | BooleanLiteral
    | StringLiteral
    | NumberLiteral
    | TemporalLiteral
    | QuantityLiteral
    | ExternalConstant
    | ThisInvocation
    | IndexInvocation
    | TotalInvocation
    | MemberInvocation
    | FunctionInvocation
    | InvocationExpression
    | IndexerExpression
    | PolarityExpression
    | BinaryExpression
    | TypeExpression
    | SortKey
)


def children(node: Expression) -> Iterator[Expression]:
    """Yield the nodes right below `node`."""
    for part in fields(node):
        value = getattr(node, part.name)
        if isinstance(value, Node):
            yield value  # type: ignore[misc]
        elif isinstance(value, tuple):
            yield from value


def height(tree: Expression) -> int:
    """Return how many nodes stand above each other in `tree`, without recursion.

    >>> height(PolarityExpression(0, "-", NumberLiteral(1, 5)))
    2
    """
    level, rows = [tree], 0
    while level:
        level = [child for node in level for child in children(node)]
        rows += 1
    return rows
