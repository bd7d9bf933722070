"""Goals: what was wanted, what was found, and whether that is enough."""

from __future__ import annotations

from dataclasses import dataclass

READ, SEARCH, PAGE, CREATE = 1.4, 2.0, 1.5, 2.5
"""CPU of a request, in that of the floor."""

IMPORT_MS = 0.6
"""CPU of an imported resource, with validation, history and all indexes."""

TAIL = 3.0
"""p99 at 16 clients, in that of the floor."""

DISK, FURTHER_VERSION = 3.0, 1.3
"""Bytes after VACUUM, in compact JSON: of a resource with one version, and of each further version."""

GROWN_WORK, GROWN_TIME = 1.3, 2.0
"""From the small installation to the large one: rows and buffers, and median time."""

LONGEST_MS, DENSE_COUNT = 100.0, 1.5
"""Of each question on the large installation; a count of many hits in that of a count by hand instead."""

DEEP_PAGE = 1.1
"""Buffers of page 500 in those of page 1: the same, but for where a page happens to begin."""

MEMORY_MIB, FLAT = 180.0, 1.05
"""PSS of a worker after all requests; its last quarter against its second one."""

CDS_P99_MS, CDS_EVERY_MS, CDS_MODEL_MS = 50.0, 1000 / 300, 1.0
"""CDS Hooks at 16 clients: p99, the time from one answer to the next (300 a second), the model's part."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was found."""

    what: str
    found: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.found <= self.limit

    def line(self) -> str:
        """Return it for people."""
        word = "met   " if self.met else "MISSED"
        return f"  {word}  {self.what}: {self.figure()} (goal {self.limit:g})"

    def figure(self) -> str:
        """Return what was found with its unit; where nothing at all is wanted, how many, and which.

        >>> Verdict("refused", 2, 0, "_text, near").figure(), Verdict("read", 1.234, 1.4, "times").figure()
        ('2: _text, near', '1.23 times')
        """
        if self.limit == 0:
            return f"{self.found:.0f}: {self.unit}" if self.found else "none"
        return f"{self.found:.2f} {self.unit}"
