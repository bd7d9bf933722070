"""What the database's statistics know of frequencies, read again now and then.

Plans of searches are chosen by them (search/frequency.py); no answer depends on them, so they may be old.
"""

from __future__ import annotations

import time

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.search.frequency import STATISTICS, Frequencies

FRESH_S = 600.0
"""They change when a table has grown by some percent, and reading them takes some milliseconds."""
YOUNG_S = 20.0
"""While there are none yet: an installation that has just begun to fill."""


class Statistics:
    """The frequencies of one installation, as one process knows them."""

    __slots__ = ("_known", "_until")

    def __init__(self) -> None:
        self._known: Frequencies | None = None
        self._until = 0.0

    def frequencies(self, unit: UnitOfWork) -> Frequencies | None:
        """Return what is known; None where the database has no statistics yet."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + FRESH_S  # nobody else reads them meanwhile
            self._known = Frequencies.of(unit.execute(STATISTICS))
            if self._known is None:
                self._until = now + YOUNG_S
        return self._known
