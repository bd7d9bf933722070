"""The audit of one process: what its services do, added up in memory and written once a second.

Nobody waits for it. What is alike (the same study between the same two sides) is one row; while the
database is away it is kept, up to a bound. A process that is killed loses the last second of it; what
must stand with its deed, a deletion for instance, is noted on the deed's own transaction (audit.note).
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from datetime import datetime

from dicom_node import audit
from dicom_node.audit import Event, Party, Transfer
from dicom_node.index.writer import issuer_of
from dicom_node.verdict import Outcome, Verdict
from fhir_server.database.engine import Engine
from fhir_server.outcome import FhirError

EVERY_S = 1.0
MOST_EVENTS = 10_000
_KEPT = (
    Verdict.STORED, Verdict.DUPLICATE, Verdict.NEW_VERSION, Verdict.STORED_DOUBTFUL, Verdict.REMOVED,
)  # fmt: skip

log = logging.getLogger("dicom_node")


class AuditLog:
    """Thread-safe; its thread starts with the first use: build it after the last fork."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], every_s: float = EVERY_S) -> None:
        self._engine, self._clock, self._every_s = engine, clock, every_s
        self._transfers: dict[tuple[Party, Party], Transfer] = {}
        self._events: list[Event] = []
        self._lost = 0
        self._turn = threading.Condition()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def received(self, source: Party, destination: Party, outcome: Outcome) -> None:
        """Add an instance that came from `source`, whatever became of it."""
        instance = outcome.instance
        with self._turn:
            transfer = self._between(source, destination)
            if instance is None or outcome.verdict not in _KEPT:
                transfer.refused(outcome.reason or outcome.verdict.value)
                return
            transfer.took(
                instance,
                issuer_of(instance.study, source.ae),
                new=outcome.verdict is not Verdict.DUPLICATE,
                version=2 if outcome.verdict is Verdict.NEW_VERSION else 1,
            )

    def refused(self, source: Party, destination: Party, reason: str) -> None:
        """Add something that came from `source` and is no instance."""
        with self._turn:
            self._between(source, destination).refused(reason)

    def now(self) -> datetime:
        """Return the moment by the installation's clock."""
        return self._clock()

    def note(self, event: Event) -> None:
        """Add an event as it is."""
        with self._turn:
            if len(self._events) >= MOST_EVENTS:
                self._lost += 1
            else:
                self._events.append(event)
            self._start()

    def flush(self) -> None:
        """Write what there is; what cannot be written is kept for the next time."""
        with self._writing:
            with self._turn:
                transfers, self._transfers = self._transfers, {}
                events, self._events = self._events, []
                lost, self._lost = self._lost, 0
            now = self._clock()
            events += [event for transfer in transfers.values() for event in transfer.take(now)]
            if lost:
                log.error("%d events are not in the audit: more than %d waited", lost, MOST_EVENTS)
            if not events:
                return
            try:
                with self._engine.connection() as connection:
                    audit.note_all(connection.cursor(), events)
                    connection.commit()
            except FhirError:
                with self._turn:
                    self._events[:0] = events[: MOST_EVENTS - len(self._events)]

    def _between(self, source: Party, destination: Party) -> Transfer:
        """Return what is added up between two sides; the lock is held."""
        self._start()
        key = (source, destination)
        if (found := self._transfers.get(key)) is None:
            found = self._transfers[key] = Transfer(source, destination)
        return found

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dicom-audit", daemon=True)
            self._thread.start()
            atexit.register(self._flush)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self._every_s)
            self._flush()

    def _flush(self) -> None:
        try:
            self.flush()
        except Exception:
            log.exception("the audit cannot be written")
