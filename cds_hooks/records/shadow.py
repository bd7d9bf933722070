"""What was computed in shadow, as the records hold it: what would have been shown, and what became of whom.

Two ways lead into the shadow. A service that is switched to shadow, or whose model is in shadow, computes
its cards and sends none. A release in shadow beside an active one has what it would have said within the
records of that one; its cards are not made. Calls from the console are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cds_hooks.records.rates import CONSOLE
from fhir_server.database.engine import Engine, Mode

TENANT = 0

# Two EHRs may give two patients one id: a patient is the id and whose it is, ours or the caller's.
# Of a release beside another one only its reasons say whether it would have come to a card.
_SHADOW = """
SELECT c.pk, c.call_id, c.received_at, c.service,
    CASE WHEN c.own_ids THEN '' ELSE coalesce(c.client, '') END || ' ' || c.patient AS patient, x.*
FROM cds_call c, LATERAL (
    SELECT false AS beside, c.model_version AS version, encode(c.model_hash, 'hex') AS sha256, c.reasons,
        c.output ->> 'risk' AS risk, coalesce(c.computed::jsonb -> 'cards', '[]') AS cards,
        coalesce(jsonb_array_length(c.computed::jsonb -> 'cards'), 0) > 0 AS told
    WHERE c.mode = 'shadow'
    UNION ALL
    SELECT true, c.output -> 'shadow' ->> 'version', c.output -> 'shadow' ->> 'sha256', r.reasons,
        c.output -> 'shadow' -> 'output' ->> 'risk', '[]', r.reasons && '{suggested,shown}'
    FROM (SELECT ARRAY(SELECT jsonb_array_elements_text(c.output -> 'shadow' -> 'reasons')) AS reasons) r
    WHERE c.output ? 'shadow'
) AS x
WHERE c.tenant = %(tenant)s AND c.status = 200 AND c.client IS DISTINCT FROM %(console)s
    AND (%(service)s::text IS NULL OR c.service = %(service)s)
"""
_CALLS = f"""
WITH shadow AS ({_SHADOW} AND c.received_at >= %(since)s AND c.received_at < %(until)s)
SELECT service, beside, version, sha256, count(*), count(*) FILTER (WHERE told), count(DISTINCT patient),
    count(DISTINCT patient) FILTER (WHERE told), min(received_at), max(received_at)
FROM shadow GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
_REASONS = f"""
WITH shadow AS ({_SHADOW} AND c.received_at >= %(since)s AND c.received_at < %(until)s)
SELECT service, beside, version, sha256, reason, count(*) FROM shadow, unnest(reasons) AS reason
WHERE reason <> 'shadow' GROUP BY 1, 2, 3, 4, 5
"""
_CARDS = f"""
WITH shadow AS ({_SHADOW} AND c.received_at >= %(since)s AND c.received_at < %(until)s)
SELECT service, beside, version, sha256, card ->> 'indicator', count(*)
FROM shadow, jsonb_array_elements(cards) AS card GROUP BY 1, 2, 3, 4, 5
"""
_OUTCOMES = f"""
WITH known AS (
    SELECT DISTINCT ON (call_id) call_id, bad FROM cds_outcome
    WHERE tenant = %(tenant)s AND received_at >= %(outcomes_since)s AND received_at < %(until)s
    ORDER BY call_id, pk DESC
), shadow AS ({_SHADOW.replace("FROM cds_call c,", "FROM known JOIN cds_call c USING (call_id),")})
SELECT DISTINCT ON (s.service, s.beside, s.version, s.sha256, coalesce(s.patient, s.call_id::text))
    s.service, s.beside, s.version, s.sha256, s.told, s.risk, known.bad
FROM shadow s JOIN known USING (call_id)
ORDER BY s.service, s.beside, s.version, s.sha256, coalesce(s.patient, s.call_id::text), s.pk
"""


@dataclass(frozen=True, slots=True)
class Matured:
    """A patient whose outcome is known: whether a card would have been shown, the risk, how it ended."""

    told: bool
    risk: float | None
    bad: bool


@dataclass(slots=True)
class Shadow:
    """What one service, on one release or on rules, computed in shadow over a time.

    `told` counts the calls that would have come to a card, `cards` those cards by indicator (none of a
    release `beside` another one), `matured` one entry a patient, his first call.
    """

    service: str
    beside: bool
    version: str | None
    sha256: str | None
    calls: int = 0
    told: int = 0
    patients: int = 0
    patients_told: int = 0
    first: datetime | None = None
    last: datetime | None = None
    cards: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    matured: list[Matured] = field(default_factory=list)


def shadows(
    engine: Engine, since: datetime, until: datetime, outcomes_since: datetime, service: str | None = None
) -> list[Shadow]:
    """Return what ran in shadow between two moments, or whose outcome was told since a third.

    Of all services, or of one.
    """
    found: dict[tuple[Any, ...], Shadow] = {}

    def of(row: Sequence[Any]) -> Shadow:
        return found.setdefault(tuple(row[:4]), Shadow(*row[:4]))

    asked = {
        "tenant": TENANT, "console": CONSOLE, "since": since, "until": until,
        "outcomes_since": outcomes_since,
        "service": service,
    }  # fmt: skip
    with engine.connection(Mode.SNAPSHOT) as connection, connection.cursor() as cursor:
        cursor.execute(_CALLS, asked)
        for row in cursor.fetchall():
            one = of(row)
            one.calls, one.told, one.patients, one.patients_told, one.first, one.last = row[4:]
        cursor.execute(_REASONS, asked)
        for row in cursor.fetchall():
            of(row).reasons[row[4]] = row[5]
        cursor.execute(_CARDS, asked)
        for row in cursor.fetchall():
            of(row).cards[row[4]] = row[5]
        cursor.execute(_OUTCOMES, asked)
        for row in cursor.fetchall():
            told, risk, bad = row[4:]
            of(row).matured.append(Matured(told, None if risk is None else float(risk), bad))
    return sorted(
        found.values(), key=lambda one: (one.service, one.beside, one.version or "", one.sha256 or "")
    )
