"""Records of calls, written in groups: one statement for all that wait, so that no call queues for another.

While a group is on its way to the disk the next ones gather, and go together. A call waits until its
own record is committed, or until its time is over: then it is given up, and what became of the record
is told by the spool (see `spool.py`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

import psycopg2

from cds_hooks.records.entries import Offer
from fhir_server.outcome import Unavailable

log = logging.getLogger(__name__)

MOST_AT_ONCE = 32
MOST_WAITING = 1000

Verdicts = Mapping[UUID, str]


class Keeper(Protocol):
    """Who writes a group of calls."""

    def keep(self, offers: Sequence[Offer]) -> Verdicts:
        """Keep the calls in one transaction; return the verdict over every card."""


class NotKept(Exception):
    """A call was not recorded, or nobody knows whether it was, in its time."""


class Pending:
    """A call on its way into the record."""

    __slots__ = ("_done", "error", "offer", "taken", "verdicts", "withdrawn")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.taken = self.withdrawn = False
        self.verdicts: Verdicts | None = None
        self.error: Exception | None = None
        self._done = threading.Event()

    def settle(self, verdicts: Verdicts | None, error: Exception | None = None) -> None:
        """Tell how it ended."""
        self.verdicts, self.error = verdicts, error
        self._done.set()

    def wait(self, timeout_s: float) -> Verdicts:
        """Return the verdicts; raises NotKept when it failed or is not there in time."""
        if not self._done.wait(timeout_s):
            self.withdrawn = True  # still in the queue: it is left out when its turn comes
            if not self._done.is_set():
                raise NotKept("not in time")
        if self.verdicts is None:
            raise NotKept(type(self.error).__name__) from self.error
        return self.verdicts


class Recorder:
    """Thread-safe; its thread starts with the first call, not before a fork."""

    def __init__(
        self, keeper: Keeper, *, most_at_once: int = MOST_AT_ONCE, most_waiting: int = MOST_WAITING
    ) -> None:
        self._keeper = keeper
        self._most_at_once = most_at_once
        self._most_waiting = most_waiting
        self._queue: deque[Pending] = deque()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, offer: Offer) -> Pending:
        """Put a call in the queue; one too many is settled at once as failed."""
        pending = Pending(offer)
        with self._news:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cds-record", daemon=True)
                self._thread.start()
            if len(self._queue) >= self._most_waiting:
                pending.settle(None, Unavailable(f"{self._most_waiting} calls wait to be recorded"))
            else:
                self._queue.append(pending)
                self._news.notify()
        return pending

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._queue)
                group = [self._queue.popleft() for _ in range(min(len(self._queue), self._most_at_once))]
            self._write([pending for pending in group if not pending.withdrawn])

    def _write(self, group: list[Pending]) -> None:
        if not group:
            return
        try:
            verdicts = self._keeper.keep([pending.offer for pending in group])
        except (psycopg2.DataError, psycopg2.IntegrityError) as error:
            # one call that cannot be written must not take the others with it
            if len(group) == 1:
                group[0].settle(None, error)
            for pending in group if len(group) > 1 else ():
                self._write([pending])
        except Exception as error:
            log.error("cds records: %d not kept, %s", len(group), type(error).__name__)
            for pending in group:
                pending.settle(None, error)
        else:
            for pending in group:
                pending.settle(verdicts)
