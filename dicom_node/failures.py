"""The last failures of each application entity, for people: who was rejected, what could not be stored.

Equal ones are one row with a count, so that somebody who fails ten thousand times fills no table. Rows
are written a second late and together; what is counted when a process is killed is not told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg2.extras import execute_values

from fhir_server.database.engine import Engine
from fhir_server.observability import events

KEPT: Final = 1000
WRITTEN_AFTER_S: Final = 1.0

REJECTED: Final = "association rejected"
NOT_STORED: Final = "not stored"
UNREACHED: Final = "not reached"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with an AE, how often and when last. The reason holds no patient data."""

    title: str
    address: str
    kind: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime


_WRITE = """
INSERT INTO dicom_failure AS known (title, address, kind, reason, count, first_at, last_at) VALUES %s
ON CONFLICT (title, address, kind, reason) DO UPDATE
SET count = known.count + excluded.count, last_at = greatest(known.last_at, excluded.last_at)
"""
_PRUNE = """
DELETE FROM dicom_failure
WHERE last_at < (SELECT last_at FROM dicom_failure ORDER BY last_at DESC OFFSET %s LIMIT 1)
"""


class Failures:
    """Collects the failures of a process; thread-safe, and never in the way of what failed."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str, str, str], tuple[int, datetime, datetime]] = {}
        self._timer: threading.Timer | None = None

    def note(self, kind: str, title: str, address: str, reason: str) -> None:
        """Count a failure; it can be read a second later."""
        key = (title[:16], address[:64], kind, reason.replace("\0", "")[:200])
        now = self._clock()
        with self._lock:
            if key not in self._pending and len(self._pending) >= KEPT:
                return
            count, first_at, _ = self._pending.get(key, (0, now, now))
            self._pending[key] = (count + 1, first_at, now)
            if self._timer is None:
                self._timer = threading.Timer(WRITTEN_AFTER_S, self.write)
                self._timer.daemon = True
                self._timer.start()

    def write(self) -> None:
        """Write down what was counted; a database that is away loses it."""
        with self._lock:
            pending, self._pending, self._timer = self._pending, {}, None
        if not pending:
            return
        rows = sorted((*key, *values) for key, values in pending.items())
        try:
            with self._engine.connection() as connection:
                cursor = connection.cursor()
                execute_values(cursor, _WRITE, rows)
                cursor.execute(_PRUNE, (KEPT,))
                connection.commit()
        except Exception as error:  # a thread of its own: nobody else would tell
            events.emit(events.crashed(error))


def recent(connection: Any, limit: int = 100) -> list[Failure]:
    """Return the failures, the latest first."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT title, address, kind, reason, count, first_at, last_at FROM dicom_failure"
        " ORDER BY last_at DESC, title LIMIT %s",
        (limit,),
    )
    return [Failure(*row) for row in cursor.fetchall()]
