"""The header walker: encoded data set → a flat stream of its elements, never recursive.

PS3.5 chapter 7 (data elements, sequences), Annex A (transfer syntaxes). Explicit and implicit VR,
little and big endian, deflated, defined and undefined lengths, at any depth that memory allows: a
file with a hundred thousand nested items is walked like any other. Values are not read here;
the stream says where they lie.
"""

from __future__ import annotations

import mmap
import re
import sys
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from dicom_node.dictionary import vr_of

UNDEFINED: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010
MAX_DEPTH: Final = 200_000  # items inside items; a stack entry is some 100 bytes
MAX_INFLATED_BYTES: Final = 64 * 1024 * 1024  # of a deflated data set, when only its header is wanted

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# PS3.5 tables 7.1-1 and 7.1-2: a length of 32 bits behind two reserved bytes, or of 16 bits
LONG_VRS: Final = frozenset({
    "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV",
})  # fmt: skip
SHORT_VRS: Final = frozenset({
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST",
    "TM", "UI", "UL", "US",
})  # fmt: skip
_CODES = {vr.encode(): vr for vr in LONG_VRS | SHORT_VRS}
_FRAGMENTED = frozenset({"OB", "OW"})

# the kinds of events
VALUE, SEQUENCE, ITEM, ITEM_END, SEQUENCE_END, FRAGMENTS = range(6)

Bytes = bytes | bytearray | memoryview | mmap.mmap


class Malformed(ValueError):
    """The encoding breaks off or contradicts itself; `position` is where."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} at byte {position}")
        self.position = position


class Event(NamedTuple):
    """One step of a walk.

    `start` and `length` span the value field; the length of a sequence, an item or encapsulated
    pixel data may be UNDEFINED. `implicit` says how the content of a sequence is encoded, which
    within UN differs from the rest (PS3.5 6.2.2).
    """

    kind: int
    depth: int
    tag: int
    vr: str
    start: int
    length: int
    implicit: bool


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a data set is encoded: the part of a transfer syntax that concerns its header."""

    implicit: bool
    little: bool = True
    deflated: bool = False


_EXPLICIT_LITTLE: Final = Syntax(implicit=False)
_SYNTAXES: Final = {
    "1.2.840.10008.1.2": Syntax(implicit=True),
    "1.2.840.10008.1.20": Syntax(implicit=True),  # Papyrus 3
    "1.2.840.113619.5.2": Syntax(implicit=True),  # GE: big-endian pixels behind a little-endian header
    "1.2.840.10008.1.2.2": Syntax(implicit=False, little=False),
    "1.2.840.10008.1.2.1.99": Syntax(implicit=False, deflated=True),
    "1.2.840.10008.1.2.4.95": Syntax(implicit=False, deflated=True),
    "1.2.840.10008.1.2.4.205": Syntax(implicit=False, deflated=True),
}


def syntax_of(transfer_syntax: str) -> Syntax:
    """Return how the header of a data set in this transfer syntax is encoded.

    Everything that is not listed, private ones included, is explicit little endian (PS3.5 A.4).
    """
    return _SYNTAXES.get(transfer_syntax, _EXPLICIT_LITTLE)


def inflate(data: Bytes, limit: int = MAX_INFLATED_BYTES) -> bytes:
    """Return the first `limit` bytes of a deflated data set (PS3.5 A.5), as far as it can be read."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return stream.decompress(bytes(data), limit)
    except zlib.error:
        return b""


def sniff(data: Bytes, stated: Syntax) -> Syntax:
    r"""Return the syntax that the first element shows, which is not always the stated one.

    >>> sniff(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", Syntax(implicit=True))
    Syntax(implicit=False, little=True, deflated=False)
    """
    first = bytes(data[:6])
    if len(first) < 6 or stated.deflated:
        return stated
    if first[4:6] not in _CODES and not re.fullmatch(rb"[A-Z]{2}", first[4:6]):
        return Syntax(implicit=True)
    if stated.implicit and first[4:6] not in _CODES:
        return stated
    # group numbers of a data set are even and, at its beginning, below 0x0100
    return Syntax(implicit=False, little=first[0] != 0 or first[1] == 0)


def walk(
    data: Bytes, syntax: Syntax, start: int = 0, *, into: Container[int] | None = None
) -> Iterator[Event]:
    """Yield the elements of an encoded data set in their order.

    `into` names the sequences at the top that are opened (None: all); a closed one comes out as a
    single VALUE with VR SQ. Ends quietly at the end of `data` between two elements (there may be
    more in the file); raises Malformed when it ends within one.
    """
    order = "<" if syntax.little else ">"
    tag_at = Struct(f"{order}HH").unpack_from
    long_at = Struct(f"{order}I").unpack_from
    short_at = Struct(f"{order}H").unpack_from
    end = len(data)
    position = start
    implicit, shown = syntax.implicit, True
    stack: list[_Open] = []
    while True:
        while stack and position >= stack[-1].end:
            was_shown = shown
            implicit, shown, event = _close(stack, position)
            if was_shown:
                yield event
        if position + 8 > end:
            if position < end and any(data[position:end]):
                raise Malformed("the data ends within an element", position)
            return
        group, element = tag_at(data, position)
        tag = group << 16 | element
        if group == 0xFFFE:
            length = long_at(data, position + 4)[0]
            position += 8
            if tag == _ITEM:
                if not stack or stack[-1].item:
                    raise Malformed("an item outside of a sequence", position)
                if len(stack) >= MAX_DEPTH:
                    raise Malformed(f"more than {MAX_DEPTH} levels of items", position)
                if shown:
                    yield Event(ITEM, len(stack), stack[-1].tag, "", position, length, implicit)
                stack.append(_Open(True, stack[-1].tag, _end(length, position, end), implicit, shown))
            elif stack and (tag == _SEQUENCE_END or stack[-1].item):
                # closes what is open; a sequence's end also closes an item that nobody closed
                for _ in range(2 if tag == _SEQUENCE_END and stack[-1].item else 1):
                    was_shown = shown
                    implicit, shown, event = _close(stack, position)
                    if was_shown:
                        yield event
            continue  # a delimiter where nothing is open is passed over: some makers write one too many
        if stack and not stack[-1].item:  # an element directly within a sequence: its end was not written
            was_shown = shown
            implicit, shown, event = _close(stack, position)
            if was_shown:
                yield event
            continue
        code = bytes(data[position + 4 : position + 6])  # a view would outlive an exception, and keep the map
        vr = "" if implicit else _CODES.get(code, "")
        if not vr and not implicit and code.isalpha() and code.isupper():
            vr = "UN"  # PS3.5 7.1.2: every VR to come has the long form
            long_form = True
        else:
            long_form = vr in LONG_VRS
        if not vr:
            vr = vr_of(tag)
            length = long_at(data, position + 4)[0]
            position += 8
        elif not long_form:
            length = short_at(data, position + 6)[0]
            position += 8
        else:
            if position + 12 > end:
                raise Malformed("the data ends within an element", position)
            length = long_at(data, position + 8)[0]
            position += 12
        depth = len(stack)
        if length == UNDEFINED and (tag == PIXEL_DATA or vr in _FRAGMENTED):
            if shown:
                yield Event(FRAGMENTS, depth, tag, vr, position, length, implicit)
            for offset, size in fragments(data, position, little=syntax.little):
                position = offset + size
            position += 8
            continue
        inside = implicit
        if vr == "UN" and tag != PIXEL_DATA:  # PS3.5 6.2.2 note 2: what hides in UN is implicit
            vr = vr_of(tag)
            if length == UNDEFINED or vr == "SQ":
                vr, inside = "SQ", True
        elif length == UNDEFINED:
            vr = "SQ"
        if vr == "SQ":
            opened = shown and (depth > 0 or into is None or tag in into)
            if shown:
                kind = SEQUENCE if opened else VALUE
                yield Event(kind, depth, tag, "SQ", position, length, inside)
            if opened or length == UNDEFINED:
                stack.append(_Open(False, tag, _end(length, position, end), implicit, shown))
                implicit, shown = inside, opened
                continue
        elif shown:
            yield Event(VALUE, depth, tag, vr, position, length, implicit)
        position += length
        if position > end:
            raise Malformed(f"a value of {length} bytes ends behind the data", position - length)


class _Open(NamedTuple):
    """A sequence or item that the walk is in, and how it was around it."""

    item: bool
    tag: int
    end: int
    implicit: bool
    shown: bool


def _close(stack: list[_Open], position: int) -> tuple[bool, bool, Event]:
    closed = stack.pop()
    kind = ITEM_END if closed.item else SEQUENCE_END
    event = Event(kind, len(stack), closed.tag, "", position, 0, closed.implicit)
    return closed.implicit, closed.shown, event


def _end(length: int, position: int, end: int) -> int:
    if length == UNDEFINED:
        return sys.maxsize
    if position + length > end:
        raise Malformed(f"{length} bytes of items end behind the data", position)
    return position + length


def fragments(data: Bytes, position: int, *, little: bool = True) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of each item of encapsulated pixel data, the offset table first (PS3.5 A.4).

    `position` is where the first item begins. Raises Malformed when the delimiter is missing.
    """
    header_at = Struct("<HHI" if little else ">HHI").unpack_from
    end = len(data)
    while position + 8 <= end:
        group, element, length = header_at(data, position)
        tag = group << 16 | element
        position += 8
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM or length == UNDEFINED or position + length > end:
            raise Malformed("a fragment of pixel data that is none or ends behind the data", position)
        yield position, length
        position += length
    raise Malformed("pixel data without its end", position)
