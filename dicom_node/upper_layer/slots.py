"""How many associations there are, over all processes of the listener: in total and of each AE.

A file in shared memory with one block a process. A process writes its own block only, under a lock of
the file while it also reads the others, so a limit is exact; and it clears its block when it
starts, so those of a process that was killed do not count for longer than it takes to start it again.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Final

MOST_PROCESSES: Final = 64
MOST_TITLES: Final = 250
"""Calling titles that one process counts by name; any further one counts in the total only."""

_ENTRY = Struct("<16sH")
_BLOCK_BYTES: Final = 4608  # a total of two bytes, then entries
_SIZE_BYTES: Final = MOST_PROCESSES * _BLOCK_BYTES


class Slots:
    """The counters as one process sees them; thread-safe. Without a file they are its own."""

    def __init__(self, path: Path | None = None, process: int = 0) -> None:
        if not 0 <= process < MOST_PROCESSES:
            raise ValueError(f"process {process}; there can be {MOST_PROCESSES}")
        self._descriptor = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._descriptor).st_size < _SIZE_BYTES:
                os.ftruncate(self._descriptor, _SIZE_BYTES)
        self._memory = mmap.mmap(self._descriptor, _SIZE_BYTES)
        self._start = process * _BLOCK_BYTES
        self._own: Counter[bytes] = Counter()
        self._total = 0
        self._lock = threading.Lock()
        with self._alone():
            self._write()

    def take(self, title: str, *, most: int, most_of_title: int = 0) -> bool:
        """Count one more association unless there are `most` already, or so many of the title (0: any).

        >>> slots = Slots()
        >>> [slots.take("CT1", most=2, most_of_title=1), slots.take("CT1", most=2, most_of_title=1)]
        [True, False]
        """
        key = _key(title)
        with self._alone():
            total, of_title = self._others(key)
            if total + self._total >= most:
                return False
            if most_of_title and of_title + self._own[key] >= most_of_title:
                return False
            self._total += 1
            self._own[key] += 1
            self._write()
            return True

    def give_back(self, title: str) -> None:
        """Count one less."""
        key = _key(title)
        with self._alone():
            if self._memory.closed:  # this process is ending
                return
            self._total -= 1
            self._own[key] -= 1
            if self._own[key] <= 0:
                del self._own[key]
            self._write()

    def total(self) -> int:
        """Return how many associations all processes have."""
        return self._others(b"")[0] + self._total

    def busier_than_another(self) -> bool:
        """Whether another process that takes associations has fewer; never waits."""
        return any(
            self._memory[at + 2] and int.from_bytes(self._memory[at : at + 2], "little") < self._total
            for at in range(0, _SIZE_BYTES, _BLOCK_BYTES)
            if at != self._start
        )

    def close(self) -> None:
        """Give the counters of this process up."""
        with self._alone():
            self._memory[self._start : self._start + _BLOCK_BYTES] = bytes(_BLOCK_BYTES)
            self._memory.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _others(self, key: bytes) -> tuple[int, int]:
        total = of_title = 0
        for at in range(0, _SIZE_BYTES, _BLOCK_BYTES):
            if at == self._start or not self._memory[at + 2]:
                continue
            total += int.from_bytes(self._memory[at : at + 2], "little")
            found = self._memory.find(key, at + 4, at + _BLOCK_BYTES)
            if key and found >= 0 and (found - at - 4) % _ENTRY.size == 0:
                of_title += int(_ENTRY.unpack_from(self._memory, found)[1])
        return total, of_title

    def _write(self) -> None:
        entries = b"".join(
            _ENTRY.pack(key, count) for key, count in list(self._own.items())[:MOST_TITLES] if count > 0
        )
        block = self._total.to_bytes(2, "little") + b"\1\0" + entries
        self._memory[self._start : self._start + _BLOCK_BYTES] = block.ljust(_BLOCK_BYTES, b"\0")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._descriptor < 0:
                yield
                return
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _key(title: str) -> bytes:
    return title.encode("latin_1", "replace")[:16].ljust(16)
