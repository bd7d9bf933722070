"""What the background worker does for the decision services, each a queue of its own.

| queue | what |
|---|---|
| cds-spool | plays back records that the database did not take in time |
| cds-chain | makes links of the records that have none |
| cds-audit | writes AuditEvents, link by link |
| cds-expiry | forgets inputs after their retention time, and what the alert burden no longer needs |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg2

from cds_hooks.operation.audit_drain import AuditDrain
from cds_hooks.operation.spool import Spool
from cds_hooks.records.chain import BATCH, Sealer
from cds_hooks.records.entries import Call
from cds_hooks.records.expiry import expire
from cds_hooks.records.store import Store
from fhir_server.interactions.entry import Entry
from fhir_server.observability import events

_EXPIRY_EVERY_S = 600.0
_GAUGES_EVERY_S = 15.0
_SEAL_EVERY_S = 0.45  # the worker comes by every half second


@dataclass(slots=True)
class Chores:
    """The chores of an installation."""

    entry: Entry
    spool: Spool
    repeat_hours: float
    input_days: float
    _sealer: Sealer = field(init=False)
    _seals_at: float = field(default=0.0, init=False)
    _expired_at: float = field(default=-_EXPIRY_EVERY_S, init=False)
    _measured_at: float = field(default=-_GAUGES_EVERY_S, init=False)

    def __post_init__(self) -> None:
        self._sealer = Sealer(self.entry.engine, self.entry.clock)

    def drains(self) -> dict[str, Callable[[], int]]:
        """Return the queues by name."""
        return {
            "cds-spool": self.play_back,
            "cds-chain": self.seal,
            "cds-audit": AuditDrain(self.entry).drain,
            "cds-expiry": self.expire,
        }

    def play_back(self) -> int:
        """Write what waits in the spool into the table."""
        store = Store(self.entry.engine)

        def keep(calls: list[Call]) -> None:
            try:
                store.play_back(calls)
            except (psycopg2.DataError, psycopg2.IntegrityError):
                for call in calls:
                    try:
                        store.play_back([call])
                    except (psycopg2.DataError, psycopg2.IntegrityError):
                        self.spool.refuse(call)

        return self.spool.play_back(keep)

    def seal(self) -> int:
        """Make links, in full batches or twice a second, and say now and then how much waits.

        Sealed one by one as they come, records would cost a transaction each once more.
        """
        if time.monotonic() < self._seals_at:
            return 0
        count = self._sealer.seal()
        if count < BATCH:
            self._seals_at = time.monotonic() + _SEAL_EVERY_S
        if time.monotonic() - self._measured_at >= _GAUGES_EVERY_S:
            self._measured_at = time.monotonic()
            for kind, waiting in self._sealer.waiting().items():
                events.emit(events.Measured("xinglin_cds_unsealed_records", kind, waiting))
            events.emit(events.Measured("xinglin_cds_spool_bytes", "calls", self.spool.size_bytes()))
        return count

    def expire(self) -> int:
        """Forget what is past its time, every ten minutes."""
        if time.monotonic() - self._expired_at < _EXPIRY_EVERY_S:
            return 0
        now: datetime = self.entry.clock()
        count = expire(
            self.entry.engine,
            inputs_before=now - timedelta(days=self.input_days),
            shown_before=now - timedelta(hours=max(self.repeat_hours, 24.0) + 1),
        )
        if not count:
            self._expired_at = time.monotonic()
        return count
