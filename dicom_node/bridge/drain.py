"""Studies that have become quiet → one ImagingStudy each, through the front door of FHIR.

The worker calls `drain` again and again. A study is due when nothing came for it for a while, or it
has waited long enough all the same. Telling FHIR and forgetting the outbox rows are two transactions:
when the second is lost, the study is told again, and the same resource makes no version. An
advisory lock keeps two workers from telling of one study at a time, so that an older look at the
index never overwrites a newer one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dicom_node.bridge.imaging_study import UID_SYSTEM, imaging_study, study_identifier
from dicom_node.bridge.patient import NoSystem, Subject, find_subject, token
from dicom_node.index.studies import Study, study
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.context import Context
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.update import conditional_update, update
from fhir_server.outcome import FhirError, Unavailable

GRANT = Grant.system("dicom-bridge")
ENDPOINT_ID = "dicom-web"
STUDIES_AT_A_TIME = 20
LONGEST_DELAY = timedelta(minutes=10)
_LOCK_CLASS = 0x44434D  # advisory locks (class, study)

_DUE = """
SELECT study_pk, array_agg(pk) FROM dicom_outbox WHERE study_pk <> ALL(%s) GROUP BY study_pk
HAVING max(written_at) <= %s OR min(written_at) <= %s ORDER BY min(written_at) LIMIT %s
"""
_FORGET = "DELETE FROM dicom_outbox WHERE study_pk = %s AND pk = ANY(%s)"

log = logging.getLogger("dicom_node")


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """What the installation decides: how long a study must be quiet, whose numbers PatientIDs are.

    `issuers` maps an issuer ("HOSPITAL", an OID, "AE:CT1") to an identifier system; `address` is
    that of DICOMweb, which the Endpoint names.
    """

    quiet_s: float
    quiet_max_s: float
    patient_id_system: str
    address: str
    issuers: Mapping[str, str] = field(default_factory=dict)
    zone: ZoneInfo = ZoneInfo("UTC")


After = Callable[[Any, Study], None]


class Bridge:
    """The drain with what it remembers between turns: studies that failed, and when to try again.

    `after` hears of each study that was told, on the transaction that forgets its rows.
    """

    def __init__(self, entry: Entry, settings: BridgeSettings, *, after: After | None = None) -> None:
        self._after = after
        self._entry = entry
        self._settings = settings
        self._waiting: dict[int, tuple[datetime, int]] = {}
        self._endpoint_told = False

    def drain(self) -> int:
        """Tell FHIR of the studies that are due, a few at a time; return how many were told.

        A study that FHIR refuses is left and tried again later, ever less often. Raises
        Unavailable when the database is away.
        """
        now = self._entry.clock()
        resting = [pk for pk, (until, _) in self._waiting.items() if until > now]
        quiet = now - timedelta(seconds=self._settings.quiet_s)
        longest = now - timedelta(seconds=self._settings.quiet_max_s)
        with self._entry.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(_DUE, (resting, quiet, longest, STUDIES_AT_A_TIME))
            due = cursor.fetchall()
        return sum(self._tell(study_pk, rows) for study_pk, rows in due)

    def _tell(self, study_pk: int, rows: list[int]) -> bool:
        """Tell FHIR of one study and forget its rows; false when it was not our turn or it failed."""
        with self._entry.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s::int)", (_LOCK_CLASS, study_pk % 2**31))
            if not cursor.fetchone()[0]:
                return False
            try:
                found = study(connection, study_pk)
                if found is not None:
                    self._write(found)
            except Unavailable:
                raise
            except (FhirError, NoSystem) as error:
                self._postpone(study_pk, error)
                return False
            if found is not None and self._after is not None:
                self._after(cursor, found)
            cursor.execute(_FORGET, (study_pk, rows))
            connection.commit()
        self._waiting.pop(study_pk, None)
        return True

    def _write(self, found: Study) -> None:
        settings = self._settings
        if not self._endpoint_told:
            self._entry.write(
                GRANT, lambda context: update(context, "Endpoint", ENDPOINT_ID, self._endpoint())
            )
            self._endpoint_told = True
        subject = self._entry.write(
            GRANT, lambda context: find_subject(context, found, settings.issuers, settings.patient_id_system)
        )
        self._entry.write(GRANT, lambda context: self._imaging_study(context, found, subject))

    def _imaging_study(self, context: Context, found: Study, subject: Subject) -> None:
        criteria = f"identifier={UID_SYSTEM}|{study_identifier(found.study_uid)}"
        present = resources(context, "ImagingStudy", [("identifier", criteria.partition("=")[2])])
        reference = subject.reference
        if subject.doubt and present:
            # somebody may have decided meanwhile whose it is: a late image does not undo that
            reference = present[0]["subject"]["reference"]
        resource = imaging_study(
            found,
            reference,
            self._settings.zone,
            endpoint=f"Endpoint/{ENDPOINT_ID}",
            based_on=orders(context, found, reference),
        )
        result = conditional_update(context, "ImagingStudy", criteria, resource)
        if subject.doubt and result.version is not None:
            task = reconciliation(found, subject, result.version.address, context.now())
            create(context, "Task", task, f"identifier={RECONCILIATION}|{study_identifier(found.study_uid)}")

    def _endpoint(self) -> dict[str, Any]:
        connection_type = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
        return {
            "resourceType": "Endpoint",
            "id": ENDPOINT_ID,
            "status": "active",
            "connectionType": {"system": connection_type, "code": "dicom-wado-rs"},
            "name": "DICOMweb",
            "payloadType": [{"text": "DICOM"}],
            "payloadMimeType": ["application/dicom"],
            "address": self._settings.address,
        }

    def _postpone(self, study_pk: int, error: Exception) -> None:
        _, failures = self._waiting.get(study_pk, (None, 0))
        delay = min(LONGEST_DELAY, timedelta(seconds=2 ** min(failures + 1, 12)))
        self._waiting[study_pk] = (self._entry.clock() + delay, failures + 1)
        if not failures:
            reason = str(error) if isinstance(error, NoSystem) else type(error).__name__
            log.warning("study %d is not told to FHIR yet: %s", study_pk, reason)


RECONCILIATION = "urn:xinglin:reconciliation"


def orders(context: Context, found: Study, subject: str) -> list[str]:
    """Return the ServiceRequest that ordered a study, if exactly one is found.

    By the Study Instance UID minted for it, else by the accession number among the subject's orders.
    """
    minted = token(UID_SYSTEM, study_identifier(found.study_uid))
    searches = [[("identifier", minted)]]
    if found.accession.strip():
        value = token("", found.accession.strip())[1:]
        searches.append([("identifier", value), ("subject", subject)])
    for pairs in searches:
        matches = resources(context, "ServiceRequest", [*pairs, ("_count", "2")])
        if len(matches) == 1:
            return [f"ServiceRequest/{matches[0]['id']}"]
    return []


def reconciliation(found: Study, subject: Subject, imaging: str, now: str) -> dict[str, Any]:
    """Return the Task that asks somebody to decide whose study it is."""
    return {
        "resourceType": "Task",
        "identifier": [{"system": RECONCILIATION, "value": study_identifier(found.study_uid)}],
        "status": "requested",
        "intent": "order",
        "code": {
            "coding": [{"system": "urn:xinglin:task", "code": "reconcile-patient"}],
            "text": "Decide whose study this is",
        },
        "description": f"The study's patient is not certain: {subject.doubt}",
        "focus": {"reference": imaging},
        "for": {"reference": subject.reference},
        "authoredOn": now,
    }
