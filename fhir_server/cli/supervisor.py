"""Starts, watches, restarts and stops the processes of one installation.

Every process is started by exec, so nothing of the supervisor's memory, threads or connections
gets into it; the supervisor itself opens no connection and no thread. A process that ends by
itself is started again: at once, and with growing pauses if it keeps ending early. When the
supervisor dies, however it dies, Linux ends its children.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from fhir_server.cli.command import Refused, say
from fhir_server.database.account import EmbeddedError
from fhir_server.database.embedded import Embedded
from fhir_server.observability import events

STEADY_S = 10.0
"""A process that was ready for so long is healthy: its next end is the first one again."""

LONGEST_PAUSE_S = 30.0
HOPELESS = 5
"""So many early ends before a process was ever ready, and the start is given up."""

WRONG_SETTINGS = 78
"""The exit code of a process that its settings keep from running (EX_CONFIG of sysexits.h)."""


@dataclass(slots=True)
class Child:
    """One process to keep up. `command` and `environment` start it; `fds` are inherited.

    `is_up` is told False when it ends and True when it is ready again.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    fds: Sequence[int] = ()
    is_up: Callable[[bool], None] = lambda up: None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    ready_at: float = 0.0
    due_at: float = 0.0
    early_ends: int = 0
    exit_code: int = 0
    ready: bool = False
    was_ready: bool = False

    def launch(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            self.command, env=dict(self.environment), pass_fds=tuple(self.fds), stdin=subprocess.DEVNULL,
            stdout=2,  # standard output is the command's answer
            start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we tell them in order
            preexec_fn=_dying_with_parent,
        )  # fmt: skip

    def stop(self, number: int) -> None:
        """Send it a signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


@dataclass(slots=True)
class DatabaseChild(Child):
    """The embedded Postgres: started by its own module, ready when its pid file says so."""

    embedded: Embedded = field(kw_only=True)

    def launch(self) -> None:
        self.embedded.launch()
        self.process = self.embedded.process


class Supervisor:
    """Keeps children up until a signal asks to stop. To be used from the main thread."""

    def __init__(self, stop_grace_s: float) -> None:
        self._grace_s = stop_grace_s
        self._children: list[Child] = []
        self._asked = 0
        self._wake_read, self._wake_write = socket.socketpair()
        self._report_read, self.report_fd = os.pipe()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        os.set_blocking(self._report_read, False)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as a wish to stop, for the block."""

        def ask(number: int, frame: FrameType | None) -> None:
            self._asked += 1

        old = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        # The handler does nothing, but having one makes the end of a child write to the socket.
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        fd = signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in old.items():
                signal.signal(number, handler)

    @property
    def stopping(self) -> bool:
        """Tell whether somebody asked to stop."""
        return self._asked > 0

    def add(self, child: Child) -> None:
        """Start a child now and keep it up from then on."""
        self._children.append(child)
        self._launch(child)

    def wait_until_up(self) -> bool:
        """Watch until all children are ready; False if a stop was asked for before.

        Raises Refused when one ends early again and again without ever having been ready.
        """
        while not self.stopping:
            if all(child.ready for child in self._children):
                return True
            self._step(most_s=0.02)
            for child in self._children:
                hopeless = child.early_ends >= HOPELESS or child.exit_code == WRONG_SETTINGS
                if hopeless and not child.was_ready:
                    raise Refused(f"{child.name} does not start; its reason stands above")
        return False

    def run_once(self, child: Child) -> int | None:
        """Run a child to its end while the others are watched; None if a stop was asked for before."""
        child.launch()
        assert child.process is not None
        while child.process.poll() is None:
            if self.stopping:
                child.stop(signal.SIGTERM)
                child.process.wait()
                return None
            self._step(most_s=0.05)
        return child.process.returncode

    def watch(self) -> None:
        """Keep the children up until a stop is asked for."""
        while not self.stopping:
            self._step(most_s=3600.0)

    def stop(self) -> None:
        """End the children: all but the database first, which ends when nobody uses it any more.

        Running requests may take `stop_grace_s` to finish; a second signal hurries.
        """
        users = [child for child in self._children if not isinstance(child, DatabaseChild)]
        for child in users:
            child.stop(signal.SIGTERM)
        deadline, asked = time.monotonic() + self._grace_s, self._asked
        while any(_lives(child) for child in users):
            if time.monotonic() > deadline or self._asked > asked:
                for child in users:
                    child.stop(signal.SIGKILL)
            self._sleep(max(0.01, min(1.0, deadline - time.monotonic())))
        for child in self._children:
            if isinstance(child, DatabaseChild):
                child.embedded.stop()
        self._children.clear()

    def _launch(self, child: Child) -> None:
        child.started_at = time.monotonic()
        child.ready = False
        try:
            child.launch()
        except EmbeddedError as error:
            if not child.was_ready:
                raise
            say(f"{child.name}: {error}")
            child.process = None
            child.early_ends += 1
            child.due_at = time.monotonic() + pause_s(child.early_ends)

    def _step(self, most_s: float) -> None:
        """Look after every child once, then sleep until something happens, at most so long."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child)
            if child.process is None and child.due_at <= now and not self.stopping:
                self._launch(child)
            if isinstance(child, DatabaseChild) and child.process is not None and not child.ready:
                self._look_at_database(child)
            if child.process is None:
                most_s = min(most_s, max(0.0, child.due_at - now))
            elif not child.ready:
                most_s = min(most_s, 0.02 if isinstance(child, DatabaseChild) else 1.0)
        self._sleep(most_s)

    def _look_at_database(self, child: DatabaseChild) -> None:
        try:
            if child.embedded.ready():
                self._is_ready(child)
        except EmbeddedError:
            if not child.was_ready:
                raise
            self._ended(child)

    def _ended(self, child: Child) -> None:
        assert child.process is not None
        child.is_up(False)
        code, pid = child.process.returncode, child.process.pid
        now = time.monotonic()
        lived_s = now - child.started_at
        child.process, child.exit_code = None, code if code is not None else 0
        if child.ready and now - child.ready_at >= STEADY_S:
            child.early_ends = 0
        pause = pause_s(child.early_ends)
        child.early_ends += 1
        child.due_at = now + pause
        events.emit(events.ProcessEnded(child.name, pid, child.exit_code, lived_s, pause))

    def _is_ready(self, child: Child) -> None:
        child.ready = child.was_ready = True
        child.ready_at = time.monotonic()
        child.is_up(True)
        if child.process is not None:
            spent = (time.monotonic() - child.started_at) * 1000
            events.emit(events.ProcessStarted(child.name, child.process.pid, spent))

    def _sleep(self, seconds: float) -> None:
        """Sleep until a signal, a child's end, a report, or for so long."""
        wake_fd = self._wake_read.fileno()
        for fd in select.select([wake_fd, self._report_read], [], [], seconds)[0]:
            told = os.read(fd, 4096)
            if fd == wake_fd:
                continue
            for child in self._children:
                if child.name in told.decode().split():
                    self._is_ready(child)


def pause_s(early_ends: int) -> float:
    """Return the pause before a process is started again that ended early so often already.

    >>> [pause_s(count) for count in (0, 1, 2, 3, 20)]
    [0.0, 0.1, 0.2, 0.4, 30.0]
    """
    return min(LONGEST_PAUSE_S, 0.1 * 2.0 ** (early_ends - 1)) if early_ends else 0.0


def python(*arguments: str) -> list[str]:
    """Return the command that runs a module with our interpreter."""
    return [sys.executable, "-m", *arguments]


def _lives(child: Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _find_prctl() -> Callable[[int, int], int] | None:
    try:
        found: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None  # not Linux
    return found


_prctl = _find_prctl()


def _dying_with_parent() -> None:
    """Between fork and exec: ask Linux to kill us when the supervisor dies."""
    if _prctl is not None:
        _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
