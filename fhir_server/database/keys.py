"""Primary keys by the block, so that a create needs no round trip for its key."""

from __future__ import annotations

import threading
from typing import Any, Protocol

BLOCK = 64
"""Keys that one value of the sequence opens (its INCREMENT BY in the first migration)."""


class _Executes(Protocol):
    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]: ...


class KeyBlocks:
    """The keys that this process has taken from the sequence and not yet used.

    Keys grow with time, not strictly with the order of commits; a block that a process
    leaves behind is a gap and nothing more.
    """

    def __init__(self) -> None:
        self._free: list[range] = []
        self._lock = threading.Lock()

    def take(self, unit: _Executes, count: int) -> list[int]:
        """Return `count` keys that nobody else has, ascending within each block."""
        with self._lock:
            taken = self._from_blocks(count)
        if (missing := count - len(taken)) > 0:
            starts = unit.execute(
                "SELECT nextval('resource_pk') FROM generate_series(1, %s)", (-(-missing // BLOCK),)
            )
            with self._lock:
                self._free.extend(range(start, start + BLOCK) for (start,) in starts)
                taken += self._from_blocks(missing)
            if len(taken) < count:  # another thread was faster with the blocks just fetched
                taken += self.take(unit, count - len(taken))
        return taken

    def _from_blocks(self, count: int) -> list[int]:
        taken: list[int] = []
        while self._free and len(taken) < count:
            block = self._free[0]
            part = block[: count - len(taken)]
            taken.extend(part)
            if rest := block[len(part) :]:
                self._free[0] = rest
            else:
                del self._free[0]
        return taken
