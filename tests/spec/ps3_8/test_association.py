"""PS3.8 section 9: how an association begins and ends, said byte by byte on a socket."""

from __future__ import annotations

import struct

import pytest

from tests.support.clause import clause
from tests.support.dicom_fixtures import Node
from tests.support.wire_dicom import (
    CT,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    Wire,
    associate_rq,
    context,
    data,
    echo_rq,
    pdu,
)

FIND = "1.2.840.10008.5.1.4.1.2.9.9"
J2K = "1.2.840.10008.1.2.4.90"


@clause(
    "PS3.8 9.3.3", "accepted, refused as unknown, refused for its transfer syntaxes: each context its result"
)
def test_each_context_has_its_result(dimse_port: int) -> None:
    with Wire(dimse_port) as wire:
        said = wire.associate(
            [
                context(1, VERIFICATION, [J2K, EXPLICIT, IMPLICIT]),
                context(3, CT, [J2K, EXPLICIT]),
                context(5, FIND),
                context(7, VERIFICATION, [J2K]),
                context(9, CT, ["no uid at all"]),
            ]
        )
        assert [(one[0], one[2]) for one in said[0x21]] == [(1, 0), (3, 0), (5, 3), (7, 4), (9, 4)]
        assert [one[8:].decode() for one in said[0x21]][:2] == [EXPLICIT, J2K]
        assert said[0x10] == [b"1.2.840.10008.3.1.1.1"]
        wire.release()


@clause("PS3.8 D.1", "the longest PDU that we take is announced, and one of that length is taken")
def test_the_longest_pdu_is_announced_and_taken(dimse_port: int) -> None:
    with Wire(dimse_port) as wire:
        said = wire.associate([context(1, CT, [EXPLICIT])])
        (longest,) = struct.unpack(">I", said[0x51][0])
        assert longest >= 128 * 1024
        from tests.support.wire_dicom import store_rq

        wire.send(data(1, 3, store_rq("1.2.3")) + data(1, 2, bytes(longest - 6)))
        assert wire.status() in (0xA900, 0xC000)
        wire.release()


@clause("PS3.8 9.3.2", "128 presentation contexts are negotiated; more cannot be written")
def test_a_hundred_and_twenty_eight_contexts(dimse_port: int) -> None:
    with Wire(dimse_port) as wire:
        said = wire.associate([context(2 * n + 1, CT, [EXPLICIT, IMPLICIT]) for n in range(128)])
        assert [one[2] for one in said[0x21]] == [0] * 128
        wire.send(data(255, 3, echo_rq()))
        assert wire.status() == 0x0211  # C-ECHO is no operation of CT Image Storage
        wire.release()


@clause("PS3.8 9.3.4", "a rejection says by whom and why")
@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"called": "NOPE"}, (1, 1, 7)),
        ({"version": 2}, (1, 2, 2)),
        ({"application": "1.2.3"}, (1, 1, 2)),
    ],
)
def test_a_rejection_says_why(dimse_port: int, changes: dict[str, object], numbers: tuple[int, ...]) -> None:
    with Wire(dimse_port) as wire:
        wire.send(associate_rq([context(1, VERIFICATION)], **changes))  # type: ignore[arg-type]
        assert wire.pdu() == (3, bytes((0, *numbers)))
        assert wire.ended()


@clause("PS3.8 9.2", "what is no PDU, or comes in the wrong state, is answered with A-ABORT and its reason")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (pdu(0x42, b""), 1),
        (pdu(2, bytes(68)), 2),
        (data(1, 3, echo_rq()), 2),
        (pdu(5, bytes(4)), 2),
        (pdu(1, b"short"), 6),
        (struct.pack(">BBI", 1, 0, 0xFFFFFFF0), 6),
        (pdu(1, struct.pack(">HH16s16s32x", 1, 0, b"X" * 16, b"Y" * 16) + b"\x20\0\xff\xff"), 6),
        (associate_rq([context(1, CT), context(1, CT)]), 6),
        (associate_rq([context(2, CT)]), 6),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
    ],
)
def test_what_may_not_come_first_is_aborted(dimse_port: int, raw: bytes, reason: int) -> None:
    with Wire(dimse_port) as wire:
        wire.send(raw)
        assert wire.pdu() == (7, bytes((0, 0, 2, reason)))
        assert wire.ended()


@clause("PS3.8 9.2", "within an association, too")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (pdu(0x42, b""), 1),
        (associate_rq([context(1, CT)]), 2),
        (pdu(6, bytes(4)), 2),
        (data(9, 3, echo_rq()), 6),  # a context that was never accepted
        (pdu(4, b"\0\0"), 6),
        (pdu(4, struct.pack(">IBB", 0xFFFF, 1, 3) + b"x"), 6),
        (pdu(4, struct.pack(">IBB", 1, 1, 3)), 6),
        (data(1, 2, b"data before any command"), 6),
        (data(1, 3, b"\0\0\0\1\xff\xff\0\0no command"), 6),
        (data(1, 3, b""), 6),
        (data(1, 1, bytes(40_000)) * 2, 6),  # a command without end
    ],
)
def test_what_breaks_the_protocol_is_aborted(dimse_port: int, raw: bytes, reason: int) -> None:
    with Wire(dimse_port) as wire:
        wire.associate([context(1, VERIFICATION)])
        wire.send(raw)
        assert wire.pdu() == (7, bytes((0, 0, 2, reason)))
        assert wire.ended()


@clause("PS3.8 E.2", "a message may come in any number of fragments and PDUs, cut at any byte")
def test_a_message_cut_anywhere(node: Node, dimse_port: int) -> None:
    from tests.support.dicom_data import ct, encoded
    from tests.support.wire_dicom import store_rq

    dataset = ct()
    raw = encoded(dataset)
    asked = store_rq(str(dataset.SOPInstanceUID))
    pieces = [asked[at : at + 7] for at in range(0, len(asked), 7)]
    message = b"".join(data(1, 3 if at == len(pieces) - 1 else 1, one) for at, one in enumerate(pieces))
    half = len(raw) // 2
    values = struct.pack(">IBB", half + 2, 1, 0) + raw[:half] + struct.pack(">IBB", len(raw) - half + 2, 1, 0)
    message += pdu(4, values + raw[half:]) + data(1, 2, b"")
    with Wire(dimse_port) as wire:
        wire.associate([context(1, CT, [EXPLICIT])])
        for at in range(0, len(message), 1001):
            wire.send(message[at : at + 1001])
        assert wire.status() == 0
        wire.release()
    assert node.kept(str(dataset.SOPInstanceUID)) == [raw]


@clause("PS3.8 9.3.5", "our PDUs are no longer than the other side takes")
def test_answers_keep_the_length_that_the_caller_takes(dimse_port: int) -> None:
    with Wire(dimse_port) as wire:
        wire.associate([context(1, VERIFICATION)], max_pdu=32)
        wire.send(data(1, 3, echo_rq()))
        found = b""
        while True:
            kind, body = wire.pdu()
            assert kind == 4
            assert len(body) <= 32
            found += body[6:]
            if body[5] & 2:
                break
        assert found.endswith(struct.pack("<HHIH", 0, 0x900, 2, 0))
        wire.release()


@clause("PS3.8 9.2", "an abort of the caller ends it, and the next one is served")
def test_an_abort_ends_it(dimse_port: int) -> None:
    with Wire(dimse_port) as wire:
        wire.associate([context(1, VERIFICATION)])
        wire.send(pdu(7, bytes(4)))
        assert wire.ended()
    with Wire(dimse_port) as wire:
        wire.associate([context(1, VERIFICATION)])
        wire.send(data(1, 3, echo_rq()) + pdu(5, bytes(4)))  # and released without waiting for the answer
        assert wire.status() == 0
        assert wire.pdu()[0] == 6
