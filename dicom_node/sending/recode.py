"""A kept data set in another transfer syntax, piece by piece (PS3.5 chapter 7 and Annex A).

Every plain syntax becomes implicit or explicit VR little endian; coded pixel data is decoded frame by
frame where there is a decoder. Nothing but the encoding changes, with two exceptions that the standard
asks for: group lengths are left out, and what describes decoded pixels says what they are now.
Sequences and items are written with undefined lengths, so that nothing has to be known in advance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

import numpy as np

from dicom_node import header
from dicom_node.dictionary import signed_by_pixels
from dicom_node.files.content import Content
from dicom_node.header import FRAGMENTS, ITEM, ITEM_END, PIXEL_DATA, SEQUENCE, SEQUENCE_END, UNDEFINED, VALUE
from dicom_node.pixels.decode import decode
from dicom_node.pixels.image import Image, describe, locate_frames
from dicom_node.upper_layer.negotiation import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from fhir_server.outcome import Unprocessable

PLAIN: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
"""The syntaxes that can be written, the one that keeps more first."""

PIECE_BYTES: Final = 256 * 1024
BIG_ENDIAN_PIXELS: Final = "1.2.840.113619.5.2"  # GE: the header is little endian all the same
_ICON_IMAGES: Final = 0x00880200
_OFFSET_TABLES: Final = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003})
_ITEM_START = bytes.fromhex("feff00e0ffffffff")
_ITEM_STOP = bytes.fromhex("feff0de000000000")
_SEQUENCE_STOP = bytes.fromhex("feffdde000000000")
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_WIDTHS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_PIXEL_REPRESENTATION: Final = 0x00280103
_BITS_ALLOCATED: Final = 0x00280100

_Write = Callable[[int, str, int], bytes]


def can_write(transfer_syntax: str) -> bool:
    """Whether data sets can be brought into this transfer syntax."""
    return transfer_syntax in PLAIN


def recoded(content: Content, target: str) -> Iterator[bytes]:
    """Yield the data set of a kept file in `target`, in pieces of at most a frame or 256 KiB.

    Raises Unprocessable, before the first piece where that can be known, when pixel data cannot be
    decoded or the encoding breaks off; ValueError for a target that is not in PLAIN.
    """
    if target not in PLAIN:
        raise ValueError(f"data sets are written in {' or '.join(PLAIN)}, not in {target}")
    try:
        left_out, coded = _survey(content)
        pixels = _Decoded(content) if coded else None
        yield from _gathered(_elements(content, target == IMPLICIT_LITTLE, left_out, pixels))
    except header.Malformed as malformed:
        raise Unprocessable(f"the data set cannot be read to its end: {malformed}") from malformed


def _survey(content: Content) -> tuple[frozenset[int], bool]:
    """Return the tags at the top that cannot come along, and whether pixel data is coded."""
    left_out: set[int] = set()
    coded = False
    top = 0
    for event in header.walk(content.data, content.syntax):
        if event.depth == 0:
            top = event.tag
        if event.kind == FRAGMENTS:
            if event.depth == 0 and event.tag == PIXEL_DATA:
                coded = True
                left_out |= _OFFSET_TABLES
            elif top == _ICON_IMAGES:  # an icon is a convenience: an image without it is whole
                left_out.add(top)
            else:
                raise Unprocessable(f"coded pixel data within ({top >> 16:04X},{top & 0xFFFF:04X})")
    return frozenset(left_out), coded


def _elements(
    content: Content, implicit: bool, left_out: frozenset[int], pixels: _Decoded | None
) -> Iterator[bytes]:
    data, syntax = content.data, content.syntax
    write: _Write = _implicit if implicit else _explicit
    open_: list[int] = []  # kinds of what was begun and not ended
    skipping: int | None = None  # the depth of a sequence that is left out
    signed = False
    cell = 2  # bytes of a sample, which is what big endian pixels are turned by
    for kind, depth, tag, vr, start, length, _ in header.walk(data, syntax):
        if skipping is not None:
            if kind == SEQUENCE_END and depth == skipping:
                skipping = None
            continue
        if kind == VALUE:
            if not tag & 0xFFFF or (depth == 0 and tag in left_out):
                continue
            if start + length > len(data):
                raise header.Malformed("a value ends behind the data", start)
            if tag == _PIXEL_REPRESENTATION and length == 2:
                signed = bytes(data[start : start + 2]) in (b"\1\0", b"\0\1")
            if tag == _BITS_ALLOCATED and length == 2 and depth == 0:
                cell = max(2, max(bytes(data[start : start + 2])) // 8)
            if signed and vr == "US" and signed_by_pixels(tag):
                vr = "SS"
            raw: bytes | None = None
            if pixels is not None and depth == 0:
                raw = pixels.element(tag)
            if raw is not None:
                yield write(tag, vr, len(raw)) + raw
                continue
            yield write(tag, vr, length + length % 2)
            yield from _value(content, tag, vr, start, length, cell)
            if length % 2:
                yield b"\0" if vr in ("UI", "OB", "UN") else b" "
        elif kind == SEQUENCE:
            if depth == 0 and tag in left_out:
                skipping = depth
                continue
            open_.append(kind)
            yield write(tag, "SQ", UNDEFINED)
        elif kind == ITEM:
            open_.append(kind)
            yield _ITEM_START
        elif kind in (ITEM_END, SEQUENCE_END):
            open_.pop()
            yield _ITEM_STOP if kind == ITEM_END else _SEQUENCE_STOP
        elif pixels is not None:  # fragments: only those of the image itself are left
            yield write(tag, pixels.vr, pixels.size_bytes + pixels.size_bytes % 2)
            yield from pixels.frames()
            if pixels.size_bytes % 2:
                yield b"\0"
    while open_:  # the data ended before what it had begun
        yield _ITEM_STOP if open_.pop() == ITEM else _SEQUENCE_STOP


def _value(content: Content, tag: int, vr: str, start: int, length: int, cell: int) -> Iterator[bytes]:
    width = 1
    if not content.syntax.little:
        width = cell if tag == PIXEL_DATA and vr == "OW" else _WIDTHS.get(vr, 1)
    elif content.transfer_syntax == BIG_ENDIAN_PIXELS and tag == PIXEL_DATA:
        width = 2
    for at in range(start, start + length, PIECE_BYTES):
        piece = bytes(content.data[at : min(at + PIECE_BYTES, start + length)])
        if width > 1:
            whole = len(piece) // width * width
            piece = np.frombuffer(piece[:whole], f">u{width}").astype(f"<u{width}").tobytes() + piece[whole:]
        yield piece


class _Decoded:
    """The image of a coded data set as plain samples, and the elements that describe them."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._image: Image = describe(content)
        if self._image.bits_allocated == 1:
            raise Unprocessable("coded frames of single bits cannot be written plainly here")
        self._frames = locate_frames(content, self._image)
        if len(self._frames.spans) != self._image.frames:
            raise Unprocessable(
                f"the pixel data has {len(self._frames.spans)} frames; the data set says {self._image.frames}"
            )
        samples, self._photometric = decode(content, self._image, self._frames, 0)
        self._bits = 8 if samples.dtype.itemsize == 1 else 16 if samples.dtype.itemsize == 2 else 32
        if self._bits < self._image.bits_allocated and self._image.bits_allocated in (16, 32):
            self._bits = self._image.bits_allocated
        self._shape = samples.shape
        self._first: bytes | None = self._plain(samples)
        self.size_bytes = len(self._first) * self._image.frames
        self.vr = "OB" if self._bits == 8 else "OW"
        if self.size_bytes >= UNDEFINED - 1:
            raise Unprocessable("the decoded pixel data is longer than 4 GiB, which no plain syntax can say")

    def element(self, tag: int) -> bytes | None:
        """Return the value that an element of the image has after decoding; None: the one it had."""
        colour = len(self._shape) == 3
        if tag == 0x00280004 and self._photometric != self._image.photometric:
            text = self._photometric.encode()
            return text + b" " * (len(text) % 2)
        if tag == 0x00280006 and colour:
            return b"\0\0"
        if tag == 0x00280100 and self._bits != self._image.bits_allocated:
            return self._bits.to_bytes(2, "little")
        return None

    def frames(self) -> Iterator[bytes]:
        """Yield the samples of all frames."""
        for index in range(self._image.frames):
            if index == 0 and self._first is not None:
                yield self._first
                self._first = None
                continue
            samples, _ = decode(self._content, self._image, self._frames, index)
            if samples.shape != self._shape:
                raise Unprocessable(f"frame {index + 1} has another size than the first")
            yield self._plain(samples)

    def _plain(self, samples: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
        kind = "i" if samples.dtype.kind == "i" else "u"
        return np.ascontiguousarray(samples).astype(f"<{kind}{self._bits // 8}").tobytes()


_IMPLICIT = Struct("<HHI").pack
_EXPLICIT_SHORT = Struct("<HH2sH").pack
_EXPLICIT_LONG = Struct("<HH2sHI").pack


def _implicit(tag: int, vr: str, length: int) -> bytes:
    return _IMPLICIT(tag >> 16, tag & 0xFFFF, length)


def _explicit(tag: int, vr: str, length: int) -> bytes:
    if vr in _LONG_VRS:
        return _EXPLICIT_LONG(tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    if length > 0xFFFF:  # PS3.5 6.2.2: too long for the short form, so its VR is not said
        return _EXPLICIT_LONG(tag >> 16, tag & 0xFFFF, b"UN", 0, length)
    return _EXPLICIT_SHORT(tag >> 16, tag & 0xFFFF, vr.encode(), length)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in fewer pieces: an element is mostly twenty bytes."""
    pending: list[bytes] = []
    size = 0
    for piece in pieces:
        pending.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)
