"""A decision service: what it listens to, what it needs, how it decides.

`decide` gets Facts and returns a Decision. It speaks neither HTTP nor SQL, reads no clock and
draws no random number, so that a recorded call can be decided again and must give the same cards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from cds_hooks.cards import Card
from cds_hooks.facts.chart import Chart


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision is made from: the hook, its context, the chart with the draft orders in it."""

    call_id: UUID
    hook: str
    context: Mapping[str, Any]
    chart: Chart

    def uuid(self, name: str) -> str:
        """Return the uuid of a card or suggestion of this call; the same name gives the same one."""
        return str(uuid5(self.call_id, name))


@dataclass(frozen=True, slots=True)
class Decision:
    """What came out, and what the record of the call keeps beside it.

    `reasons` are codes: why there is no card, or `suggested`, `shown`. `inputs` are the values
    that were used, `output` the numbers that were computed.
    """

    reasons: tuple[str, ...]
    cards: tuple[Card, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """Which trained model a service rests on, for the record: identity, hash, attributes."""

    id: str
    version: str
    sha256: str
    state: str
    source_attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Service:
    """One line of the SERVICES table. Several hooks under one id replace each other's cards."""

    id: str
    hooks: tuple[str, ...]
    title: str
    description: str
    prefetch: Mapping[str, str]
    decide: Callable[[Facts], Decision] = field(repr=False)
    usage_requirements: str = ""
    model: Model | None = None
    evidence: str = ""
    shadow: bool = False
    """Decide and record, show nothing: whatever the switch says, for instance by the state of its model."""
