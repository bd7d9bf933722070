"""date search parameters: every date is an interval, on both sides (R4/search.html#date).

Precision and the nine prefixes on a row [low, high) are in search/moments.py. A Period runs from
the low of its start to the high of its end, and an absent end is infinite; a Timing runs over its
events and bounds ("only the outer limits matter"), and one that has neither leaves no row. A
zone-less date or time is taken in the configured zone. A resource matches when one of its rows
does, `ne` included ("the value for the parameter in the resource is not equal").
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from functools import lru_cache
from typing import Any

from fhir_server.model import temporal
from fhir_server.outcome import Invalid
from fhir_server.search import moments
from fhir_server.search.ast import Parameter
from fhir_server.search.moments import DateValue
from fhir_server.search.types.protocol import Cell, Columns, Environment, Extractor, Match, Row, SearchType

LOWEST, HIGHEST = "-infinity", "infinity"


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> DateValue:
    """Read one value of a date parameter.

    >>> parse("ge2020-05").low.isoformat(), parse("ge2020-05").high.isoformat()
    ('2020-05-01T00:00:00+00:00', '2020-06-01T00:00:00+00:00')
    """
    environment = environment or Environment()
    return moments.read(text, environment.zone, environment.now)


def where(value: DateValue, columns: Columns) -> Match:
    """Return the condition on a row [low, high)."""
    return Row(*moments.compare(value, columns.low, columns.high))


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the row of a date, dateTime, instant, Period or Timing.

    >>> cells = extract(Parameter("Observation", "date", "date"), Environment())
    >>> cells("dateTime", "2020-05")
    [('2020-05-01T00:00:00+00:00', '2020-06-01T00:00:00+00:00')]
    >>> cells("Period", {"start": "2020"})
    [('2020-01-01T00:00:00+00:00', 'infinity')]
    """
    zone = environment.zone

    def cells(type_name: str, value: Any) -> Sequence[Cell]:
        if isinstance(value, str):
            bounds = texts(value, zone)
        elif type_name == "Period":
            bounds = _period(value, zone)
        elif type_name == "Timing":
            bounds = _timing(value, zone)
        else:
            bounds = None
        return [] if bounds is None else [bounds]

    return cells


@lru_cache(maxsize=1024)
def texts(value: str, zone: tzinfo) -> tuple[str, str] | None:
    """Return [low, high) of a stored date as Postgres reads it; None for what is no date."""
    try:
        low, high = temporal.interval(value, zone)
    except Invalid:
        return None
    return low.isoformat(), high.isoformat()


def _period(value: Any, zone: tzinfo) -> tuple[str, str] | None:
    start = texts(value["start"], zone) if isinstance(value.get("start"), str) else None
    end = texts(value["end"], zone) if isinstance(value.get("end"), str) else None
    if start is None and end is None:
        return None
    return start[0] if start else LOWEST, end[1] if end else HIGHEST


def _timing(value: Any, zone: tzinfo) -> tuple[str, str] | None:
    known = [texts(event, zone) for event in value.get("event") or () if isinstance(event, str)]
    limits = (value.get("repeat") or {}).get("boundsPeriod")
    if isinstance(limits, dict):
        known.append(_period(limits, zone))
    outer = [bounds for bounds in known if bounds is not None]
    if not outer:
        return None
    return min((low for low, _ in outer), key=_rank), max((high for _, high in outer), key=_rank)


def _rank(moment: str) -> tuple[int, str]:
    """Order texts of UTC moments and the two infinities."""
    return (-1 if moment == LOWEST else 1 if moment == HIGHEST else 0, moment)


SEARCH_TYPE = SearchType(
    name="date",
    extract=extract,
    parse=parse,
    where=where,
    order=("low", "timestamptz"),  # by their beginning, in both directions
    table="idx_date",
    columns=Columns(low="low", high="high"),
)
