"""Rows of dicom_audit → AuditEvent resources, through the front door of FHIR.

A row whose study is still on its way to FHIR waits for it, for a while, so that the AuditEvent can
refer to the Patient. Writing the resource and forgetting the row are two transactions: when the
second is lost, the resource is found under its id and not written again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from dicom_node.bridge.audit_event import Resource, audit_event
from dicom_node.bridge.codes import clean
from dicom_node.bridge.drain import BridgeSettings
from dicom_node.bridge.imaging_study import UID_SYSTEM, study_identifier
from dicom_node.bridge.patient import NoSystem, system_of, token
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.context import Context
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.read import read
from fhir_server.interactions.search_type import resources
from fhir_server.outcome import FhirError, Gone, NotFound, Unavailable

GRANT = Grant.system("dicom-audit")
ROWS_AT_A_TIME = 100
PATIENCE = timedelta(minutes=1)
"""How long beyond the bridge's own longest wait a row waits for its study."""

LONGEST_DELAY = timedelta(minutes=10)

_DUE = """
SELECT pk, id::text, event FROM dicom_audit a WHERE pk <> ALL(%s) AND (noted_at < %s OR NOT EXISTS (
    SELECT FROM dicom_study s JOIN dicom_outbox o ON o.study_pk = s.pk WHERE s.study_uid = a.study_uid))
ORDER BY pk LIMIT %s
"""
_FORGET = "DELETE FROM dicom_audit WHERE pk = ANY(%s)"

log = logging.getLogger("dicom_node")


class AuditDrain:
    """The drain with what it remembers between turns: rows that failed, and when to try again."""

    def __init__(self, entry: Entry, settings: BridgeSettings, ae_title: str) -> None:
        self._entry = entry
        self._settings = settings
        self._ae_title = ae_title
        self._waiting: dict[int, tuple[datetime, int]] = {}

    def drain(self) -> int:
        """Write AuditEvents of the rows that are due, a hundred at a time; return how many.

        A row that FHIR refuses is left and tried again later, ever less often. Raises
        Unavailable when the database is away.
        """
        now = self._entry.clock()
        resting = [pk for pk, (until, _) in self._waiting.items() if until > now]
        patience = timedelta(seconds=self._settings.quiet_max_s) + PATIENCE
        with self._entry.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(_DUE, (resting, now - patience, ROWS_AT_A_TIME))
            due = cursor.fetchall()
        told = [pk for pk, id_, event in due if self._tell(pk, id_, event)]
        if told:
            with self._entry.engine.connection() as connection:
                connection.cursor().execute(_FORGET, (told,))
                connection.commit()
        return len(told)

    def _tell(self, pk: int, id_: str, event: Mapping[str, Any]) -> bool:
        try:
            self._entry.write(GRANT, lambda context: self._write(context, id_, event))
        except Unavailable:
            raise
        except FhirError as error:
            _, failures = self._waiting.get(pk, (None, 0))
            delay = min(LONGEST_DELAY, timedelta(seconds=2 ** min(failures + 1, 12)))
            self._waiting[pk] = (self._entry.clock() + delay, failures + 1)
            if not failures:
                log.warning("audit row %d is not told to FHIR yet: %s", pk, type(error).__name__)
            return False
        self._waiting.pop(pk, None)
        return True

    def _write(self, context: Context, id_: str, event: Mapping[str, Any]) -> None:
        try:
            read(context, "AuditEvent", id_)
        except Gone:  # somebody deleted it: it was told
            return
        except NotFound:
            subject = self._subject(context, event.get("study", {}))
            create(context, "AuditEvent", audit_event(id_, event, subject, self._ae_title), keep_id=True)

    def _subject(self, context: Context, study: Mapping[str, Any]) -> Resource | None:
        """Return the Reference to whose study it is: as FHIR knows it, else as the study says it."""
        if uid := study.get("uid"):
            identifier = token(UID_SYSTEM, study_identifier(uid))
            known = resources(context, "ImagingStudy", [("identifier", identifier), ("_count", "2")])
            if len(known) == 1:
                return {"reference": known[0]["subject"]["reference"]}
        value = clean(study.get("patient_id", ""))
        if not value:
            return None
        found: Resource = {"value": value}
        with suppress(NoSystem):
            found["system"] = system_of(
                study.get("issuer", "ae:"), self._settings.issuers, self._settings.patient_id_system
            )
        return {"type": "Patient", "identifier": found}
