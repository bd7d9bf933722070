"""Stretches of elements that nobody wants, known by their headers: passed over in one step.

Between the elements that the index keeps stand many that it does not, and from image to image only their
values differ. What is remembered of such a run are the bytes of its element headers; where the same bytes
stand at the same distances, the same elements stand there, so a walk would end at the same place. A run that
does not fit is cut in half, and given up when nothing is left of it.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Final

LONGEST_BYTES: Final = 4096
MOST_ELEMENTS: Final = 64
MOST: Final = 1000
RENEWED_AFTER: Final = 4096
"""Data sets; then all is forgotten: what was given up for one device may be worth it for the next."""

_MISSES: Final = 2

Next = Callable[[int], tuple[int, int] | None]
"""Position of an element → end of its header and of its value, or None where a run must not go on.

A value whose inside decides where it ends has a header that is as long as itself.
"""


class Run:
    """A run: as many bytes, in which those of `mask` are those of `headers`; an empty one never fits."""

    __slots__ = ("elements", "headers", "mask", "misses", "size")

    def __init__(self, data: bytes | mmap.mmap, position: int, following: Next, most: int) -> None:
        mask = bytearray()
        self.elements = 0
        at = position
        while self.elements < most and (found := following(at)) is not None:
            header, stop = found
            if stop - position > LONGEST_BYTES:
                break
            mask += b"\xff" * (header - at) + bytes(stop - header)
            self.elements += 1
            at = stop
        self.size = at - position if self.elements > 1 else 0
        self.mask = int.from_bytes(mask, "little") if self.size else 0
        self.headers = int.from_bytes(data[position:at], "little") & self.mask if self.size else 0
        self.misses = 0

    def fits(self, data: bytes | mmap.mmap, position: int) -> bool:
        """Whether the run stands at a position."""
        raw = data[position : position + self.size]
        return len(raw) == self.size and int.from_bytes(raw, "little") & self.mask == self.headers


class Runs:
    """The runs of data sets of one kind, by the header of their first element.

    Threads may use it at the same time: what is lost by that is learned again.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Run] = {}
        self._seen = 0

    def begin(self) -> None:
        """Take note that another data set is looked at."""
        self._seen += 1
        if self._seen >= RENEWED_AFTER or len(self._known) > MOST:
            self._known, self._seen = {}, 0

    def length(self, data: bytes | mmap.mmap, position: int, following: Next) -> int:
        """Return how many bytes can be passed over at a position; 0: what stands there is not known."""
        key = data[position : position + 8]
        run = self._known.get(key)
        if run is None:
            self._known[key] = run = Run(data, position, following, MOST_ELEMENTS)
            return run.size
        if not run.size:
            return 0
        if run.fits(data, position):
            run.misses = 0
            return run.size
        run.misses += 1
        if run.misses >= _MISSES:
            self._known[key] = Run(data, position, following, run.elements // 2)
        return 0
