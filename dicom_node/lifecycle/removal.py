"""Removals: a study, a series or instances are taken out of the index, and can be brought back.

An order is two transactions. The first commits the order with its tombstones, having waited for
every writer who has not seen them (`index/tombstones`): from then on nothing of it comes back. The
second moves all its rows, so everybody sees the study either whole or gone. Killed in between, it is
still whole, and the worker carries the order out. The files stay in the store until `purge_at`
(`purge.py`); until then `restore` brings everything back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from dicom_node import announce, audit
from dicom_node.index import tombstones
from dicom_node.index.matching import fold_name
from dicom_node.instance import first
from dicom_node.lifecycle import hold
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import Invalid, NotFound

MOST_TARGETS = 100_000
_REASON_CHARACTERS = 1000


class Kind(Enum):
    """Why instances leave the index."""

    DELETED = "deleted"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Target:
    """A study, one of its series, or one instance; an empty UID means all of them."""

    study_uid: str
    series_uid: str = ""
    sop_uid: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be removed, by whom and why.

    `purge_at` is when the files may go (None: they stay); `code` and `note_uid` are those of a Rejection
    Note; `party` says where it came from, for the audit.
    """

    kind: Kind
    targets: Sequence[Target]
    grant: Grant
    reason: str
    at: datetime
    purge_at: datetime | None
    code: str = ""
    note_uid: str = ""
    party: audit.Party = field(default_factory=audit.Party)


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal as it stands."""

    pk: int
    kind: Kind
    code: str
    reason: str
    actor: str
    ordered_at: datetime
    purge_at: datetime | None
    applied: bool
    lifted: bool
    instances: int
    purged: int
    studies: tuple[str, ...]


def remove(engine: Engine, order: Order) -> Removal:
    """Order a removal and carry it out.

    Raises Invalid without a reason, NotFound when nothing of it is kept here, Conflict when a legal
    hold stands on one of the studies (kinds DELETED and EXPIRED).
    """
    pk = announce_order(engine, order)
    apply(engine, pk, order.at)
    with engine.connection() as connection:
        return removal(connection, pk)


def announce_order(engine: Engine, order: Order, *, must_exist: bool = True) -> int:
    """Commit an order with its tombstones and return its key; `apply` carries it out."""
    permit(order.grant, "delete", "ImagingStudy")
    reason = " ".join(order.reason.split())[:_REASON_CHARACTERS]
    if not reason:
        raise Invalid("a removal needs a reason; it is kept with the order and in the audit")
    if not 0 < len(order.targets) <= MOST_TARGETS:
        raise Invalid(
            f"one order names {len(order.targets)} studies, series or instances; 1 to {MOST_TARGETS}"
        )
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(tombstones.LOCK)
        if must_exist:
            _refuse_absent(cursor, order.targets)
        if order.kind is not Kind.REJECTED:
            hold.refuse_held(cursor, sorted({target.study_uid for target in order.targets}))
        cursor.execute(
            "INSERT INTO dicom_removal (ordered_at, purge_at, kind, code, note_uid, actor, reason)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING pk",
            (
                order.at,
                order.purge_at,
                order.kind.value,
                order.code,
                order.note_uid,
                order.grant.subject,
                reason,
            ),
        )
        pk = int(cursor.fetchone()[0])
        cursor.execute(
            "INSERT INTO dicom_tombstone (removal_pk, study_uid, series_uid, sop_uid)"
            " SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::text[])",
            (pk, *_columns(order.targets)),
        )
        _note(cursor, order, reason)
        connection.commit()
    return pk


_ABSENT = """
SELECT k.study_uid, k.series_uid, k.sop_uid FROM unnest(%s::text[], %s::text[], %s::text[])
    AS k (study_uid, series_uid, sop_uid)
WHERE NOT EXISTS (
    SELECT FROM dicom_study st JOIN dicom_series se ON se.study_pk = st.pk
    JOIN dicom_instance i ON i.series_pk = se.pk
    WHERE st.study_uid = k.study_uid AND k.series_uid IN ('', se.series_uid) AND k.sop_uid IN ('', i.sop_uid)
) LIMIT 1
"""


def _refuse_absent(cursor: Any, targets: Sequence[Target]) -> None:
    cursor.execute(_ABSENT, _columns(targets))
    if (row := cursor.fetchone()) is not None:
        named = zip(("study", "series", "instance"), row, strict=True)
        raise NotFound(f"nothing is kept here of {', '.join(f'{name} {uid}' for name, uid in named if uid)}")


def _columns(targets: Sequence[Target]) -> list[list[str]]:
    return [
        [target.study_uid for target in targets],
        [target.series_uid for target in targets],
        [target.sop_uid for target in targets],
    ]


_MARKED = """
CREATE TEMPORARY TABLE marked ON COMMIT DROP AS
SELECT DISTINCT i.pk, i.series_pk, i.study_pk, st.study_uid, se.series_uid
FROM dicom_tombstone t JOIN dicom_study st ON st.study_uid = t.study_uid
JOIN dicom_series se ON se.study_pk = st.pk AND t.series_uid IN ('', se.series_uid)
JOIN dicom_instance i ON i.series_pk = se.pk AND t.sop_uid IN ('', i.sop_uid)
WHERE t.removal_pk = %s
"""
_MOVE = """
INSERT INTO dicom_removed (removal_pk, removed_at, received_at, size_bytes, version, hash, study_uid,
    series_uid, sop_uid, sop_class, calling_ae, patient_id, issuer)
SELECT %s, %s, i.received_at, i.size_bytes, i.version, i.hash, m.study_uid, m.series_uid,
    i.sop_uid, i.sop_class, i.calling_ae, p.patient_id, p.issuer
FROM marked m JOIN dicom_instance i ON i.pk = m.pk JOIN dicom_study_patient p ON p.pk = i.patient_pk
ON CONFLICT DO NOTHING
"""
_SERIES_LEFT = """
DELETE FROM dicom_series se USING (SELECT DISTINCT series_pk FROM marked) m WHERE se.pk = m.series_pk
AND NOT EXISTS (SELECT FROM dicom_instance i WHERE i.series_pk = se.pk)
"""
_STUDIES_LEFT = """
DELETE FROM dicom_study st USING (SELECT DISTINCT study_pk FROM marked) m WHERE st.pk = m.study_pk
AND NOT EXISTS (SELECT FROM dicom_series se WHERE se.study_pk = st.pk)
"""
# a study named after a patient whom none of its instances names any more gets the name of those that stay
_RENAMED = """
WITH stays AS (
    SELECT DISTINCT ON (p.study_pk) p.* FROM dicom_study_patient p
    WHERE p.study_pk = ANY(%s) AND EXISTS (
        SELECT FROM dicom_instance i WHERE i.study_pk = p.study_pk AND i.patient_pk = p.pk AND i.current)
    ORDER BY p.study_pk, p.pk
)
UPDATE dicom_study st SET patient_id = stays.patient_id, issuer = stays.issuer,
    name_alphabetic = stays.name_alphabetic, birth_date = stays.birth_date,
    attributes = (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(st.attributes)
        WHERE key NOT LIKE '0010%%') || stays.attributes
FROM stays WHERE st.pk = stays.study_pk AND NOT EXISTS (
    SELECT FROM dicom_study_patient p JOIN dicom_instance i ON i.patient_pk = p.pk AND i.current
    WHERE p.study_pk = st.pk AND p.patient_id = st.patient_id AND p.issuer = st.issuer)
RETURNING st.pk, st.attributes
"""


def apply(engine: Engine, pk: int, now: datetime) -> bool:
    """Move the rows of an order out of the index; false when that was done already."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT applied_at, lifted_at FROM dicom_removal WHERE pk = %s FOR UPDATE", (pk,))
        if (row := cursor.fetchone()) is None or any(row):
            return False
        cursor.execute(_MARKED, (pk,))
        cursor.execute(
            "SELECT pk FROM dicom_study WHERE pk IN (SELECT study_pk FROM marked) ORDER BY pk FOR UPDATE"
        )
        cursor.execute(_MOVE, (pk, now))
        cursor.execute("DELETE FROM dicom_instance WHERE pk IN (SELECT pk FROM marked)")
        cursor.execute(_SERIES_LEFT)
        cursor.execute("SELECT DISTINCT study_pk, study_uid FROM marked ORDER BY 1")
        touched = cursor.fetchall()
        cursor.execute(_STUDIES_LEFT)
        cursor.execute(_RENAMED, ([study_pk for study_pk, _ in touched],))
        for study_pk, attributes in cursor.fetchall():
            _, other = fold_name(first(attributes, "00100010"))
            cursor.execute("UPDATE dicom_study SET name_other = %s WHERE pk = %s", (other, study_pk))
        for study_pk, study_uid in touched:
            announce.removed(cursor, study_pk, study_uid, now)
        cursor.execute("UPDATE dicom_removal SET applied_at = %s WHERE pk = %s", (now, pk))
        connection.commit()
    return True


def removal(connection: Any, pk: int) -> Removal:
    """Return a removal. Raises NotFound."""
    found = _removals(connection, "r.pk = %s", (pk,), 1)
    if not found:
        raise NotFound(f"there is no removal {pk}; `xinglin study removals` lists them")
    return found[0]


def removals(connection: Any, study_uid: str = "", limit: int = 100) -> list[Removal]:
    """Return the removals of a study, or all of them, the newest first."""
    if not study_uid:
        return _removals(connection, "true", (), limit)
    within = (
        "EXISTS (SELECT FROM dicom_tombstone t WHERE t.removal_pk = r.pk AND t.study_uid = %s)"
        " OR EXISTS (SELECT FROM dicom_removed x WHERE x.removal_pk = r.pk AND x.study_uid = %s)"
    )
    return _removals(connection, within, (study_uid, study_uid), limit)


def _removals(connection: Any, where: str, values: tuple[Any, ...], limit: int) -> list[Removal]:
    cursor = connection.cursor()
    cursor.execute(
        "SELECT r.pk, r.kind, r.code, r.reason, r.actor, r.ordered_at, r.purge_at, r.applied_at IS NOT NULL,"
        " r.lifted_at IS NOT NULL, count(x.pk), count(x.purged_at),"
        " coalesce(array_agg(DISTINCT x.study_uid) FILTER (WHERE x.pk IS NOT NULL), ARRAY(SELECT DISTINCT"
        " study_uid FROM dicom_tombstone t WHERE t.removal_pk = r.pk))"
        f" FROM dicom_removal r LEFT JOIN dicom_removed x ON x.removal_pk = r.pk WHERE {where}"
        " GROUP BY r.pk ORDER BY r.pk DESC LIMIT %s",
        (*values, limit),
    )
    return [_removal(*row) for row in cursor.fetchall()]


def _removal(pk: int, kind: str, *rest: Any) -> Removal:
    code, reason, actor, ordered_at, purge_at, applied, lifted, count, purged, uids = rest
    return Removal(
        pk, Kind(kind), code, reason, actor, ordered_at, purge_at, applied, lifted, count, purged, tuple(uids)
    )  # fmt: skip


def _note(cursor: Any, order: Order, reason: str) -> None:
    """Note the order for the audit: DICOM Study Deleted (PS3.15 A.5.3.8), one row a study."""
    counts: dict[str, int] = {}
    for target in order.targets:
        counts[target.study_uid] = counts.get(target.study_uid, 0) + bool(target.sop_uid)
    cursor.execute(
        "SELECT study_uid, patient_id, issuer, accession FROM dicom_study WHERE study_uid = ANY(%s)",
        (list(counts),),
    )
    known = {
        uid: audit.Studied(uid, patient_id, issuer, accession, counts[uid])
        for uid, patient_id, issuer, accession in cursor.fetchall()
    }
    studies = [known.get(uid, audit.Studied(uid, instances=count)) for uid, count in counts.items()]
    party = audit.Party(
        order.party.ae, order.party.address, order.party.user or order.grant.subject, requestor=True
    )
    said = f"{order.kind.value} ({order.code}): {reason}" if order.code else f"{order.kind.value}: {reason}"
    audit.note(
        cursor, audit.Event(audit.Kind.STUDY_DELETED, order.at, source=party, studies=studies, reason=said)
    )
