"""A data set with some of its elements replaced: all other bytes stay as they were.

Only top-level elements are looked at, in one pass of the header walker that ends behind the last one
that changes; what follows, pixels included, is handed on in views of the original. PS3.5 chapter 7;
the Original Attributes Sequence is PS3.3 C.12.1.1.9 (table C.12-1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import pack, unpack_from

from dicom_node import header
from dicom_node.dictionary import vr_of
from dicom_node.header import Bytes, Syntax
from dicom_node.values import encodings

PIECE_BYTES = 256 * 1024
SPECIFIC_CHARACTER_SET = 0x00080005
ORIGINAL_ATTRIBUTES = 0x04000561
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_ASCII_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})

Values = Mapping[int, str | list["Values"] | None]
"""Tag → text (several values between backslashes), items of a sequence, or None: the element goes."""


class NotWritable(ValueError):
    """A value that the character set of the data set cannot hold; the message names the set."""


@dataclass(frozen=True, slots=True)
class Found:
    """An element at the top as it stands: its span with header, and the value field in it."""

    tag: int
    vr: str
    begin: int
    start: int
    end: int


def rewritten(
    data: Bytes, syntax: Syntax, changes: Values, encoded: Mapping[int, bytes] | None = None
) -> Iterator[bytes]:
    """Yield the data set with `changes`, in pieces; `encoded` has whole elements to be put in as they are.

    Raises NotWritable, header.Malformed, both before the first piece.
    """
    charset = character_set(data, syntax)
    encoded = dict(encoded or {})
    changes = {**changes, **dict.fromkeys(encoded)}
    for tag, value in changes.items():
        if value is not None:
            encoded[tag] = element(tag, value, syntax, charset)
    return _replaced(data, syntax, changes, encoded)


def _replaced(data: Bytes, syntax: Syntax, changes: Values, encoded: Mapping[int, bytes]) -> Iterator[bytes]:
    lengths = {tag & 0xFFFF0000 for tag in changes}  # the lengths of changed groups are wrong now
    last = max(changes)
    waiting = sorted(encoded)
    position = 0
    for found in top(data, syntax, last):
        while waiting and waiting[0] <= found.tag:
            yield encoded[waiting.pop(0)]
        if found.tag > last:
            break
        if found.tag not in changes and found.tag not in lengths:
            yield from _pieces(data, found.begin, found.end)
        position = found.end
    for tag in waiting:
        yield encoded[tag]
    yield from _pieces(data, position, len(data))


def top(data: Bytes, syntax: Syntax, last: int = 0xFFFFFFFF) -> Iterator[Found]:
    """Yield the elements at the top up to the first one behind `last`, which is yielded too."""
    waiting: tuple[int, str, int, int] | None = None
    for event in header.walk(data, syntax, into=()):
        if event.depth or event.kind not in (header.VALUE, header.SEQUENCE, header.FRAGMENTS):
            continue
        begin = begin_of(data, event.tag, event.start, syntax.little)
        if waiting is not None:
            yield Found(*waiting, begin)
        waiting = (event.tag, event.vr, begin, event.start)
        if event.tag > last:
            yield Found(*waiting, len(data))
            return
    if waiting is not None:
        yield Found(*waiting, len(data))


def character_set(data: Bytes, syntax: Syntax) -> str:
    """Return the Specific Character Set of a data set as it stands there."""
    for found in top(data, syntax, SPECIFIC_CHARACTER_SET):
        if found.tag == SPECIFIC_CHARACTER_SET:
            return bytes(data[found.start : found.end]).decode("latin_1").strip("\0 ")
    return ""


def element(tag: int, value: str | list[Values], syntax: Syntax, charset: str) -> bytes:
    r"""Return an encoded element.

    >>> element(0x00100020, "P1", Syntax(implicit=False), "")
    b'\x10\x00 \x00LO\x02\x00P1'
    """
    vr = vr_of(tag)
    if isinstance(value, list):
        raw = b"".join(_item(item, syntax, charset) for item in value)
    else:
        raw = _text(value, vr, charset)
    return coded(tag, vr, raw, syntax)


def coded(tag: int, vr: str, raw: bytes, syntax: Syntax, length: int | None = None) -> bytes:
    """Return an element with this value field; `length` says another length than that of the field."""
    order = "<" if syntax.little else ">"
    size = len(raw) if length is None else length
    if syntax.implicit:
        return pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, size) + raw
    if vr in _LONG:
        return pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, size) + raw
    if size > 0xFFFF:
        raise NotWritable(f"a value of {size} bytes does not fit into an element of VR {vr}")
    return pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), size) + raw


def raw_item(elements: Mapping[int, bytes], syntax: Syntax) -> bytes:
    """Return an item of elements that are encoded already."""
    order = "<" if syntax.little else ">"
    body = b"".join(elements[tag] for tag in sorted(elements))
    return pack(f"{order}HHI", 0xFFFE, 0xE000, len(body)) + body


def _item(item: Values, syntax: Syntax, charset: str) -> bytes:
    present = {tag: value for tag, value in item.items() if value is not None}
    return raw_item({tag: element(tag, value, syntax, charset) for tag, value in present.items()}, syntax)


def _text(value: str, vr: str, charset: str) -> bytes:
    if vr in _ASCII_VRS or value.isascii():
        raw = value.encode("ascii", "replace")
    else:
        raw = _encoded(value, charset)
    return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)


def _encoded(value: str, charset: str) -> bytes:
    names = encodings(charset)
    if charset and len(names) == 1:  # with code extensions we would have to write escapes
        try:
            return value.encode(names[0])
        except UnicodeEncodeError:
            pass
    raise NotWritable(
        f"the character set of the data set ({charset or 'the default, ASCII'}) cannot hold the new value"
    )


def begin_of(data: Bytes, tag: int, start: int, little: bool) -> int:
    """Return where the element begins whose value field begins at `start`."""
    if start >= 12 and unpack_from("<HH" if little else ">HH", data, start - 8) != (tag >> 16, tag & 0xFFFF):
        return start - 12
    return start - 8


def _pieces(data: Bytes, begin: int, end: int) -> Iterator[bytes]:
    for at in range(begin, end, PIECE_BYTES):
        yield bytes(data[at : min(end, at + PIECE_BYTES)])
