"""Alert burden: the same card once in a while, and so many cards a day for one user.

A card is the same when service, hook, patient and what it says at a glance are: summary, indicator,
labels and descriptions of its suggestions. The times and values in its detail change with every call
and do not make it new. `critical` cards are neither withheld nor counted: one that was seen in the
morning must not be missing when the order is signed in the evening. Who decides is Postgres, in the
statement that records the call, so that it holds over all workers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from uuid import UUID

from cds_hooks.cards import Card
from cds_hooks.records.entries import Offered
from fhir_server.model import json_format


@dataclass(frozen=True, slots=True)
class Burden:
    """How much may be shown: hours until a card is repeated to a user (0: at once), cards a day (0: any)."""

    repeat_hours: float = 0.0
    most_a_day: int = 0
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose eyes a card is for."""

    client: str | None
    user: str | None
    patient: str


def offered(
    card: Card, body: str, service: str, hook: str, reader: Reader, at: datetime, burden: Burden
) -> Offered:
    """Return a card as it is handed to the record.

    >>> from cds_hooks.cards import Source
    >>> card = Card(str(UUID(int=1)), "Look", "critical", Source("us"))
    >>> offered(card, "{}", "s", "patient-view", Reader(None, "Practitioner/1", "7"), None, Burden(24, 5)).key
    """
    uuid = UUID(card.uuid)
    if card.indicator == "critical":
        return Offered(uuid, body)
    key = None
    if burden.repeat_hours > 0:
        key = _hash(service, hook, reader.client, reader.user, reader.patient, *_glance(card))
    if burden.most_a_day <= 0 or reader.user is None:
        return Offered(uuid, body, key)
    day = at.astimezone(burden.zone).date()
    return Offered(uuid, body, key, _hash(reader.client, reader.user), day)


def _glance(card: Card) -> list[str]:
    """Return what a card says at a glance."""
    said = [card.summary, card.indicator, card.source.label]
    for suggestion in card.suggestions:
        said.append(suggestion.label)
        said += [f"{action.type} {action.description}" for action in suggestion.actions]
    return said


def _hash(*parts: str | None) -> bytes:
    return hashlib.sha256(json_format.encode(parts)).digest()
