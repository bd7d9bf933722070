"""The Ingest of a process that may never need one: opened by the first instance, closed with the process."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from threading import Lock

from dicom_node.ingest import Ingest


class WayIn:
    """Calling it gives the Ingest of this process; thread-safe."""

    def __init__(self, make: Callable[[], Ingest]) -> None:
        self._make = make
        self._lock = Lock()
        self._ingest: Ingest | None = None

    def __call__(self) -> Ingest:
        with self._lock:
            if self._ingest is None:
                self._ingest = self._make()
                atexit.register(self._ingest.close)
            return self._ingest
