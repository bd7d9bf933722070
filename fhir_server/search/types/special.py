"""Parameters that ask the resource row itself: _id and _lastUpdated (R4/search.html#all).

What R4 calls special besides (`near`, `_text`, `_content`, `_filter`) has rooms of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fhir_server.outcome import NotSupported
from fhir_server.search import keys, moments, values
from fhir_server.search.ast import Parameter
from fhir_server.search.moments import DateValue
from fhir_server.search.types.protocol import (
    Cell,
    Columns,
    Environment,
    Extractor,
    Match,
    OnResource,
    SearchType,
)

MILLISECOND = timedelta(milliseconds=1)  # the precision of last_updated
ON_RESOURCE = frozenset({"_id", "_lastUpdated"})


@dataclass(frozen=True, slots=True)
class IdValue:
    """A logical id to look for, with the key of its row; None for a token that no id can be."""

    id: str
    rid: str | None


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> Hashable:
    """Read one value of _id or _lastUpdated.

    >>> parse("7", None, Parameter("Patient", "_id", "special")).id
    '7'
    """
    environment = environment or Environment()
    code = "" if parameter is None else parameter.code
    if parameter is not None and code == "_id":
        # An id is a token without a system: `|7` is 7, and no id is in a system.
        system, _, bare = text.rpartition("|")
        plain = values.unescape(bare)
        return IdValue(plain, None if system else keys.rid(parameter.type_name, plain))
    if code == "_lastUpdated":
        return moments.read(text, environment.zone, environment.now)
    raise NotSupported(f"{code} is a parameter of R4 that this server does not do yet")


def where(value: IdValue | DateValue, columns: Columns) -> Match:
    """Return the condition on the resource row.

    >>> where(parse("7", None, Parameter("Patient", "_id", "special")), Columns()).sql
    '{r}.rid = %s::uuid'
    """
    if isinstance(value, IdValue):
        if value.rid is None:
            return OnResource("false")
        return OnResource("{r}.rid = %s::uuid", (value.rid,))
    return last_updated(value)


def last_updated(value: DateValue) -> OnResource:
    """Return the condition on last_updated, which covers [t, t + 1 ms), with the column left bare.

    What moments.compare says of `high` is said of t here, so that an index on it serves.
    """
    t, a, b = "{r}.last_updated", value.low, value.high
    wide = b - a >= MILLISECOND
    match value.prefix:
        case "eq":
            return OnResource(f"{t} >= %s and {t} <= %s", (a, b - MILLISECOND))
        case "ne":
            return OnResource(f"({t} < %s or {t} > %s)", (a, b - MILLISECOND))
        case "gt":
            return OnResource(f"{t} > %s", (b - MILLISECOND,))
        case "lt":
            return OnResource(f"{t} < %s", (a,))
        case "ge":
            return OnResource(f"{t} >= %s", (a,)) if wide else OnResource(f"{t} > %s", (b - MILLISECOND,))
        case "le":
            return OnResource(f"{t} <= %s", (b - MILLISECOND,)) if wide else OnResource(f"{t} < %s", (a,))
        case "sa":
            return OnResource(f"{t} >= %s", (b,))
        case "eb":
            return OnResource(f"{t} <= %s", (moments.moved(a, -MILLISECOND),))
        case _:
            ends = (moments.moved(b, value.slack), moments.moved(a, -value.slack - MILLISECOND))
            return OnResource(f"{t} < %s and {t} > %s", ends)


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives nothing: the resource row is the index."""

    def cells(type_name: str, value: Any) -> Sequence[Cell]:
        return []

    return cells


SEARCH_TYPE = SearchType(
    name="special",
    extract=extract,
    parse=parse,
    where=where,
    modifiers=frozenset({"not"}),
)
