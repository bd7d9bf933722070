"""What a run says: the table for people, the document for machines, and which goals are met."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from conformance.benchmarks.plans import Growth
from conformance.benchmarks.rounds import Outcome
from conformance.benchmarks.targets import Loaded, Target

MOST_HELLOS = 15.0
GROWTH_LIMIT = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was found."""

    what: str
    found: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.found <= self.limit

    def line(self) -> str:
        """Return it for people."""
        word = "met   " if self.met else "MISSED"
        return f"  {word}  {self.what}: {self.found:.2f} {self.unit} (goal {self.limit:g})"


@dataclass(slots=True)
class Report:
    """Everything one run found. `ours` and `other` are the names of the two sides."""

    ours: str
    other: str
    settings: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=lambda: machine())
    loads: dict[str, Loaded] = field(default_factory=dict)
    disk: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    hello: Outcome | None = None
    memory: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    growth: list[Growth] = field(default_factory=list)

    def floor_in_hellos(self) -> dict[str, float]:
        """Return what the floor's read costs in bare hellos: its server alone, and with its database."""
        if self.hello is None:
            return {}
        return {
            "server": self.hello.ratio(self.other, "hello", "server_ms"),
            "server and database": self.hello.ratio(self.other, "hello", "cpu_ms"),
        }

    def verdicts(self) -> list[Verdict]:
        """Return each goal that could be judged."""
        found = []
        for outcome in self.outcomes:
            goal = outcome.journey.goal
            if goal is None:
                continue
            if goal.per_resource_ms:
                value = outcome.middle(self.ours, "cpu_ms") / outcome.journey.units
                unit = "ms CPU a resource"
            else:
                value, unit = outcome.ratio(self.ours, self.other, "cpu_ms"), f"times the CPU of {self.other}"
            if value and not isnan(value):
                found.append(Verdict(outcome.journey.name, value, goal.limit, unit))
        for grown in self.growth:
            if "patient+" not in grown.journey:
                continue  # shown, but no goal: a prefix has more hits where there is more data
            for name, ratio in grown.ratios().items():
                found.append(Verdict(f"growth, {grown.journey}: {name}", ratio, GROWTH_LIMIT, "times"))
        return found

    def floor_is_too_high(self) -> bool:
        """Tell whether the floor costs so much that ratios to it flatter."""
        return self.floor_in_hellos().get("server", 0.0) > MOST_HELLOS

    def document(self) -> dict[str, Any]:
        """Return the run as JSON."""
        return {
            "machine": self.machine,
            "settings": self.settings,
            "load": {name: _load(loaded) for name, loaded in self.loads.items()},
            "disk": self.disk,
            "journeys": [self._journey(outcome) for outcome in self.outcomes],
            "floor_in_hellos": self.floor_in_hellos(),
            "memory_pss_mib": self.memory,
            "growth": [{**asdict(grown), "ratios": grown.ratios()} for grown in self.growth],
            "goals": [{**asdict(one), "met": one.met} for one in self.verdicts()],
        }

    def _journey(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "name": outcome.journey.name,
            "clients": outcome.journey.clients,
            "resources_per_request": outcome.journey.units,
            "mean_hits": outcome.hits,
            "cpu_ratio": outcome.ratio(self.ours, self.other, "cpu_ms"),
            "p50_ratio": outcome.ratio(self.ours, self.other, "p50_ms"),
            "rounds": {name: [asdict(one) for one in rounds] for name, rounds in outcome.rounds.items()},
        }

    def text(self) -> str:
        """Return the run for people."""
        lines = ["", "  ".join(f"{name}: {value}" for name, value in self.machine.items())]
        lines.append("  ".join(f"{name}: {value}" for name, value in self.settings.items()))
        lines += ["", *self._table(), *self._load_lines(), *self._disk_lines(), *self._memory_lines()]
        if hellos := self.floor_in_hellos():
            lines.append("")
            parts = ", ".join(f"{value:.1f} ({name})" for name, value in hellos.items())
            lines.append(
                f"a read on the floor costs {parts} bare hellos; the server alone may {MOST_HELLOS:g}"
            )
        lines += self._growth_lines()
        lines += ["", "goals", *(verdict.line() for verdict in self.verdicts())]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        head = f"{'':40}{'':>7}{'req/s':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'server':>8}{'db':>8}{'CPU':>8}"
        lines = [
            f"{'ms; medians of the rounds':40}",
            head + f"{'CPU x':>7}{'p50 x':>7}{'p99 x':>7}{'hits':>6}",
        ]
        for outcome in self.outcomes:
            for side in (self.ours, self.other):
                name = outcome.journey.name if side == self.ours else ""
                line = f"{name[:40]:40}{side[:7]:>7}{outcome.middle(side, 'per_second'):8.1f}"
                for figure in ("p50_ms", "p95_ms", "p99_ms", "server_ms", "database_ms", "cpu_ms"):
                    line += f"{outcome.middle(side, figure):8.2f}"
                if side == self.ours:
                    for figure in ("cpu_ms", "p50_ms", "p99_ms"):
                        line += f"{outcome.ratio(self.ours, self.other, figure):7.2f}"
                    line += f"{outcome.hits:6.1f}" if outcome.hits is not None else ""
                elif outcome.journey.units > 1:
                    mine = outcome.middle(self.ours, "cpu_ms") / outcome.journey.units
                    theirs = outcome.middle(side, "cpu_ms") / outcome.journey.units
                    line += f"  a resource: {mine:.3f} and {theirs:.3f} ms"
                lines.append(line)
        return lines

    def _load_lines(self) -> list[str]:
        lines = ["", "load"] if self.loads else []
        for name, loaded in self.loads.items():
            server, database = (
                value / loaded.resources for value in (loaded.cpu.server_ms, loaded.cpu.database_ms)
            )
            lines.append(
                f"  {name:10} {loaded.resources} resources in {loaded.seconds:.1f} s, "
                f"{loaded.resources / loaded.seconds:.0f}/s, CPU a resource {server:.3f} + {database:.3f} ms"
            )
        return lines

    def _disk_lines(self) -> list[str]:
        lines = ["", "disk, after VACUUM"] if self.disk else []
        for name, disk in self.disk.items():
            lines.append(
                f"  {name:10} {disk['bytes_per_resource']:.0f} bytes a resource, {disk['times_json']:.2f} "
                f"times its compact JSON of {disk['json_bytes_per_resource']:.0f}"
            )
            largest = sorted(disk["relations"].items(), key=lambda pair: -pair[1])[:8]
            lines.append("             " + ", ".join(f"{relation} {size:.0f}" for relation, size in largest))
        return lines

    def _memory_lines(self) -> list[str]:
        lines = ["", "memory of each process (PSS, MiB)"] if self.memory else []
        for name, processes in self.memory.items():
            total = sum(size for _, size in processes)
            parts = ", ".join(f"{size:.0f} {command[-24:]}" for command, size in processes)
            lines.append(f"  {name:10} {total:.0f}: {parts}")
        return lines

    def _growth_lines(self) -> list[str]:
        lines = ["", "growth"] if self.growth else []
        for one in self.growth:
            lines.append(
                f"  {one.journey}: rows {one.small.rows:.0f} → {one.large.rows:.0f}, buffers "
                f"{one.small.buffers:.0f} → {one.large.buffers:.0f}, p50 {one.small_ms:.2f} → "
                f"{one.large_ms:.2f} ms, CPU {one.small_cpu_ms:.2f} → {one.large_cpu_ms:.2f} ms, "
                f"statements {one.small.statements:.1f}"
            )
        return lines


def disk_of(target: Target, resources: int, json_bytes: int) -> dict[str, Any]:
    """Return what the load has added to the database, a resource, and against its compact JSON."""
    assert target.database is not None
    now = target.database.bytes_by_relation()
    grown = {name: size - target.empty_bytes.get(name, 0) for name, size in now.items()}
    total = sum(grown.values())
    return {
        "bytes_per_resource": total / resources,
        "json_bytes_per_resource": json_bytes / resources,
        "times_json": total / json_bytes,
        "relations": {name: size / resources for name, size in grown.items() if size / resources >= 1},
    }


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "granian": importlib.metadata.version("granian"),
        "flask": importlib.metadata.version("flask"),
        "psycopg2": _version_of("psycopg2-binary", "psycopg2"),
        "load average": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }


def _version_of(*names: str) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _load(loaded: Loaded) -> dict[str, float]:
    return {
        "resources": loaded.resources,
        "seconds": loaded.seconds,
        "server_ms_per_resource": loaded.cpu.server_ms / loaded.resources,
        "database_ms_per_resource": loaded.cpu.database_ms / loaded.resources,
    }
