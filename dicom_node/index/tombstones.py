"""What was deleted or rejected does not come back by being sent again: asked by whoever writes the index.

A writer that read no tombstone and one who orders a removal must not pass each other: the writer reads
them with a row lock of the weakest kind, which holds the table's ROW SHARE lock to the end of his
transaction; who adds tombstones takes EXCLUSIVE first and so waits for every writer who has not
seen them. Neither is in the way of a dump.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from dicom_node.instance import Instance

LOCK = "LOCK TABLE dicom_tombstone IN EXCLUSIVE MODE"

_COVERING = """
SELECT k.n, t.removal_pk FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY
    AS k (study_uid, series_uid, sop_uid, n)
JOIN dicom_tombstone t ON t.study_uid = k.study_uid AND t.series_uid IN ('', k.series_uid)
    AND t.sop_uid IN ('', k.sop_uid)
ORDER BY k.n, t.removal_pk FOR KEY SHARE OF t
"""
_ASIDE = """
INSERT INTO dicom_removed (removal_pk, removed_at, received_at, size_bytes, version, hash, study_uid,
    series_uid, sop_uid, sop_class, calling_ae, patient_id, issuer)
SELECT %s, %s, %s, %s, 0, %s, %s, %s, %s, %s, %s, %s, %s
WHERE NOT EXISTS (SELECT FROM dicom_instance WHERE hash = %s) ON CONFLICT DO NOTHING
"""


class File(Protocol):
    """A durable file and how it came (`batch.KeptFile`)."""

    @property
    def digest(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def calling_ae(self) -> str: ...
    @property
    def received_at(self) -> datetime: ...


class Patient(Protocol):
    """Whom an instance names."""

    @property
    def patient_id(self) -> str: ...
    @property
    def issuer(self) -> str: ...


def covering(cursor: Any, keys: Sequence[tuple[str, str, str]]) -> dict[int, int]:
    """Return which of (study, series, SOP UID) are removed: position → the removal that covers it.

    On the writer's transaction, before he writes. Never as a prepared statement: EXECUTE takes its snapshot
    before it waits for the lock of who removes, and would not see what he wrote.
    """
    studies, series, instances = (list(column) for column in zip(*keys, strict=True))
    cursor.execute(_COVERING, (studies, series, instances))
    found: dict[int, int] = {}
    for position, removal_pk in cursor.fetchall():
        found.setdefault(position - 1, removal_pk)
    return found


def put_aside(cursor: Any, removal_pk: int, instance: Instance, file: File, patient: Patient) -> None:
    """Note an instance that came although it was removed; its file is kept as long as the others."""
    digest = bytes.fromhex(file.digest)
    cursor.execute(
        _ASIDE,
        (
            removal_pk,
            file.received_at,
            file.received_at,
            file.size_bytes,
            digest,
            instance.study_uid,
            instance.series_uid,
            instance.sop_uid,
            instance.sop_class,
            file.calling_ae,
            patient.patient_id,
            patient.issuer,
            digest,
        ),
    )
