"""Written dates as intervals, and what the nine prefixes say about a stored [low, high).

R4/search.html#date and #prefix; shared by date parameters and _lastUpdated. A written date and a
stored element both cover [low, high) by their precision (model/temporal.py): 2020-05 is the whole
of May, 2020-05-17T10:00 one minute, …T10:00:00 one second. With the written [a, b):

    eq  low >= a and high <= b               the search range contains the stored one
    ne  low < a or high > b                  it does not
    gt  high > b                             the range above meets it
    lt  low < a                              the range below meets it
    ge  low >= a or high > b                 gt or eq
    le  high <= b or low < a                 lt or eq
    sa  low >= b                             it starts after
    eb  high <= a                            it ends before
    ap  low < b + d and high > a − d         they meet, d = 10 % of the distance of the middle from now

(ge is `gt or eq`: with high <= b, low >= a says eq, so the part high <= b can be left out.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from fhir_server.model import temporal
from fhir_server.outcome import Invalid
from fhir_server.search import values


@dataclass(frozen=True, slots=True)
class DateValue:
    """A date to look for: [low, high) in UTC, and how far `ap` widens it on either side."""

    prefix: str
    low: datetime
    high: datetime
    slack: timedelta = timedelta(0)


def read(text: str, zone: tzinfo = UTC, now: datetime | None = None) -> DateValue:
    """Read a date with its prefix; `now` (default: the clock) is what `ap` measures from.

    >>> read("ap2020", now=datetime(2030, 7, 2, tzinfo=UTC)).slack.days
    365
    """
    prefix, written = values.prefixed(text)
    # A plus that was not percent-encoded arrives as a space (R4/search.html#date, on time zones).
    written = re.sub(r" (\d\d:\d\d)$", r"+\1", written)
    try:
        low, high = temporal.interval(written, zone)
    except Invalid:
        raise Invalid(
            f"{text!r} is not a date; write for example 2024-05, ge2024-05-17 or lt2024-05-17T10:00:00Z"
        ) from None
    slack = timedelta(0)
    if prefix == "ap":
        slack = abs((now or datetime.now(UTC)) - (low + (high - low) / 2)) / 10
    return DateValue(prefix, low, high, slack)


def compare(value: DateValue, low: str, high: str) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL condition on the columns `low` and `high`, with its parameters.

    >>> compare(read("sa2020"), "low", "high")[0]
    'low >= %s'
    """
    a, b = value.low, value.high
    match value.prefix:
        case "eq":
            # low < b follows from high <= b; it bounds the scan of an index that begins with low.
            return f"{low} >= %s and {low} < %s and {high} <= %s", (a, b, b)
        case "ne":
            return f"({low} < %s or {high} > %s)", (a, b)
        case "gt":
            return f"{high} > %s", (b,)
        case "lt":
            return f"{low} < %s", (a,)
        case "ge":
            # high > a follows from either; it bounds the scan of an index that begins with high.
            return f"{high} > %s and ({low} >= %s or {high} > %s)", (a, a, b)
        case "le":
            # low < b follows from either.
            return f"{low} < %s and ({high} <= %s or {low} < %s)", (b, b, a)
        case "sa":
            return f"{low} >= %s", (b,)
        case "eb":
            # low < a follows from high <= a.
            return f"{low} < %s and {high} <= %s", (a, a)
        case _:
            return f"{low} < %s and {high} > %s", (moved(b, value.slack), moved(a, -value.slack))


def moved(moment: datetime, by: timedelta) -> datetime:
    """Return a moment later or earlier, at most as far as the calendar reaches."""
    try:
        return moment + by
    except OverflowError:
        return temporal.LATEST if by > timedelta(0) else temporal.EARLIEST
