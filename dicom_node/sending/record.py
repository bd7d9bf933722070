"""What was sent, written down for the audit: one row a study, never one an instance (PS3.15 A.5.3.7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from dicom_node import audit
from dicom_node.audit import Event, Kind, Outcome, Party, Studied
from fhir_server.database.engine import Engine
from fhir_server.observability import events
from fhir_server.outcome import FhirError

_STUDIES = "SELECT study_uid, patient_id, issuer, accession FROM dicom_study WHERE study_uid = ANY(%s)"


def record(
    engine: Engine,
    at: datetime,
    our_title: str,
    title: str,
    host: str,
    studies: Mapping[str, int],
    failed: int,
    asked_by: str,
) -> None:
    """Note that instances went to the AE `title`: how many of each study, and how many did not arrive.

    What was sent is sent: a database that is away is reported as a crash and not raised.
    """
    if not studies and not failed:
        return
    source = Party(our_title, requestor=asked_by == our_title, user=asked_by)
    destination = Party(title, host, requestor=asked_by == title)
    outcome = Outcome.SUCCESS
    if failed:
        outcome = Outcome.MINOR_FAILURE if studies else Outcome.SERIOUS_FAILURE
    try:
        with engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(_STUDIES, (list(studies),))
            found = [
                Studied(uid, patient_id, issuer, accession, studies[uid])
                for uid, patient_id, issuer, accession in cursor.fetchall()
            ]
            reason = f"{failed} instances did not arrive" if failed else ""
            audit.note(
                cursor, Event(Kind.TRANSFERRED, at, outcome, source, destination, found, "R", reason=reason)
            )
            connection.commit()
    except FhirError as error:
        events.emit(events.crashed(error))
