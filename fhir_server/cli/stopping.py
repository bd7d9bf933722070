"""How a process learns that it shall end."""

from __future__ import annotations

import os
import select
import signal
import threading
from types import FrameType


class Stop:
    """Set by SIGTERM and SIGINT; waited for in the main thread.

    A threading.Event would do, were it not for signals that arrive just before its wait, or in
    a thread that is not Python's: then nothing interrupts the wait. Python writes every signal
    to the wake-up descriptor first, and that one we wait on.
    """

    def __init__(self) -> None:
        self._set = threading.Event()
        self._read, write = os.pipe()
        for fd in (self._read, write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def is_set(self) -> bool:
        """Tell whether we shall end."""
        return self._set.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until we shall end, or so many seconds; tell whether we shall."""
        if not self._set.is_set():
            select.select([self._read], [], [], timeout)
        return self._set.is_set()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._set.set()
