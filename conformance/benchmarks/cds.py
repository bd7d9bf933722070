"""CDS Hooks calls with everything prefetched, beside a bare WSGI application on the same kind of server.

Each call is about the stroke patient and comes from another user, so that each is answered with its card,
and each is recorded before it is answered: that is part of what is measured. What the background worker
does meanwhile (the chain of records, AuditEvents) runs beside it, as in an installation.

Twice: all clients call again as soon as they are answered, which is as much as can be had and fills every
core; and at the pace of the goal, which is what a hospital sees that needs so many.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import conformance
from conformance.benchmarks import goals, load
from conformance.benchmarks.goals import Verdict
from conformance.benchmarks.rounds import Differ, Figures
from conformance.benchmarks.targets import Target
from conformance.samples import stroke

CLIENTS = 16
_PATH = f"/cds-services/{stroke.SERVICE_ID}"
_JSON = (("Content-Type", "application/json"),)
_CARD_BYTES = 3000
_COMPACT = (",", ":")  # as JSON.stringify writes it, which is what EHRs in a browser send
_ROOT = Path(conformance.__file__).resolve().parent.parent
_WARM = 100
PACED = f"at {1000 / goals.CDS_EVERY_MS:.0f} calls/s"


@dataclass(slots=True)
class Decisions:
    """What was found: rounds of either side, and what the model alone takes, in microseconds."""

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    model: dict[str, float] = field(default_factory=dict)
    body_bytes: int = 0

    def middle(self, side: str, name: str) -> float:
        """Return the median over the rounds of one figure."""
        return float(median(getattr(figures, name) for figures in self.rounds[side]))

    def text(self) -> str:
        """Return it for people."""
        lines = ["", f"CDS Hooks, {CLIENTS} clients, prefetch of {self.body_bytes / 1000:.0f} kB given"]
        lines.append(f"  {'':16}{'calls/s':>9}{'p50':>8}{'p95':>8}{'p99':>8}{'server':>8}{'db':>8}  ms")
        for side in self.rounds:
            names = ("p50_ms", "p95_ms", "p99_ms", "server_ms", "database_ms")
            figures = "".join(f"{self.middle(side, name):8.2f}" for name in names)
            lines.append(f"  {side:16}{self.middle(side, 'per_second'):9.0f}{figures}")
        if self.model:
            parts = ", ".join(f"{name} {value:.0f}" for name, value in self.model.items())
            lines.append(f"  the model alone, µs: {parts}")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Return it for machines."""
        rounds = {side: [asdict(each) for each in found] for side, found in self.rounds.items()}
        return {"clients": CLIENTS, "body_bytes": self.body_bytes, "rounds": rounds, "model_us": self.model}

    def verdicts(self) -> list[Verdict]:
        """Return the goals."""
        ours = next(iter(self.rounds))
        what = f"CDS Hooks, {CLIENTS} clients"
        found = [
            Verdict(f"{what}, p99", self.middle(ours, "p99_ms"), goals.CDS_P99_MS, "ms"),
            Verdict(
                f"{what}, between two answers",
                1000 / self.middle(ours, "per_second"),
                goals.CDS_EVERY_MS,
                "ms",
            ),
        ]
        if PACED in self.rounds:
            found.append(
                Verdict(f"{what}, p99 {PACED}", self.middle(PACED, "p99_ms"), goals.CDS_P99_MS, "ms")
            )
        if self.model:
            found.append(
                Verdict("the model of a CDS service, p99", self.model["p99"] / 1000, goals.CDS_MODEL_MS, "ms")
            )
        return found


def measure(ours: Target, hello: Target, *, rounds: int, calls: int, longest_s: float = 20.0) -> Decisions:
    """Call both sides in turns; raises Differ when an answer has no card."""
    found = Decisions()
    templates = _prefetch(ours)
    called = _Called(ours, _requests(ours, templates, _WARM + 2 * rounds * calls), longest_s)
    floor = _Called(hello, _requests(hello, templates, _WARM + calls), longest_s)
    found.body_bytes = len(called.requests[0])
    for side in (called, floor):
        side.run(_WARM)
    for number in range(rounds):
        turns = [
            (ours.name, called, 0.0),
            (PACED, called, goals.CDS_EVERY_MS / 1000),
            (hello.name, floor, 0.0),
        ]
        for name, side, every_s in turns if number % 2 == 0 else turns[::-1]:
            figures = side.run(calls, every_s)
            if side is called and figures.answer_bytes < _CARD_BYTES:
                raise Differ(f"the answers have {figures.answer_bytes:.0f} bytes: not all have a card")
            found.rounds.setdefault(name, []).append(figures)
    found.model = _model_alone()
    return found


@dataclass(slots=True)
class _Called:
    """One side with its calls, each of which is made once as long as there are new ones."""

    target: Target
    requests: list[bytes]
    longest_s: float
    first: int = 0

    def run(self, count: int, every_s: float = 0.0) -> Figures:
        """Make so many calls, at a pace or as fast as they are answered; raises Differ unless all are 200."""
        before = self.target.tree.cpu()
        ran = load.run(
            self.target.address, self.requests, expected=frozenset({200}), clients=CLIENTS, count=count,
            longest_s=self.longest_s, first=self.first, every_s=every_s,
        )  # fmt: skip
        self.first += count
        if ran.unexpected:
            raise Differ(f"{self.target.name}: answers were {sorted(ran.unexpected)}: {ran.example!r}")
        cpu = self.target.tree.cpu() - before
        return Figures(
            requests=ran.count,
            per_second=ran.count / ran.seconds,
            p50_ms=ran.percentile(0.50),
            p95_ms=ran.percentile(0.95),
            p99_ms=ran.percentile(0.99),
            server_ms=cpu.server_ms / ran.count,
            database_ms=cpu.database_ms / ran.count,
            generator_ms=ran.generator_ms / ran.count,
            answer_bytes=ran.bytes_received / ran.count,
        )


def _prefetch(ours: Target) -> dict[str, str]:
    """Return the prefetch templates of the service, as its discovery tells them."""
    answer = load.ask(ours.address, load.request("GET", "/cds-services", host=ours.host))
    for service in json.loads(answer.body)["services"]:
        if service["id"] == stroke.SERVICE_ID:
            return dict(service["prefetch"])
    raise Differ(f"discovery does not list {stroke.SERVICE_ID}")


def _requests(side: Target, templates: dict[str, str], count: int) -> list[bytes]:
    """Return calls, each from a user of its own: nobody is shown the same card twice a day."""
    given = stroke.prefetch(templates, stroke.resources(datetime.now(UTC)))
    rest = json.dumps(given, separators=_COMPACT)
    made = []
    for _ in range(count):
        call = stroke.call(str(uuid4()), user=f"Practitioner/{uuid4()}")
        body = f'{json.dumps(call, separators=_COMPACT)[:-1]},"prefetch":{rest}}}'.encode()
        made.append(load.request("POST", _PATH, body, host=side.host, headers=_JSON))
    return made


def _model_alone() -> dict[str, float]:
    """Return what a prediction with its explanation takes in a process that does nothing else, in µs."""
    done = subprocess.run(
        [sys.executable, "-m", "cds_hooks.models.timing"],
        capture_output=True,
        cwd=_ROOT,
        check=True,
        timeout=120,
    )
    return {str(name): float(value) for name, value in json.loads(done.stdout).items()}
