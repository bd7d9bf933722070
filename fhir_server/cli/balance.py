"""Evens out how busy the HTTP workers are: one with more than its share asks clients to connect again.

Linux deals connections out at random, and a client keeps its own open as long as it is busy. Of four
connections all are one worker's in one of eight starts, and half of the machine idles. So each worker
tells the others how many requests it has at once, and one that has two more than another for half a
second ends as many connections as it has above the mean, each after an answer (RFC 9112, 9.6:
Connection: close). Whoever comes again is dealt anew; where that was in vain it is done again.

Where no requests pile up nobody has two more than another, and no connection is ended.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from math import isnan, nan

_EVERY_S = 0.25
_FRESH_S = 1.0  # a worker that told nothing for so long had nothing to do
_SLOT = struct.Struct("=dd")  # requests at once, and when that was told; monotonic seconds
_WORTH_IT = 1.5  # between 1, which one connection more makes, and 2; a connection is not busy all the time


class Board:
    """Memory that the workers of a group share: how busy each of them is; numbers count from 0."""

    def __init__(self, fd: int, count: int) -> None:
        """Map the memory behind a descriptor, which `opened` gave for as many workers."""
        self._map = mmap.mmap(fd, count * _SLOT.size)
        self._count = count

    def tell(self, worker: int, requests: float, now: float) -> None:
        """Say how many requests a worker has at once."""
        _SLOT.pack_into(self._map, worker * _SLOT.size, requests, now)

    def is_up(self, worker: int, up: bool) -> None:
        """Say whether a worker can be given connections at all."""
        self.tell(worker, 0.0 if up else nan, time.monotonic())

    def surplus(self, worker: int, now: float) -> int:
        """Return how many connections a worker should end so that all have about the same to do.

        >>> board = Board(opened(3), 3)
        >>> for number, requests in enumerate([5.5, 0.2, 3.0]):
        ...     board.tell(number, requests, now=1.0)
        >>> board.surplus(0, now=1.5), board.surplus(1, now=1.5), board.surplus(2, now=1.5)
        (3, 0, 1)
        >>> board.is_up(1, False)  # whom nobody comes to is of no help
        >>> board.surplus(0, now=1.5), board.surplus(2, now=1.5)
        (1, 0)
        """
        slots: list[tuple[float, float]] = [
            _SLOT.unpack_from(self._map, number * _SLOT.size) for number in range(self._count)
        ]
        mine, _ = slots[worker]
        busy = [requests if now - at < _FRESH_S else 0.0 for requests, at in slots if not isnan(requests)]
        if isnan(mine) or mine - min(busy) < _WORTH_IT:
            return 0
        return max(1, round(mine - sum(busy) / len(busy)))


def opened(count: int) -> int:
    """Return a descriptor of memory for a board of so many workers, to be inherited by them (Linux)."""
    fd = os.memfd_create("workers")
    os.truncate(fd, count * _SLOT.size)
    return fd


class Share:
    """What one worker has of all requests. Not thread-safe: whoever counts requests holds a lock anyway."""

    def __init__(self, board: Board, worker: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._board, self._worker, self._clock = board, worker, clock
        self._requests = 0
        self._area = 0.0  # requests times seconds since the last look
        self._changed_at = self._looked_at = clock()
        self._too_many = 0
        self._was_too_much = False

    def change(self, by: int) -> None:
        """Count a request that came (1) or ended (-1); now and then look at the others."""
        now = self._clock()
        self._area += self._requests * (now - self._changed_at)
        self._changed_at = now
        self._requests += by
        passed = now - self._looked_at
        if passed < _EVERY_S:
            return
        self._board.tell(self._worker, self._area / passed, now)
        surplus = self._board.surplus(self._worker, now)
        self._too_many = surplus if self._was_too_much else 0
        self._was_too_much = surplus > 0
        self._looked_at, self._area = now, 0.0

    def lets_go(self) -> bool:
        """Tell whether the connection of the answer that is being made shall end; it counts as ended."""
        if self._too_many == 0:
            return False
        self._too_many -= 1
        return True
