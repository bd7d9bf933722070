"""What is always so on an association: bytes of any kind and cut at any place."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.dimse import command as commands
from dicom_node.dimse.command import MalformedCommand
from dicom_node.upper_layer import pdu
from dicom_node.upper_layer.association import Association
from dicom_node.upper_layer.connection import Connection
from dicom_node.upper_layer.errors import AssociationLost, ProtocolError
from dicom_node.upper_layer.negotiation import Agreed, Context
from dicom_node.upper_layer.pdu import Associate, ContextItem, UserIdentity

uids = st.tuples(st.integers(1, 9), st.integers(0, 10**6)).map(lambda parts: "1.2.{}.{}".format(*parts))
titles = st.sampled_from(["A", "CT1", "STORE_SCP", "SIXTEEN_LETTERS_"])
raw = st.binary(max_size=40)
associates = st.builds(
    Associate,
    titles,
    titles,
    st.lists(
        st.builds(ContextItem, st.just(0), uids, st.lists(uids, min_size=1, max_size=4)), max_size=20
    ).map(
        lambda found: [
            ContextItem(2 * n + 1, c.abstract_syntax, c.transfer_syntaxes) for n, c in enumerate(found)
        ]
    ),
    max_pdu_bytes=st.integers(0, 2**32 - 1),
    implementation_class=uids,
    implementation_version=titles,
    window=st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    roles=st.dictionaries(uids, st.tuples(st.booleans(), st.booleans()), max_size=4),
    extended=st.dictionaries(uids, raw, max_size=4),
    common=st.dictionaries(uids, st.tuples(uids, st.lists(uids, max_size=3)), max_size=3),
    identity=st.none() | st.builds(UserIdentity, st.integers(1, 5), raw, raw, st.booleans()),
)


@given(associates)
def test_a_request_reads_as_it_was_written(associate: Associate) -> None:
    written = pdu.encode_associate(pdu.ASSOCIATE_RQ, associate)
    assert struct.unpack(">BxI", written[:6]) == (pdu.ASSOCIATE_RQ, len(written) - 6)
    assert pdu.decode_associate(pdu.ASSOCIATE_RQ, written[6:]) == associate


def test_no_request_however_broken_does_more_than_raise_what_it_may() -> None:
    whole = pdu.encode_associate(
        pdu.ASSOCIATE_RQ,
        Associate(
            "NODE",
            "CT1",
            [ContextItem(1, "1.2.3", ["1.4", "1.5"]), ContextItem(3, "1.2.840", ["1.6"])],
            window=(3, 1),
            roles={"1.2.3": (True, True)},
            extended={"1.2.3": b"12345"},
            common={"1.2.3": ("1.9", ["1.7", "1.8"])},
            identity=UserIdentity(2, b"user", b"passcode", True),
        ),
    )[6:]
    chance = random.Random(5)
    for _ in range(5000):
        broken = bytearray(whole)
        for _ in range(chance.randrange(7)):
            broken[chance.randrange(66, len(broken))] = chance.randrange(256)
        kind = chance.choice((pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC))
        with contextlib.suppress(ProtocolError):
            pdu.decode_associate(
                kind, bytes(broken[: chance.choice((len(whole), chance.randrange(len(whole))))])
            )


values = {
    commands.AFFECTED_SOP_CLASS_UID: uids,
    commands.AFFECTED_SOP_INSTANCE_UID: uids,
    commands.MOVE_DESTINATION: titles,
    commands.MESSAGE_ID: st.integers(0, 65535),
    commands.STATUS: st.integers(0, 65535),
    commands.OFFENDING_ELEMENT: st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5),
    commands.ERROR_COMMENT: st.text("abcdefgh", min_size=1, max_size=30),
}


@given(st.fixed_dictionaries({commands.COMMAND_FIELD: st.integers(0, 65535)}, optional=values))
def test_a_command_reads_as_it_was_written(command: commands.Command) -> None:
    assert commands.decode(commands.encode(command)) == command


@given(st.binary(max_size=200))
def test_no_command_however_broken_does_more_than_raise_what_it_may(noise: bytes) -> None:
    try:
        found = commands.decode(noise)
    except MalformedCommand:
        return
    assert commands.COMMAND_FIELD in found


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=5000)), min_size=1, max_size=4
    ),
    st.integers(14, 4000),
    st.integers(64, 700),
    st.data(),
)
def test_messages_arrive_as_they_were_sent_however_they_are_cut(
    messages: list[tuple[bytes, bytes]], longest: int, buffer_bytes: int, data: st.DataObject
) -> None:
    """Any length of PDU, any size of buffer, any cuts of the stream; two values in a PDU now and then."""
    context = Context(1, "1.2.3", "1.2.840.10008.1.2")
    server = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(server.getsockname())
    theirs, _ = server.accept()
    server.close()
    sending = Association(Connection(ours), Associate("A", "B"), Agreed({1: context}, {}, longest))
    receiving = Association(
        Connection(theirs, buffer_bytes=buffer_bytes), Associate("A", "B"), Agreed({1: context}, {}, 0)
    )
    in_pieces = data.draw(st.booleans())
    step = data.draw(st.integers(1, 900))

    def send() -> None:
        for command, content in messages:
            if in_pieces:
                sending.send(
                    context, command, (content[at : at + step] for at in range(0, len(content), step))
                )
            else:
                sending.send(context, command, content)
        sending.release()

    thread = threading.Thread(target=send)
    thread.start()
    found: list[tuple[bytes, bytes]] = []
    parts: dict[bool, bytes] = {True: b"", False: b""}
    while (piece := receiving.piece()) is not None:
        parts[piece.command] += piece.data
        if piece.last and not piece.command:
            found.append((parts[True], parts[False]))
            parts = {True: b"", False: b""}
    thread.join()
    assert found == messages
    assert sending.ended
    assert receiving.ended


@settings(deadline=None, max_examples=100)
@given(st.binary(min_size=1, max_size=600), st.integers(32, 200))
def test_noise_ends_an_association_and_nothing_else(noise: bytes, buffer_bytes: int) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(server.getsockname())
    theirs, _ = server.accept()
    server.close()
    connection = Connection(theirs, buffer_bytes=buffer_bytes)
    connection.wait_until(time.monotonic() + 10)
    receiving = Association(connection, Associate("A", "B"), Agreed({1: Context(1, "1.2", "1.3")}, {}, 0))
    with ours:
        ours.sendall(noise)
        ours.shutdown(socket.SHUT_WR)
        try:
            while receiving.piece() is not None:
                pass
        except AssociationLost:
            pass
    assert receiving.ended
