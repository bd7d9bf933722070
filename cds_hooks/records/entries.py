"""What is kept of a call and of a feedback, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who asked what, what was answered and why. `answer` is the body that was sent."""

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
