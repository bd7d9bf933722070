"""Arithmetic on numbers, texts, quantities, dates and times (N1 §6.6)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import Any

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.comparison import DIVIDED, EXACT, Fault, as_quantity, describe, single, ucum_code
from fhir_server.fhirpath.temporal import Date, Temporal
from fhir_server.fhirpath.values import CALENDAR_UCUM, Collection, Quantity, system
from terminology import ucum


def _both(left: Any, right: Any, sign: str) -> tuple[Any, Any] | None:
    one, other = single(left, sign), single(right, sign)
    return None if one is None or other is None else (one, other)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def add(left: Collection, right: Collection) -> Any:
    """`+` (§6.6.3): numbers, texts, quantities, and a date or time with a quantity."""
    pair = _both(left, right, "+")
    if pair is None:
        return None
    one, other = pair
    if _is_number(one) and _is_number(other):
        return (
            _whole(one + other)
            if isinstance(one, int) and isinstance(other, int)
            else EXACT.add(Decimal(one), Decimal(other))
        )
    if isinstance(one, str) and isinstance(other, str):
        return one + other
    if isinstance(one, Temporal) and isinstance(other, Quantity):
        return move(one, other, 1)
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return _quantity_sum(one, other, 1)
    raise Fault(f"+ does not add {describe(other)} to {describe(one)}")


def subtract(left: Collection, right: Collection) -> Any:
    """`-` (§6.6.4)."""
    pair = _both(left, right, "-")
    if pair is None:
        return None
    one, other = pair
    if _is_number(one) and _is_number(other):
        return (
            _whole(one - other)
            if isinstance(one, int) and isinstance(other, int)
            else EXACT.subtract(Decimal(one), Decimal(other))
        )
    if isinstance(one, Temporal) and isinstance(other, Quantity):
        return move(one, other, -1)
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return _quantity_sum(one, other, -1)
    raise Fault(f"- does not take {describe(other)} from {describe(one)}")


def _whole(value: int) -> int | None:
    return value if -(2**63) <= value < 2**63 else None  # beyond a Long: overflow is empty (§6.6)


_DEFINITE = {"wk": "week", "d": "day", "h": "hour", "min": "minute", "s": "second", "ms": "millisecond"}


def move(value: Temporal, amount: Quantity, sign: int) -> Temporal | None:
    """Return a date or time moved by a calendar quantity or a definite UCUM duration (§6.6.7)."""
    unit = amount.unit
    if unit not in CALENDAR_UCUM:
        singular = unit.removesuffix("s")
        if unit in _DEFINITE:
            unit = _DEFINITE[unit]
        elif singular in CALENDAR_UCUM:
            unit = singular
        else:
            raise Fault(f"a date moves by years, months, weeks, days, hours …, not by {unit!r}")
    if isinstance(value, Date) and unit in ("hour", "minute", "second", "millisecond"):
        hours = {"hour": 24, "minute": 1440, "second": 86_400, "millisecond": 86_400_000}[unit]
        whole = (Decimal(amount.value) / hours).to_integral_value(ROUND_DOWN)
        return temporal.add(value, sign * whole, "day")
    return temporal.add(value, sign * Decimal(amount.value), unit)


def _quantity_sum(one: Quantity, other: Quantity, sign: int) -> Quantity | None:
    if one.unit == other.unit:
        return Quantity(EXACT.add(Decimal(one.value), sign * Decimal(other.value)), one.unit)
    converted = ucum.convert(other.value, ucum_code(other), ucum_code(one))
    if converted is None:
        return None
    return Quantity(EXACT.add(Decimal(one.value), sign * converted), one.unit)


def multiply(left: Collection, right: Collection) -> Any:
    """`*` (§6.6.1)."""
    pair = _both(left, right, "*")
    if pair is None:
        return None
    one, other = pair
    if _is_number(one) and _is_number(other):
        if isinstance(one, int) and isinstance(other, int):
            return _whole(one * other)
        return EXACT.multiply(Decimal(one), Decimal(other))
    first, second = as_quantity(one), as_quantity(other)
    if first is None or second is None:
        raise Fault(f"* does not multiply {describe(one)} by {describe(other)}")
    unit = ucum.product(ucum_code(first), ucum_code(second))
    return Quantity(EXACT.multiply(Decimal(first.value), Decimal(second.value)), unit)


def divide(left: Collection, right: Collection) -> Any:
    """`/` (§6.6.2): always a Decimal; empty when divided by zero."""
    pair = _both(left, right, "/")
    if pair is None:
        return None
    one, other = pair
    first, second = as_quantity(one), as_quantity(other)
    if first is None or second is None:
        raise Fault(f"/ does not divide {describe(one)} by {describe(other)}")
    if second.value == 0:
        return None
    value = DIVIDED.divide(Decimal(first.value), Decimal(second.value))
    if _is_number(one) and _is_number(other):
        return value
    unit = ucum.quotient(ucum_code(first), ucum_code(second))
    return Quantity(value, unit)


def _integral(
    sign: str, left: Collection, right: Collection, of: Callable[[Decimal, Decimal], Decimal]
) -> Any:
    pair = _both(left, right, sign)
    if pair is None:
        return None
    one, other = pair
    if not _is_number(one) or not _is_number(other):
        raise Fault(f"{sign} works on numbers, got {describe(one)} and {describe(other)}")
    if other == 0:
        return None
    return of(Decimal(one), Decimal(other))


def whole_quotient(left: Collection, right: Collection) -> Any:
    """`div` (§6.6.5), rounded towards zero."""
    value = _integral("div", left, right, EXACT.divide_int)
    return None if value is None or abs(value) >= 2**63 else int(value)


def remainder(left: Collection, right: Collection) -> Any:
    """`mod` (§6.6.6), with the sign of the dividend."""
    value = _integral("mod", left, right, EXACT.remainder)
    if value is None:
        return None
    whole = all(isinstance(system(items[0]), int) for items in (left, right))
    return int(value) if whole else value


def concatenate(left: Collection, right: Collection) -> str:
    """`&` (§6.6.8): empty counts as the empty text."""
    words = []
    for items in (left, right):
        value = single(items, "&")
        if value is not None and not isinstance(value, str):
            raise Fault(f"& joins texts, got {describe(value)}")
        words.append(value or "")
    return "".join(words)


def negate(items: Collection, sign: str) -> Any:
    """The polarity operators."""
    value = single(items, sign)
    if value is None:
        return None
    if isinstance(value, Quantity):
        return Quantity(-value.value, value.unit) if sign == "-" else value
    if not _is_number(value):
        raise Fault(f"{sign} works on a number or a quantity, got {describe(value)}")
    return -value if sign == "-" else value
