"""What cards were about, as the records hold it: each order or treatment once, with what was told of it.

A draft is asked about again and again while it is written (order-select, order-sign): of the calls of a day
on one drug of it the first counts; of those on one treatment the first of a patient in the time looked at.
Only calls whose ids are those of our own store are looked at, for only there it can be seen what was ordered
later. Calls from the console are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cds_hooks.records.rates import CONSOLE
from fhir_server.database.engine import Engine, Mode

TENANT = 0
MOST = 5_000
"""Of one look, the newest: each patient is looked up in the store."""
SHOWN, SHADOW = "shown", "shadow"

_ONE = (
    "c.service, c.patient, a.subject -> 'treatment', a.subject -> 'order', a.subject -> 'drugs',"
    " CASE WHEN a.subject ? 'order' THEN date_trunc('day', c.received_at, 'UTC') END"
)
_SUBJECTS = f"""
WITH about AS (
    SELECT DISTINCT ON ({_ONE})
        c.pk, c.service, c.patient, c.received_at, c.mode, a.subject
    FROM cds_call c, LATERAL jsonb_array_elements(c.output -> 'about') AS a (subject)
    WHERE c.tenant = %(tenant)s AND c.status = 200 AND c.own_ids AND c.patient IS NOT NULL
        AND c.client IS DISTINCT FROM %(console)s AND c.mode IN ('on', 'shadow')
        AND c.output ? 'about' AND c.received_at >= %(since)s AND c.received_at < %(until)s
        AND (%(service)s::text IS NULL OR c.service = %(service)s)
        AND (c.mode = 'shadow' OR EXISTS (
            SELECT FROM cds_card k WHERE k.tenant = c.tenant AND k.card = (a.subject ->> 'card')::uuid))
    ORDER BY {_ONE}, c.pk
)
SELECT a.service, a.patient, a.received_at, a.mode, a.subject, (
    SELECT f.outcome FROM cds_feedback f
    WHERE f.tenant = %(tenant)s AND f.card = (a.subject ->> 'card')::uuid
    ORDER BY f.outcome_at DESC, f.pk DESC LIMIT 1)
FROM about a ORDER BY a.pk DESC LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One order or treatment that a card was about; `feedback` is the last that was told of the card."""

    service: str
    patient: str
    received_at: datetime
    group: str
    subject: Mapping[str, Any]
    feedback: str | None


def told(
    engine: Engine, since: datetime, until: datetime, service: str | None = None, most: int = MOST
) -> list[Told]:
    """Return what cards of a time were about, the newest first: of all services, or of one."""
    asked = {
        "tenant": TENANT, "console": CONSOLE, "since": since, "until": until, "service": service,
        "most": most,
    }  # fmt: skip
    with engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
        cursor.execute(_SUBJECTS, asked)
        return [
            Told(service_, patient, at, SHOWN if mode == "on" else SHADOW, subject, feedback)
            for service_, patient, at, mode, subject, feedback in cursor.fetchall()
        ]
