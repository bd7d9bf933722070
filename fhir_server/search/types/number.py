"""number search parameters: a written number stands for an interval (R4/search.html#number).

The intervals and the nine prefixes are in search/ranges.py, which quantity shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fhir_server.search import ranges
from fhir_server.search.ast import Parameter
from fhir_server.search.ranges import NumberValue
from fhir_server.search.types.protocol import Cell, Columns, Environment, Extractor, Match, Row, SearchType


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> NumberValue:
    """Read one value of a number parameter.

    >>> parse("ge5.40").prefix, parse("ge5.40").low
    ('ge', Decimal('5.395'))
    >>> parse("five")
    Traceback (most recent call last):
    fhir_server.outcome.Invalid: 'five' is not a number; write for example 5.4 or gt5.4
    """
    return ranges.read(text)


def where(value: NumberValue, columns: Columns) -> Match:
    """Return the condition on a row [low, high]."""
    return Row(*ranges.compare(value, columns.low, columns.high))


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the row of an integer, a decimal, a Quantity's number or a Range.

    >>> cells("decimal", Decimal("0.50")), cells("Range", {"high": {"value": 7}})
    ([('0.50', '0.50')], [('-Infinity', '7')])
    """
    return cells


def cells(type_name: str, value: Any) -> Sequence[Cell]:
    """Return [low, high] of one element as texts; an open end of a Range is infinite."""
    if isinstance(value, (int, Decimal, float)) and not isinstance(value, bool):
        return [(str(value), str(value))]
    if not isinstance(value, dict):
        return []
    if type_name == "Range":
        low = (value.get("low") or {}).get("value")
        high = (value.get("high") or {}).get("value")
        if low is None and high is None:
            return []
        return [("-Infinity" if low is None else str(low), "Infinity" if high is None else str(high))]
    number = value.get("value")
    return [] if number is None else [(str(number), str(number))]


SEARCH_TYPE = SearchType(
    name="number",
    extract=extract,
    parse=parse,
    where=where,
    order=("low", "numeric"),
    table="idx_number",
    columns=Columns(low="low", high="high"),
)
