"""C-MOVE SCP: instances go to a third application entity, as sub-operations (PS3.4 C.4.2, PS3.7 9.1.4).

The destination is looked up in the table of application entities; the instances go there over an
association of our own, over TLS where the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from dicom_node.dimse import command
from dicom_node.dimse.command import CommandField
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.retrieval import (
    NOT_MATCHED,
    Refusal,
    Tally,
    chosen,
    negotiated,
    responses,
    sop_classes,
)
from dicom_node.dimse.send import Originator, Outlet
from dicom_node.dimse.service import Request, Response, Service
from dicom_node.dimse.status import DESTINATION_UNKNOWN
from dicom_node.files.store import FileStore
from dicom_node.sending.record import record
from fhir_server.database.engine import Engine
from fhir_server.outcome import FhirError


def service(
    engine: Engine, files: FileStore, destinations: Destinations, clock: Callable[[], datetime]
) -> Service:
    """Return C-MOVE for the table of services."""

    def move(request: Request) -> Iterator[Response]:
        try:
            yield from _move(request, engine, files, destinations, clock)
        except Refusal as refusal:
            yield Response(refusal.status, comment=str(refusal))

    return Service("move", sop_classes(2), {CommandField.C_MOVE_RQ: move}, extended=negotiated)


def _move(
    request: Request,
    engine: Engine,
    files: FileStore,
    destinations: Destinations,
    clock: Callable[[], datetime],
) -> Iterator[Response]:
    caller = request.association.caller
    title = command.text(request.command, command.MOVE_DESTINATION)
    try:
        remote = destinations.find(title)
    except FhirError as error:
        raise Refusal(NOT_MATCHED, "the table of application entities cannot be read right now") from error
    if remote is None:
        raise Refusal(DESTINATION_UNKNOWN, "no such destination, or no port for it; see `xinglin ae`")
    instances = chosen(engine, request)
    originator = Originator(caller.calling_ae, command.number(request.command, command.MESSAGE_ID))
    outlet = Outlet(files, "move", originator, command.number(request.command, command.PRIORITY))
    results = outlet.send(instances, remote, caller.called_ae, tls=destinations.tls)

    def over(tally: Tally) -> None:
        ours, asker, failed = caller.called_ae, caller.calling_ae, len(tally.failed)
        record(engine, clock(), ours, remote.title, remote.host, tally.studies, failed, asker)

    yield from responses(request, Tally(len(instances)), results, over)
