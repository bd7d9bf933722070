"""quantity search parameters: a number, and the unit if the client gives one (R4/search.html#quantity).

    5.4                              any unit
    5.4|http://unitsofmeasure.org|mg this system and code
    5.4||mg                          mg as code or as human unit, whatever the system

Prefixes and precision are those of number (search/ranges.py). A stored comparator makes a half-open
interval (`<5` is everything below 5), SampledData count by the bounds of their values, Money by its
currency. A unit of UCUM finds what is stored in any unit that measures the same: the number is
converted, with the interval that its digits stand for, into each of them (search/units.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.search import keys, ranges, units, values
from fhir_server.search.ast import Parameter
from fhir_server.search.ranges import NumberValue
from fhir_server.search.types.protocol import Cell, Columns, Environment, Extractor, Match, Row, SearchType

CURRENCIES = "urn:iso:std:iso:4217"
LOWEST, HIGHEST = "-Infinity", "Infinity"


@dataclass(frozen=True, slots=True)
class QuantityValue:
    """A quantity to look for; system and code are None where the client left them open.

    `also` is the same amount in the other units that are stored. It is no part of what was asked:
    two searches are equal whatever is stored between them.
    """

    number: NumberValue
    system: str | None = None
    code: str | None = None
    also: tuple[tuple[str, NumberValue], ...] = field(default=(), repr=False, compare=False)


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> QuantityValue:
    """Read one value of a quantity parameter.

    >>> parse("gt5.4||mg").number.prefix, parse("gt5.4||mg").system, parse("gt5.4||mg").code
    ('gt', None, 'mg')
    """
    parts = [values.unescape(part) for part in values.split(text, "|")]
    if len(parts) not in (1, 3):
        raise Invalid(f"{text!r} is not a quantity; write 5.4, 5.4||mg or 5.4|http://unitsofmeasure.org|mg")
    system, code = (parts[1] or None, parts[2] or None) if len(parts) == 3 else (None, None)
    if code is None and len(parts) == 3:
        raise Invalid(f"{text!r} names no unit; write for example 5.4||mg, or 5.4 for any unit")
    number = ranges.read(parts[0])
    if system != units.UCUM or code is None or parameter is None or environment is None:
        return QuantityValue(number, system, code)
    return QuantityValue(number, system, code, units.alike(number, code, environment.stored.units(parameter)))


def where(value: QuantityValue, columns: Columns) -> Match:
    """Return the condition on a row of number and unit."""
    sql, parameters = ranges.compare(value.number, columns.low, columns.high)
    if value.system is not None and value.code is not None:
        return _in_units(value.system, [(value.code, value.number), *value.also], columns)
    if value.code is not None:
        unit = f"({columns.unit_code} = %s or {columns.unit_text} = %s)"
        return Row(f"{unit} and {sql}", (value.code, value.code, *parameters))
    return Row(sql, parameters)


def _in_units(system: str, asked: Sequence[tuple[str, NumberValue]], columns: Columns) -> Row:
    """Return that a row has one of the numbers in its unit."""
    sql, parameters = [], []
    for code, number in asked:
        condition, bounds = ranges.compare(number, columns.low, columns.high)
        sql.append(f"{columns.unit} = %s::uuid and {condition}")
        parameters += [keys.unit(system, code), *bounds]
    either = sql[0] if len(sql) == 1 else f"({' or '.join(f'({each})' for each in sql)})"
    return Row(either, tuple(parameters))


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the row of a Quantity (and its kinds), Money, Range or SampledData.

    >>> cells = extract(Parameter("Observation", "value-quantity", "quantity"), Environment())
    >>> cells("Quantity", {"value": 5, "comparator": "<", "unit": "mg"})
    [('-Infinity', '5', None, 'mg', None)]
    """
    return cells


def cells(type_name: str, value: Any) -> Sequence[Cell]:
    """Return (low, high, unit, unit_code, unit_text) of one element."""
    if not isinstance(value, dict):
        return []
    if type_name == "SampledData":
        low, high = _sampled(value)
        origin = value.get("origin") or {}
        return [] if low is None or high is None else [(low, high, *_unit(origin))]
    if type_name == "Range":
        return _range(value)
    number = value.get("value")
    if number is None:
        return []
    if type_name == "Money":
        currency = value.get("currency")
        unit = (None, None, None) if currency is None else (keys.unit(CURRENCIES, currency), currency, None)
        return [(str(number), str(number), *unit)]
    return [(*_bounds(str(number), value.get("comparator")), *_unit(value))]


def _bounds(number: str, comparator: str | None) -> tuple[str, str]:
    if comparator in ("<", "<="):
        return LOWEST, number
    if comparator in (">", ">="):
        return number, HIGHEST
    return number, number


def _unit(quantity: Any) -> tuple[str | None, str | None, str | None]:
    """Return key, code and human unit; the human unit only where it says more than the code."""
    system, code, text = quantity.get("system"), quantity.get("code"), quantity.get("unit")
    unit = keys.unit(system, code) if system and code else None
    return (unit, code, text if text != code else None) if code else (unit, text, None)


def _range(value: Any) -> Sequence[Cell]:
    """Return the row of a Range, in the unit of its lower end."""
    low, high = value.get("low") or {}, value.get("high") or {}
    if low.get("value") is None and high.get("value") is None:
        return []
    end = high.get("value", HIGHEST)
    if low.get("value") is not None and high.get("value") is not None and _unit(low)[0] != _unit(high)[0]:
        if low.get("system") != units.UCUM or high.get("system") != units.UCUM:
            return []  # from 5 mg to 7 spoons: no number tells where it ends
        end = units.converted(Decimal(str(end)), high.get("code") or "", low.get("code") or "")
        if end is None:
            return []
    ends = (str(low.get("value", LOWEST)), str(end))
    return [(*ends, *_unit(low if low.get("value") is not None else high))]


def _sampled(value: Any) -> tuple[str | None, str | None]:
    """Return the lowest and highest of the values: data × factor + origin; L and U are the limits.

    (None, None) where a word of the data is no number, or one that no other element could hold.
    """
    words = str(value.get("data", "")).split()
    if not all(word in ("E", "L", "U") or _is_number(word) for word in words):
        return None, None
    factor = Decimal(str(value.get("factor", 1)))
    origin = Decimal(str((value.get("origin") or {}).get("value", 0)))
    points = [Decimal(word) for word in set(words) - {"E", "L", "U"}]
    bounds = [ranges.EXACT.add(ranges.EXACT.multiply(point, factor), origin) for point in points]
    if "L" in words and value.get("lowerLimit") is not None:
        bounds.append(Decimal(str(value["lowerLimit"])))
    if "U" in words and value.get("upperLimit") is not None:
        bounds.append(Decimal(str(value["upperLimit"])))
    return (str(min(bounds)), str(max(bounds))) if bounds else (None, None)


def _is_number(word: str) -> bool:
    """Say whether a word of SampledData.data is a decimal with an exponent within that of stored numbers.

    >>> _is_number("-1.5e3"), _is_number("NaN"), _is_number("1e200000")
    (True, False, False)
    """
    if len(word) > ranges.LONGEST or not ranges.NUMBER.fullmatch(word):
        return False
    return abs(Decimal(word).adjusted()) <= ranges.LONGEST


SEARCH_TYPE = SearchType(
    name="quantity",
    extract=extract,
    parse=parse,
    where=where,
    order=("low", "numeric"),
    table="idx_quantity",
    columns=Columns(low="low", high="high", unit="unit", unit_code="unit_code", unit_text="unit_text"),
)
