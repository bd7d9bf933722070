"""Versions in the order of time: of one resource, of a type, of everything (R4/http.html#history).

Newest or oldest first, walked by keyset: one resource by version, a type by (last_updated, pk, version),
the system by (stamp, pk, version), which is the order of commits but for units that ran at the
same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code
from fhir_server.search.keys import rid
from fhir_server.storage.apart import COLUMNS, whole
from fhir_server.storage.version import Version, from_row


@dataclass(frozen=True, slots=True)
class Page:
    """Some versions, and the keyset of the last one when there are more behind it."""

    versions: list[Version]
    after: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class Span:
    """Which versions: made at or after `since`; current at some time in [`at_low`, `at_high`).

    All three are aware datetimes or None (R4/http.html#history, _since and _at). `among` are the rids of
    the resources that a List names (_list), None for no such bound.
    """

    since: Any = None
    at_low: Any = None
    at_high: Any = None
    among: Sequence[str] | None = None


def history(
    unit: UnitOfWork,
    type_name: str | None,
    id_: str | None,
    span: Span,
    count: int,
    after: Sequence[Any] | None,
    most_bytes: int | None = None,
    *,
    oldest_first: bool = False,
) -> Page:
    """Return up to `count` versions behind the keyset `after` (None: from the first of them).

    They are fewer where they would hold more than `most_bytes` (apart.whole).
    """
    scope, order = _scope(type_name, id_)
    parameters: dict[str, Any] = {
        "type": type_code(type_name) if type_name else None,
        "rid": rid(type_name, id_) if type_name and id_ else None,
        "since": span.since,
        "low": span.at_low,
        "high": span.at_high,
        "among": None if span.among is None else list(span.among),
        "limit": count + 1,
    }
    conditions = [text for name, text in _SPAN.items() if parameters[name] is not None]
    if span.since is not None and type_name is None:
        conditions.append(_RECENT)
    if after is not None:
        sign, places = ">" if oldest_first else "<", ", ".join(f"%(after{n})s" for n in range(len(order)))
        conditions.append(f"({', '.join(order)}) {sign} ({places})")
        parameters.update({f"after{n}": value for n, value in enumerate(after)})
    # the page is cut first: the id stands in the head, which is looked up for its rows alone
    listed = ", ".join(f"{column}::text" for column in order)
    turned = ", ".join(column if oldest_first else f"{column} DESC" for column in order)
    sql = (
        f"SELECT {COLUMNS}, {listed} FROM (SELECT * FROM resource_version AS v WHERE v.tenant = 0 "
        f"AND {' AND '.join((scope, *conditions))} ORDER BY {turned} LIMIT %(limit)s) AS v "
        f"JOIN resource AS r ON r.tenant = 0 AND r.type = v.type AND r.pk = v.pk ORDER BY {turned}"
    )
    rows = unit.execute(sql, parameters)
    versions = whole(unit, (from_row(row) for row in rows[:count]), most_bytes)
    more = tuple(rows[len(versions) - 1][7:]) if len(rows) > len(versions) else None
    return Page(versions, more)


def _scope(type_name: str | None, id_: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the condition on the versions, and the order of the walk."""
    if type_name is None:
        return "true", ("v.stamp", "v.pk", "v.version")
    if id_ is None:
        return "v.type = %(type)s", ("v.last_updated", "v.pk", "v.version")
    return "v.pk = (SELECT c.pk FROM resource AS c WHERE c.tenant = 0 AND c.rid = %(rid)s)", ("v.version",)


_SPAN = {
    "since": "v.last_updated >= %(since)s",
    "low": "NOT EXISTS (SELECT FROM resource_version AS n WHERE n.tenant = 0 AND n.pk = v.pk "
    "AND n.version > v.version AND n.last_updated <= %(low)s)",
    "high": "v.last_updated < %(high)s",
    "among": "v.pk IN (SELECT c.pk FROM resource AS c WHERE c.tenant = 0 AND c.rid = ANY(%(among)s::uuid[]))",
}

_RECENT = (
    # The walk by stamp need not go on to the beginning of time: no transaction lasts an hour, so
    # behind the first version that is an hour older than _since nothing newer can stand.
    "v.stamp > coalesce((SELECT b.stamp FROM resource_version AS b WHERE b.tenant = 0 "
    "AND b.last_updated < %(since)s - interval '1 hour' ORDER BY b.tenant DESC, b.stamp DESC LIMIT 1), 0)"
)
