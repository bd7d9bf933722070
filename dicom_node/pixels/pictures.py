"""Pictures that were made, kept while there is room: thumbnails are asked for again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

MOST_BYTES = 48 * 1024 * 1024


class Pictures:
    """The pictures of one process by their question, the least asked forgotten first; thread-safe.

    >>> kept = Pictures(); kept.of("a", lambda: b"made"), kept.of("a", lambda: b"again")
    (b'made', b'made')
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def of(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the picture of a key, made now if it is not kept."""
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        made = make()
        with self._lock:
            if key not in self._kept and len(made) <= self._most // 8:
                self._kept[key] = made
                self._size += len(made)
                while self._size > self._most:
                    self._size -= len(self._kept.popitem(last=False)[1])
        return made
