"""How full the disk of the data folder is, said before it is too late."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fhir_server.observability import events


@dataclass(frozen=True, slots=True)
class Fill:
    """The file system of a folder."""

    part: str
    total_bytes: int
    free_bytes: int

    @property
    def used_percent(self) -> float:
        """Return how much of it is taken.

        >>> Fill("data", 1000, 250).used_percent
        75.0
        """
        return 100 * (1 - self.free_bytes / max(self.total_bytes, 1))

    def lacking_bytes(self, warn_percent: float) -> int:
        """Return how many bytes it has less than so many percent free; 0 when it has them.

        >>> Fill("data", 1000, 50).lacking_bytes(10), Fill("data", 1000, 100).lacking_bytes(10)
        (50, 0)
        """
        return max(0, int(self.total_bytes * warn_percent / 100) - self.free_bytes)


def fills(data_dir: Path) -> Sequence[Fill]:
    """Return the file systems of the data folder, and of its DICOM files where that is another."""
    found: dict[int, Fill] = {}
    for part, folder in (("data", data_dir), ("dicom", data_dir / "dicom")):
        if folder.is_dir():
            usage = shutil.disk_usage(folder)
            found.setdefault(folder.stat().st_dev, Fill(part, usage.total, usage.free))
    return list(found.values())


def warning(found: Sequence[Fill], warn_percent: float) -> str | None:
    """Return a sentence when a file system has less than so many percent free.

    >>> warning([Fill("data", 100 * 2**30, 5 * 2**30)], 10)
    'the disk of the data folder is 95 % full: 5.0 GiB are free, 10.0 GiB should be'
    """
    for fill in found:
        if fill.lacking_bytes(warn_percent):
            where = "the data folder" if fill.part == "data" else "the DICOM files"
            wanted = fill.total_bytes * warn_percent / 100 / 2**30
            return (
                f"the disk of {where} is {fill.used_percent:.0f} % full: {fill.free_bytes / 2**30:.1f} GiB"
                f" are free, {wanted:.1f} GiB should be"
            )
    return None


class Watch:
    """Looks at the disk every now and then: metrics each time, a line in the log when it fills."""

    def __init__(self, data_dir: Path, warn_percent: float, every_s: float = 15.0) -> None:
        self._data_dir = data_dir
        self._warn_percent = warn_percent
        self._every_s = every_s
        self._next = 0.0
        self._warned: set[str] = set()

    def drain(self) -> int:
        """Look, if it is time; takes nothing off any queue, so the answer is 0."""
        if time.monotonic() < self._next:
            return 0
        self._next = time.monotonic() + self._every_s
        for fill in fills(self._data_dir):
            events.emit(events.Measured("xinglin_disk_free_bytes", fill.part, fill.free_bytes))
            events.emit(events.Measured("xinglin_disk_total_bytes", fill.part, fill.total_bytes))
            lacking = fill.lacking_bytes(self._warn_percent)
            if lacking and fill.part not in self._warned:
                events.emit(events.DiskFilling(fill.part, fill.free_bytes, fill.free_bytes + lacking))
                self._warned.add(fill.part)
            elif not lacking:
                self._warned.discard(fill.part)
        return 0
