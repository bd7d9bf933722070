"""Studies that have become quiet → one ImagingStudy each, through the front door of FHIR.

The worker calls `drain` again and again. A study is due when nothing came for it for a while, or it
has waited long enough all the same. Telling FHIR and forgetting the outbox rows are two transactions:
when the second is lost, the study is told again, and the same resource makes no version. An
advisory lock keeps two workers from telling of one study at a time, so that an older look at the
index never overwrites a newer one. A study whose Rejection Notes or correction are not carried out yet is
told when they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dicom_node.attributes import read
from dicom_node.bridge.documents import Around, Documents
from dicom_node.bridge.fitting import fitting
from dicom_node.bridge.imaging_study import UID_SYSTEM, Told, imaging_study, study_identifier, withdrawn
from dicom_node.bridge.orders import orders
from dicom_node.bridge.patient import NoSystem, Subject, find_subject, token
from dicom_node.bridge.reconciliation import ask, decision, remember, settle
from dicom_node.files.content import opened
from dicom_node.files.store import FileStore
from dicom_node.header import Malformed
from dicom_node.index.studies import Study, study
from dicom_node.lifecycle import correction, rejection
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.update import conditional_update, update
from fhir_server.outcome import FhirError, Unavailable

GRANT = Grant.system("dicom-bridge")
ENDPOINT_ID = "dicom-web"
STUDIES_AT_A_TIME = 20
LONGEST_DELAY = timedelta(minutes=10)
_LOCK_CLASS = 0x44434D  # advisory locks (class, study)
_OF_OTHERS = ("encounter", "note", "procedureReference", "extension")
"""What we never write into an ImagingStudy and others may: it stays."""

_DUE = """
SELECT study_pk, array_agg(pk), max(study_uid) FROM dicom_outbox WHERE study_pk <> ALL(%s) GROUP BY study_pk
HAVING max(written_at) <= %s OR min(written_at) <= %s ORDER BY min(written_at) LIMIT %s
"""
_FORGET = "DELETE FROM dicom_outbox WHERE study_pk = %s AND pk = ANY(%s)"

log = logging.getLogger("dicom_node")


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """What the installation decides: how long a study must be quiet, whose numbers PatientIDs are.

    `issuers` maps an issuer ("HOSPITAL", an OID, "AE:CT1") to an identifier system; `address` is
    that of DICOMweb, which the Endpoint names; `accession_system` is the identifier system of accession
    numbers without an issuer; `rejection` says what Rejection Notes do.
    """

    quiet_s: float
    quiet_max_s: float
    patient_id_system: str
    address: str
    issuers: Mapping[str, str] = field(default_factory=dict)
    zone: ZoneInfo = ZoneInfo("UTC")
    accession_system: str = ""
    rejection: rejection.Rules = field(default_factory=lambda: rejection.rules((), ("*",), timedelta(0)))


After = Callable[[Any, Study], None]


class Bridge:
    """The drain with what it remembers between turns: studies that failed, and when to try again.

    Without `files` only ImagingStudies are written, no reports and documents. `after` hears of each
    study that was told, on the transaction that forgets its rows.
    """

    def __init__(
        self,
        entry: Entry,
        settings: BridgeSettings,
        files: FileStore | None = None,
        *,
        after: After | None = None,
    ) -> None:
        self._after = after
        self._entry = entry
        self._settings = settings
        self._files = files
        self._documents = files and Documents(entry, GRANT, files, settings.address, settings.zone)
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
        return sum(self._tell(study_pk, rows, uid) for study_pk, rows, uid in due)

    def _tell(self, study_pk: int, rows: list[int], study_uid: str | None) -> bool:
        """Tell FHIR of one study and forget its rows; false when it was not our turn or it failed."""
        with self._entry.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s::int)", (_LOCK_CLASS, study_pk % 2**31))
            if not cursor.fetchone()[0]:
                return False
            try:
                found = study(connection, study_pk)
                if found is not None:
                    if self._reject(found):
                        return True  # told when it is due again
                    if self._waits_for_correction(connection, found):
                        return False
                    self._write(found)
                elif study_uid is not None:
                    cursor.execute("SELECT FROM dicom_study WHERE study_uid = %s", (study_uid,))
                    if cursor.fetchone() is None:  # else it is here again, and told by its own rows
                        self._withdraw(study_uid, _left_as(cursor, study_uid))
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

    def _waits_for_correction(self, connection: Any, found: Study) -> bool:
        """Whether instances of a study are to be corrected first, which the worker does."""
        if not correction.reopen(connection.cursor(), found.study_uid):
            return False
        connection.commit()
        self._waiting[found.pk] = (self._entry.clock() + timedelta(seconds=1), 0)
        return True

    def _reject(self, found: Study) -> bool:
        """Carry out the Rejection Notes among the objects of a study; whether there was one to do."""
        done = False
        rules = self._settings.rejection
        for series in found.series:
            for one in series.instances:
                if one.sop_class != rejection.KEY_OBJECTS or self._files is None:
                    continue
                behaviour = rules.of(rejection.title(one.attributes), one.calling_ae)
                if behaviour == "keep":
                    continue
                try:
                    with opened(self._files.path(one.digest)) as content:
                        note = rejection.read(read(content.data, content.syntax).attributes)
                except (OSError, Malformed):
                    log.warning("a Rejection Note cannot be read")
                    continue
                if note is not None:
                    now = self._entry.clock()
                    done |= rejection.carry_out(
                        self._entry.engine, note, behaviour, one.calling_ae, rules, now
                    )
        return done

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
        around = self._entry.write(GRANT, lambda context: self._imaging_study(context, found, subject))
        if self._documents:
            self._documents.tell(found, around)

    def _imaging_study(self, context: Context, found: Study, subject: Subject) -> Around:
        uid = token(UID_SYSTEM, study_identifier(found.study_uid))
        standing = resources(context, "ImagingStudy", [("identifier", uid)])
        present = standing[0] if standing else None
        decided = decision(context, found.study_uid, subject, present)
        told = Told(
            decided.reference,
            self._settings.zone,
            f"Endpoint/{ENDPOINT_ID}",
            orders(context, found, decided.reference, self._settings.accession_system),
            self._settings.accession_system,
        )
        resource = imaging_study(found, told)
        kept = {name: present[name] for name in _OF_OTHERS if name in present} if present else {}
        result = fitting(
            {**resource, **kept},
            lambda fitted: conditional_update(context, "ImagingStudy", f"identifier={uid}", fitted),
        )
        assert result.version is not None
        address = result.version.address.partition("/_history")[0]
        remember(context, found.study_uid, decided, decided is not subject)
        if decided.doubt:
            ask(context, found, decided, address)
        else:
            settle(context, found.study_uid, decided, decided is not subject)
        return Around(decided.reference, address, tuple(told.based_on), resource.get("started"))

    def _withdraw(self, study_uid: str, status: str) -> None:
        def work(context: Context) -> None:
            uid = token(UID_SYSTEM, study_identifier(study_uid))
            for present in resources(context, "ImagingStudy", [("identifier", uid)]):
                update(context, "ImagingStudy", present["id"], withdrawn(present, status))

        self._entry.write(GRANT, work)
        if self._documents:
            self._documents.withdraw(study_uid)

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


def _left_as(cursor: Any, study_uid: str) -> str:
    """Return the status of the ImagingStudy of a study that is gone (R4/valueset-imagingstudy-status.html).

    What ran out is still known to have been; what was deleted or rejected should not have been.
    """
    cursor.execute(
        "SELECT r.kind FROM dicom_removed x JOIN dicom_removal r ON r.pk = x.removal_pk"
        " WHERE x.study_uid = %s ORDER BY r.pk DESC LIMIT 1",
        (study_uid,),
    )
    row = cursor.fetchone()
    return "registered" if row is not None and row[0] == "expired" else "entered-in-error"
