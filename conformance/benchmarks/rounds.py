"""Measuring: warm up, then A B, B A, A B …; figures of each round, medians over all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from conformance.benchmarks import load
from conformance.benchmarks.journeys import Journey, compared
from conformance.benchmarks.processes import Cpu
from conformance.benchmarks.targets import Target


class Differ(Exception):
    """The two sides did not answer the same question alike, so their costs cannot be compared."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One side of one round."""

    requests: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    server_ms: float
    database_ms: float
    generator_ms: float
    answer_bytes: float

    @property
    def cpu_ms(self) -> float:
        """CPU a request, server and database."""
        return self.server_ms + self.database_ms


@dataclass(slots=True)
class Outcome:
    """All rounds of one journey, by side."""

    journey: Journey
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    hits: float | None = None

    def middle(self, side: str, name: str) -> float:
        """Return the median over the rounds of one figure."""
        return float(median(getattr(figures, name) for figures in self.rounds[side]))

    def ratio(self, one: str, other: str, name: str) -> float:
        """Return the median of the ratios within each round; nan where the other side has no figure."""
        pairs = zip(self.rounds.get(one, ()), self.rounds.get(other, ()), strict=False)
        found = [getattr(a, name) / getattr(b, name) for a, b in pairs if getattr(b, name) > 0]
        return median(found) if found else float("nan")


def measure(
    journey: Journey, sides: Sequence[Target], *, rounds: int, longest_s: float = 10.0, settle_s: float = 0.2
) -> Outcome:
    """Return the figures of `journey` on each side, in rounds that begin with another side each time.

    What only reads leaves nothing behind to be waited for and needs no long `settle_s`.
    """
    requests = {side.name: journey.requests(side.host, side.prefix) for side in sides}
    outcome = Outcome(journey, {side.name: [] for side in sides})
    outcome.hits = _agree(journey, sides, requests)
    warm = max(20, journey.count // 5) if journey.units == 1 else 2
    for side in sides:
        _run(journey, side, requests[side.name], warm, 0, longest_s)
    for number in range(rounds):
        first = warm + number * journey.count
        for side in sides if number % 2 == 0 else list(reversed(sides)):
            before = side.tree.cpu_when_idle(settle_s=settle_s)
            ran = _run(journey, side, requests[side.name], journey.count, first, longest_s)
            outcome.rounds[side.name].append(
                _figures(ran, side.tree.cpu_when_idle(settle_s=settle_s) - before)
            )
    return outcome


def _run(
    journey: Journey, side: Target, requests: list[bytes], count: int, first: int, longest_s: float
) -> load.Run:
    ran = load.run(
        side.address,
        requests,
        expected=journey.expected,
        clients=journey.clients,
        count=count,
        longest_s=longest_s,
        first=first,
    )
    if ran.unexpected:
        raise Differ(
            f"{side.name}, {journey.name}: {sum(ran.unexpected.values())} of {ran.count} answers were "
            f"{sorted(ran.unexpected)}, not {sorted(journey.expected)}: {ran.example!r}"
        )
    return ran


def _figures(ran: load.Run, cpu: Cpu) -> Figures:
    count = ran.count
    return Figures(
        requests=count,
        per_second=count / ran.seconds,
        p50_ms=ran.percentile(0.50),
        p95_ms=ran.percentile(0.95),
        p99_ms=ran.percentile(0.99),
        server_ms=cpu.server_ms / count,
        database_ms=cpu.database_ms / count,
        generator_ms=ran.generator_ms / count,
        answer_bytes=ran.bytes_received / count,
    )


def _agree(journey: Journey, sides: Sequence[Target], requests: dict[str, list[bytes]]) -> float | None:
    """Check a few answers of all sides against each other; return the mean number of entries."""
    if not journey.same:
        return None
    what, sizes = compared(journey.same), []
    for number in range(min(8, len(journey.sent))):
        bundles: list[dict[str, Any]] = []
        for side in sides:
            answer = load.ask(side.address, requests[side.name][number])
            if answer.status != 200:
                raise Differ(f"{side.name}, {journey.sent[number][1]}: {answer.status} {answer.body[:400]!r}")
            bundles.append(json.loads(answer.body))
        found = [what(bundle) for bundle in bundles]
        if any(one != found[0] for one in found):
            raise Differ(f"{journey.sent[number][1]}: the sides found {found}")
        sizes.append(len(bundles[0].get("entry", ())))
    return sum(sizes) / len(sizes)
