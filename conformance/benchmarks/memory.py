"""Memory under use: many mixed requests, and PSS of each worker read from /proc meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import mean

from conformance.benchmarks import load
from conformance.benchmarks.journeys import Journey
from conformance.benchmarks.targets import Target

_EVERY_S = 1.0


@dataclass(slots=True)
class Memory:
    """PSS in MiB of the largest process of a server, about once a second, and what it answered meanwhile."""

    requests: int = 0
    unexpected: int = 0
    samples: list[float] = field(default_factory=list)

    @property
    def last(self) -> float:
        """PSS when all was answered."""
        return self.samples[-1] if self.samples else 0.0

    @property
    def flatness(self) -> float:
        """The last quarter of the samples against the second one: 1 when nothing grows any more.

        >>> Memory(samples=[50, 100, 100, 100, 110, 110, 105, 105]).flatness
        1.05
        """
        quarter = len(self.samples) // 4
        if quarter == 0:
            return 1.0
        return mean(self.samples[-quarter:]) / mean(self.samples[quarter : 2 * quarter])


def under_use(
    side: Target, journeys: Sequence[Journey], requests: int, *, longest_s: float = 400.0
) -> Memory:
    """Send up to `requests` of all journeys in a mixed order with 16 clients and watch the largest worker."""
    mixed = [one for journey in journeys for one in journey.requests(side.host, side.prefix)]
    Random("memory").shuffle(mixed)
    found, done = Memory(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            found.samples.append(_largest(side))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        ran = load.run(side.address, mixed, expected=frozenset({200, 201}), clients=16, count=requests,
                       longest_s=longest_s)  # fmt: skip
    finally:
        done.set()
        watcher.join()
    found.samples.append(_largest(side))
    found.requests, found.unexpected = ran.count, sum(ran.unexpected.values())
    return found


def _largest(side: Target) -> float:
    return max((size for _, size in side.tree.memory()), default=0.0)
