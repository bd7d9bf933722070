"""Feedback on cards (CDS Hooks 2.0, "Feedback"): read and checked.

The same card may be reported many times; the store keeps one row for each (card, outcome, time).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from cds_hooks.facts.chart import moment
from cds_hooks.records.entries import Feedback
from fhir_server.model import json_format
from fhir_server.outcome import Invalid

MOST = 1000
COMMENT_LIMIT = 10_000


def parse(body: bytes, received_at: datetime, client: str | None = None) -> list[Feedback]:
    """Return the entries of a feedback body; raises Invalid (400) naming the field."""
    entries = json_format.parse(body).get("feedback")
    if not isinstance(entries, list) or not entries:
        raise Invalid("feedback is missing; it has to be a list of at least one entry", expression="feedback")
    if len(entries) > MOST:
        raise Invalid(
            f"feedback has {len(entries)} entries; at most {MOST} are taken at once", expression="feedback"
        )
    return [_entry(entry, f"feedback[{number}]", received_at, client) for number, entry in enumerate(entries)]


def _entry(entry: Any, place: str, received_at: datetime, client: str | None) -> Feedback:
    if not isinstance(entry, dict):
        raise Invalid(f"{place} has to be an object", expression=place)
    outcome = entry.get("outcome")
    if outcome not in ("accepted", "overridden"):
        raise Invalid(f"{place}.outcome has to be accepted or overridden", expression=f"{place}.outcome")
    at = moment(entry.get("outcomeTimestamp"))
    if at is None:
        raise Invalid(
            f"{place}.outcomeTimestamp has to be a time in UTC, as 2026-01-02T03:04:05Z",
            expression=f"{place}.outcomeTimestamp",
        )
    accepted: list[UUID] = []
    if outcome == "accepted":
        suggestions = entry.get("acceptedSuggestions")
        if not isinstance(suggestions, list) or not suggestions:
            raise Invalid(
                f"{place}.acceptedSuggestions is required when the outcome is accepted",
                expression=f"{place}.acceptedSuggestions",
            )
        for number, suggestion in enumerate(suggestions):
            where = f"{place}.acceptedSuggestions[{number}].id"
            accepted.append(_uuid(suggestion.get("id") if isinstance(suggestion, dict) else None, where))
    reason, comment = _override(entry.get("overrideReason"), f"{place}.overrideReason")
    return Feedback(
        card=_uuid(entry.get("card"), f"{place}.card"),
        outcome=outcome,
        outcome_at=at,
        received_at=received_at,
        client=client,
        accepted=tuple(accepted),
        reason=reason,
        user_comment=comment,
    )


def _override(value: Any, place: str) -> tuple[Mapping[str, Any] | None, str | None]:
    if value is None:
        return None, None
    if not isinstance(value, dict):
        raise Invalid(f"{place} has to be an object", expression=place)
    reason, comment = value.get("reason"), value.get("userComment")
    if reason is not None and (not isinstance(reason, dict) or not isinstance(reason.get("code"), str)):
        raise Invalid(f"{place}.reason has to be a Coding with a code", expression=f"{place}.reason")
    if comment is not None and (not isinstance(comment, str) or len(comment) > COMMENT_LIMIT):
        raise Invalid(
            f"{place}.userComment has to be a text of at most {COMMENT_LIMIT} characters",
            expression=f"{place}.userComment",
        )
    kept = {key: reason[key] for key in ("system", "code", "display") if key in reason} if reason else None
    return kept, comment


def _uuid(value: Any, place: str) -> UUID:
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        raise Invalid(f"{place} has to be a UUID", expression=place) from None
