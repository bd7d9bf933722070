"""OPERATORS and LOGIC: sign → function (N1 §6).

An operator takes two whole collections and returns one value, or None for empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_server.fhirpath.arithmetic import (
    add,
    concatenate,
    divide,
    multiply,
    remainder,
    subtract,
    whole_quotient,
)
from fhir_server.fhirpath.comparison import Fault, equal, equivalent, order, single
from fhir_server.fhirpath.values import Collection, key


def _comparison(sign: str, holds: Callable[[int], bool]) -> Callable[[Collection, Collection], bool | None]:
    def compare(left: Collection, right: Collection) -> bool | None:
        one, other = single(left, sign), single(right, sign)
        if one is None or other is None:
            return None
        answer = order(one, other)
        return None if answer is None else holds(answer)

    return compare


def _member_of(left: Collection, right: Collection) -> bool | None:
    if not left:
        return None
    if len(left) > 1:
        raise Fault(f"in works on one value, got {len(left)}")
    wanted = key(left[0])
    return any(key(item) == wanted for item in right)


def logic_and(left: bool | None, right: bool | None) -> bool | None:
    """`and` (§6.5.1)."""
    if left is False or right is False:
        return False
    return True if left and right else None


def logic_or(left: bool | None, right: bool | None) -> bool | None:
    """`or` (§6.5.2)."""
    if left or right:
        return True
    return False if left is False and right is False else None


def logic_xor(left: bool | None, right: bool | None) -> bool | None:
    """`xor` (§6.5.4)."""
    return None if left is None or right is None else left is not right


def logic_implies(left: bool | None, right: bool | None) -> bool | None:
    """`implies` (§6.5.5)."""
    if left is False or right:
        return True
    return False if left and right is False else None


def not_equal(left: Collection, right: Collection) -> bool | None:
    """`!=` (§6.1.3)."""
    answer = equal(left, right)
    return None if answer is None else not answer


# operator → function of two collections that answers one value, or None for empty
OPERATORS: dict[str, Callable[[Collection, Collection], Any]] = {
    "=": equal,
    "!=": not_equal,
    "~": equivalent,
    "!~": lambda left, right: not equivalent(left, right),
    "<": _comparison("<", lambda answer: answer < 0),
    ">": _comparison(">", lambda answer: answer > 0),
    "<=": _comparison("<=", lambda answer: answer <= 0),
    ">=": _comparison(">=", lambda answer: answer >= 0),
    "in": _member_of,
    "contains": lambda left, right: _member_of(right, left),
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "div": whole_quotient,
    "mod": remainder,
    "&": concatenate,
}
LOGIC: dict[str, Callable[[bool | None, bool | None], bool | None]] = {
    "and": logic_and,
    "or": logic_or,
    "xor": logic_xor,
    "implies": logic_implies,
}
