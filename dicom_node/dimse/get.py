"""C-GET SCP: instances come back on the association that asked for them (PS3.4 C.4.3, PS3.7 9.1.3).

The requestor proposes the storage SOP classes with itself in the role of the SCP (PS3.7 D.3.3.4); what
it did not propose, or not in a transfer syntax that an instance has or can be brought into, counts as
a failed sub-operation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from datetime import datetime

from dicom_node.dimse import command
from dicom_node.dimse.command import CommandField
from dicom_node.dimse.retrieval import Refusal, Tally, chosen, negotiated, responses, sop_classes
from dicom_node.dimse.send import Outlet, Result
from dicom_node.dimse.service import Request, Response, Service
from dicom_node.files.store import FileStore
from dicom_node.sending.record import record
from fhir_server.database.engine import Engine


def service(engine: Engine, files: FileStore, clock: Callable[[], datetime]) -> Service:
    """Return C-GET for the table of services."""

    def get(request: Request) -> Iterator[Response]:
        try:
            instances = chosen(engine, request)
        except Refusal as refusal:
            yield Response(refusal.status, comment=str(refusal))
            return
        caller = request.association.caller
        outlet = Outlet(files, "get", priority=command.number(request.command, command.PRIORITY))

        def results() -> Generator[Result, None, None]:
            for instance in instances:
                yield outlet.store(request.association, instance, as_scp=True)

        def over(tally: Tally) -> None:
            ours, asker, failed = caller.called_ae, caller.calling_ae, len(tally.failed)
            record(engine, clock(), ours, asker, caller.address, tally.studies, failed, asker)

        yield from responses(request, Tally(len(instances)), results(), over)

    return Service("get", sop_classes(3), {CommandField.C_GET_RQ: get}, extended=negotiated)
