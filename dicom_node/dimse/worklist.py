"""Modality worklist C-FIND SCP: what is to be done at this station (PS3.4 Annex K; IHE RAD-5).

Answered from rows that the worker keeps beside the orders of FHIR; every key of the request comes back,
with a value where the order has one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from dicom_node import audit
from dicom_node.attributes import Attributes
from dicom_node.dimse.command import MESSAGE_ID, CommandField, number
from dicom_node.dimse.service import Request, Response, Service
from dicom_node.encode import encode
from dicom_node.workflow import rows
from dicom_node.workflow.asked import asked
from dicom_node.workflow.matching import STATION, selected
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import Forbidden, Unavailable

MODALITY_WORKLIST: Final = "1.2.840.10008.5.1.4.31"

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
NOT_AUTHORIZED: Final = 0x0124
AWAY: Final = 0xA700
CANNOT_PROCESS: Final = 0xC000

log = logging.getLogger("dicom_node")


def service(engine: Engine, character_set: Callable[[str], str]) -> Service:
    """Return the worklist as a line of the table of services.

    `character_set` gives that of an AE title, empty where it has none of its own.
    """

    def find(request: Request) -> Iterator[Response]:
        return _find(request, engine, character_set)

    return Service("worklist", [MODALITY_WORKLIST], {CommandField.C_FIND_RQ: find})


def _find(request: Request, engine: Engine, character_set: Callable[[str], str]) -> Iterator[Response]:
    caller = request.association.caller
    try:
        permit(caller.grant, "search-type", "ServiceRequest")
    except Forbidden:
        yield Response(NOT_AUTHORIZED, comment="the worklist is not for this caller")
        return
    identifier = asked(request.data_set, request.context.transfer_syntax)
    if identifier.problem:
        yield Response(CANNOT_PROCESS, comment="the identifier cannot be read as a data set")
        return
    try:
        with engine.connection() as connection:
            found = rows.candidates(connection, identifier.attributes)
            _note(connection.cursor(), request, identifier.attributes)
            connection.commit()
    except Unavailable:
        yield Response(AWAY, comment="the database is away; ask again")
        return
    message_id = number(request.command, MESSAGE_ID)
    answer_set = character_set(caller.calling_ae) or identifier.character_set
    for answer in rows.matching(found, identifier.attributes):
        if request.association.cancelled(message_id):
            yield Response(CANCELLED)
            return
        told = _stationed(selected(identifier.attributes, answer), caller.calling_ae)
        yield Response(PENDING, encode(told, request.context.transfer_syntax, character_set=answer_set))
    yield Response(SUCCESS)


def _stationed(answer: Attributes, calling_ae: str) -> Attributes:
    """Return an answer with the asking station where none was chosen: the key has a value in every answer."""
    for step in answer.get(rows.SCHEDULED_STEPS, {}).get("Value", ()):
        if STATION in step and not step[STATION].get("Value"):
            step[STATION] = {"vr": "AE", "Value": [calling_ae]}
    return answer


def _note(cursor: Any, request: Request, identifier: Attributes) -> None:
    caller = request.association.caller
    # what was asked is no state of ours: it need not wait for the disk
    cursor.execute("SET LOCAL synchronous_commit = off")
    event = audit.Event(
        audit.Kind.QUERY,
        datetime.now(UTC),
        source=audit.Party(caller.calling_ae, caller.address, caller.user, requestor=True),
        destination=audit.Party(caller.called_ae),
        sop_class=MODALITY_WORKLIST,
        query=json.dumps(identifier, ensure_ascii=False),
    )
    audit.note(cursor, event)
