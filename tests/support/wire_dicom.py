"""DICOM on the wire by hand, for tests: PDUs and commands packed without any code of the product."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def item(kind: int, value: bytes, second: int = 0) -> bytes:
    return struct.pack(">BBH", kind, second, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def counted(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(raw)) + raw


def context(number: int, abstract: str, syntaxes: Sequence[str] = (IMPLICIT,)) -> bytes:
    inner = item(0x30, abstract.encode()) + b"".join(item(0x40, one.encode()) for one in syntaxes)
    return item(0x20, bytes((number, 0, 0, 0)) + inner)


def user_information(*items: bytes, max_pdu: int = 16384) -> bytes:
    always = item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.3.4")
    return item(0x50, always + b"".join(items))


def associate_rq(
    contexts: Sequence[bytes],
    *items: bytes,
    called: str = "XINGLIN",
    calling: str = "TESTER",
    max_pdu: int = 16384,
    version: int = 1,
    application: str = "1.2.840.10008.3.1.1.1",
) -> bytes:
    head = struct.pack(">HH16s16s32x", version, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    return pdu(
        1,
        head
        + item(0x10, application.encode())
        + b"".join(contexts)
        + user_information(*items, max_pdu=max_pdu),
    )


def element(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, tag, len(value)) + value


def number(tag: int, value: int) -> bytes:
    return element(tag, struct.pack("<H", value))


def command(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def echo_rq(message_id: int = 1) -> bytes:
    return command(
        element(2, VERIFICATION.encode()),
        number(0x100, 0x30),
        number(0x110, message_id),
        number(0x800, 0x101),
    )


def store_rq(uid: str, message_id: int = 1, sop_class: str = CT) -> bytes:
    return command(
        element(2, sop_class.encode()), number(0x100, 1), number(0x110, message_id), number(0x700, 0),
        number(0x800, 1), element(0x1000, uid.encode()),
    )  # fmt: skip


def data(number: int, control: int, value: bytes) -> bytes:
    """A P-DATA-TF of one value; `control` 3: a command ends, 2: a data set ends, 1 and 0: more follows."""
    return pdu(4, struct.pack(">IBB", len(value) + 2, number, control) + value)


def elements(raw: bytes) -> dict[int, bytes]:
    """The elements of a command set."""
    found, at = {}, 0
    while at < len(raw):
        _, tag, length = struct.unpack_from("<HHI", raw, at)
        found[tag] = raw[at + 8 : at + 8 + length]
        at += 8 + length
    return found


class Wire:
    """A connection; `pdu` gives what the other side says."""

    def __init__(self, port: int, timeout_s: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self.socket.recv(size - len(found))
            if not more:
                raise EOFError(f"the connection ended after {len(found)} of {size} bytes")
            found += more
        return found

    def pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self.read(6))
        return kind, self.read(length)

    def ended(self) -> bool:
        """Whether the other side closes now."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def associate(self, *args: object, **options: object) -> dict[int, list[bytes]]:
        """Associate; give the items of the answer by their type, those of the user information too."""
        self.send(associate_rq(*args, **options))  # type: ignore[arg-type]
        kind, body = self.pdu()
        assert kind == 2, (kind, body)
        return items(body[68:])

    def answer(self) -> dict[int, bytes]:
        """The command of the next message."""
        kind, body = self.pdu()
        assert kind == 4, (kind, body)
        assert body[5] == 3
        return elements(body[6:])

    def status(self) -> int:
        return int.from_bytes(self.answer()[0x900], "little")

    def release(self) -> None:
        self.send(pdu(5, bytes(4)))
        assert self.pdu() == (6, bytes(4))
        assert self.ended()


def items(raw: bytes) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(raw):
        kind, _, length = struct.unpack_from(">BBH", raw, at)
        value = raw[at + 4 : at + 4 + length]
        found.setdefault(kind, []).append(value)
        if kind == 0x50:
            for inner, values in items(value).items():
                found.setdefault(inner, []).extend(values)
        at += 4 + length
    return found
