"""Every recorded call, and every turn of a switch, as an AuditEvent in the FHIR store.

They follow the chain of records, link by link, and each names its own link: so the end of the chain
stands in a second place. Writing a batch and noting how far it went are one transaction: none is told
twice and none is left out. The resource holds who, when, which service, how it ended; what was decided
from and what was answered stay in the record, which it names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from uuid import UUID, uuid5

from cds_hooks.records import audit_rows
from cds_hooks.records.audit_rows import Told, Turned
from fhir_server.audit import event as fhir
from fhir_server.authorization.grant import Grant
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.store_many import store_many
from fhir_server.outcome import FhirError

log = logging.getLogger(__name__)

GRANT = Grant.system("cds-audit")
AT_ONCE = 50
EVERY_S = 0.45  # the worker comes by every half second
CLIENT, USER, PATIENT = "urn:xinglin:cds-client", "urn:xinglin:cds-user", "urn:xinglin:cds-patient"
SERVICE, CALL, HOOK = "urn:xinglin:cds-service", "urn:xinglin:cds-call", "urn:xinglin:cds-hook"
_SWITCHED = UUID("5a8fbb0c-6a2f-4c53-9a83-8d1f0d3c6d6e")
_FAILED = {
    "timeout", "error", "other-patient", "not-recorded", "switch-unknown", "caller-unknown",
    "fhir-server-failed",
}  # fmt: skip


class AuditDrain:
    """Tells FHIR of what is in the chain; for the background worker.

    Calls come first: no more than a batch is written in `every_s`, so that a rush of calls has the
    machine for itself and is told of afterwards.
    """

    def __init__(self, entry: Entry, every_s: float = EVERY_S) -> None:
        self._entry = entry
        self._every_s = every_s
        self._next_at = 0.0

    def drain(self) -> int:
        """Write the next AuditEvents; return how many. Raises Unavailable when the database is away.

        What FHIR refuses (a client's id may be none by FHIR's rules) is told by identifiers
        instead; if that is refused too, it is passed over and said in the log.
        """
        if time.monotonic() < self._next_at:
            return 0
        rows = audit_rows.untold(self._entry.engine, AT_ONCE)
        if not rows:
            return 0
        self._next_at = time.monotonic() + self._every_s
        for number, refused in self._entry.write(GRANT, lambda context: _write(context, rows)):
            log.error("cds audit: link %d is not told to FHIR, %s", number, refused)
        return len(rows)


def _write(context: Context, rows: Sequence[Told | Turned]) -> list[tuple[int, str]]:
    """Write AuditEvents and note how far that is; return the links that are refused, and why."""
    refused = _store(context, rows, references=True)
    if refused:
        refused = _store(context, [row for row, _ in refused], references=False)
    audit_rows.advance(context.unit, rows[-1].number)
    return [(row.number, why) for row, why in refused]


def _store(
    context: Context, rows: Sequence[Told | Turned], *, references: bool
) -> list[tuple[Told | Turned, str]]:
    fates = store_many(context, [_event(row, references=references) for row in rows])
    return [
        (row, type(fate).__name__)
        for row, fate in zip(rows, fates, strict=True)
        if isinstance(fate, FhirError)
    ]


def _event(row: Told | Turned, *, references: bool) -> fhir.Resource:
    return audit_event(row, references=references) if isinstance(row, Told) else switch_event(row)


def audit_event(row: Told, *, references: bool = True) -> fhir.Resource:
    """Return the AuditEvent of a call; its id is that of the call.

    Patient and user are referred to where they are resources of ours and `references` is set, else
    they are named by the identifier that the client gave.
    """
    agents: list[fhir.Resource] = []
    if row.user:
        who = _who(row, row.user, USER, references=references)
        agents.append({"who": who, "requestor": True})
    client = fhir.identified(
        CLIENT, row.client or "unknown", row.client or "a client that did not say who it is"
    )
    agents.append({"who": client, "requestor": not row.user})
    entities = []
    if row.patient:
        patient = _who(row, f"Patient/{row.patient}", PATIENT, references=references)
        entities.append(fhir.patient_entity(patient))
    model = f"{row.model}@{row.model_version}#{row.model_hash}" if row.model else None
    entities.append(
        {
            "what": fhir.identified(CALL, row.call_id),
            "type": fhir.object_type("2"),
            "role": fhir.object_role("20"),
            "detail": fhir.details(
                [
                    ("service", row.service),
                    ("hook", row.hook),
                    ("hookInstance", row.hook_instance),
                    ("mode", row.mode),
                    ("model", model),
                    ("status", row.status),
                    ("cards", row.cards),
                    ("latency-us", row.latency_us),
                    ("input-sha256", row.input_hash),
                    ("link", f"{row.number}:{row.chain}"),
                ]
            ),
        }
    )
    made: fhir.Resource = {
        "resourceType": "AuditEvent",
        "id": row.call_id,
        "type": fhir.coding(fhir.EVENT_TYPE, "rest", "RESTful Operation"),
        "action": "E",
        "recorded": fhir.instant(row.received_at),
        "outcome": _outcome(row).value,
        "agent": agents,
        "source": _source(row.service),
        "entity": entities,
    }
    if row.hook:
        made["subtype"] = [fhir.coding(HOOK, row.hook)]
    if row.reasons:
        made["outcomeDesc"] = ", ".join(row.reasons)
    return made


def switch_event(row: Turned) -> fhir.Resource:
    """Return the AuditEvent of a turn of a switch: who, which service, to what, and why."""
    return {
        "resourceType": "AuditEvent",
        "id": str(uuid5(_SWITCHED, f"{row.number}:{row.chain}")),
        "type": fhir.coding("urn:xinglin:audit-event", "cds-switch", "Switch of a decision service"),
        "action": "U",
        "recorded": fhir.instant(row.at),
        "outcome": fhir.Outcome.SUCCESS.value,
        "outcomeDesc": row.reason,
        "agent": [{"name": row.by, "requestor": True}],
        "source": _source(row.service),
        "entity": [
            {
                "what": fhir.identified(SERVICE, row.service),
                "type": fhir.object_type("2"),
                "detail": fhir.details([("mode", row.mode), ("link", f"{row.number}:{row.chain}")]),
            }
        ],
    }


def _who(row: Told, reference: str, system: str, *, references: bool) -> fhir.Resource:
    if row.own_ids and references:
        return {"reference": reference}
    kind, _, identifier = reference.partition("/")
    scope = row.client or "unknown"
    return {"type": kind, "identifier": {"system": f"{system}:{scope}", "value": identifier}}


def _outcome(row: Told) -> fhir.Outcome:
    if _FAILED & set(row.reasons):
        return fhir.Outcome.SERIOUS_FAILURE
    return fhir.Outcome.SUCCESS if row.status == 200 else fhir.Outcome.MINOR_FAILURE


def _source(service: str) -> fhir.Resource:
    return fhir.source(fhir.identified(SERVICE, service, "Xinglin CDS Hooks"))
