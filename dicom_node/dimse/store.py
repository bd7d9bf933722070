"""C-STORE SCP: an instance comes over an association (PS3.4 Annex B).

The data set arrives in a file (pynetdicom writes the fragments as they come, so memory stays
bounded) and goes on to `ingest` undecoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.dimse.status import OF_VERDICT
from dicom_node.files.part10 import read_meta
from dicom_node.files.store import PIECE_BYTES
from dicom_node.ingest import Ingest, Outcome

Listener = Callable[[Outcome, float], None]
"""Told of every instance: what became of it, and how many milliseconds that took."""


def store(event: Any, ingest: Ingest, seen: Listener) -> Any:
    """Keep what a C-STORE-RQ brought and return the status of its response.

    A status that is not success carries the reason as Error Comment (0000,0902).
    """
    begun = time.monotonic()
    calling_ae = str(event.assoc.requestor.ae_title).strip()
    outcome = ingest.store(
        _pieces(event),
        str(event.context.transfer_syntax),
        calling_ae,
        sop_class=str(event.request.AffectedSOPClassUID),
        sop_uid=str(event.request.AffectedSOPInstanceUID),
    )
    seen(outcome, (time.monotonic() - begun) * 1000)
    code = OF_VERDICT[outcome.verdict]
    if not outcome.reason:
        return code
    status = Dataset()
    status.Status = code
    status.ErrorComment = outcome.reason[:64]
    return status


def _pieces(event: Any) -> Iterator[bytes]:
    """Yield the data set as it came; in front of it stands a file meta that pynetdicom made."""
    with open(event.dataset_path, "rb", buffering=0) as file:
        first = file.read(PIECE_BYTES)
        yield first[read_meta(first).data_set_at :]
        while piece := file.read(PIECE_BYTES):
            yield piece
