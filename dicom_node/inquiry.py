"""Queries, written down: who asked what of us (PS3.15 A.5.3.10, DCM 110112).

C-FIND and QIDO-RS note them alike, one row a query. Nobody waits for that: a thread writes them, what comes
within a third of a second in one transaction. A process that is killed loses the lines of its
last moment, which are about questions; one that ends writes them first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime

import psycopg2

from dicom_node import audit
from dicom_node.index.conditions import Match
from fhir_server.database.engine import Engine
from fhir_server.observability import events
from fhir_server.outcome import Unavailable

LONGEST = 4_000
GATHERED_S = 0.3
MOST_WAITING = 20_000
TRIES = 20


class Inquiries:
    """The queries of one process that are still to be written down; made before or after a fork."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[audit.Event] = deque(maxlen=MOST_WAITING)
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None

    def note(
        self,
        at: datetime,
        source: audit.Party,
        destination: audit.Party,
        sop_class: str,
        query: str,
        outcome: audit.Outcome = audit.Outcome.SUCCESS,
        reason: str = "",
    ) -> None:
        """Note a query; it is in the database a moment later."""
        event = audit.Event(
            audit.Kind.QUERY,
            at,
            outcome,
            source,
            destination,
            sop_class=sop_class,
            query=query[:LONGEST],
            reason=reason,
        )
        with self._lock:
            self._waiting.append(event)
            if self._writer is None:
                # no daemon: a process that ends waits for it, and it lives for a moment only
                self._writer = threading.Thread(target=self._write, name="inquiries")
                self._writer.start()

    def _write(self) -> None:
        tries = 0
        while True:
            with self._lock:
                taken = list(self._waiting)
                if not taken or tries >= TRIES:
                    self._waiting.clear()
                    self._writer = None
                    return
            try:
                with self._engine.connection() as connection:
                    audit.note_all(connection.cursor(), taken)
                    connection.commit()
            except (Unavailable, psycopg2.Error) as error:
                tries += 1
                if tries == TRIES:
                    events.emit(events.crashed(error))
            else:
                tries = 0
                with self._lock:
                    for _ in taken:
                        self._waiting.popleft()
            time.sleep(GATHERED_S)


def written(level: str, matches: Iterable[Match]) -> str:
    """Return the keys of a query as text.

    >>> written("STUDY", [Match(("00100020",), "P1"), Match(("00080020",), "")])
    'STUDY 00100020=P1'
    """
    keys = (f"{'.'.join(match.path)}={match.value}" for match in matches if not match.universal)
    return " ".join([level, *keys])
