"""What a run says: the table for people, the document for machines, and which goals are met."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass, field
from math import isnan
from pathlib import Path
from typing import Any, Protocol

from conformance.benchmarks import goals
from conformance.benchmarks.cds import Decisions
from conformance.benchmarks.disk import Disk
from conformance.benchmarks.goals import Verdict
from conformance.benchmarks.memory import Memory
from conformance.benchmarks.rounds import Outcome
from conformance.benchmarks.targets import Loaded
from conformance.benchmarks.thirty.report import Thirty
from conformance.benchmarks.workloads import Crud

MOST_HELLOS = 15.0


class Part(Protocol):
    """What was found beside Orthanc of one of the services of DICOM."""

    def text(self) -> str:
        """Return it for people."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""


@dataclass(slots=True)
class Report:
    """Everything one run found. `ours` and `other` are the names of the two sides; a peer may be a third."""

    ours: str
    other: str
    settings: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=lambda: machine())
    loads: dict[str, Loaded] = field(default_factory=dict)
    disk: dict[str, Disk] = field(default_factory=dict)
    further_version: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    hello: Outcome | None = None
    thirty: list[Thirty] = field(default_factory=list)
    crud: dict[str, Crud] = field(default_factory=dict)
    processes: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    memory: Memory | None = None
    decisions: Decisions | None = None
    dicom: dict[str, Part] = field(default_factory=dict)

    def is_empty(self) -> bool:
        """Tell whether nothing was measured."""
        parts = (
            self.outcomes,
            self.thirty,
            self.crud,
            self.memory,
            self.loads,
            self.dicom,
            self.decisions,
        )
        return not any(parts)

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
        found = [one for outcome in self.outcomes for one in self._of_journey(outcome)]
        for part in self.thirty:
            found += part.verdicts()
        for name, disk in self.disk.items():
            found.append(Verdict(f"disk, {name}", disk.times_json, goals.DISK, "times the compact JSON"))
        if self.further_version:
            found.append(Verdict("disk, a further version", self.further_version, goals.FURTHER_VERSION,
                                 "times its JSON"))  # fmt: skip
        if self.memory is not None:
            what = f"memory of a worker after {self.memory.requests:,} requests"
            found.append(Verdict(what, self.memory.last, goals.MEMORY_MIB, "MiB"))
            found.append(Verdict("memory, last quarter against the second", self.memory.flatness, goals.FLAT,
                                 "times"))  # fmt: skip
        if self.decisions is not None:
            found += self.decisions.verdicts()
        return found

    def _of_journey(self, outcome: Outcome) -> list[Verdict]:
        journey, found = outcome.journey, []
        if journey.goal is not None and journey.goal.per_resource_ms:
            value = outcome.middle(self.ours, "cpu_ms") / journey.units
            found.append(Verdict(journey.name, value, journey.goal.limit, "ms CPU a resource"))
        elif journey.goal is not None:
            value = outcome.ratio(self.ours, self.other, "cpu_ms")
            found.append(Verdict(journey.name, value, journey.goal.limit, f"times the CPU of {self.other}"))
        if journey.clients == 16:
            value = outcome.ratio(self.ours, self.other, "p99_ms")
            found.append(Verdict(f"{journey.name}, p99", value, goals.TAIL, f"times that of {self.other}"))
        return [one for one in found if one.found and not isnan(one.found)]

    def floor_is_too_high(self) -> bool:
        """Tell whether the floor costs so much that ratios to it flatter."""
        return self.floor_in_hellos().get("server", 0.0) > MOST_HELLOS

    def document(self) -> dict[str, Any]:
        """Return the run as JSON."""
        return {
            "machine": self.machine,
            "settings": self.settings,
            "load": {name: _load(loaded) for name, loaded in self.loads.items()},
            "disk": {name: {**asdict(one), "times_json": one.times_json} for name, one in self.disk.items()},
            "further_version_times_json": self.further_version,
            "journeys": [self._journey(outcome) for outcome in self.outcomes],
            "floor_in_hellos": self.floor_in_hellos(),
            "thirty": [one.document() for one in self.thirty],
            "crud": {name: one.document() for name, one in self.crud.items()},
            "processes_pss_mib": self.processes,
            "memory": asdict(self.memory) if self.memory is not None else None,
            "cds": self.decisions.document() if self.decisions is not None else None,
            "dicom": {name: part.document() for name, part in self.dicom.items()},
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
        lines += ["", *self._table()] if self.outcomes else []
        for part in self.thirty:
            lines += part.text()
        lines += [*self._load_lines(), *self._disk_lines(), *self._crud_lines(), *self._memory_lines()]
        if self.decisions is not None:
            lines.append(self.decisions.text())
        lines += [part.text() for part in self.dicom.values()]
        if hellos := self.floor_in_hellos():
            lines.append("")
            parts = ", ".join(f"{value:.1f} ({name})" for name, value in hellos.items())
            lines.append(
                f"a read on the floor costs {parts} bare hellos; the server alone may {MOST_HELLOS:g}"
            )
        lines += ["", "goals", *(verdict.line() for verdict in self.verdicts())]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        head = f"{'':40}{'':>7}{'req/s':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'server':>8}{'db':>8}{'CPU':>8}"
        lines = [
            f"{'ms; medians of the rounds':40}",
            head + f"{'CPU x':>7}{'p50 x':>7}{'p99 x':>7}{'hits':>6}",
        ]
        for outcome in self.outcomes:
            for side in outcome.rounds:
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
            lines += disk.lines(name)
        if self.further_version:
            lines.append(f"  a further version adds {self.further_version:.2f} times its JSON")
        return lines

    def _crud_lines(self) -> list[str]:
        lines = ["", "crud over nine types, ms"] if self.crud else []
        return lines + [one.line(name) for name, one in self.crud.items()]

    def _memory_lines(self) -> list[str]:
        lines = ["", "memory of each process (PSS, MiB)"] if self.processes else []
        for name, processes in self.processes.items():
            total = sum(size for _, size in processes)
            parts = ", ".join(f"{size:.0f} {command[-24:]}" for command, size in processes)
            lines.append(f"  {name:10} {total:.0f}: {parts}")
        if self.memory is not None and self.memory.samples:
            tenth = max(1, len(self.memory.samples) // 10)
            shown = " ".join(f"{one:.0f}" for one in self.memory.samples[::tenth])
            lines.append(f"  the largest worker during {self.memory.requests:,} mixed requests: {shown}")
        return lines


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
