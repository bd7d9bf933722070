"""A value that somebody else may change: read again when it is asked for, never waited for long.

The live states of models stand in Postgres and every worker has to see a change within a second,
without a restart. Whoever asks gets what was read less than `every_s` ago; otherwise a reading is begun
and waited for briefly. While the database is away, what was known last stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

EVERY_S = 0.4
WAIT_S = 0.05
FIRST_WAIT_S = 0.25

T = TypeVar("T")


class Watched(Generic[T]):
    """The newest known result of `read`; `first` until there is one.

    Safe to share between threads; the thread that reads is begun when something is asked for, so not
    before a fork. `read` gets what is known already, so that it may say "nothing new" cheaply.

    >>> numbers = iter([1, 2])
    >>> watched = Watched(lambda known: next(numbers), 0, every_s=3600)
    >>> watched.value(), watched.value()
    (1, 1)
    >>> watched.forget()
    >>> watched.value()
    2
    """

    def __init__(
        self,
        read: Callable[[T], T],
        first: T,
        *,
        every_s: float = EVERY_S,
        wait_s: float = WAIT_S,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._read = read
        self._known = first
        self._every_s, self._wait_s, self._first_wait_s = every_s, wait_s, first_wait_s
        self._is_first = True
        self._due = 0.0
        self._lock = threading.Lock()
        self._done: threading.Event | None = None

    def value(self) -> T:
        """Return the value, read anew where it is older than `every_s`."""
        with self._lock:
            if self._done is None and time.monotonic() >= self._due:
                self._done = threading.Event()
                threading.Thread(
                    target=self._renew, args=(self._done,), name="cds-watched", daemon=True
                ).start()
            done = self._done
            patience = self._first_wait_s if self._is_first else self._wait_s
        if done is not None:
            done.wait(patience)
        return self._known

    def forget(self) -> None:
        """Have the next one who asks read anew, and wait for it as for the first time."""
        with self._lock:
            self._due = 0.0
            self._is_first = True

    def _renew(self, done: threading.Event) -> None:
        try:
            self._known = self._read(self._known)
        except Exception as error:  # the database may be away: what is known stays
            log.warning("cds watched: %s", type(error).__name__)
        finally:
            with self._lock:
                self._due = time.monotonic() + self._every_s
                self._done, self._is_first = None, False
            done.set()
