"""The fact files of this package → typed values, each read once and only when asked for.

`tools/distil.py` writes the files from the official hl7.fhir.r4.core 4.0.1 package.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")
FACTS = Path(__file__).parent / "facts"


def load(name: str, shape: type[T]) -> T:
    """Return the facts called `name`, decoded as `shape`; the caller keeps them.

    >>> load("compartments", dict[str, dict[str, list[str]]])["Patient"]["Account"]
    ['subject']
    """
    return msgspec.json.decode(gzip.decompress((FACTS / f"{name}.json.gz").read_bytes()), type=shape)
