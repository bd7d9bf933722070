"""What could not be indexed: resources by parameter, so that an answer can say what it may lack."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code
from fhir_server.search.index import IndexRows
from fhir_server.storage.version import Version


def note(unit: UnitOfWork, written: Sequence[tuple[Version, IndexRows | None]]) -> None:
    """Write down what the index of new versions lacks, and forget what that of former ones lacked.

    Only types with parameters that R4 does not define can lack anything; what a run over all could
    not index is made good by a write.
    """
    old = [version for version, _ in written if version.version > 1]
    if old:
        unit.defer(
            "DELETE FROM unindexed AS u USING unnest(%s::smallint[], %s::bigint[]) AS v (type, pk) "
            "WHERE u.tenant = 0 AND u.type = v.type AND u.pk = v.pk",
            ([type_code(version.type_name) for version in old], [version.pk for version in old]),
        )
    for version, rows in written:
        for name, reason in rows.failed if rows is not None else ():
            unit.defer(
                "INSERT INTO unindexed (pk, parameter, type, reason) VALUES (%s, %s, %s, %s)",
                (version.pk, int(name.rpartition("@")[2]), type_code(version.type_name), reason),
            )
