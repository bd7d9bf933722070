"""A query as the audit tells of it: who asked, of which SOP class, for what (PS3.15 A.5.3.10)."""

from __future__ import annotations

import json
from datetime import datetime

from dicom_node import header
from dicom_node.attributes import read
from dicom_node.audit import Event, Kind, Party
from dicom_node.dimse.service import Request

_LONGEST = 4096


def queried(request: Request, at: datetime) -> Event:
    """Return the event of a C-FIND: the keys that have a value, as the DICOM JSON model writes them."""
    caller = request.association.caller
    found = read(request.data_set, header.syntax_of(request.context.transfer_syntax)).attributes
    keys = {name: element["Value"] for name, element in found.items() if element.get("Value")}
    return Event(
        Kind.QUERY,
        at,
        source=Party(caller.calling_ae, caller.address, caller.user, requestor=True),
        destination=Party(caller.called_ae),
        sop_class=request.context.abstract_syntax,
        query=json.dumps(keys, ensure_ascii=False)[:_LONGEST],
    )
