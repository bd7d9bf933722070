"""Where pages ended: the page behind one that was given begins there, however far that is.

An offset alone makes the database count up to it. A client that pages asks for the offset at which its last
page ended; what this process remembers of that page makes it a search for what comes behind a row.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from dicom_node.index.query import Found, Question

KEPT_S = 60.0
MOST = 1_000


class Places:
    """The ends of the pages that one process gave in the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._ends: OrderedDict[Question, tuple[tuple[object, ...], float]] = OrderedDict()
        self._clock = clock
        self._lock = Lock()

    def continued(self, question: Question) -> Question:
        """Return the question, behind a row instead of at an offset where that row is known."""
        with self._lock:
            known = self._ends.get(replace(question, limit=0))
        if known is None or self._clock() - known[1] > KEPT_S:
            return question
        return replace(question, after=known[0], offset=0)

    def ended(self, question: Question, page: list[Found]) -> None:
        """Take note of where a page of this question ended."""
        if not page:
            return
        following = replace(question, limit=0, offset=question.offset + len(page))
        with self._lock:
            self._ends[following] = (page[-1].key, self._clock())
            self._ends.move_to_end(following)
            while len(self._ends) > MOST:
                self._ends.popitem(last=False)
