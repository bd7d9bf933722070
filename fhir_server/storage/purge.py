"""Removing for good: superseded versions, deleted resources, all of one resource.

Everything else here is append-only. What is removed takes its bodies, keys, index rows and outcomes along;
of a resource that is removed altogether `resource_purged` keeps the number by which the change feed has
told of it, and nothing that says what it was. Rows are locked in the order of every writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code, type_name
from fhir_server.schema.names import ROWS
from fhir_server.search.keys import rid
from fhir_server.storage import contained


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be removed: one resource, those of a type, or all (None)."""

    type_name: str | None = None
    id: str | None = None

    def condition(self) -> tuple[str, list[object]]:
        """Return the condition on the current rows `r`, and its values."""
        if self.type_name is not None and self.id is not None:
            return "r.tenant = 0 AND r.rid = %s", [rid(self.type_name, self.id)]
        if self.type_name is not None:
            return "r.tenant = 0 AND r.type = %s", [type_code(self.type_name)]
        return "r.tenant = 0", []


@dataclass(frozen=True, slots=True)
class Doomed:
    """A resource that is to be removed with all its versions."""

    pk: int
    type_name: str
    id: str
    version: int
    deleted: bool


def superseded(unit: UnitOfWork, scope: Scope, limit: int) -> list[tuple[int, int]]:
    """Return (pk, version) of up to `limit` versions that are not current, the oldest of each first."""
    condition, values = scope.condition()
    rows = unit.execute(
        "SELECT v.pk, v.version FROM resource AS r JOIN resource_version AS v "
        "ON v.tenant = r.tenant AND v.type = r.type AND v.pk = r.pk AND v.version < r.version "
        f"WHERE {condition} ORDER BY v.pk, v.version LIMIT %s",
        [*values, limit],
    )
    return [(pk, version) for pk, version in rows]


def deleted(unit: UnitOfWork, scope: Scope, limit: int) -> list[Doomed]:
    """Return up to `limit` deleted resources, locked: nobody brings them back meanwhile."""
    return _doomed(unit, scope, "r.deleted", limit)


def one(unit: UnitOfWork, scope: Scope) -> Doomed | None:
    """Return the resource of an instance scope, locked, whether it is deleted or not."""
    found = _doomed(unit, scope, "true", 1)
    return found[0] if found else None


def _doomed(unit: UnitOfWork, scope: Scope, which: str, limit: int) -> list[Doomed]:
    condition, values = scope.condition()
    rows = unit.execute(
        f"SELECT r.pk, r.type, r.id, r.version, r.deleted FROM resource AS r WHERE {condition} AND {which} "
        "ORDER BY r.rid LIMIT %s FOR UPDATE",
        [*values, limit],
    )
    return [Doomed(pk, type_name(type_), *rest) for pk, type_, *rest in rows]


def remove_versions(unit: UnitOfWork, versions: Sequence[tuple[int, int]]) -> int:
    """Remove versions that are not current; return how many were there still."""
    rows = unit.execute(
        "WITH gone AS (DELETE FROM resource_version AS v "
        "USING unnest(%s::bigint[], %s::int[]) AS w (pk, version) "
        "WHERE v.tenant = 0 AND v.pk = w.pk AND v.version = w.version RETURNING 1) "
        "SELECT count(*) FROM gone",
        ([pk for pk, _ in versions], [version for _, version in versions]),
    )
    return int(rows[0][0])


def versions_of(unit: UnitOfWork, doomed: Sequence[Doomed]) -> int:
    """Return how many versions some resources have, the current ones included."""
    pks = [each.pk for each in doomed]
    rows = unit.execute(
        "SELECT count(*) FROM (SELECT pk, version FROM resource_version WHERE tenant = 0 AND pk = ANY(%s) "
        "UNION SELECT pk, version FROM resource WHERE tenant = 0 AND pk = ANY(%s)) AS versions",
        (pks, pks),
    )
    return int(rows[0][0])


def remove(unit: UnitOfWork, doomed: Sequence[Doomed]) -> None:
    """Remove resources, which are locked, with all that is kept of them."""
    pks = [each.pk for each in doomed]
    contained.remove(unit, pks)
    for table in ("resource_version", "resource", "unindexed", *ROWS):
        unit.defer(f"DELETE FROM {table} WHERE tenant = 0 AND pk = ANY(%s::bigint[])", (pks,))
    unit.defer(
        "INSERT INTO resource_purged (pk, stamp, version, type) SELECT pk, feed_stamp(), version, type "
        "FROM unnest(%s::bigint[], %s::int[], %s::smallint[]) AS gone (pk, version, type)",
        (pks, [each.version for each in doomed], [type_code(each.type_name) for each in doomed]),
    )
