"""Rows of dicom_audit → AuditEvent resources, through the front door of FHIR.

A row whose study is still on its way to FHIR waits for it, for a while, so that the AuditEvent can
refer to the Patient. Transfers and accesses of one study between the same two sides become one
AuditEvent when they follow each other closely: a viewer asks for a study image by image. Writing the
resource and forgetting the rows are two transactions: when the second is lost, the resource is found
under its id and not written again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from dicom_node.audit import Kind
from dicom_node.bridge.audit_event import Resource, audit_event, gathered
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
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, Gone, NotFound, Unavailable

GRANT = Grant.system("dicom-audit")
ROWS_AT_A_TIME = 100
PATIENCE = timedelta(minutes=1)
"""How long beyond the bridge's own longest wait a row waits for its study."""

LONGEST_DELAY = timedelta(minutes=10)

GATHER_S = 5.0
"""So long must nothing like it have happened before what belongs together is told."""

GATHERED = (Kind.TRANSFERRED.value, Kind.BEGIN_TRANSFERRING.value, Kind.ACCESSED.value, Kind.QUERY.value)
_SEEN_AT_A_TIME = 5000

_DUE = """
WITH seen AS (
    SELECT pk, id::text, noted_at, study_uid, event,
        CASE WHEN event ->> 'kind' = ANY(%(gathered)s) THEN
            (event - 'at' - 'reason' - 'query') #- '{study,instances}' #- '{study,sop_classes}'
        ELSE to_jsonb(pk) END AS alike
    FROM dicom_audit WHERE pk <> ALL(%(resting)s) ORDER BY pk LIMIT %(seen)s
), found AS (
    SELECT alike, array_agg(pk ORDER BY pk) AS pks, array_agg(id ORDER BY pk) AS ids,
        array_agg(event ORDER BY pk) AS events, min(study_uid) AS study_uid,
        min(noted_at) AS first, max(noted_at) AS last
    FROM seen GROUP BY alike
)
SELECT pks, ids[1], events FROM found f
WHERE f.first < %(patience)s OR ((f.last <= %(quiet)s OR jsonb_typeof(alike) = 'number') AND NOT EXISTS (
    SELECT FROM dicom_study s JOIN dicom_outbox o ON o.study_pk = s.pk WHERE s.study_uid = f.study_uid))
ORDER BY pks[1] LIMIT %(most)s
"""
_FORGET = "DELETE FROM dicom_audit WHERE pk = ANY(%s)"

log = logging.getLogger("dicom_node")


class AuditDrain:
    """The drain with what it remembers between turns: rows that failed, and when to try again."""

    def __init__(
        self, entry: Entry, settings: BridgeSettings, ae_title: str, gather_s: float = GATHER_S
    ) -> None:
        self._entry = entry
        self._settings = settings
        self._ae_title = ae_title
        self._gather = timedelta(seconds=gather_s)
        self._waiting: dict[int, tuple[datetime, int]] = {}

    def drain(self) -> int:
        """Write AuditEvents of the rows that are due, a hundred at a time; return how many rows that were.

        What FHIR refuses is left and tried again later, ever less often. Raises Unavailable when
        the database is away.
        """
        now = self._entry.clock()
        patience = timedelta(seconds=self._settings.quiet_max_s) + PATIENCE
        with self._entry.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(
                _DUE,
                {
                    "gathered": list(GATHERED),
                    "resting": [pk for pk, (until, _) in self._waiting.items() if until > now],
                    "seen": _SEEN_AT_A_TIME,
                    "patience": now - patience,
                    "quiet": now - self._gather,
                    "most": ROWS_AT_A_TIME,
                },
            )
            due = cursor.fetchall()
        told = [pk for pks, id_, events in due for pk in self._tell(pks, id_, events)]
        if told:
            with self._entry.engine.connection() as connection:
                connection.cursor().execute(_FORGET, (told,))
                connection.commit()
        return len(told)

    def _tell(self, pks: list[int], id_: str, events: list[dict[str, Any]]) -> list[int]:
        """Write one AuditEvent; return the rows that it tells of."""
        try:
            until = self._entry.write(GRANT, lambda context: self._write(context, id_, gathered(events)))
        except Unavailable:
            raise
        except FhirError as error:
            _, failures = self._waiting.get(pks[0], (None, 0))
            delay = min(LONGEST_DELAY, timedelta(seconds=2 ** min(failures + 1, 12)))
            self._waiting.update(dict.fromkeys(pks, (self._entry.clock() + delay, failures + 1)))
            if not failures:
                log.warning("audit row %d is not told to FHIR yet: %s", pks[0], type(error).__name__)
            return []
        for pk in pks:
            self._waiting.pop(pk, None)
        # what came after a resource that was there already gets one of its own
        return [pk for pk, event in zip(pks, events, strict=True) if not until or event["at"] <= until]

    def _write(self, context: Context, id_: str, event: Mapping[str, Any]) -> str:
        """Write an AuditEvent, unless it is there: then return the last moment that it tells of."""
        try:
            version = read(context, "AuditEvent", id_).version
        except Gone:  # somebody deleted it: it was told
            return ""
        except NotFound:
            subject = self._subject(context, event.get("study", {}))
            create(context, "AuditEvent", audit_event(id_, event, subject, self._ae_title), keep_id=True)
            return ""
        assert version is not None
        return str(json_format.parse(version.text().encode()).get("recorded", ""))

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
