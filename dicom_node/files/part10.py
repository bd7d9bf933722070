"""The DICOM file format: a preamble, file meta information, then the data set as it came (PS3.10 chapter 7).

What we write before a data set depends on nothing but its transfer syntax and its two SOP UIDs, so the
same instance always makes the same file, and a file's hash names its content. Changing a byte of
`meta_information` would make every re-sent instance look new: it is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from dicom_node import header
from dicom_node.header import VALUE, Bytes, Syntax

IMPLEMENTATION_CLASS_UID = "2.25.206743851160428793046321895163747810293"
IMPLEMENTATION_VERSION_NAME = "XINGLIN_1"
PREAMBLE = bytes(128) + b"DICM"

_SHORT = Struct("<HH2sH").pack
_LONG = Struct("<HH2sHI").pack


@dataclass(frozen=True, slots=True)
class Meta:
    """What stands before a data set: its transfer syntax, its UIDs (empty: not said), its first byte."""

    transfer_syntax: str
    sop_class: str
    sop_uid: str
    data_set_at: int


def meta_information(transfer_syntax: str, sop_class: str, sop_uid: str) -> bytes:
    """Return preamble and file meta information, ready for the data set to follow.

    >>> read_meta(meta_information("1.2.840.10008.1.2", "1.2.3", "4.5")).sop_uid
    '4.5'
    """
    elements = b"".join(
        (
            _LONG(2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _uid(0x0002, sop_class),
            _uid(0x0003, sop_uid),
            _uid(0x0010, transfer_syntax),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
        )
    )
    return PREAMBLE + _SHORT(2, 0, b"UL", 4) + len(elements).to_bytes(4, "little") + elements


def read_meta(data: Bytes) -> Meta:
    """Return what the file meta information says, tolerantly: it may lack anything, even itself.

    A file without preamble and meta is taken as a bare data set in the default transfer syntax,
    implicit VR little endian (PS3.5 10.1), or in what its first element shows.
    """
    position = 132 if bytes(data[128:132]) == b"DICM" else 0
    found: dict[int, str] = {}
    if bytes(data[position : position + 2]) == b"\2\0":
        stop = position
        try:
            # a view keeps the walk from reading on into the data set as if it were meta
            for event in header.walk(data, header.sniff(data[position : position + 8], _META), position):
                if event.tag >> 16 != 2:
                    break
                stop = event.start + event.length
                if event.kind == VALUE and event.vr == "UI":
                    raw = bytes(data[event.start : stop])
                    found[event.tag & 0xFFFF] = raw.decode("latin_1").strip("\0 ")
        except header.Malformed:
            pass
        position = min(stop, len(data))
    stated = found.get(0x0010, "")
    if not stated:
        shown = header.sniff(data[position : position + 8], header.syntax_of(IMPLICIT_LITTLE))
        stated = _SHOWN[shown.implicit, shown.little]
    return Meta(stated, found.get(0x0002, ""), found.get(0x0003, ""), position)


IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_META = Syntax(implicit=False)
_SHOWN = {
    (True, True): IMPLICIT_LITTLE,
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}


def _uid(element: int, uid: str) -> bytes:
    return _text(element, b"UI", uid, b"\0")


def _text(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("latin_1", "replace")
    value += padding[: len(value) % 2]
    return _SHORT(2, element, vr, len(value)) + value
