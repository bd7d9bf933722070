"""Legal holds: what stands under one is not deleted, by nobody and by no rule.

A hold is on a study or on all studies of a PatientID, those to come included. It blocks deletion (DICOMweb,
command, console, retention) and keeps the files of what was removed before. A Rejection Note may still
hide instances: nothing is destroyed by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node import audit
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import Conflict, Invalid, NotFound

HELD = """
EXISTS (SELECT FROM dicom_hold h WHERE h.released_at IS NULL AND (h.study_uid = {study}
    OR h.patient_id <> '' AND h.patient_id = {patient_id} AND h.issuer IN ('', {issuer})))
"""
"""A condition of SQL: whether a hold stands on a study of this UID, PatientID and issuer."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold; an empty issuer means every issuer of that PatientID."""

    pk: int
    study_uid: str
    patient_id: str
    issuer: str
    reason: str
    actor: str
    placed_at: datetime


def place(
    engine: Engine,
    grant: Grant,
    reason: str,
    at: datetime,
    *,
    study_uid: str = "",
    patient_id: str = "",
    issuer: str = "",
) -> int:
    """Place a hold on a study or on a patient's studies and return its key. Raises Invalid."""
    permit(grant, "update", "ImagingStudy")
    if bool(study_uid) == bool(patient_id):
        raise Invalid("a hold is on a study or on a PatientID: one of the two is needed")
    if not reason.strip():
        raise Invalid("a hold needs a reason")
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(
            "INSERT INTO dicom_hold (placed_at, study_uid, patient_id, issuer, actor, reason)"
            " VALUES (%s, %s, %s, %s, %s, %s) RETURNING pk",
            (at, study_uid, patient_id, issuer, grant.subject, reason.strip()),
        )
        pk = int(cursor.fetchone()[0])
        _note(cursor, grant, at, study_uid, f"legal hold {pk} placed: {reason.strip()}")
        connection.commit()
    return pk


def release(engine: Engine, grant: Grant, pk: int, at: datetime) -> None:
    """End a hold. Raises NotFound when it does not stand."""
    permit(grant, "update", "ImagingStudy")
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(
            "UPDATE dicom_hold SET released_at = %s, released_by = %s WHERE pk = %s AND released_at IS NULL"
            " RETURNING study_uid",
            (at, grant.subject, pk),
        )
        if (row := cursor.fetchone()) is None:
            raise NotFound(f"no hold {pk} stands; `xinglin study holds` lists those that do")
        _note(cursor, grant, at, row[0], f"legal hold {pk} released")
        connection.commit()


def holds(connection: Any) -> list[Hold]:
    """Return the holds that stand, the oldest first."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT pk, study_uid, patient_id, issuer, reason, actor, placed_at FROM dicom_hold"
        " WHERE released_at IS NULL ORDER BY pk"
    )
    return [Hold(*row) for row in cursor.fetchall()]


def held(cursor: Any, study_uids: Sequence[str]) -> list[tuple[str, int]]:
    """Return the studies among these on which a hold stands, each with a hold."""
    cursor.execute(
        "SELECT st.study_uid, min(h.pk) FROM unnest(%s::text[]) AS k (study_uid)"
        " LEFT JOIN LATERAL (SELECT patient_id, issuer FROM dicom_study s WHERE s.study_uid = k.study_uid"
        "   UNION SELECT p.patient_id, p.issuer FROM dicom_study s JOIN dicom_study_patient p"
        "   ON p.study_pk = s.pk WHERE s.study_uid = k.study_uid) n ON true"
        " CROSS JOIN LATERAL (SELECT k.study_uid) st"
        " JOIN dicom_hold h ON h.released_at IS NULL AND (h.study_uid = k.study_uid"
        "   OR h.patient_id <> '' AND h.patient_id = n.patient_id AND h.issuer IN ('', n.issuer))"
        " GROUP BY 1 ORDER BY 1",
        (list(study_uids),),
    )
    return [(uid, pk) for uid, pk in cursor.fetchall()]


def refuse_held(cursor: Any, study_uids: Sequence[str]) -> None:
    """Raise Conflict when a hold stands on one of the studies."""
    if standing := held(cursor, study_uids):
        uid, pk = standing[0]
        more = f" and {len(standing) - 1} more" if len(standing) > 1 else ""
        raise Conflict(
            f"legal hold {pk} stands on study {uid}{more}; nothing of it is deleted until the hold is"
            f" released (`xinglin study release {pk}`)"
        )


def _note(cursor: Any, grant: Grant, at: datetime, study_uid: str, reason: str) -> None:
    party = audit.Party(user=grant.subject, requestor=True)
    studies = [audit.Studied(study_uid)] if study_uid else []
    audit.note(
        cursor, audit.Event(audit.Kind.ACCESSED, at, source=party, studies=studies, action="U", reason=reason)
    )
