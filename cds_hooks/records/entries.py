"""What is kept of a call and of a feedback, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

SHOWN, REPEATED, CAPPED = "shown", "repeated", "capped"
"""Verdicts over a card: it is sent; this reader has seen it lately; this reader has seen enough today."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who asked what, what was answered and why. `answer` is the body that was sent.

    `own_ids`: patient and user are ids of our own FHIR base. `computed` is the body that was computed,
    where less of it was sent: in shadow, or because cards were withheld. `withheld` gives the reason for
    each of these. `content` is what was decided from (`operation.inputs`), deflated.
    """

    call_id: UUID
    received_at: datetime
    latency_us: int
    status: int
    service: str
    reasons: tuple[str, ...]
    input_hash: bytes
    answer: str
    hook: str | None = None
    hook_instance: UUID | None = None
    client: str | None = None
    user_reference: str | None = None
    patient: str | None = None
    model: str | None = None
    model_version: str | None = None
    model_hash: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    cards: tuple[UUID, ...] = ()
    mode: str = "on"
    model_state: str | None = None
    code: str | None = None
    own_ids: bool = False
    computed: str | None = None
    withheld: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """A card that may be shown: its JSON, and by what the alert burden is judged.

    Without a `key` it may be repeated, without a `reader` it is not counted.
    """

    card: UUID
    body: str
    key: bytes | None = None
    reader: bytes | None = None
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A call with the cards that its user would be shown; the record decides which of them he is."""

    call: Call
    cards: tuple[Offered, ...] = ()

    def settled(self, verdicts: Mapping[UUID, str]) -> Call:
        """Return the call as it is kept, given the verdict over each card.

        >>> from datetime import UTC
        >>> call = Call(UUID(int=1), datetime(2026, 1, 2, tzinfo=UTC), 1, 200, "s", ("shown",), b"", "…")
        >>> offer = Offer(call, (Offered(UUID(int=2), "{}"),))
        >>> offer.settled({UUID(int=2): "repeated"}).answer, offer.settled({UUID(int=2): "shown"}).answer
        ('{"cards":[]}', '{"cards":[{}]}')
        """
        if not self.cards:
            return self.call
        shown = [offered for offered in self.cards if verdicts[offered.card] == SHOWN]
        held = {str(o.card): verdicts[o.card] for o in self.cards if verdicts[o.card] != SHOWN}
        return replace(
            self.call,
            answer=body_of([offered.body for offered in shown]),
            computed=body_of([offered.body for offered in self.cards]) if held else None,
            cards=tuple(offered.card for offered in shown),
            withheld=held,
            reasons=(*self.call.reasons, *sorted(set(held.values()))),
        )


def body_of(cards: Sequence[str]) -> str:
    """Return the body of an answer from the JSON of its cards; the statement that keeps it does the same.

    >>> body_of([])
    '{"cards":[]}'
    """
    return '{"cards":[' + ",".join(cards) + "]}"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of one card."""

    card: UUID
    outcome: str
    outcome_at: datetime
    received_at: datetime
    client: str | None = None
    accepted: tuple[UUID, ...] = ()
    reason: Mapping[str, Any] | None = None
    user_comment: str | None = None
