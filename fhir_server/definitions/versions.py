"""Which of two business versions is the newer one (R4/references.html#canonical leaves it open).

The rule of Xinglin: numbers with points by number, a release before its pre-releases
(https://semver.org/#spec-item-11), dates as numbers; what is no number stands below all numbers, in
the order of its signs; no version at all comes last.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?\Z")
_DATE = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?\Z")


@lru_cache(maxsize=1024)
def order(version: str) -> tuple[Any, ...]:
    """Return what versions are sorted by, the newest one last.

    >>> sorted(["7.0.0", "6.1.0", "7.0.0-ballot", "10.0", "", "draft", "7.0.0-rc.2"], key=order)
    ['', 'draft', '6.1.0', '7.0.0-ballot', '7.0.0-rc.2', '7.0.0', '10.0']
    """
    if date := _DATE.match(version):
        return (2, tuple(int(part) for part in date.groups() if part), 1, (), version)
    if numbers := _NUMBERS.match(version):
        parts = [int(part) for part in numbers[1].split(".")]
        while len(parts) > 1 and parts[-1] == 0:
            parts.pop()  # 6.1 and 6.1.0 are one
        before = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in (numbers[2] or "").split(".")
            if part
        )
        return (2, tuple(parts), 0 if before else 1, before, version)
    return (1 if version else 0, (), 1, (), version)
