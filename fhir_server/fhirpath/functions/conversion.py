"""Conversion between System types, and iif() (N1 §5.5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.comparison import single, truth
from fhir_server.fhirpath.functions.table import Function, eager, lazy
from fhir_server.fhirpath.scope import Compiled, Scope, whole
from fhir_server.fhirpath.temporal import Date, DateTime, Temporal, Time
from fhir_server.fhirpath.values import CALENDAR_UCUM, Collection, Element, Quantity, number_text
from terminology import ucum

_TRUE = frozenset(("true", "t", "yes", "y", "1", "1.0"))
_FALSE = frozenset(("false", "f", "no", "n", "0", "0.0"))
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_DECIMAL = re.compile(r"[+-]?\d{1,60}(?:\.\d{1,60})?")
_QUANTITY = re.compile(r"([+-]?\d{1,60}(?:\.\d{1,60})?)(?:\s*(?:'([^']+)'|([a-zA-Z]+)))?")


def to_boolean(value: Any) -> bool | None:
    """Return a value as boolean, or None (§5.5.2)."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, Decimal)):
        return True if value == 1 else False if value == 0 else None
    if isinstance(value, str):
        word = value.lower()
        return True if word in _TRUE else False if word in _FALSE else None
    return None


def _to_whole(value: Any, bits: int) -> int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    limit = 2 ** (bits - 1)
    return value if isinstance(value, int) and -limit <= value < limit else None


def to_integer(value: Any) -> int | None:
    """Return a value as 32-bit integer, or None (§5.5.3)."""
    return _to_whole(value, 32)


def to_long(value: Any) -> int | None:
    """Return a value as 64-bit integer, or None."""
    return _to_whole(value, 64)


def to_decimal(value: Any) -> Decimal | None:
    """Return a value as Decimal, or None (§5.5.6)."""
    if isinstance(value, (bool, int)):
        return Decimal(int(value))
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    return value if isinstance(value, Decimal) else None


def to_text(value: Any) -> str | None:
    """Return a value as text, or None for what has none (§5.5.8)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return number_text(value)
    if isinstance(value, (str, Temporal, Quantity)):
        return str(value)
    return None


def to_date(value: Any) -> Temporal | None:
    """Return a value as Date, or None (§5.5.4)."""
    if isinstance(value, DateTime):
        return Date(value.parts[:3])
    if isinstance(value, str):
        found = temporal.parse_date_time(value)
        return None if found is None else Date(found.parts[:3])
    return value if isinstance(value, Date) else None


def to_date_time(value: Any) -> Temporal | None:
    """Return a value as DateTime, or None (§5.5.5)."""
    if isinstance(value, Date):
        return DateTime(value.parts)
    if isinstance(value, str):
        return temporal.parse_date_time(value)
    return value if isinstance(value, DateTime) else None


def to_time(value: Any) -> Temporal | None:
    """Return a value as Time, or None (§5.5.9)."""
    if isinstance(value, str):
        return temporal.parse_time(value.removeprefix("T"))
    return value if isinstance(value, Time) else None


def to_quantity(value: Any) -> Quantity | None:
    """Return a value as Quantity, or None (§5.5.7).

    >>> to_quantity("4 days"), to_quantity("1 wk")
    (Quantity(value=Decimal('4'), unit='day'), None)
    """
    if isinstance(value, (bool, int, Decimal)):
        return Quantity(int(value) if isinstance(value, bool) else value)
    if isinstance(value, Quantity):
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    amount, unit, word = match.groups()
    if word is not None:
        singular = word.removesuffix("s")
        return Quantity(Decimal(amount), singular) if singular in CALENDAR_UCUM else None
    return Quantity(Decimal(amount), unit or "1")


def _converter(name: str, convert: Callable[[Any], Any]) -> tuple[Function, Function]:
    def to(scope: Scope, items: Collection) -> Collection:
        value = single(items, f"to{name}()")
        found = None if value is None or isinstance(value, Element) else convert(value)
        return [] if found is None else [found]

    def converts(scope: Scope, items: Collection) -> Collection:
        return [] if not items else [bool(to(scope, items))]

    return eager(f"to{name}", to), eager(f"convertsTo{name}", converts)


def _in_unit(scope: Scope, items: Collection, unit: Collection | None = None) -> Collection:
    value = single(items, "toQuantity()")
    found = None if value is None or isinstance(value, Element) else to_quantity(value)
    wanted = None if unit is None else single(unit, "toQuantity()")
    if found is None or not isinstance(wanted, str):
        return [] if found is None else [found]
    wanted = wanted.removesuffix("s") if wanted.removesuffix("s") in CALENDAR_UCUM else wanted
    if found.unit == wanted:
        return [found]
    amount = ucum.convert(
        found.value, CALENDAR_UCUM.get(found.unit, found.unit), CALENDAR_UCUM.get(wanted, wanted)
    )
    return [] if amount is None else [Quantity(amount, wanted)]


def _converts_in_unit(scope: Scope, items: Collection, unit: Collection | None = None) -> Collection:
    return [] if not items else [bool(_in_unit(scope, items, unit))]


def _iif(
    scope: Scope, items: Collection, criterion: Compiled, yes: Compiled, no: Compiled | None = None
) -> Collection:
    if truth(whole(scope, items, criterion), "iif()"):
        return whole(scope, items, yes)
    return [] if no is None else whole(scope, items, no)


CHAPTER = (
    *_converter("Boolean", to_boolean),
    *_converter("Integer", to_integer),
    *_converter("Long", to_long),
    *_converter("Decimal", to_decimal),
    *_converter("String", to_text),
    *_converter("Date", to_date),
    *_converter("DateTime", to_date_time),
    *_converter("Time", to_time),
    eager("toQuantity", _in_unit, 0, 1),
    eager("convertsToQuantity", _converts_in_unit, 0, 1),
    lazy("iif", _iif, 2, 3),
)
