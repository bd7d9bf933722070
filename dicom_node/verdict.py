"""What became of an instance that somebody sent (PS3.4 B.2.3 names the statuses that follow)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dicom_node.instance import Instance


class Verdict(Enum):
    """What became of an instance. `dimse/status.py` knows the number of each."""

    STORED = "stored"
    DUPLICATE = "the same bytes were here already"
    NEW_VERSION = "other bytes under the same UID: both are kept, the newer is served"
    REMOVED = "kept aside: it was deleted or rejected here and nobody has restored it"
    STORED_DOUBTFUL = "stored, but its data set contradicts its command or breaks off"
    NOT_UNDERSTOOD = "in quarantine: the data set cannot be understood"
    NOT_IDENTIFIED = "in quarantine: the data set does not say which instance it is"
    DISK_FULL = "refused: no room on disk"
    UNAVAILABLE = "refused for now: the index cannot be reached"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one instance; `instance` is None where nothing could be read."""

    verdict: Verdict
    reason: str = ""
    instance: Instance | None = None
    size_bytes: int = 0
