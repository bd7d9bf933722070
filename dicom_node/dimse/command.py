"""Command sets: what a DIMSE message asks or answers, in front of its data set (PS3.7 6.3 and Annex E).

Always implicit VR little endian, whatever the presentation context says, so they are packed and
unpacked here by hand. A command is a dictionary of tags to values: UIDs, titles and texts as `str`
without padding, numbers as `int`, tags (VR AT) as a list of `int`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from struct import Struct
from typing import Final

Value = int | str | list[int]
Command = dict[int, Value]

GROUP_LENGTH: Final = 0x00000000
AFFECTED_SOP_CLASS_UID: Final = 0x00000002
REQUESTED_SOP_CLASS_UID: Final = 0x00000003
COMMAND_FIELD: Final = 0x00000100
MESSAGE_ID: Final = 0x00000110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x00000120
MOVE_DESTINATION: Final = 0x00000600
PRIORITY: Final = 0x00000700
COMMAND_DATA_SET_TYPE: Final = 0x00000800
STATUS: Final = 0x00000900
OFFENDING_ELEMENT: Final = 0x00000901
ERROR_COMMENT: Final = 0x00000902
ERROR_ID: Final = 0x00000903
AFFECTED_SOP_INSTANCE_UID: Final = 0x00001000
REQUESTED_SOP_INSTANCE_UID: Final = 0x00001001
EVENT_TYPE_ID: Final = 0x00001002
ATTRIBUTE_IDENTIFIER_LIST: Final = 0x00001005
ACTION_TYPE_ID: Final = 0x00001008
REMAINING_SUB_OPERATIONS: Final = 0x00001020
COMPLETED_SUB_OPERATIONS: Final = 0x00001021
FAILED_SUB_OPERATIONS: Final = 0x00001022
WARNING_SUB_OPERATIONS: Final = 0x00001023
MOVE_ORIGINATOR_AE_TITLE: Final = 0x00001030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x00001031

NO_DATA_SET: Final = 0x0101
"""The Command Data Set Type that says that no data set follows; every other value says that one does."""

DATA_SET_FOLLOWS: Final = 0x0001

RESPONSE: Final = 0x8000
"""The bit that tells the command field of a response from that of its request."""


class CommandField(IntEnum):
    """The kinds of messages (PS3.7 table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


class MalformedCommand(ValueError):
    """A command set that breaks off, lacks its command field, or holds a number of the wrong length."""


def encode(command: Mapping[int, Value]) -> bytes:
    """Return a command set in its encoding, elements in order, group length computed.

    >>> decode(encode({COMMAND_FIELD: CommandField.C_ECHO_RQ, MESSAGE_ID: 7}))[MESSAGE_ID]
    7
    """
    parts: list[bytes] = []
    for tag in sorted(command):
        if tag == GROUP_LENGTH:
            continue
        value = command[tag]
        if isinstance(value, int):
            parts.append(_NUMBER(tag << 16, 2, value))
            continue
        if isinstance(value, list):
            raw = b"".join(_TAG(one >> 16, one & 0xFFFF) for one in value)
        else:
            raw = value.encode("utf-8" if tag == ERROR_COMMENT else "latin_1", "replace")
            if len(raw) % 2:
                raw += b"\0" if tag in _UIDS else b" "
        parts.append(_HEADER(tag << 16, len(raw)) + raw)
    body = b"".join(parts)
    return _GROUP(0, 4, len(body)) + body


def decode(data: bytes | bytearray | memoryview) -> Command:
    r"""Return the elements of an encoded command set; those that the standard has not, are left out.

    Raises MalformedCommand. The group length is not believed: what came is what there is.

    >>> decode(bytes.fromhex("00000001020000003000"))
    {256: 48}
    """
    found: Command = {}
    position, end = 0, len(data)
    while position + 8 <= end:
        group, element, length = _ELEMENT(data, position)
        position += 8
        if length > end - position:
            raise MalformedCommand(
                f"element (0000,{element:04X}) says {length} bytes, {end - position} are left"
            )
        read = _KINDS.get(element) if group == 0 and length else None
        if read is not None:
            found[element] = read(bytes(data[position : position + length]), element)
        position += length
    if position != end:
        raise MalformedCommand(f"{end - position} bytes are left over behind the last element")
    if COMMAND_FIELD not in found:
        raise MalformedCommand("there is no Command Field (0000,0100)")
    return found


def number(command: Mapping[int, Value], tag: int, default: int = 0) -> int:
    """Return a numeric element.

    >>> number({MESSAGE_ID: 7}, MESSAGE_ID), number({}, PRIORITY)
    (7, 0)
    """
    value = command.get(tag, default)
    return value if isinstance(value, int) else default


def text(command: Mapping[int, Value], tag: int) -> str:
    """Return a textual element, or the empty string.

    >>> text({MOVE_DESTINATION: "CT1"}, MOVE_DESTINATION), text({}, MOVE_DESTINATION)
    ('CT1', '')
    """
    value = command.get(tag, "")
    return value if isinstance(value, str) else ""


def has_data_set(command: Mapping[int, Value]) -> bool:
    """Whether a data set follows this command (PS3.7 E.1; absent counts as none).

    >>> has_data_set({COMMAND_DATA_SET_TYPE: NO_DATA_SET}), has_data_set({COMMAND_DATA_SET_TYPE: 0})
    (False, True)
    """
    return command.get(COMMAND_DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET


def answered(request: Mapping[int, Value], status: int) -> Command:
    """Return the command of a response without a data set to `request`.

    The SOP class and, where the request named one, the instance are repeated (PS3.7 9.1 and 10.1):
    some senders refuse an answer without them.

    >>> hex(number(answered({COMMAND_FIELD: 0x30, MESSAGE_ID: 7}, 0), COMMAND_FIELD))
    '0x8030'
    """
    response: Command = {
        COMMAND_FIELD: number(request, COMMAND_FIELD) | RESPONSE,
        MESSAGE_ID_BEING_RESPONDED_TO: number(request, MESSAGE_ID),
        COMMAND_DATA_SET_TYPE: NO_DATA_SET,
        STATUS: status,
    }
    for affected, requested in _REPEATED:
        if uid := text(request, affected) or text(request, requested):
            response[affected] = uid
    for tag in (EVENT_TYPE_ID, ACTION_TYPE_ID):
        if tag in request:
            response[tag] = request[tag]
    return response


_REPEATED = (
    (AFFECTED_SOP_CLASS_UID, REQUESTED_SOP_CLASS_UID),
    (AFFECTED_SOP_INSTANCE_UID, REQUESTED_SOP_INSTANCE_UID),
)
_UIDS = frozenset(tag for pair in _REPEATED for tag in pair)
_AES = frozenset({MOVE_DESTINATION, MOVE_ORIGINATOR_AE_TITLE})
_TAGS = frozenset({OFFENDING_ELEMENT, ATTRIBUTE_IDENTIFIER_LIST})

_ELEMENT = Struct("<HHI").unpack_from
_HEADER = Struct("<II").pack  # group 0000 in the low half: shifted tags put the element in place
_NUMBER = Struct("<IIH").pack
_GROUP = Struct("<III").pack
_TAG = Struct("<HH").pack
_UNSIGNED = Struct("<H").unpack_from


def _read_number(raw: bytes, element: int) -> int:
    if len(raw) not in (2, 4):
        raise MalformedCommand(f"(0000,{element:04X}) has {len(raw)} bytes; a number here has 2")
    return int.from_bytes(raw, "little")


def _read_text(raw: bytes, element: int) -> str:
    return raw.decode("utf-8", "replace").strip("\0 ")


def _read_tags(raw: bytes, element: int) -> list[int]:
    if len(raw) % 4:
        raise MalformedCommand(f"(0000,{element:04X}) has {len(raw)} bytes; tags have 4 each")
    return [_UNSIGNED(raw, at)[0] << 16 | _UNSIGNED(raw, at + 2)[0] for at in range(0, len(raw), 4)]


_KINDS: dict[int, Callable[[bytes, int], Value]] = {
    **dict.fromkeys((*_UIDS, *_AES, ERROR_COMMENT), _read_text),
    **dict.fromkeys(_TAGS, _read_tags),
    **dict.fromkeys(
        (
            COMMAND_FIELD, MESSAGE_ID, MESSAGE_ID_BEING_RESPONDED_TO, PRIORITY, COMMAND_DATA_SET_TYPE, STATUS,
            ERROR_ID, EVENT_TYPE_ID, ACTION_TYPE_ID, REMAINING_SUB_OPERATIONS, COMPLETED_SUB_OPERATIONS,
            FAILED_SUB_OPERATIONS, WARNING_SUB_OPERATIONS, MOVE_ORIGINATOR_MESSAGE_ID,
        ),
        _read_number,
    ),
}  # fmt: skip
