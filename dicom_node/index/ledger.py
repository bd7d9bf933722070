"""An instance that replaced another under its UID, told to the audit (PS3.15 A.5.3.7).

Written down in the transaction that lets it. What an association brings otherwise is added up where it ends
(dimse/trail.py), which knows who was at the other end, but not yet whether other bytes were here before.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from dicom_node import audit
from dicom_node.instance import Instance


class Ledger:
    """The replacements of one process; `title` is ours."""

    def __init__(self, title: str, clock: Callable[[], datetime]) -> None:
        self._here = audit.Party(title)
        self._clock = clock

    def replaced(self, cursor: Any, instance: Instance, calling_ae: str, issuer: str, version: int) -> None:
        """Write down, on the caller's transaction, that an instance took the place of another."""
        transfer = audit.Transfer(audit.Party(calling_ae, requestor=True), self._here)
        transfer.took(instance, issuer, version=version)
        transfer.note_all(cursor, self._clock())
