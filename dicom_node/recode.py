"""A data set in another encoding of its header: explicit or implicit VR, little endian (PS3.5 7.1, A.1, A.2).

One pass over the walker: memory does not grow with the data set. Sequences come out with undefined
lengths, group lengths are left out (PS3.5 7.2 retires them), values keep their bytes but for the order
that big endian needs. Where the header is encoded like that already, what is between changes is copied.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from struct import Struct

from dicom_node import header
from dicom_node.attributes import PIXEL_REPRESENTATION
from dicom_node.dictionary import signed_by_pixels
from dicom_node.header import PIXEL_DATA, UNDEFINED, Bytes, Event, Syntax
from dicom_node.values import NUMBERS

Change = bytes | None
"""The value that an element gets, as little-endian bytes of even length; None: it is left out."""

Pixels = Callable[[Event], tuple[str, int, Iterable[bytes]]]
"""Given where pixel data lies: the VR, length (UNDEFINED: encapsulated) and bytes that it gets."""

BITS_ALLOCATED = 0x00280100
PIECE_BYTES = 256 * 1024
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_WORDS = {
    "OW": 2,
    "OL": 4,
    "OF": 4,
    "OD": 8,
    "OV": 8,
    "AT": 2,
    **{vr: size for vr, (_, size) in NUMBERS.items()},
}
_ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
_ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_SHORT_HEAD = Struct("<HH2sH").pack
_LONG_HEAD = Struct("<HH2sHI").pack
_IMPLICIT_HEAD = Struct("<HHI").pack


def head(tag: int, vr: str, length: int, *, implicit: bool) -> bytes:
    """Return what stands before a value (PS3.5 7.1.2, 7.1.3).

    >>> head(0x00280010, "US", 2, implicit=False), head(0x00280010, "US", 2, implicit=True)
    (b'(\\x00\\x10\\x00US\\x02\\x00', b'(\\x00\\x10\\x00\\x02\\x00\\x00\\x00')
    """
    group, element = tag >> 16, tag & 0xFFFF
    if implicit:
        return _IMPLICIT_HEAD(group, element, length)
    if vr in _LONG_VRS:
        return _LONG_HEAD(group, element, vr.encode(), 0, length)
    if length > 0xFFFE:  # PS3.5 6.2.2: too long for the short form, so it becomes UN
        return _LONG_HEAD(group, element, b"UN", 0, length)
    return _SHORT_HEAD(group, element, vr.encode(), length)


def recoded(
    data: Bytes,
    syntax: Syntax,
    *,
    implicit: bool = False,
    changes: Mapping[int, tuple[str, Change]] | None = None,
    pixels: Pixels | None = None,
) -> Iterator[bytes]:
    """Yield a data set in explicit (or implicit) VR little endian, with elements at the top changed.

    `changes` gives VR and value by tag; what is not there is put in at its place. `pixels` gives
    other pixel data. Raises Malformed for what cannot be walked.
    """
    writer = _Writer(data, syntax, implicit, dict(sorted((changes or {}).items())), pixels)
    alike = syntax.little and syntax.implicit == implicit
    return writer.copied() if alike else writer.rewritten()


class _Writer:
    def __init__(
        self,
        data: Bytes,
        syntax: Syntax,
        implicit: bool,
        changes: dict[int, tuple[str, Change]],
        pixels: Pixels | None,
    ) -> None:
        self._data = data
        self._syntax = syntax
        self._implicit = implicit
        self._changes = changes
        self._pixels = pixels

    def copied(self) -> Iterator[bytes]:
        """Yield all elements as they are, but for those that change."""
        copied_to = 0
        for event in header.walk(self._data, self._syntax, into=()):
            if event.depth or event.kind not in (header.VALUE, header.FRAGMENTS):
                continue
            start = self._begin(event)
            if self._changes and event.tag >= next(iter(self._changes)):
                yield from self._slices(copied_to, start)
                copied_to = start
                yield from self._put_before(event.tag)
                if event.tag in self._changes:
                    yield self._changed(event.tag)
                    copied_to = event.start + event.length
                    continue
            if event.tag == PIXEL_DATA and self._pixels is not None:
                yield from self._slices(copied_to, start)
                copied_to = self._end(event)
                yield from self._other_pixels(event)
        yield from self._slices(copied_to, len(self._data))
        yield from self._put_before(1 << 32)

    def rewritten(self) -> Iterator[bytes]:
        """Yield every element anew."""
        signed = False
        bits: dict[int, int] = {}  # depth → Bits Allocated there
        for event in header.walk(self._data, self._syntax):
            kind, depth, tag, vr, start, length, _ = event
            if depth == 0 and kind in (header.VALUE, header.FRAGMENTS, header.SEQUENCE):
                yield from self._put_before(tag)
                if tag in self._changes:
                    yield self._changed(tag)
                    continue
                if tag == PIXEL_DATA and self._pixels is not None:
                    yield from self._other_pixels(event)
                    continue
                if tag == PIXEL_REPRESENTATION and kind == header.VALUE:
                    signed = 1 in bytes(self._data[start : start + 2])
            if kind == header.VALUE:
                if tag & 0xFFFF == 0:
                    continue
                if vr == "US" and signed and signed_by_pixels(tag):
                    vr = "SS"
                yield head(tag, vr, length + length % 2, implicit=self._implicit)
                if tag == BITS_ALLOCATED:
                    bits[depth] = max(self._data[start : start + 2], default=0)
                yield from self._value(start, length, word(tag, vr, bits.get(depth, 0)), vr)
            elif kind == header.SEQUENCE:
                yield head(tag, "SQ", UNDEFINED, implicit=self._implicit)
            elif kind == header.ITEM:
                yield _ITEM
            elif kind == header.ITEM_END:
                yield _ITEM_END
            elif kind == header.SEQUENCE_END:
                yield SEQUENCE_END
            elif kind == header.FRAGMENTS:
                yield head(tag, vr, UNDEFINED, implicit=self._implicit)
                yield from self._slices(start, self._end(event))
        yield from self._put_before(1 << 32)

    def _value(self, start: int, length: int, size: int, vr: str) -> Iterator[bytes]:
        size = 1 if self._syntax.little else size
        for at in range(start, start + length, PIECE_BYTES):  # a multiple of every word
            piece = bytes(self._data[at : min(at + PIECE_BYTES, start + length)])
            yield swapped(piece, size) if size > 1 else piece
        if length % 2:
            yield b"\0" if vr in ("OB", "UN", "UI") else b" "

    def _slices(self, start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, stop, PIECE_BYTES):
            yield bytes(self._data[at : min(at + PIECE_BYTES, stop)])

    def _put_before(self, tag: int) -> Iterator[bytes]:
        """Yield the changed elements that stand before `tag` and were not in the data set."""
        while self._changes and next(iter(self._changes)) < tag:
            yield self._changed(next(iter(self._changes)))

    def _changed(self, tag: int) -> bytes:
        vr, value = self._changes.pop(tag)
        return b"" if value is None else head(tag, vr, len(value), implicit=self._implicit) + value

    def _other_pixels(self, event: Event) -> Iterator[bytes]:
        assert self._pixels is not None
        vr, length, pieces = self._pixels(event)
        yield head(PIXEL_DATA, vr, length, implicit=self._implicit)
        yield from pieces
        if length == UNDEFINED:
            yield SEQUENCE_END

    def _begin(self, event: Event) -> int:
        """Return where the head of an element begins; its VR may be written otherwise than it is read."""
        tag = struct.pack("<HH", event.tag >> 16, event.tag & 0xFFFF)
        short = event.start - 8
        return short if bytes(self._data[short : short + 4]) == tag else event.start - 12

    def _end(self, event: Event) -> int:
        """Return where an element at the top ends."""
        if event.kind != header.FRAGMENTS:
            return event.start + event.length
        end = event.start
        for start, length in header.fragments(self._data, event.start, little=self._syntax.little):
            end = start + length
        return end + 8


def word(tag: int, vr: str, bits_allocated: int) -> int:
    """Return how many bytes make the words whose order differs between little and big endian.

    Samples of pixels with 32 bits are words of 32 bits although they stand in OW.

    >>> word(0x00280010, "US", 0), word(PIXEL_DATA, "OW", 8), word(PIXEL_DATA, "OW", 32)
    (2, 2, 4)
    """
    if tag == PIXEL_DATA and vr == "OW":
        return max(2, bits_allocated // 8)
    return _WORDS.get(vr, 1)


def swapped(raw: bytes, size: int) -> bytes:
    r"""Return words of `size` bytes in the other order; what is no whole word stays.

    >>> swapped(b"\1\2\3\4", 2)
    b'\x02\x01\x04\x03'
    """
    whole = len(raw) // size * size
    words = bytearray(raw)
    for byte in range(size):
        words[byte:whole:size] = raw[size - 1 - byte : whole : size]
    return bytes(words)
