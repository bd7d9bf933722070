"""Named DIMSE statuses, and which verdict of ingest gives which (PS3.7 Annex C, PS3.4 table B.2-1)."""

from __future__ import annotations

from typing import Final

from dicom_node.ingest import Verdict

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_ROOM: Final = 0xA700
INDEX_AWAY: Final = 0xA701
"""Out of resources like NO_ROOM, but it passes: senders try A7xx again."""

NOT_OF_THIS_CLASS: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
DATA_SET_DOUBTFUL: Final = 0xB007
"""A warning: stored, although the data set does not match its SOP Class."""

OF_VERDICT: Final = {
    Verdict.STORED: SUCCESS,
    Verdict.DUPLICATE: SUCCESS,
    Verdict.NEW_VERSION: SUCCESS,
    Verdict.REMOVED: SUCCESS,
    Verdict.STORED_DOUBTFUL: DATA_SET_DOUBTFUL,
    Verdict.NOT_UNDERSTOOD: CANNOT_UNDERSTAND,
    Verdict.NOT_IDENTIFIED: NOT_OF_THIS_CLASS,
    Verdict.DISK_FULL: NO_ROOM,
    Verdict.UNAVAILABLE: INDEX_AWAY,
}
