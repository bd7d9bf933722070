"""PS3.7: negotiation of Annex D, commands and their answers, said byte by byte on a socket."""

from __future__ import annotations

import struct

import pytest

from tests.support.clause import clause
from tests.support.dicom_data import ct, encoded
from tests.support.dicom_fixtures import Node
from tests.support.wire_dicom import (
    CT,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    Wire,
    associate_rq,
    command,
    context,
    counted,
    data,
    echo_rq,
    element,
    item,
    number,
    store_rq,
)

FUTURE = "1.2.840.10008.5.1.4.34.99"  # no storage by its root


@clause("PS3.7 D.3.3.4", "the requestor may be SCP of storage, and nothing else")
def test_role_selection(dimse_port: int) -> None:
    roles = [item(0x54, counted(uid) + bytes((1, 1))) for uid in (CT, VERIFICATION)]
    with Wire(dimse_port) as wire:
        said = wire.associate([context(1, CT, [EXPLICIT]), context(3, VERIFICATION)], *roles)
        assert sorted(said[0x54]) == sorted(
            [counted(CT) + bytes((1, 1)), counted(VERIFICATION) + bytes((1, 0))]
        )
        wire.release()


@clause("PS3.4 B.3.1", "storage is offered at level 2, with signatures and elements as they came")
def test_extended_negotiation_of_storage(dimse_port: int) -> None:
    with Wire(dimse_port) as wire:
        said = wire.associate([context(1, CT, [EXPLICIT])], item(0x56, counted(CT) + bytes(6)))
        assert said[0x56] == [counted(CT) + bytes((2, 0, 3, 0, 0, 0))]
        wire.release()


@clause(
    "PS3.7 D.3.3.6",
    "a class that common extended negotiation calls storage is stored, though we do not know it",
)
def test_common_extended_negotiation(dimse_port: int) -> None:
    related = item(0x57, counted(FUTURE) + counted("1.2.840.10008.4.2") + counted(counted(CT)))
    for items, result in (((), 3), ((related,), 0)):
        with Wire(dimse_port) as wire:
            said = wire.associate([context(1, FUTURE, [EXPLICIT])], *items)
            assert said[0x21][0][2] == result
            assert 0x57 not in said
            wire.release()


@clause("PS3.7 D.3.3.3", "several stores under way at once are answered each, in their order")
def test_asynchronous_operations_window(node: Node, dimse_port: int) -> None:
    datasets = [ct(number=n, pixels=32) for n in range(1, 21)]
    with Wire(dimse_port) as wire:
        said = wire.associate([context(1, CT, [EXPLICIT])], item(0x53, struct.pack(">HH", 0, 1)))
        (performed, invoked) = struct.unpack(">HH", said[0x53][0])
        assert performed >= len(datasets)
        assert invoked == 1
        wire.send(
            b"".join(
                data(1, 3, store_rq(str(one.SOPInstanceUID), 100 + at)) + data(1, 2, encoded(one))
                for at, one in enumerate(datasets)
            )
        )
        for at, one in enumerate(datasets):
            answer = wire.answer()
            assert int.from_bytes(answer[0x120], "little") == 100 + at
            assert int.from_bytes(answer[0x900], "little") == 0
            assert answer[0x1000].strip(b"\0").decode() == one.SOPInstanceUID
        wire.release()
    assert node.rows("SELECT count(*) FROM dicom_instance") == [(20,)]


@clause("PS3.7 D.3.3.7", "a name is taken; kinds of identity that cannot be checked are rejected")
@pytest.mark.parametrize(("kind", "accepted"), [(1, True), (2, True), (3, False), (4, False), (5, False)])
def test_kinds_of_user_identity(dimse_port: int, kind: int, accepted: bool) -> None:
    identity = item(0x58, bytes((kind, 1)) + counted("user") + counted("secret" if kind == 2 else ""))
    with Wire(dimse_port) as wire:
        wire.send(associate_rq([context(1, VERIFICATION)], identity))
        kind_of_answer, body = wire.pdu()
        if accepted:
            assert kind_of_answer == 2
            # a passcode that nobody here knows proves nothing, so it is not confirmed
            assert (item(0x59, counted("")) in body) == (kind == 1)
        else:
            assert (kind_of_answer, body) == (3, bytes((0, 1, 2, 1)))


@clause("PS3.7 9.3.5", "C-ECHO, as often as one likes")
def test_many_echoes(dimse_port: int) -> None:
    with Wire(dimse_port) as wire:
        wire.associate([context(1, VERIFICATION)])
        for message_id in range(1, 201):
            wire.send(data(1, 3, echo_rq(message_id)))
            answer = wire.answer()
            assert answer[0x100] == b"\x30\x80"
            assert int.from_bytes(answer[0x120], "little") == message_id
            assert answer[2].strip(b"\0") == VERIFICATION.encode()
        wire.release()


@clause("PS3.7 C", "an operation that was not agreed on is 0211, a SOP class that is not supported 0122")
def test_unknown_operations(dimse_port: int) -> None:
    find = command(
        element(2, b"1.2.840.10008.5.1.4.1.2.1.1"), number(0x100, 0x20), number(0x110, 1), number(0x700, 0),
        number(0x800, 1),
    )  # fmt: skip
    odd = command(element(2, CT.encode()), number(0x100, 0x77), number(0x110, 2), number(0x800, 0x101))
    create = command(element(2, CT.encode()), number(0x100, 0x140), number(0x110, 3), number(0x800, 1))
    stored = store_rq("1.2.3", 4)
    with Wire(dimse_port) as wire:
        wire.associate([context(1, CT, [EXPLICIT]), context(3, VERIFICATION, [IMPLICIT])])
        for asked, identifier, expected in (
            (find.replace(b".1.2.1.1", b".1.9.9.9"), True, 0x0122),
            (odd, False, 0x0211),
            (create, True, 0x0211),
        ):
            wire.send(data(1, 3, asked) + (data(1, 2, b"\x08\0\x05\0CS\0\0") if identifier else b""))
            assert wire.status() == expected
        wire.send(data(3, 3, stored) + data(3, 2, b"\x08\0\x05\0\0\0\0\0"))
        assert wire.status() == 0x0211
        wire.send(data(3, 3, echo_rq()))
        assert wire.status() == 0
        wire.release()


@clause("PS3.7 9.3.2.3", "a cancel of what is over, or was never asked, is nothing")
def test_a_cancel_out_of_time(dimse_port: int) -> None:
    cancel = command(number(0x100, 0xFFF), number(0x120, 7), number(0x800, 0x101))
    with Wire(dimse_port) as wire:
        wire.associate([context(1, VERIFICATION)])
        wire.send(data(1, 3, cancel) * 3 + data(1, 3, echo_rq()))
        assert wire.status() == 0
        wire.release()


@clause("PS3.7 9.1.1", "a C-STORE-RQ without a data set is answered, not waited for")
def test_a_store_without_a_data_set(dimse_port: int) -> None:
    bare = command(
        element(2, CT.encode()), number(0x100, 1), number(0x110, 1), number(0x800, 0x101),
        element(0x1000, b"1.2.3"),
    )  # fmt: skip
    with Wire(dimse_port) as wire:
        wire.associate([context(1, CT, [EXPLICIT])])
        wire.send(data(1, 3, bare))
        assert wire.status() == 0xC000
        wire.release()
