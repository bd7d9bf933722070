"""One fsync of a folder for all who wait together.

A thread that has changed a folder asks for a ticket, does what else it has to do (its own fdatasync,
which the file system then commits together with the folder), and waits. One syncing thread serves every
ticket that was drawn before it began, so the cost of a sync is shared by those who arrive during the one
before. Where a sync takes next to nothing (memory, a disk with a battery), the way to another thread
would cost more: there every thread syncs by itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

QUICK_S = 0.000_3


class GroupSync:
    """Makes the entries of one folder durable, for many threads.

    >>> sync = GroupSync(getfixture("tmp_path"))
    >>> sync.together(lambda: None)
    >>> sync.close()
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._turn = threading.Condition()
        self._drawn = self._served = 0
        self._failed: list[tuple[int, OSError]] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._takes_s = 1.0

    def together(self, own: Callable[[], None]) -> None:
        """Make the folder durable as it is now, and do `own`, which syncs something beside it."""
        if self._takes_s < QUICK_S:
            own()
            self._fsync()
            return
        ticket = self._ticket()
        own()
        self._wait(ticket)

    def _fsync(self) -> None:
        begun = time.perf_counter()
        os.fsync(self._descriptor)
        self._takes_s += (time.perf_counter() - begun - self._takes_s) / 8

    def _ticket(self) -> int:
        """Ask that what the folder holds now becomes durable."""
        with self._turn:
            self._drawn += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="dicom-sync", daemon=True)
                self._thread.start()
            self._turn.notify_all()
            return self._drawn

    def _wait(self, ticket: int) -> None:
        """Wait until that is so; raises OSError when the disk failed."""
        with self._turn:
            while self._served < ticket:
                self._turn.wait()
            # a failed sync is not made good by a later one: the kernel forgets what it could not write
            for served, error in self._failed:
                if ticket <= served:
                    raise OSError(error.errno, "the folder could not be made durable") from error

    def close(self) -> None:
        """End the thread; nobody may be waiting."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()
        os.close(self._descriptor)

    def _serve(self) -> None:
        while True:
            with self._turn:
                while self._drawn == self._served:
                    if self._closed:
                        return
                    self._turn.wait()
                upto = self._drawn
            try:
                self._fsync()
            except OSError as error:
                with self._turn:
                    self._failed = [(upto, error)]
                    self._served = upto
                    self._turn.notify_all()
                continue
            with self._turn:
                self._served = upto
                self._turn.notify_all()
