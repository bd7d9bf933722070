"""What became of the cards: how often each service was asked, showed, was accepted, overridden, ignored.

A card counts as ignored when nobody told what became of it within `ripe` of being shown; before that it is
open. Of several reports on one card the last one counts. Users are told apart by what they are, never by
who they are: by the kind that `userId` names (Practitioner, Patient …), and a PractitionerRole of our own
store by the role that it holds (`PractitionerRole: Nurse`). Trials from the console are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fhir_server.database.engine import Engine, Mode

TENANT = 0
CONSOLE = "console"
RIPE = timedelta(hours=24)

_CALLS = """
SELECT service, CASE WHEN status <> 200 THEN 'refused' WHEN mode = 'off' THEN 'off'
        WHEN mode = 'shadow' THEN 'shadow' WHEN answer = '{"cards":[]}' THEN 'silent' ELSE 'answered' END,
    count(*)
FROM cds_call WHERE tenant = %(tenant)s AND received_at >= %(since)s AND received_at < %(until)s
    AND client IS DISTINCT FROM %(console)s
GROUP BY 1, 2
"""
_REASONS = """
SELECT service, reason, count(*) FROM cds_call, unnest(reasons) AS reason
WHERE tenant = %(tenant)s AND received_at >= %(since)s AND received_at < %(until)s
    AND client IS DISTINCT FROM %(console)s
GROUP BY 1, 2
"""
_CARDS = """
WITH roles AS MATERIALIZED (
    SELECT u.user_reference, coalesce(r.resource -> 'code' -> 0 ->> 'text',
        r.resource -> 'code' -> 0 -> 'coding' -> 0 ->> 'display',
        r.resource -> 'code' -> 0 -> 'coding' -> 0 ->> 'code') AS role
    FROM (
        SELECT DISTINCT user_reference FROM cds_call
        WHERE tenant = %(tenant)s AND received_at >= %(since)s AND received_at < %(until)s AND own_ids
            AND user_reference LIKE 'PractitionerRole/%%'
    ) u JOIN resource_json r ON r.tenant = %(tenant)s AND r.type = 'PractitionerRole'
        AND r.id = split_part(u.user_reference, '/', 2) COLLATE "C"
), shown AS (
    SELECT k.card, k.service, c.received_at, coalesce('PractitionerRole: ' || left(roles.role, 80),
        nullif(split_part(c.user_reference, '/', 1), ''), 'unknown') AS role
    FROM cds_call c JOIN cds_card k USING (tenant, call_id)
        LEFT JOIN roles ON c.own_ids AND roles.user_reference = c.user_reference
    WHERE c.tenant = %(tenant)s AND c.received_at >= %(since)s AND c.received_at < %(until)s
        AND c.client IS DISTINCT FROM %(console)s
        AND NOT EXISTS (SELECT FROM cds_withheld w WHERE w.tenant = c.tenant AND w.call_id = c.call_id)
), told AS (
    SELECT DISTINCT ON (f.card) f.card, f.outcome, f.outcome_at,
        coalesce(f.reason ->> 'display', f.reason ->> 'code') AS reason
    FROM cds_feedback f JOIN shown USING (card) WHERE f.tenant = %(tenant)s
    ORDER BY f.card, f.outcome_at DESC, f.pk DESC
)
SELECT s.service, s.role,
    coalesce(t.outcome, CASE WHEN s.received_at < %(ripe)s THEN 'ignored' ELSE 'open' END),
    coalesce(t.reason, ''), count(*)
FROM shown s LEFT JOIN told t USING (card) GROUP BY 1, 2, 3, 4
"""


@dataclass(slots=True)
class Cards:
    """The cards of one service for users of one kind or role, and what became of them."""

    accepted: int = 0
    overridden: int = 0
    ignored: int = 0
    open: int = 0

    @property
    def shown(self) -> int:
        """All of them."""
        return self.accepted + self.overridden + self.ignored + self.open

    @property
    def settled(self) -> int:
        """Those that are not open any more."""
        return self.shown - self.open

    def share(self, outcome: str) -> float | None:
        """Return the part of the settled ones that ended in a way; None where none is settled.

        >>> Cards(accepted=3, overridden=1).share("accepted")
        0.75
        """
        return getattr(self, outcome) / self.settled if self.settled else None

    def add(self, outcome: str, count: int) -> None:
        """Add cards that ended in a way."""
        setattr(self, outcome, getattr(self, outcome) + count)


@dataclass(slots=True)
class Rates:
    """One service over a time. `reasons` are those of its answers, `overrides` those of the clinicians."""

    service: str
    calls: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    overrides: dict[str, int] = field(default_factory=dict)
    roles: dict[str, Cards] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """How many calls there were."""
        return sum(self.calls.values())

    @property
    def cards(self) -> Cards:
        """The cards for users of every kind."""
        total = Cards()
        for found in self.roles.values():
            for outcome in ("accepted", "overridden", "ignored", "open"):
                total.add(outcome, getattr(found, outcome))
        return total

    def lines(self) -> Iterator[tuple[str, Cards]]:
        """Give all users first, then each kind of them, the most cards first."""
        yield "all", self.cards
        yield from sorted(self.roles.items(), key=lambda item: -item[1].shown)


def rates(engine: Engine, since: datetime, until: datetime, *, ripe: timedelta = RIPE) -> dict[str, Rates]:
    """Return the rates of every service that was asked between two moments, by its id."""
    found: dict[str, Rates] = {}
    asked: Mapping[str, object] = {
        "tenant": TENANT,
        "since": since,
        "until": until,
        "ripe": until - ripe,
        "console": CONSOLE,
    }
    with engine.connection(Mode.SNAPSHOT) as connection, connection.cursor() as cursor:
        cursor.execute(_CALLS, asked)
        for service, ending, count in cursor.fetchall():
            found.setdefault(service, Rates(service)).calls[ending] = count
        cursor.execute(_REASONS, asked)
        for service, reason, count in cursor.fetchall():
            found.setdefault(service, Rates(service)).reasons[reason] = count
        cursor.execute(_CARDS, asked)
        for service, role, outcome, reason, count in cursor.fetchall():
            one = found.setdefault(service, Rates(service))
            one.roles.setdefault(role, Cards()).add(outcome, count)
            if outcome == "overridden":
                said = reason or "no reason told"
                one.overrides[said] = one.overrides.get(said, 0) + count
    return dict(sorted(found.items()))
