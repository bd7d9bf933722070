"""Messages in both directions on one association: a service of many answers, ours at both ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dicom_node.dimse import command as commands
from dicom_node.dimse.command import Command, CommandField, number
from dicom_node.dimse.dispatch import Dispatch
from dicom_node.dimse.exchange import MAX_DATA_SET_BYTES, Exchange, Message
from dicom_node.dimse.requestor import OURS, Remote, associate
from dicom_node.dimse.service import Caller, Request, Response, Service
from dicom_node.dimse.store import Receiver
from dicom_node.dimse.trail import Trail
from dicom_node.failures import Failures
from dicom_node.upper_layer.association import accept
from dicom_node.upper_layer.errors import AssociationLost
from dicom_node.upper_layer.listener import Door, Listener, Visit
from dicom_node.upper_layer.negotiation import Proposed, answer
from fhir_server.outcome import Forbidden, Invalid
from tests.support.clause import clause
from tests.support.dicom_data import ct, encoded
from tests.support.dicom_fixtures import Node

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
PENDING, CANCELLED = 0xFF00, 0xFE00


@contextmanager
def serving(node: Node, *services: Service) -> Iterator[Remote]:
    """A listener with services of this test beside C-STORE."""
    trail, failures = Trail(node.engine, node.clock, "NODE"), Failures(node.engine, node.clock)
    dispatch = Dispatch(services, Receiver(node.ingest, lambda outcome, ms: None, trail, failures))
    rights = frozenset({"*"})

    def serve(visit: Visit) -> None:
        association = accept(
            visit.connection, lambda request: answer(request, dispatch.offer(rights), OURS), visit.deadline
        )
        if association is not None:
            visit.associated = True
            caller = Caller(association.request.calling_ae, "NODE", visit.address, rights=rights)
            dispatch.serve(Exchange(association, caller, dispatch.answer))

    listening = socket.create_server(("127.0.0.1", 0))
    listener = Listener([Door(listening)], serve)
    listener.start()
    yield Remote("NODE", "127.0.0.1", listening.getsockname()[1])
    listener.stop()
    listening.close()


def finding(handler: Callable[[Request], Iterable[Response]], **options: Any) -> Service:
    return Service("find", (FIND,), {CommandField.C_FIND_RQ: handler}, **options)


def find_rq() -> Command:
    return {
        commands.COMMAND_FIELD: CommandField.C_FIND_RQ,
        commands.AFFECTED_SOP_CLASS_UID: FIND,
        commands.PRIORITY: 0,
    }


@clause("PS3.7 9.1.2", "a C-FIND has as many pending responses as matches, and a final one")
def test_many_answers(node: Node) -> None:
    def matches(request: Request) -> Iterator[Response]:
        assert request.data_set == b"identifier"
        assert request.association.caller.calling_ae == "ASKER"
        for match in range(300):
            yield Response(PENDING, b"m%03d" % match * 100)
        yield Response(0)

    with (
        serving(node, finding(matches)) as remote,
        associate(remote, "ASKER", [Proposed(FIND)]) as association,
    ):
        for _ in range(3):
            answers = list(association.requests(association.contexts[0], find_rq(), b"identifier"))
            assert [data[:4] for _, data in answers] == [b"m%03d" % match for match in range(300)] + [b""]
            assert number(answers[-1][0], commands.STATUS) == 0
            assert answers[0][0][commands.AFFECTED_SOP_CLASS_UID] == FIND


@clause("PS3.7 9.3.2.3", "a C-CANCEL stops it between two answers")
def test_cancel(node: Node) -> None:
    closed = threading.Event()

    def endless(request: Request) -> Iterator[Response]:
        message_id = number(request.command, commands.MESSAGE_ID)
        try:
            while not request.association.cancelled(message_id):
                yield Response(PENDING, b"another one")
            yield Response(CANCELLED)
        finally:
            closed.set()

    with (
        serving(node, finding(endless)) as remote,
        associate(remote, "ASKER", [Proposed(FIND)]) as association,
    ):
        asked, find = find_rq(), association.contexts[0]
        statuses = []
        for response, _ in association.requests(find, asked, b"identifier"):
            statuses.append(number(response, commands.STATUS))
            if len(statuses) == 10:
                association.cancel(find, number(asked, commands.MESSAGE_ID))
        assert statuses[-1] == CANCELLED
        assert closed.wait(10)


@clause("PS3.4 C.4.3", "sub-operations go over the association that they were asked on")
def test_sub_operations_on_the_same_association(node: Node) -> None:
    images = [ct(number=n, pixels=64) for n in range(1, 6)]

    def get(request: Request) -> Iterator[Response]:
        (storage,) = [one for one in request.association.contexts if one.as_scp]
        for done, image in enumerate(images):
            command: Command = {
                commands.COMMAND_FIELD: CommandField.C_STORE_RQ,
                commands.AFFECTED_SOP_CLASS_UID: CT,
                commands.AFFECTED_SOP_INSTANCE_UID: str(image.SOPInstanceUID),
            }
            raw = encoded(image)
            response, _ = request.association.request(
                storage, command, (raw[at : at + 999] for at in range(0, len(raw), 999))
            )
            assert number(response, commands.STATUS, 1) == 0
            left = {commands.REMAINING_SUB_OPERATIONS: len(images) - done - 1}
            yield Response(PENDING, fields=left)
        yield Response(0, fields={commands.COMPLETED_SUB_OPERATIONS: len(images)})

    received: list[tuple[str, bytes]] = []

    def keep(exchange: Exchange, message: Message) -> None:
        uid = commands.text(message.command, commands.AFFECTED_SOP_INSTANCE_UID)
        received.append((uid, b"".join(map(bytes, exchange.fragments(message.context)))))
        exchange.respond(message, Response(0))

    service = Service("get", (GET,), {CommandField.C_GET_RQ: get})
    with (
        serving(node, service) as remote,
        associate(
            remote,
            "GETTER",
            [Proposed(GET), Proposed(CT, ["1.2.840.10008.1.2.1"])],
            roles={CT: (False, True)},
            answer=keep,
        ) as association,
    ):
        command: Command = {
            commands.COMMAND_FIELD: CommandField.C_GET_RQ,
            commands.AFFECTED_SOP_CLASS_UID: GET,
        }
        responses = [one for one, _ in association.requests(association.contexts[0], command, b"id")]
    assert [one.get(commands.REMAINING_SUB_OPERATIONS) for one in responses] == [4, 3, 2, 1, 0, None]
    assert received == [(str(image.SOPInstanceUID), encoded(image)) for image in images]


@clause(
    "PS3.7 D.3.3.3", "requests that come while another is answered are answered afterwards, stores at once"
)
def test_requests_that_come_in_the_middle(node: Node) -> None:
    image = ct(pixels=64)
    go_on = threading.Event()

    def slow(request: Request) -> Iterator[Response]:
        yield Response(PENDING, b"first")
        assert go_on.wait(30)
        assert not request.association.cancelled(999)
        yield Response(0)

    with (
        serving(node, finding(slow)) as remote,
        associate(remote, "ASKER", [Proposed(FIND), Proposed(CT, ["1.2.840.10008.1.2.1"])]) as association,
    ):
        find, storage = association.contexts
        ids = [association.send(find, find_rq(), b"identifier") for _ in range(3)]
        store: Command = {
            commands.COMMAND_FIELD: CommandField.C_STORE_RQ,
            commands.AFFECTED_SOP_CLASS_UID: CT,
            commands.AFFECTED_SOP_INSTANCE_UID: str(image.SOPInstanceUID),
        }
        ids.append(association.send(storage, store, encoded(image)))
        go_on.set()
        statuses: dict[int, list[int]] = {}
        for _ in range(7):
            message = association.next()
            assert message is not None
            association.whole(message)
            answered = number(message.command, commands.MESSAGE_ID_BEING_RESPONDED_TO)
            statuses.setdefault(answered, []).append(number(message.command, commands.STATUS))
    assert statuses == {one: [PENDING, 0] for one in ids[:3]} | {ids[3]: [0]}
    assert node.kept(str(image.SOPInstanceUID)) == [encoded(image)]


@pytest.mark.parametrize(
    ("error", "status", "comment"),
    [
        (Forbidden("this caller may not"), 0x0124, "this caller may not"),
        (Invalid("no such level"), 0x0110, "no such level"),
        (KeyError("Smith"), 0x0110, "a fault of this node; its log has the incident"),
    ],
)
def test_an_error_of_a_service_is_a_status(node: Node, error: Exception, status: int, comment: str) -> None:
    def failing(request: Request) -> Iterator[Response]:
        yield Response(PENDING, b"one")
        raise error

    with (
        serving(node, finding(failing)) as remote,
        associate(remote, "ASKER", [Proposed(FIND)]) as association,
    ):
        *_, (last, _) = association.requests(association.contexts[0], find_rq(), b"identifier")
        assert number(last, commands.STATUS) == status
        assert last[commands.ERROR_COMMENT] == comment
        *_, (last, _) = association.requests(association.contexts[0], find_rq(), b"identifier")


def test_an_identifier_without_end_is_refused(node: Node) -> None:
    pieces = (bytes(100_000) for _ in range(MAX_DATA_SET_BYTES // 100_000 + 2))
    with (
        serving(node, finding(lambda request: [Response(0)])) as remote,
        pytest.raises(AssociationLost),
        associate(remote, "ASKER", [Proposed(FIND)]) as association,
    ):
        association.request(association.contexts[0], find_rq(), pieces)


@clause("PS3.7 D.3.3.5", "extended negotiation reaches the service, and its answer the caller")
def test_extended_negotiation(node: Node) -> None:
    def relational(request: Request) -> Iterable[Response]:
        return [Response(0 if request.association.extended[FIND] == b"\1\0\1" else 1)]

    service = finding(relational, extended=lambda asked: bytes((asked[0], 0, *asked[2:3])))
    with (
        serving(node, service) as remote,
        associate(remote, "ASKER", [Proposed(FIND)], extended={FIND: b"\1\1\1\1"}) as association,
    ):
        assert association.extended == {FIND: b"\1\0\1"}
        response, _ = association.request(association.contexts[0], find_rq(), b"identifier")
        assert response[commands.STATUS] == 0


def test_the_other_side_ends_it_in_the_middle(node: Node) -> None:
    def dying(request: Request) -> Iterator[Response]:
        yield Response(PENDING, b"one")
        association = request.association
        assert isinstance(association, Exchange)
        association.association.abort()

    with (
        serving(node, finding(dying)) as remote,
        pytest.raises(AssociationLost, match="aborted by the other side"),
        associate(remote, "ASKER", [Proposed(FIND)]) as association,
    ):
        list(association.requests(association.contexts[0], find_rq(), b"identifier"))


def test_a_data_set_that_cannot_be_read_to_its_end_aborts(node: Node) -> None:
    def breaking() -> Iterator[bytes]:
        yield bytes(500_000)
        raise OSError("the disk has gone")

    with (
        serving(node, finding(lambda request: [Response(0)])) as remote,
        pytest.raises(OSError, match="the disk has gone"),
        associate(remote, "ASKER", [Proposed(FIND)]) as association,
    ):
        association.request(association.contexts[0], find_rq(), breaking())
    assert association.association.ended
