"""How long an expression of a stranger may work, and with how much."""

from __future__ import annotations

import time

from fhir_server.fhirpath.values import Collection
from fhir_server.outcome import TooCostly

MAX_SECONDS = 1.0
MAX_STEPS = 1_000_000
MAX_TEXT = 5_000_000
"""Characters that one collection may hold in all: what is put together from it stays in reach."""


class Watch:
    """Ends an evaluation that takes more than `seconds`, `steps` or MAX_TEXT characters.

    It is looked at between any two nodes of an expression; one node by itself takes a second at
    most (a regular expression does). The seconds begin when it is made.
    """

    __slots__ = ("_deadline", "_seconds", "_steps")

    def __init__(self, seconds: float = MAX_SECONDS, steps: int = MAX_STEPS) -> None:
        self._seconds, self._steps = seconds, steps
        self._deadline = time.monotonic() + seconds

    def look(self, found: Collection) -> None:
        """Count what a node has found; raises TooCostly (422) beyond the limits."""
        self.count(1 + len(found))
        length = 0
        for item in found:
            if type(item) is str:
                length += len(item)
        if length > MAX_TEXT:
            raise TooCostly(f"the expression makes texts of more than {MAX_TEXT} characters; {_ADVICE}")

    def count(self, steps: int) -> None:
        """Count steps that are about to be made."""
        self._steps -= steps
        if self._steps < 0:
            raise TooCostly(f"the expression passes through too many items; {_ADVICE}")
        if time.monotonic() > self._deadline:
            raise TooCostly(f"the expression takes longer than {self._seconds:g} s; {_ADVICE}")


_ADVICE = "narrow it, or evaluate it on a smaller resource"
