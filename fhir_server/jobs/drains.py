"""What the background worker calls again and again: functions that take the next few entries of a queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Drain = Callable[[], int]
"""Takes the next few entries and returns how many it took."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A drain of what others write all the time, up to `size` entries in one turn.

    Asked again at once, it would run all the time beside a steady writer, for two or three entries and a
    transaction each time. A turn that took fewer than `size` has taken all that there was: what comes
    after it may gather until the next round.

    >>> turn = Stream(lambda: 3, size=500)
    >>> turn(), turn.is_empty_after(3), turn.is_empty_after(500)
    (3, True, False)
    """

    drain: Drain
    size: int

    def __call__(self) -> int:
        """Take the next entries and return how many that were."""
        return self.drain()

    def is_empty_after(self, taken: int) -> bool:
        """Tell whether a turn that took so many entries came to the end of them."""
        return taken < self.size
