"""Modality performed procedure step SCP: N-CREATE, N-SET, and N-GET to read it again (PS3.4 Annex F)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from dicom_node import audit
from dicom_node.attributes import Attributes
from dicom_node.dictionary import hex_of
from dicom_node.dimse import command as commands
from dicom_node.dimse.command import CommandField, text
from dicom_node.dimse.service import Request, Response, Service
from dicom_node.encode import encode
from dicom_node.workflow import performed
from dicom_node.workflow.asked import asked
from dicom_node.workflow.elements import value
from dicom_node.workflow.orders import mint
from dicom_node.workflow.performed import NO_SUCH_INSTANCE, PROCESSING_FAILURE, Refused
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import Forbidden, Unavailable

PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
PERFORMED_STEP_RETRIEVE: Final = "1.2.840.10008.3.1.2.3.4"

SUCCESS: Final = 0x0000
OPTIONAL_NOT_SUPPORTED: Final = 0x0001
"""Warning of an N-GET: attributes that were asked for are not there (table F.8.2-2)."""

ATTRIBUTE_LIST_ERROR: Final = 0x0107
"""Warning of an N-SET: attributes that may not be set were left out."""

NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213

Clock = Callable[[], datetime]
Answered = Callable[[Request], Response]


def service(engine: Engine, clock: Clock, character_set: Callable[[str], str]) -> Service:
    """Return the performed procedure step as a line of the table of services."""

    def create(request: Request) -> Response:
        return _create(request, engine, clock)

    def change(request: Request) -> Response:
        return _change(request, engine, clock)

    def get(request: Request) -> Response:
        return _get(request, engine, character_set)

    return Service(
        "mpps",
        [PERFORMED_STEP, PERFORMED_STEP_RETRIEVE],
        {
            CommandField.N_CREATE_RQ: _guarded(create, "create", PERFORMED_STEP),
            CommandField.N_SET_RQ: _guarded(change, "update", PERFORMED_STEP),
            CommandField.N_GET_RQ: _guarded(get, "read", PERFORMED_STEP_RETRIEVE),
        },
    )


def _guarded(work: Answered, interaction: str, sop_class: str) -> Callable[[Request], Iterator[Response]]:
    """Return a handler that asks the grant first and turns what is refused into statuses."""

    def handle(request: Request) -> Iterator[Response]:
        if request.context.abstract_syntax != sop_class:
            yield Response(UNRECOGNIZED, comment="this SOP Class has no such operation")
            return
        try:
            permit(request.association.caller.grant, interaction, "Procedure")
            yield work(request)
        except Forbidden:
            yield Response(NOT_AUTHORIZED, comment="performed procedure steps are not for this caller")
        except Unavailable:
            yield Response(RESOURCE_LIMITATION, comment="the database is away; send it again")
        except Refused as refused:
            fields = {commands.ERROR_ID: refused.error_id} if refused.error_id else {}
            yield Response(refused.status, comment=refused.comment, fields=fields)

    return handle


def _create(request: Request, engine: Engine, clock: Clock) -> Response:
    sop_uid = text(request.command, commands.AFFECTED_SOP_INSTANCE_UID) or mint()
    given = _read(request)
    now = clock()
    with engine.connection() as connection:
        performed.create(connection, sop_uid, request.association.caller.calling_ae, given, now)
        _note(connection.cursor(), request, given, "C", now)
        connection.commit()
    return Response(SUCCESS, fields={commands.AFFECTED_SOP_INSTANCE_UID: sop_uid})


def _change(request: Request, engine: Engine, clock: Clock) -> Response:
    sop_uid = text(request.command, commands.REQUESTED_SOP_INSTANCE_UID)
    given = _read(request)
    now = clock()
    with engine.connection() as connection:
        step, left_out = performed.change(connection, sop_uid, given, now)
        _note(connection.cursor(), request, step, "U", now)
        connection.commit()
    if left_out:
        tags = sorted(int(name, 16) for name in left_out)
        return Response(
            ATTRIBUTE_LIST_ERROR,
            comment="attributes that are fixed at N-CREATE were left as they are",
            fields={commands.ATTRIBUTE_IDENTIFIER_LIST: tags},
        )
    return Response(SUCCESS)


def _get(request: Request, engine: Engine, character_set: Callable[[str], str]) -> Response:
    sop_uid = text(request.command, commands.REQUESTED_SOP_INSTANCE_UID)
    with engine.connection() as connection:
        found = performed.find(connection, sop_uid)
    if found is None:
        raise Refused(NO_SUCH_INSTANCE, "there is no step with this SOP Instance UID")
    wanted = request.command.get(commands.ATTRIBUTE_IDENTIFIER_LIST, [])
    names: Sequence[str] = [hex_of(tag) for tag in wanted] if isinstance(wanted, list) else []
    given = {name: element for name, element in found.attributes.items() if not names or name in names}
    lacking = [name for name in names if name not in found.attributes and name != "00080005"]
    said = character_set(request.association.caller.calling_ae)
    data_set = encode(given, request.context.transfer_syntax, character_set=said)
    return Response(OPTIONAL_NOT_SUPPORTED if lacking else SUCCESS, data_set)


def _note(cursor: Any, request: Request, step: Attributes, action: str, now: datetime) -> None:
    """Write down who began or changed the procedure of which patient (PS3.15 A.5.3, Procedure Record)."""
    caller = request.association.caller
    patient_id, issuer = value(step, "PatientID"), value(step, "IssuerOfPatientID")
    event = audit.Event(
        audit.Kind.PROCEDURE_RECORD,
        now,
        source=audit.Party(caller.calling_ae, caller.address, caller.user, requestor=True),
        destination=audit.Party(caller.called_ae),
        studies=[audit.Studied(uid, patient_id, issuer) for uid in performed.study_uids(step)],
        action=action,
        sop_class=PERFORMED_STEP,
    )
    audit.note(cursor, event)


def _read(request: Request) -> Attributes:
    found = asked(request.data_set, request.context.transfer_syntax)
    if found.problem:
        raise Refused(PROCESSING_FAILURE, "the attribute list cannot be read as a data set")
    return {name: element for name, element in found.attributes.items() if name != "00080005"}
