"""Storage commitment push model: SCP, and what peers report to us as SCU (PS3.4 Annex J).

A request is kept before it is answered. Its result goes back on the same association while the peer keeps
it open, else on a new one by `delivery`; both from the same row, so one of them always does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, runtime_checkable

from dicom_node.attributes import Attributes
from dicom_node.dimse import command as commands
from dicom_node.dimse.command import Command, CommandField, number, text
from dicom_node.dimse.service import Request, Response, Service
from dicom_node.encode import encode
from dicom_node.upper_layer.errors import UpperLayerError
from dicom_node.workflow import commitment, messages
from dicom_node.workflow.asked import asked
from dicom_node.workflow.elements import items
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import Forbidden, Unavailable

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
WELL_KNOWN: Final = "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT: Final = 1
ALL_SAFE: Final = 1
SOME_FAILED: Final = 2

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
NO_SUCH_EVENT: Final = 0x0113
INVALID_ARGUMENT: Final = 0x0115
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
RESOURCE_LIMITATION: Final = 0x0213

ON_THIS_ASSOCIATION: Final = timedelta(seconds=30)
"""How long the worker leaves a request to the association that it came on."""

STILL_OPEN_S: Final = 0.3
"""A peer that keeps quiet for so long waits for the result; one that wants to go has begun to by then."""

Clock = Callable[[], datetime]


@runtime_checkable
class Listening(Protocol):
    """An association that can say whether the other side keeps quiet."""

    def quiet(self, wait_s: float) -> bool:
        """Whether nothing comes from the other side for so long."""


def service(engine: Engine, checks: commitment.Checks, clock: Clock) -> Service:
    """Return storage commitment as a line of the table of services."""

    def action(request: Request) -> Iterator[Response]:
        return _action(request, engine, checks, clock)

    def event(request: Request) -> Iterator[Response]:
        yield _event(request, engine, clock)

    return Service(
        "commitment",
        [PUSH_MODEL],
        {CommandField.N_ACTION_RQ: action, CommandField.N_EVENT_REPORT_RQ: event},
    )


def _action(request: Request, engine: Engine, checks: commitment.Checks, clock: Clock) -> Iterator[Response]:
    association = request.association
    caller = association.caller
    try:
        permit(caller.grant, "read", "ImagingStudy")
    except Forbidden:
        yield Response(NOT_AUTHORIZED, comment="storage commitment is not for this caller")
        return
    if text(request.command, commands.REQUESTED_SOP_INSTANCE_UID) != WELL_KNOWN:
        yield Response(NO_SUCH_INSTANCE, comment=f"commitment is asked of {WELL_KNOWN}")
        return
    if number(request.command, commands.ACTION_TYPE_ID) != REQUEST_COMMITMENT:
        yield Response(NO_SUCH_ACTION, comment="the only action type is 1, request storage commitment")
        return
    given = asked(request.data_set, request.context.transfer_syntax)
    try:
        if given.problem:
            raise commitment.Malformed("the action information cannot be read as a data set")
        requested = commitment.read_request(given.attributes)
    except commitment.Malformed as error:
        yield Response(INVALID_ARGUMENT, comment=str(error))
        return
    now = clock()
    try:
        with engine.connection() as connection:
            pk = commitment.open_request(
                connection.cursor(), caller.calling_ae, requested, now, now + ON_THIS_ASSOCIATION
            )
            connection.commit()
    except Unavailable:
        yield Response(RESOURCE_LIMITATION, comment="the database is away; ask again")
        return
    if pk is None:
        yield Response(PROCESSING_FAILURE, comment="this Transaction UID stands for another request")
        return
    yield Response(SUCCESS)
    try:
        _answer_here(request, engine, checks, pk, now)
    except Unavailable:
        return  # the request is kept; the worker answers it


def _answer_here(request: Request, engine: Engine, checks: commitment.Checks, pk: int, now: datetime) -> None:
    """Answer on the same association if all is known and the peer waits; else leave it to the worker."""
    association = request.association
    waits = isinstance(association, Listening) and association.quiet(STILL_OPEN_S)
    with engine.connection() as connection:
        cursor = connection.cursor()
        message = checks.answer(cursor, pk, now + ON_THIS_ASSOCIATION if waits else now)
        if message is None:
            cursor.execute(
                "UPDATE storage_commitment SET due_at = %s WHERE pk = %s AND answered_at IS NULL", (now, pk)
            )
            connection.commit()
            return
        cursor.execute("SELECT sop_uid, attributes FROM outgoing_message WHERE pk = %s", (message,))
        _, told = cursor.fetchone()
        connection.commit()
    if not waits:
        return
    try:
        command, data_set = report(told, request.context.transfer_syntax)
        answer, _ = association.request(request.context, command, data_set)
        taken = number(answer, commands.STATUS) == SUCCESS
    except UpperLayerError:
        taken = False
    with engine.connection() as connection:
        cursor = connection.cursor()
        if taken:
            messages.delivered(cursor, [message])
        else:
            cursor.execute("UPDATE outgoing_message SET due_at = %s WHERE pk = %s", (now, message))
        connection.commit()


def report(told: Attributes, transfer_syntax: str) -> tuple[Command, bytes]:
    """Return an N-EVENT-REPORT-RQ with its data set."""
    command: Command = {
        commands.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
        commands.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
        commands.AFFECTED_SOP_INSTANCE_UID: WELL_KNOWN,
        commands.EVENT_TYPE_ID: SOME_FAILED if items(told, "FailedSOPSequence") else ALL_SAFE,
    }
    return command, encode(told, transfer_syntax, character_set="")


def request_for(told: Attributes, transfer_syntax: str) -> tuple[Command, bytes]:
    """Return an N-ACTION-RQ that asks for commitment, with its data set."""
    command: Command = {
        commands.COMMAND_FIELD: CommandField.N_ACTION_RQ,
        commands.REQUESTED_SOP_CLASS_UID: PUSH_MODEL,
        commands.REQUESTED_SOP_INSTANCE_UID: WELL_KNOWN,
        commands.ACTION_TYPE_ID: REQUEST_COMMITMENT,
    }
    return command, encode(told, transfer_syntax, character_set="")


def _event(request: Request, engine: Engine, clock: Clock) -> Response:
    try:
        permit(request.association.caller.grant, "update", "ImagingStudy")
    except Forbidden:
        return Response(NOT_AUTHORIZED, comment="reports of commitment are not taken from this caller")
    return take_report(request.command, request.data_set, request.context.transfer_syntax, engine, clock)


def take_report(
    command: Command, data_set: bytes, transfer_syntax: str, engine: Any, clock: Clock
) -> Response:
    """Keep a report on a request of ours and return the response to it."""
    if number(command, commands.EVENT_TYPE_ID) not in (ALL_SAFE, SOME_FAILED):
        return Response(NO_SUCH_EVENT, comment="event types are 1, all safe, and 2, failures exist")
    given = asked(data_set, transfer_syntax)
    if given.problem:
        return Response(INVALID_ARGUMENT, comment="the event information cannot be read as a data set")
    try:
        with engine.connection() as connection:
            known = commitment.take_report(connection.cursor(), given.attributes, clock())
            connection.commit()
    except Unavailable:
        return Response(RESOURCE_LIMITATION, comment="the database is away; report it again")
    if not known:
        return Response(INVALID_ARGUMENT, comment="we asked for no commitment with this Transaction UID")
    return Response(SUCCESS)
