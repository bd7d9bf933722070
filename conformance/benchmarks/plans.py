"""Growth: rows and buffers of the same searches on a small and a large installation, and their times.

The plans are those of the server's own statements: auto_explain writes them into the log of its
Postgres while a few requests are answered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from conformance.benchmarks import load
from conformance.benchmarks.journeys import Journey
from conformance.benchmarks.postgres import explaining
from conformance.benchmarks.rounds import measure
from conformance.benchmarks.targets import Target

_EXPLAINED = 20


@dataclass(frozen=True, slots=True)
class Work:
    """What a request's statements did, on the average."""

    statements: float
    rows: float
    buffers: float


@dataclass(frozen=True, slots=True)
class Growth:
    """One journey on the small and the large installation; times are medians over the rounds."""

    journey: str
    small: Work
    large: Work
    small_ms: float
    large_ms: float
    small_cpu_ms: float
    large_cpu_ms: float

    def ratios(self) -> dict[str, float]:
        """Return large against small for each figure with a goal."""
        return {
            "rows": self.large.rows / max(1.0, self.small.rows),
            "buffers": self.large.buffers / max(1.0, self.small.buffers),
            "time": self.large_ms / self.small_ms,
        }


def growth(journeys: Sequence[Journey], small: Target, large: Target, *, rounds: int) -> list[Growth]:
    """Measure each journey on both, one client at a time, and explain a few of its requests."""
    plans = {side.name: explain(journeys, side) for side in (small, large)}
    found = []
    for number, journey in enumerate(journeys):
        alone = replace(journey, clients=1, count=min(journey.count, 150), same="")
        outcome = measure(alone, (small, large), rounds=rounds)
        times = {name: median(one.p50_ms for one in figures) for name, figures in outcome.rounds.items()}
        found.append(
            Growth(
                journey.name,
                plans[small.name][number],
                plans[large.name][number],
                times[small.name],
                times[large.name],
                outcome.middle(small.name, "cpu_ms"),
                outcome.middle(large.name, "cpu_ms"),
            )
        )
    return found


def explain(journeys: Sequence[Journey], side: Target) -> list[Work]:
    """Return what the statements of each journey do, from their plans with ANALYZE and BUFFERS."""
    database = side.database
    assert database is not None
    found = []
    with explaining(database):
        for journey in journeys:
            requests = journey.requests(side.host, side.prefix)[:_EXPLAINED]
            for request in requests:  # once before: caches, and the first connections
                load.ask(side.address, request)
            mark = _log_mark(database.log_folder())
            for request in requests:
                load.ask(side.address, request)
            plans = _plans(database.log_folder(), mark)
            statements = len(plans) / len(requests)
            rows = sum(_rows(plan) for plan in plans) / len(requests)
            buffers = sum(_buffers(plan) for plan in plans) / len(requests)
            found.append(Work(statements, rows, buffers))
    return found


def _log_mark(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.glob("*.log")}


def _plans(folder: Path, mark: dict[Path, int]) -> list[dict[str, Any]]:
    """Return the plans written since `mark`: JSON on lines that begin with a tab."""
    found = []
    for path in sorted(folder.glob("*.log")):
        with path.open("rb") as file:
            file.seek(mark.get(path, 0))
            lines = file.read().decode(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if line.endswith("plan:"):
                body = []
                for more in lines[number + 1 :]:
                    if not more.startswith("\t"):
                        break
                    body.append(more[1:])
                found.append(json.loads("\n".join(body))["Plan"])
    return found


def _rows(plan: dict[str, Any]) -> float:
    """Return how many rows (or index entries) the scans of a plan touched."""
    total = 0.0
    if "Scan" in plan["Node Type"]:
        removed = sum(float(plan.get(name, 0)) for name in _REMOVED)
        total += (float(plan["Actual Rows"]) + removed) * float(plan["Actual Loops"])
    return total + sum(_rows(child) for child in plan.get("Plans", ()))


_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


def _buffers(plan: dict[str, Any]) -> float:
    return float(plan.get("Shared Hit Blocks", 0)) + float(plan.get("Shared Read Blocks", 0))
