"""What was deleted or rejected does not come back by being sent again: asked by whoever writes the index.

A writer that read no tombstone and one who orders a removal must not pass each other: the writer reads
them with a row lock of the weakest kind, which holds the table's ROW SHARE lock to the end of his
transaction; who adds tombstones takes EXCLUSIVE first and so waits for every writer who has not
seen them. Neither is in the way of a dump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance that came although it was removed, and its durable file."""

    instance: Instance
    digest: str
    size_bytes: int
    calling_ae: str
    received_at: datetime
    patient_id: str
    issuer: str


def covering(cursor: Any, keys: Sequence[tuple[str, str, str]]) -> dict[int, int]:
    """Return which of (study, series, SOP UID) are removed: position → the removal that covers it.

    On the writer's transaction, before he writes.
    """
    studies, series, instances = (list(column) for column in zip(*keys, strict=True))
    cursor.execute(_COVERING, (studies, series, instances))
    found: dict[int, int] = {}
    for position, removal_pk in cursor.fetchall():
        found.setdefault(position - 1, removal_pk)
    return found


def put_aside(cursor: Any, removal_pk: int, arrival: Arrival) -> None:
    """Note an arrival with the removal that covers it; its file is kept as long as the others of it."""
    instance, digest = arrival.instance, bytes.fromhex(arrival.digest)
    cursor.execute(
        _ASIDE,
        (
            removal_pk,
            arrival.received_at,
            arrival.received_at,
            arrival.size_bytes,
            digest,
            instance.study_uid,
            instance.series_uid,
            instance.sop_uid,
            instance.sop_class,
            arrival.calling_ae,
            arrival.patient_id,
            arrival.issuer,
            digest,
        ),
    )
