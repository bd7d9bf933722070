"""Where in an index by `low` the rows are that a search by dates or numbers asks for: stretches of it.

`date=ge2024-05-17&date=lt2024-05-18` says of a row that low < b and high > a, which is half of the
index whichever column it begins with. But nearly every interval is a day or less, so what reaches
beyond a began at most a day before it; what is longer is found by its `span`, in an index of its own:

    all rows                low > a - a day
    span 1, up to 32 days   low <= a - a day and low > a - 32 days
    span 2, up to 3 years   low <= a - a day and low > a - 3 years
    span 3, longer          low <= a - a day
    span 4, without end     low <= a - a day

No row is in two of them, and all of the first come behind all of the others in the order of `low`:
a page sorted by the date walks the one and then the others. With numbers it is simpler: nearly all are
points, and the others have an index by their high end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from fhir_server.search import keys, ranges
from fhir_server.search.ast import Clause
from fhir_server.search.moments import DateValue, moved
from fhir_server.search.ranges import NumberValue
from fhir_server.search.types.composite import CompositeValue
from fhir_server.search.types.quantity import QuantityValue

DAY = timedelta(hours=25)  # the longest that a zone with summer time has
LENGTHS: tuple[timedelta | None, ...] = (timedelta(days=32), timedelta(days=1100), None, None)
"""How long intervals of span 1, 2, 3 and 4 are at most, as migration m0006 wrote it into the column."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A condition on `low`, beside that of the search; `long` is for what is no day, or no point."""

    sql: str
    parameters: tuple[Any, ...]
    long: bool = False


def of(clauses: Sequence[Clause]) -> list[Stretch]:
    """Return the stretches of rows that fulfil clauses on one parameter; [] where there is nothing to say."""
    kind = clauses[0].parameter.kind if clauses else ""
    if kind == "date":
        return of_dates(
            [[value for value in each.alternatives if isinstance(value, DateValue)] for each in clauses]
        )
    numbers: list[list[NumberValue]] = []
    for clause in clauses if kind in ("number", "quantity", "composite") else ():
        found = [_number(value) for value in clause.alternatives]
        if None in found:
            return []
        numbers.append([each for each in found if each is not None])
    return of_numbers(numbers)


def _number(value: object) -> NumberValue | None:
    """Return the number that a value asks of the columns low and high; None where it is not one for all."""
    if isinstance(value, NumberValue):
        return value
    if isinstance(value, QuantityValue):
        whole = not value.also and (value.system or not value.code)
        return value.number if whole else None  # a unit without system is one that no index begins with
    if isinstance(value, CompositeValue):
        ordered = [part for kind, part in value.parts if kind in ("number", "quantity")]
        return _number(ordered[0]) if len(ordered) == 1 else None
    return None


def in_units(clauses: Sequence[Clause]) -> list[Stretch]:
    """Return the stretches of a clause on one amount in several units, [] for what is none."""
    value = clauses[0].alternatives[0]
    if len(clauses) > 1 or len(clauses[0].alternatives) > 1 or not isinstance(value, QuantityValue):
        return []
    if value.system is None or value.code is None or not value.also:
        return []
    asked = [(value.code, value.number), *value.also]
    return of_units([(keys.unit(value.system, code), number) for code, number in asked])


def of_dates(clauses: Sequence[Sequence[DateValue]]) -> list[Stretch]:
    """Return the stretches in which intervals can be that fulfil one value at least of every clause.

    The first is that of the short intervals; [] where there is nothing to say.

    >>> from fhir_server.search.moments import read
    >>> [each.sql for each in of_dates([[read("ge2024")], [read("lt2025")]])][:2]
    ['low > %s', 'span = 1 and low <= %s and low > %s']
    >>> of_dates([[read("lt2025")]]), of_dates([[read("2024")]])
    ([], [])
    >>> of_dates([[read("2024"), read("2020")]])[0].parameters[0].isoformat()
    '2020-01-01T00:00:00+00:00'
    """
    begin = _latest([_least([_begins(value) for value in values]) for values in clauses])
    reach = _latest([_least([_reaches(value) for value in values]) for values in clauses])
    end = _earliest([_greatest([_before(value) for value in values]) for values in clauses])
    if reach is not None and (begin is None or begin < moved(reach, -DAY)):
        cut = moved(reach, -DAY)
        found = [Stretch("low > %s", (cut,))]
        for span, length in enumerate(LENGTHS, start=1):
            if length is None:
                found.append(Stretch(f"span = {span} and low <= %s", (cut,), long=True))
            else:
                bounds = (cut, moved(reach, -length))
                found.append(Stretch(f"span = {span} and low <= %s and low > %s", bounds, long=True))
        return found
    if begin is not None and end is not None and any(len(values) > 1 for values in clauses):
        return [Stretch("low >= %s and low < %s", (begin, end))]  # said without OR, for an index to see
    return []


def of_numbers(clauses: Sequence[Sequence[NumberValue]]) -> list[Stretch]:
    """Return the same of numbers.

    >>> [each.sql for each in of_numbers([[ranges.read("gt5")], [ranges.read("lt7")]])]
    ['low >= %s', 'low < %s and sign(high - low) = 1']
    >>> of_numbers([[ranges.read("lt7")]])
    []
    """
    cuts: list[Decimal] = []
    for values in clauses:
        reached = [ranges.reach(value) for value in values]
        if None not in reached:
            cuts.append(min(each for each in reached if each is not None))
    if not cuts:
        return []
    cut = max(cuts)
    return [Stretch("low >= %s", (cut,)), Stretch("low < %s and sign(high - low) = 1", (cut,), long=True)]


def of_units(asked: Sequence[tuple[str, NumberValue]]) -> list[Stretch]:
    """Return the same of one amount in several units, by the keys of the units; these have no order.

    Each says all that is asked in its unit.

    >>> for each in of_units([("k1", ranges.read("gt5")), ("k2", ranges.read("lt5000"))]): print(each.sql)
    unit = %s::uuid and low >= %s and (low > %s or sign(high - low) = 1 and high > %s)
    unit = %s::uuid and low < %s and sign(high - low) = 1 and high > %s
    unit = %s::uuid and low < %s and low <= %s
    """
    found = []
    for unit, number in asked:
        for each in of_numbers([[number]]) or [Stretch("", ())]:
            said, bounds = ranges.compare(number, "low", "high", spans=each.long)
            parts = ["unit = %s::uuid", *filter(None, [each.sql]), said]
            parameters = (unit, *each.parameters, *bounds)
            if (top := ranges.ceiling(number)) is not None:
                parts, parameters = [*parts, "low <= %s"], (*parameters, top)
            found.append(Stretch(" and ".join(parts), parameters, each.long))
    return found


def _begins(value: DateValue) -> datetime | None:
    """Return that low >= it, None where nothing is said."""
    return {"eq": value.low, "sa": value.high}.get(value.prefix)


def _reaches(value: DateValue) -> datetime | None:
    """Return that high > it."""
    match value.prefix:
        case "eq" | "ge":
            return value.low
        case "gt" | "sa":
            return value.high
        case "ap":
            return moved(value.low, -value.slack)
    return None


def _before(value: DateValue) -> datetime | None:
    """Return that low < it."""
    match value.prefix:
        case "eq" | "le":
            return value.high
        case "lt" | "eb":
            return value.low
        case "ap":
            return moved(value.high, value.slack)
    return None


def _least(known: Sequence[datetime | None]) -> datetime | None:
    """Return what holds for one of several values, whichever it is."""
    return None if None in known else min(each for each in known if each is not None)


def _greatest(known: Sequence[datetime | None]) -> datetime | None:
    return None if None in known else max(each for each in known if each is not None)


def _latest(known: Sequence[datetime | None]) -> datetime | None:
    """Return what holds for all of several clauses."""
    return max((each for each in known if each is not None), default=None)


def _earliest(known: Sequence[datetime | None]) -> datetime | None:
    return min((each for each in known if each is not None), default=None)
