"""What processes cost, read from /proc: CPU of a whole tree of them, memory of each."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_QUIET_MS = 3.0


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc: `cpu_ms` counts the process and the children that it has buried."""

    pid: int
    parent: int
    name: str
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU milliseconds (user and system) of a server and of its Postgres cluster."""

    server_ms: float
    database_ms: float

    @property
    def total_ms(self) -> float:
        """Both together."""
        return self.server_ms + self.database_ms

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.server_ms - other.server_ms, self.database_ms - other.database_ms)


@dataclass(frozen=True, slots=True)
class Tree:
    """The processes of one installation: those under `server_pid` and those under `database_pid`.

    The cluster may be a child of the server or stand beside it; either way each process is
    counted once. Without a pid (a server elsewhere) the figures are 0.
    """

    server_pid: int | None
    database_pid: int | None

    def cpu(self) -> Cpu:
        """Return what all of it has used so far."""
        found = _processes()
        database = _under(found, self.database_pid)
        server = _under(found, self.server_pid) - database
        return Cpu(sum(found[pid].cpu_ms for pid in server), sum(found[pid].cpu_ms for pid in database))

    def cpu_when_idle(self, *, settle_s: float = 0.2, longest_s: float = 5.0) -> Cpu:
        """Return what has been used once `settle_s` pass with next to nothing used in them.

        What a request leaves behind (the WAL writer, statistics, a checkpoint) belongs to it.
        """
        before, until = self.cpu(), time.monotonic() + longest_s
        while True:
            time.sleep(settle_s)
            now = self.cpu()
            if (now - before).total_ms <= _QUIET_MS * settle_s / 0.2 or time.monotonic() > until:
                return now
            before = now

    def memory(self) -> list[tuple[str, float]]:
        """Return (command, PSS in MiB) of each server process, the largest first."""
        found = _processes()
        server = _under(found, self.server_pid) - _under(found, self.database_pid)
        sizes = [(_command(pid), pss_mib(pid)) for pid in server]
        return sorted(sizes, key=lambda pair: -pair[1])


def postmaster_under(pid: int) -> int | None:
    """Return the pid of the Postgres that runs below process `pid`, if one does."""
    found = _processes()
    names = (child for child in sorted(_under(found, pid)) if found[child].name == "postgres")
    return next((child for child in names if found[found[child].parent].name != "postgres"), None)


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process: its own pages and its share of the common ones."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "gone"
    return " ".join(Path(word).name if "/" in word else word for word in words if word)[:70]


def _under(found: dict[int, Process], pid: int | None) -> set[int]:
    """Return `pid` and all its descendants that still live."""
    if pid not in found:
        return set()
    family = {pid}
    while True:
        more = {process.pid for process in found.values() if process.parent in family} - family
        if not more:
            return family
        family |= more


def _processes() -> dict[int, Process]:
    found: dict[int, Process] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text()
            except OSError:
                continue
            head, _, tail = text.rpartition(")")  # the name may hold anything
            fields = tail.split()
            pid = int(entry.name)
            used = _own_ms(pid, fields) + sum(int(field) for field in fields[13:15]) * _TICK_MS
            found[pid] = Process(pid, int(fields[1]), head.partition("(")[2], used)
    return found


def _own_ms(pid: int, fields: list[str]) -> float:
    """Return the CPU of a process, to the nanosecond by its own clock; /proc counts in ticks of 10 ms."""
    try:
        return time.clock_gettime(~pid << 3 | 2) * 1000  # the clock of clock_getcpuclockid(3)
    except OSError:
        return sum(int(field) for field in fields[11:13]) * _TICK_MS
