"""Protocol data units as the standard's tables have them (PS3.8 section 9.3, PS3.7 Annex D.3.3).

Only association control is here: A-ASSOCIATE-RQ, -AC and -RJ, A-RELEASE and A-ABORT. P-DATA-TF carries
the images and is read where the bytes come in, see connection.py. Numbers are big endian.

Items that nobody knows are passed over, as the standard asks; what breaks off or contradicts its own
lengths raises ProtocolError with the reason for the A-ABORT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from dicom_node.upper_layer.errors import ProtocolError

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

# results of a presentation context (table 9-18)
ACCEPTED: Final = 0
USER_REJECTION: Final = 1
ABSTRACT_SYNTAX_UNKNOWN: Final = 3
TRANSFER_SYNTAXES_UNKNOWN: Final = 4

# reasons of an A-ABORT of the provider (table 9-26)
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
UNEXPECTED_PARAMETER: Final = 5
INVALID_PARAMETER: Final = 6

MOST_CONTEXTS: Final = 128

_PDU = Struct(">BxI")
_FIXED = Struct(">HH16s16s32x")
_ITEM = Struct(">BBH")
_SHORT = Struct(">H")
_WINDOW = Struct(">HH")

RELEASE_RQ_PDU: Final = _PDU.pack(RELEASE_RQ, 4) + bytes(4)
RELEASE_RP_PDU: Final = _PDU.pack(RELEASE_RP, 4) + bytes(4)


@dataclass(slots=True)
class ContextItem:
    """A presentation context: proposed in a request, with its result in an answer."""

    id: int
    abstract_syntax: str = ""
    transfer_syntaxes: list[str] = field(default_factory=list)
    result: int = ACCEPTED


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor says it is (PS3.7 D.3.3.7); `kind` 1 name, 2 name and passcode, 5 JWT ..."""

    kind: int
    primary: bytes
    secondary: bytes = b""
    response_wanted: bool = False


@dataclass(slots=True)
class Associate:
    """The content of an A-ASSOCIATE-RQ (tables 9-11 to 9-16) or -AC (9-17 to 9-20)."""

    called_ae: str
    calling_ae: str
    contexts: list[ContextItem] = field(default_factory=list)
    max_pdu_bytes: int = 0
    """Longest P-DATA-TF that the sender of this takes; 0: it says no limit."""
    implementation_class: str = ""
    implementation_version: str = ""
    window: tuple[int, int] | None = None
    """Most operations that the requestor invokes and performs at the same time; 0: any number."""
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    """SOP class → whether the requestor acts as SCU, as SCP."""
    extended: dict[str, bytes] = field(default_factory=dict)
    common: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    """SOP class → its service class and the related general SOP classes."""
    identity: UserIdentity | None = None
    identity_response: bytes | None = None
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


def encode_associate(kind: int, associate: Associate) -> bytes:
    """Return an A-ASSOCIATE-RQ or -AC (`kind`).

    >>> raw = encode_associate(ASSOCIATE_RQ, Associate("NODE", "CT1", [ContextItem(1, "1.2", ["1.3"])]))
    >>> decode_associate(ASSOCIATE_RQ, raw[6:]).contexts[0].transfer_syntaxes
    ['1.3']
    """
    contexts = b"".join(_context_item(kind, context) for context in associate.contexts)
    body = (
        _FIXED.pack(associate.protocol_version, 0, _title(associate.called_ae), _title(associate.calling_ae))
        + _item(0x10, associate.application_context.encode())
        + contexts
        + _item(0x50, _user_information(associate))
    )
    return _PDU.pack(kind, len(body)) + body


def decode_associate(kind: int, body: bytes) -> Associate:
    """Return the content of an A-ASSOCIATE-RQ or -AC, given without the six bytes of its header."""
    if len(body) < _FIXED.size:
        raise ProtocolError(f"an A-ASSOCIATE of {len(body)} bytes; it has at least 68", INVALID_PARAMETER)
    version, _, called, calling = _FIXED.unpack_from(body)
    found = Associate(_text(called), _text(calling), protocol_version=version, application_context="")
    for item, _, value in _items(body, _FIXED.size):
        if item == 0x10:
            found.application_context = _text(value)
        elif item == (0x20 if kind == ASSOCIATE_RQ else 0x21):
            found.contexts.append(_read_context(kind, value))
        elif item == 0x50:
            _read_user_information(found, value)
    ids = {context.id for context in found.contexts}
    if len(ids) != len(found.contexts) or not all(one % 2 for one in ids):
        raise ProtocolError("presentation context ids must be odd, and each used once", INVALID_PARAMETER)
    return found


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (table 9-21)."""
    return _PDU.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def encode_abort(source: int, reason: int) -> bytes:
    """Return an A-ABORT (table 9-26); `source` 0 is the service user, 2 the provider."""
    return _PDU.pack(ABORT, 4) + bytes((0, 0, source, reason if source else 0))


def rejection(body: bytes) -> tuple[str, bool]:
    """Return the reason of an A-ASSOCIATE-RJ in words, and whether a later try may do.

    >>> rejection(bytes((0, 2, 3, 1)))
    ('temporary congestion', True)
    """
    if len(body) < 4:
        return "no reason given", False
    _, result, source, reason = body[:4]
    return REJECTIONS.get((source, reason), f"source {source}, reason {reason}"), result == 2


REJECTIONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given by its ACSE; a user identity that is missing or wrong, for example",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def _context_item(kind: int, context: ContextItem) -> bytes:
    transfers = b"".join(_item(0x40, syntax.encode()) for syntax in context.transfer_syntaxes)
    if kind == ASSOCIATE_RQ:
        abstract = _item(0x30, context.abstract_syntax.encode())
        return _item(0x20, bytes((context.id, 0, 0, 0)) + abstract + transfers)
    return _item(0x21, bytes((context.id, 0, context.result, 0)) + transfers)


def _user_information(associate: Associate) -> bytes:
    parts = [
        _item(0x51, associate.max_pdu_bytes.to_bytes(4, "big")),
        _item(0x52, associate.implementation_class.encode()),
    ]
    if associate.window is not None:
        parts.append(_item(0x53, _WINDOW.pack(*associate.window)))
    for uid, (scu, scp) in associate.roles.items():
        parts.append(_item(0x54, _counted(uid.encode()) + bytes((scu, scp))))
    parts.append(_item(0x55, associate.implementation_version.encode()))
    for uid, information in associate.extended.items():
        parts.append(_item(0x56, _counted(uid.encode()) + information))
    for uid, (service_class, related) in associate.common.items():
        general = b"".join(_counted(one.encode()) for one in related)
        parts.append(
            _item(0x57, _counted(uid.encode()) + _counted(service_class.encode()) + _counted(general))
        )
    if (one := associate.identity) is not None:
        head = bytes((one.kind, one.response_wanted))
        parts.append(_item(0x58, head + _counted(one.primary) + _counted(one.secondary)))
    if associate.identity_response is not None:
        parts.append(_item(0x59, _counted(associate.identity_response)))
    return b"".join(parts)


def _read_context(kind: int, value: bytes) -> ContextItem:
    if len(value) < 4:
        raise ProtocolError("a presentation context item without its four bytes", INVALID_PARAMETER)
    context = ContextItem(value[0], result=value[2] if kind == ASSOCIATE_AC else ACCEPTED)
    for item, _, content in _items(value, 4):
        if item == 0x30:
            context.abstract_syntax = _text(content)
        elif item == 0x40:
            context.transfer_syntaxes.append(_text(content))
    return context


def _read_user_information(found: Associate, value: bytes) -> None:
    for item, version, content in _items(value, 0):
        if item == 0x51:
            found.max_pdu_bytes = int.from_bytes(content[:4], "big")
        elif item == 0x52:
            found.implementation_class = _text(content)
        elif item == 0x53 and len(content) >= 4:
            found.window = _WINDOW.unpack_from(content)
        elif item == 0x54:
            uid, rest = _split(content)
            if len(rest) < 2:
                raise ProtocolError("a role selection item without its two roles", INVALID_PARAMETER)
            found.roles[_text(uid)] = (rest[0] == 1, rest[1] == 1)
        elif item == 0x55:
            found.implementation_version = _text(content)
        elif item == 0x56:
            uid, information = _split(content)
            found.extended[_text(uid)] = information
        elif item == 0x57 and version == 0:  # where others reserve a byte, this item has its version
            uid, rest = _split(content)
            service_class, rest = _split(rest)
            general, _ = _split(rest) if rest else (b"", b"")
            found.common[_text(uid)] = (_text(service_class), [_text(one) for one in _each(general)])
        elif item == 0x58 and len(content) >= 2:
            primary, rest = _split(content[2:])
            secondary, _ = _split(rest) if rest else (b"", b"")
            found.identity = UserIdentity(content[0], primary, secondary, content[1] == 1)
        elif item == 0x59:
            found.identity_response = _split(content)[0]


def _items(body: bytes, start: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, second byte and value of each item."""
    position, end = start, len(body)
    while position < end:
        if position + 4 > end:
            raise ProtocolError("an item breaks off in its header", INVALID_PARAMETER)
        kind, second, length = _ITEM.unpack_from(body, position)
        position += 4
        if position + length > end:
            what = f"item {kind:02X}H says {length} bytes, {end - position} are left"
            raise ProtocolError(what, INVALID_PARAMETER)
        yield kind, second, body[position : position + length]
        position += length


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, 0, len(value)) + value


def _counted(value: bytes) -> bytes:
    return _SHORT.pack(len(value)) + value


def _split(value: bytes) -> tuple[bytes, bytes]:
    """Return what a length of 16 bits in front counts, and what is behind."""
    if len(value) < 2 or (length := _SHORT.unpack_from(value)[0]) > len(value) - 2:
        raise ProtocolError("a sub-item is shorter than it says", INVALID_PARAMETER)
    return value[2 : 2 + length], value[2 + length :]


def _each(value: bytes) -> Iterator[bytes]:
    while value:
        one, value = _split(value)
        yield one


def _title(title: str) -> bytes:
    return title.encode("latin_1", "replace")[:16].ljust(16)


def _text(raw: bytes) -> str:
    return raw.decode("latin_1").strip("\0 ")
