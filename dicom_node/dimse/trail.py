"""The audit trail of associations: who sent what, who was let in and who was not (PS3.15 A.5).

One row an association and study, written when the association ends and now and then before. What
cannot be written while the database is away waits in memory and is written with the next one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from dicom_node import audit
from dicom_node.audit import Event, Kind, Party, Studied, Transfer
from dicom_node.dimse.service import Caller
from dicom_node.index.writer import issuer_of
from dicom_node.verdict import Outcome, Verdict
from fhir_server.database.engine import Engine
from fhir_server.observability import events

APPLICATION_START: Final = "110120"
APPLICATION_STOP: Final = "110121"
NODE_AUTHENTICATION: Final = "110126"
LOGIN: Final = "110122"

MOST_WAITING: Final = 10_000
_STORED: Final = frozenset({Verdict.STORED, Verdict.STORED_DOUBTFUL, Verdict.DUPLICATE, Verdict.NEW_VERSION})


class Trail:
    """Writes the events of one process; thread-safe, never raises."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], title: str) -> None:
        self._engine = engine
        self._clock = clock
        self._title = title
        self._waiting: deque[Event] = deque(maxlen=MOST_WAITING)
        self._lock = threading.Lock()

    def received(self, caller: Caller) -> Transfer:
        """Return the account of the instances that come over an association."""
        return Transfer(
            Party(caller.calling_ae, caller.address, caller.user, requestor=True), Party(caller.called_ae)
        )

    def took(self, transfer: Transfer, outcome: Outcome, calling_ae: str) -> None:
        """Add what became of an instance."""
        instance, verdict = outcome.instance, outcome.verdict
        if instance is not None and verdict in _STORED:
            transfer.took(
                instance,
                issuer_of(instance.study, calling_ae),
                new=verdict is not Verdict.DUPLICATE,
                version=2 if verdict is Verdict.NEW_VERSION else 1,
            )
        else:
            study = Studied(instance.study_uid) if instance is not None else None
            transfer.refused(verdict.value, study)
        if transfer.due(self._clock()):
            self.end(transfer)

    def end(self, transfer: Transfer) -> None:
        """Write what was added up."""
        self._write(*transfer.take(self._clock()))

    def refused(self, source: Party, called_ae: str, reason: str) -> None:
        """Write that somebody was not let in."""
        self._write(
            Event(
                Kind.SECURITY_ALERT,
                self._clock(),
                audit.Outcome.MINOR_FAILURE,
                source,
                Party(called_ae),
                subtype=NODE_AUTHENTICATION,
                reason=reason,
            )
        )

    def recognised(self, caller: Caller, reason: str = "") -> None:
        """Write that a caller has shown which user it acts for, or, with a reason, that it has not."""
        outcome = audit.Outcome.MINOR_FAILURE if reason else audit.Outcome.SUCCESS
        source = Party(caller.calling_ae, caller.address, caller.user, requestor=True)
        self._write(
            Event(
                Kind.USER_AUTHENTICATION,
                self._clock(),
                outcome,
                source,
                Party(caller.called_ae),
                subtype=LOGIN,
                reason=reason,
            )
        )

    def activity(self, subtype: str) -> None:
        """Write that the node started or stopped."""
        self._write(
            Event(Kind.APPLICATION_ACTIVITY, self._clock(), source=Party(self._title), subtype=subtype)
        )

    def _write(self, *found: Event) -> None:
        with self._lock:
            self._waiting.extend(found)
            if not self._waiting:
                return
            try:
                with self._engine.connection() as connection:
                    audit.note_all(connection.cursor(), self._waiting)
                    connection.commit()
            except Exception as error:
                events.emit(events.crashed(error))
                return
            self._waiting.clear()
