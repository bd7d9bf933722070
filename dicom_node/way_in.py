"""The Ingest of a process that may never need one: opened by the first instance, closed with the process."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Lock

from dicom_node.files.store import FileStore
from dicom_node.ingest import Ingest
from fhir_server.database.engine import Engine

RECOVER_EVERY_S = 10.0


class WayIn:
    """Calling it gives the Ingest of this process; thread-safe."""

    def __init__(self, root: Path, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._root, self._engine, self._clock = root, engine, clock
        self._lock = Lock()
        self._ingest: Ingest | None = None

    def __call__(self) -> Ingest:
        with self._lock:
            if self._ingest is None:
                self._ingest = Ingest(FileStore(self._root), self._engine, self._clock)
                atexit.register(self._ingest.close)
            return self._ingest


class Recovery:
    """The worker's drain for what processes that died had kept and not indexed."""

    def __init__(self, root: Path, way_in: WayIn) -> None:
        self._root, self._way_in = root, way_in
        self._next = 0.0

    def drain(self) -> int:
        """Index what dead processes left, every ten seconds; return how many files."""
        if time.monotonic() < self._next:
            return 0
        self._next = time.monotonic() + RECOVER_EVERY_S
        incoming = self._root / "incoming"
        if not incoming.is_dir() or not any(incoming.glob("[!.]*")):  # nobody ever received anything
            return 0
        return self._way_in().recover()
