"""A sign of life that one process leaves for the others: the background worker's, for readiness."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

SILENT_S = 120.0
"""A worker that was not heard of for so long is in trouble; a single drain does not take so long."""


class Heartbeat:
    """The file of one process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beat_at = -SILENT_S
        self._failing: tuple[str, ...] = ()

    def beat(self, failing: Iterable[str] = ()) -> None:
        """Leave a sign and the names of what fails now; at most one a second if nothing changed."""
        names, now = tuple(sorted(failing)), time.monotonic()
        if now - self._beat_at < 1.0 and names == self._failing:
            return
        self._beat_at, self._failing = now, names
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({"at": time.time(), "pid": os.getpid(), "failing": names}))
        part.rename(self._path)


def problem(path: Path, what: str) -> str | None:
    """Return what is wrong with the process that beats at `path`, or None.

    >>> problem(Path("/nowhere/worker.beat"), "the background worker")
    'the background worker has not started yet'
    """
    try:
        sign = json.loads(path.read_text())
    except (OSError, ValueError):
        return f"{what} has not started yet"
    silent_s = time.time() - float(sign["at"])
    if silent_s > SILENT_S:
        return f"{what} was last heard of {silent_s:.0f} s ago"
    if sign["failing"]:
        return f"{what} cannot drain {', '.join(sign['failing'])}; the log says why"
    return None
