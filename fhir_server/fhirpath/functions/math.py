"""Numbers (N1 §5.7)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal, DecimalException
from typing import Any

from fhir_server.fhirpath.comparison import DIVIDED, EXACT, Fault, describe, single
from fhir_server.fhirpath.functions.table import Function, eager
from fhir_server.fhirpath.scope import Scope
from fhir_server.fhirpath.values import Collection, Quantity


def number(items: Collection, name: str) -> int | Decimal | None:
    """Return the one number of `items`, None when empty; raises Fault for anything else."""
    value = single(items, name)
    if value is None or (isinstance(value, (int, Decimal)) and not isinstance(value, bool)):
        return value
    raise Fault(f"{name} works on a number, got {describe(items[0])}")


def _of_number(name: str, run: Callable[..., Any], least: int = 0, most: int | None = None) -> Function:
    def function(scope: Scope, items: Collection, *arguments: Collection) -> Collection:
        values = [number(each, f"{name}()") for each in (items, *arguments)]
        if any(value is None for value in values):
            return []
        try:
            found = run(*(Decimal(value) if isinstance(value, int) else value for value in values))
        except DecimalException:  # the root of -1, the logarithm of 0: empty
            return []
        return [] if found is None or (isinstance(found, Decimal) and not found.is_finite()) else [found]

    return eager(name, function, least, most)


def _abs(scope: Scope, items: Collection) -> Collection:
    value = single(items, "abs()")
    if isinstance(value, Quantity):
        return [Quantity(Decimal(value.value).copy_abs(), value.unit)]
    amount = number(items, "abs()")
    return [] if amount is None else [abs(amount)]


def _rounded(name: str, rounding: str) -> Function:
    def to_whole(value: Decimal) -> int | None:
        return int(value.to_integral_value(rounding)) if abs(value) < 2**63 else None

    return _of_number(name, to_whole)


def _round(value: Decimal, places: Decimal = Decimal(0)) -> Decimal:
    if places < 0 or places > 60:
        raise Fault("round() wants 0 or more places")
    # N1 leaves the tie open; away from zero is what people learn and what most engines do
    return value.quantize(Decimal(1).scaleb(-int(places)), ROUND_HALF_UP, EXACT)


def _log(value: Decimal, base: Decimal) -> Decimal:
    found = DIVIDED.divide(DIVIDED.ln(value), DIVIDED.ln(base))
    whole = found.to_integral_value()
    # 16.log(2) is 4 and not 3.999…: an exact power is recognised by multiplying back
    return whole if abs(whole) < 1000 and DIVIDED.power(base, whole) == value else found


def _power(value: Decimal, exponent: Decimal) -> Decimal | int | None:
    if abs(exponent) > 10_000:
        return None
    found = (EXACT if exponent == exponent.to_integral_value() else DIVIDED).power(value, exponent)
    whole = found == found.to_integral_value() and value == value.to_integral_value()
    return int(found) if whole and exponent >= 0 and abs(found) < 2**63 else found


CHAPTER = (
    eager("abs", _abs),
    _rounded("ceiling", ROUND_CEILING),
    _rounded("floor", ROUND_FLOOR),
    _rounded("truncate", ROUND_DOWN),
    _of_number("exp", DIVIDED.exp),
    _of_number("ln", DIVIDED.ln),
    _of_number("log", _log, 1),
    _of_number("power", _power, 1),
    _of_number("round", _round, 0, 1),
    _of_number("sqrt", DIVIDED.sqrt),
)
