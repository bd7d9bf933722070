"""What of the chain is not told to FHIR yet: calls and turns of switches, in the order of their links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fhir_server.database.engine import Engine, Mode

TENANT = 0
_PURPOSE = "audit-event"

_ROWS = """
SELECT l.number, encode(l.chain, 'hex'), c.call_id::text, c.received_at, c.latency_us, c.status, c.service,
    c.hook, c.hook_instance::text, c.client, c.user_reference, c.patient, c.reasons,
    encode(c.input_hash, 'hex'), c.model, c.model_version, encode(c.model_hash, 'hex'), c.mode, c.own_ids,
    (SELECT count(*) FROM cds_card k WHERE k.tenant = c.tenant AND k.call_id = c.call_id)
FROM cds_link l JOIN cds_call c ON c.tenant = l.tenant AND c.pk = l.record_pk
WHERE l.tenant = %s AND l.kind = 'call'
    AND l.number > coalesce((SELECT number FROM cds_progress WHERE tenant = %s AND purpose = %s), 0)
ORDER BY l.number LIMIT %s
"""
_TURNS = """
SELECT l.number, encode(l.chain, 'hex'), s.switched_at, s.service, s.mode, s.by_whom, s.reason
FROM cds_link l JOIN cds_switch s ON s.tenant = l.tenant AND s.pk = l.record_pk
WHERE l.tenant = %s AND l.kind = 'switch'
    AND l.number > coalesce((SELECT number FROM cds_progress WHERE tenant = %s AND purpose = %s), 0)
ORDER BY l.number LIMIT %s
"""
_ADVANCE = """
INSERT INTO cds_progress AS p (tenant, purpose, number) VALUES (%(tenant)s, %(purpose)s, %(number)s)
ON CONFLICT (tenant, purpose) DO UPDATE SET number = greatest(p.number, EXCLUDED.number)
"""


@dataclass(frozen=True, slots=True)
class Told:
    """A call as it is told to FHIR, with its link."""

    number: int
    chain: str
    call_id: str
    received_at: datetime
    latency_us: int
    status: int
    service: str
    hook: str | None
    hook_instance: str | None
    client: str | None
    user: str | None
    patient: str | None
    reasons: Sequence[str]
    input_hash: str
    model: str | None
    model_version: str | None
    model_hash: str | None
    mode: str
    own_ids: bool
    cards: int


@dataclass(frozen=True, slots=True)
class Turned:
    """A turn of a switch, with its link."""

    number: int
    chain: str
    at: datetime
    service: str
    mode: str
    by: str
    reason: str


def untold(engine: Engine, most: int) -> list[Told | Turned]:
    """Return up to `most` records, in the order of their links."""
    with engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
        cursor.execute(_ROWS, (TENANT, TENANT, _PURPOSE, most))
        found: list[Told | Turned] = [Told(*row) for row in cursor.fetchall()]
        cursor.execute(_TURNS, (TENANT, TENANT, _PURPOSE, most))
        found += [Turned(*row) for row in cursor.fetchall()]
    return sorted(found, key=lambda row: row.number)[:most]


def advance(unit: Any, number: int) -> None:
    """Note on a unit of work that everything up to a link is told."""
    unit.execute(_ADVANCE, {"tenant": TENANT, "purpose": _PURPOSE, "number": number})
