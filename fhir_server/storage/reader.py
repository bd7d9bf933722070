"""Reading single resources by their address."""

from __future__ import annotations

from collections.abc import Iterable

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.search.keys import rid
from fhir_server.storage.version import BODY, COLUMNS, Version, from_row

_READ = f"SELECT {COLUMNS} FROM resource AS r JOIN {BODY} WHERE r.tenant = 0 AND r.rid = %s"
_READ_SEVERAL = (
    f"SELECT {COLUMNS} FROM resource AS r JOIN {BODY} WHERE r.tenant = 0 AND r.rid = ANY(%s::uuid[])"
)
_VREAD = (
    f"SELECT {COLUMNS} FROM resource AS r JOIN resource_version AS v ON v.tenant = 0 AND v.pk = r.pk "
    "WHERE r.tenant = 0 AND r.rid = %s AND v.version = %s"
)


def read(unit: UnitOfWork, type_name: str, id_: str) -> Version | None:
    """Return the current version (which may be a deletion), or None for an unknown id."""
    rows = unit.execute_prepared(_READ, (rid(type_name, id_),))
    return from_row(rows[0]) if rows else None


def read_several(unit: UnitOfWork, addresses: Iterable[tuple[str, str]]) -> list[Version]:
    """Return the current versions of those (type, id) pairs that exist and are not deleted."""
    rids = sorted({rid(type_name, id_) for type_name, id_ in addresses})
    if not rids:
        return []
    versions = (from_row(row) for row in unit.execute(_READ_SEVERAL, (rids,)))
    return [version for version in versions if not version.deleted]


def vread(unit: UnitOfWork, type_name: str, id_: str, version: int) -> Version | None:
    """Return one version, current or superseded; the current one when there never was such a one."""
    rows = unit.execute_prepared(_VREAD, (rid(type_name, id_), version))
    return from_row(rows[0]) if rows else None
