"""Whether anybody commits anything: one cheap question that stands for those of all queues.

Every queue of the background worker is rows of this database. While no transaction ends, none of them
can have got a new one, so an installation where nothing happens need not be asked by fifteen queues twice
a second. What waits for a time to come (a study to be quiet, a delivery to be tried again) is nobody's
commit: so the queues go on for a while after the last one, and are asked now and then for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from fhir_server.database.engine import Engine, Mode

EVERY_S = 0.25
AWAKE_S = 30.0
"""As long as the longest of the usual waits, that of a study which does not become quiet."""


class Stopping(Protocol):
    """What ends a loop."""

    def is_set(self) -> bool:
        """Tell whether it is time."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, or so many seconds."""


class Activity:
    """Knows when this database last changed, and wakes nobody: `awake` is asked.

    A snapshot says which transactions are over, as far as they had something to write (PostgreSQL,
    "pg_snapshot Components"): while it stays the same, letter by letter, none was committed.
    """

    def __init__(
        self, engine: Engine, *, every_s: float = EVERY_S, awake_s: float = AWAKE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._every_s = every_s
        self._awake_s = awake_s
        self._clock = clock
        self._snapshot = ""
        self._changed_at = clock()

    def awake(self) -> bool:
        """Tell whether anything was committed lately, or cannot be known to have been."""
        return self._clock() - self._changed_at < self._awake_s

    def look(self) -> None:
        """Ask the database; one that does not answer counts as changed."""
        try:
            with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_current_snapshot()::text")
                snapshot = str(cursor.fetchone()[0])
        except Exception:  # whatever it is: what is not known counts as changed, and the thread goes on
            snapshot = ""
        if not snapshot or snapshot != self._snapshot:
            self._snapshot, self._changed_at = snapshot, self._clock()

    def watch(self, stop: Stopping) -> threading.Thread:
        """Look again and again in a thread of its own, until `stop`."""

        def run() -> None:
            while not stop.is_set():
                self.look()
                stop.wait(self._every_s)

        thread = threading.Thread(target=run, name="activity", daemon=True)
        thread.start()
        return thread
