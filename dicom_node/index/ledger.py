"""What the batches brought, for the audit (PS3.15 A.5.3.7): a row an association and study, not an instance.

Ordinary instances are added up by sender and study in memory and written down when an association ends,
or after half a minute. An instance that replaced another under its UID is written down at once, in the
transaction that let it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import Any

from dicom_node import audit
from dicom_node.instance import Instance


class Ledger:
    """The sums of one process; thread-safe. `title` is ours."""

    def __init__(self, title: str, clock: Callable[[], datetime]) -> None:
        self._here = audit.Party(title)
        self._clock = clock
        self._by_sender: dict[str, audit.Transfer] = {}
        self._pending: list[audit.Event] = []
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._pending) or any(self._by_sender.values())

    def add(self, instance: Instance, calling_ae: str, issuer: str, *, new: bool) -> None:
        """Add an instance that is stored now; `new` false: it was before."""
        with self._lock:
            transfer = self._by_sender.get(calling_ae) or self._from(calling_ae)
            self._by_sender[calling_ae] = transfer
            transfer.took(instance, issuer, new=new)

    def replaced(self, cursor: Any, instance: Instance, calling_ae: str, issuer: str, version: int) -> None:
        """Write down, on the caller's transaction, that an instance took the place of another."""
        transfer = self._from(calling_ae)
        transfer.took(instance, issuer, version=version)
        transfer.note_all(cursor, self._clock())

    def due(self) -> bool:
        """Whether something has waited long enough to be written down."""
        now = self._clock()
        with self._lock:
            return bool(self._pending) or any(transfer.due(now) for transfer in self._by_sender.values())

    def write(self, cursor: Any) -> None:
        """Write down what has been added up, on a transaction of the caller, who says `written` after it."""
        now = self._clock()
        with self._lock:
            self._pending += [event for each in self._by_sender.values() for event in each.take(now)]
            self._by_sender.clear()
        for event in self._pending:
            audit.note(cursor, event)

    def written(self) -> None:
        """Forget what `write` wrote: it is committed."""
        self._pending.clear()

    def _from(self, calling_ae: str) -> audit.Transfer:
        return audit.Transfer(audit.Party(calling_ae, requestor=True), self._here)
