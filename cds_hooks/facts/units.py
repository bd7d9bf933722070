"""Units of what we read: a closed table of UCUM codes, refusal on any other.

A value without a unit, or with one that is not listed, is no value: guessing would turn 22 kPa
into 22 mmHg. The table holds what the services need; `terminology/ucum` will take its place.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

UCUM = "http://unitsofmeasure.org"

_TO: dict[str, dict[str, Decimal]] = {
    # 1 kPa = 7.500616827 mmHg (BIPM: 1 mmHg = 133.322387415 Pa)
    "mm[Hg]": {"mm[Hg]": Decimal(1), "kPa": Decimal("7.500616827")},
    "{score}": {"{score}": Decimal(1), "1": Decimal(1)},
}


class UnitError(ValueError):
    """A quantity whose unit is missing or is not one that we convert; the message names it."""


def convert(quantity: Any, unit: str) -> float:
    """Return the value of a Quantity in `unit` (a UCUM code).

    >>> convert({"value": 160, "system": UCUM, "code": "mm[Hg]"}, "mm[Hg]")
    160.0
    >>> round(convert({"value": 20, "system": UCUM, "code": "kPa"}, "mm[Hg]"), 1)
    150.0
    >>> convert({"value": 160, "unit": "mmHg"}, "mm[Hg]")
    Traceback (most recent call last):
    cds_hooks.facts.units.UnitError: the unit has no UCUM code; expected is mm[Hg] of http://unitsofmeasure.org

    Raises UnitError for a comparator (`<`), a missing or unknown unit and a value that is no number.
    """
    if not isinstance(quantity, dict) or not _is_number(quantity.get("value")):
        raise UnitError("no number is given")
    if "comparator" in quantity:
        raise UnitError(f"the value is only known as {quantity['comparator']} a bound")
    code = quantity.get("code")
    if quantity.get("system") != UCUM or not isinstance(code, str):
        raise UnitError(f"the unit has no UCUM code; expected is {unit} of {UCUM}")
    factor = _TO[unit].get(code)
    if factor is None:
        raise UnitError(f"the unit is {code}; known are {', '.join(_TO[unit])}")
    return float(Decimal(str(quantity["value"])) * factor)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
