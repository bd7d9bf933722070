"""Pieces of SQL with the values of their placeholders, and how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with the values of its %s, in their order."""

    text: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Keys(Sql):
    """A condition that is nothing but keys of which at least one must be there."""

    any_of: tuple[str, ...] = ()


def select(what: str, source: str, condition: Sql) -> Sql:
    """Return a SELECT of what fulfils a condition."""
    return Sql(f"select {what} from {source} where {condition.text}", condition.parameters)


def joined(parts: Sequence[Sql], by: str) -> Sql:
    """Return conditions or statements with `by` between them."""
    values: list[Any] = []
    for part in parts:
        values += part.parameters
    return Sql(by.join([part.text for part in parts]), tuple(values))


def any_of_these(parts: Sequence[Sql]) -> Sql:
    """Return the OR of conditions."""
    if len(parts) == 1:
        return parts[0]
    both = joined(parts, " or ")
    return Sql(f"({both.text})", both.parameters)


def negated(part: Sql) -> Sql:
    """Return that a condition does not hold."""
    return Sql(f"not ({part.text})", part.parameters)


def in_parentheses(sql: Sql) -> Sql:
    """Return a condition or statement that stands for itself."""
    return Sql(f"({sql.text})", sql.parameters)
