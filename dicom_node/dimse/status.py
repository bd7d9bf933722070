"""Named DIMSE statuses, and which verdict of ingest gives which (PS3.7 Annex C, PS3.4 table B.2-1)."""

from __future__ import annotations

from typing import Final

from dicom_node.verdict import Verdict
from fhir_server.outcome import FhirError, Forbidden, Unavailable

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_SOP_CLASS: Final = 0x0122
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211
NO_ROOM: Final = 0xA700
INDEX_AWAY: Final = 0xA701
"""Out of resources like NO_ROOM, but it passes: senders try A7xx again."""

NOT_OF_THIS_CLASS: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
DATA_SET_DOUBTFUL: Final = 0xB007
"""A warning: stored, although the data set does not match its SOP Class."""

PENDING: Final = 0xFF00
PENDING_WITHOUT_SOME_KEYS: Final = 0xFF01
"""A match is given, but of the keys asked for some are not known here (PS3.4 table C.4-1)."""

CANCELLED: Final = 0xFE00
SUB_OPERATIONS_FAILED: Final = 0xA702
SUB_OPERATIONS_WARNING: Final = 0xB000
DESTINATION_UNKNOWN: Final = 0xA801

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

FAILED: Final = frozenset({NO_ROOM, INDEX_AWAY, NOT_OF_THIS_CLASS, CANNOT_UNDERSTAND})
"""Of these, those that say that an instance is not in the archive."""


def of_error(error: FhirError) -> int:
    """Return the status of an error that a service raised.

    >>> hex(of_error(Unavailable("the database cannot be reached")))
    '0xa700'
    """
    if isinstance(error, Forbidden):
        return NOT_AUTHORIZED
    return NO_ROOM if isinstance(error, Unavailable) else PROCESSING_FAILURE
