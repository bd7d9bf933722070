"""What the image modules of a data set say about its pixels, and where each frame's bytes lie.

PS3.3 C.7.6.3 (image pixel), C.7.6.6 (multi-frame); PS3.5 8.2 and A.4 (native and encapsulated).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dicom_node import header
from dicom_node.attributes import Attributes, read
from dicom_node.dictionary import tag_of
from dicom_node.files.content import Content
from dicom_node.header import PIXEL_DATA, Bytes
from dicom_node.instance import first
from fhir_server.outcome import NotFound, Unprocessable

FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_PIXEL_DATA: Final = 0x7FE00009
_PIXELS: Final = (FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA, PIXEL_DATA)
_SHARED, _PER_FRAME = "52009229", "52009230"


def _tags(names: str) -> frozenset[int]:
    return frozenset(tag for name in names.split() if (tag := tag_of(name)) is not None)


_SEQUENCES: Final = _tags(
    "ModalityLUTSequence VOILUTSequence SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
)
_WANTED: Final = _SEQUENCES | _tags(
    """SpecificCharacterSet SOPClassUID Modality SamplesPerPixel PhotometricInterpretation PlanarConfiguration
    NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue
    PixelPaddingRangeLimit RescaleIntercept RescaleSlope WindowCenter WindowWidth VOILUTFunction
    PresentationLUTShape LossyImageCompression FrameTime
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
    BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
    SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData"""
)


@dataclass(frozen=True, slots=True)
class Image:
    """The description of an image; `attributes` holds the rest of what rendering needs."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: bool
    frames: int
    attributes: Attributes

    def group(self, frame: int, sequence: str) -> Attributes:
        """Return the item of a functional group for a frame (from 0), or the data set itself."""
        for groups, index in ((_PER_FRAME, frame), (_SHARED, 0)):
            items = self.attributes.get(groups, {}).get("Value", [])
            if index < len(items) and (found := first(items[index], sequence)):
                return dict(found)
        return self.attributes


def describe(content: Content) -> Image:
    """Return the image of a data set. Raises Unprocessable when it has none."""
    found = read(
        content.data,
        content.syntax,
        wanted=_WANTED,
        into=_SEQUENCES,
        last=PIXEL_DATA - 0x10,
        bulk=lambda path: path,
        inline_bytes=1 << 24,
    ).attributes
    rows, columns = _number(found, "00280010"), _number(found, "00280011")
    if not rows or not columns:
        raise Unprocessable("the instance has no image: its data set gives no Rows and Columns")
    bits_allocated = _number(found, "00280100") or 8
    return Image(
        rows=rows,
        columns=columns,
        samples=_number(found, "00280002") or 1,
        bits_allocated=bits_allocated,
        bits_stored=_number(found, "00280101") or bits_allocated,
        signed=_number(found, "00280103") == 1,
        photometric=str(first(found, "00280004") or "MONOCHROME2"),
        planar=_number(found, "00280006") == 1,
        frames=max(1, _number(found, "00280008") or 1),
        attributes=found,
    )


@dataclass(frozen=True, slots=True)
class Frames:
    """Where the frames lie: for each, the parts of the data that make it up.

    `tag` tells pixel data from its float kinds; `encapsulated` frames are coded as their
    transfer syntax says, the others are plain samples.
    """

    data: Bytes
    spans: Sequence[Sequence[tuple[int, int]]]
    encapsulated: bool
    tag: int
    bit_offset: int = 0
    swapped: bool = False  # bytes in big-endian words (PS3.5 7.3)

    def frame(self, index: int) -> bytes:
        """Return the bytes of a frame (from 0). Raises NotFound when there is none."""
        if not 0 <= index < len(self.spans):
            raise NotFound(f"frame {index + 1} is not there; the instance has {len(self.spans)}")
        raw = b"".join(bytes(self.data[start : start + length]) for start, length in self.spans[index])
        if not self.swapped:
            return raw
        words = bytearray(raw)
        words[0::2], words[1::2] = raw[1::2], raw[0 : len(raw) // 2 * 2 : 2]
        return bytes(words)


def locate_frames(content: Content, image: Image) -> Frames:
    """Return where the frames of an instance lie. Raises Unprocessable when it has no pixels."""
    extended: tuple[list[int], list[int]] | None = None
    offsets: bytes = b""
    try:
        for event in header.walk(content.data, content.syntax, into=()):
            if event.tag == 0x7FE00001 and event.length:
                offsets = bytes(content.data[event.start : event.start + event.length])
            if event.tag == 0x7FE00002 and event.length:
                sizes = bytes(content.data[event.start : event.start + event.length])
                extended = (_words(offsets), _words(sizes))
            if event.tag in _PIXELS and event.depth == 0:
                if event.kind == header.FRAGMENTS:
                    return _encapsulated(content, image, event.start, extended)
                length = min(event.length, len(content.data) - event.start)
                swapped = not content.syntax.little and event.vr == "OW" and image.bits_allocated == 8
                return _native(content, image, event.start, length, event.tag, swapped=swapped)
    except header.Malformed as malformed:
        raise Unprocessable(f"the pixel data cannot be read: {malformed}") from malformed
    raise Unprocessable("the instance has no pixel data")


def _native(content: Content, image: Image, start: int, length: int, tag: int, *, swapped: bool) -> Frames:
    pixels = image.rows * image.columns * image.samples
    if image.photometric == "YBR_FULL_422" and image.samples == 3:
        pixels = image.rows * image.columns * 2  # PS3.3 C.7.6.3.1.2: two chroma samples for two pixels
    if image.bits_allocated == 1:
        # frames of single bits follow each other without padding (PS3.5 8.1.1)
        spans = []
        for frame in range(image.frames):
            low, high = frame * pixels // 8, -(-(frame + 1) * pixels // 8)
            spans.append([(start + low, high - low)])
        return Frames(content.data, spans, False, tag, bit_offset=pixels % 8)
    size = pixels * image.bits_allocated // 8
    whole = min(image.frames, length // size if size else 0)
    if not whole:
        raise Unprocessable(f"the pixel data has {length} bytes; one frame needs {size}")
    # a frame of odd length in swapped words begins within a word: give each its whole words
    spans = [[(start + size * frame, size)] for frame in range(whole)]
    if swapped and size % 2:
        spans = [[(start, length)]] if whole == 1 else spans
    return Frames(content.data, spans, False, tag, swapped=swapped)


def _encapsulated(
    content: Content, image: Image, start: int, extended: tuple[list[int], list[int]] | None
) -> Frames:
    items = list(header.fragments(content.data, start, little=content.syntax.little))
    if not items:
        raise Unprocessable("the pixel data has no offset table and no fragment")
    table, fragments = items[0], items[1:]
    if not fragments:
        raise Unprocessable("the pixel data has no fragment")
    base = table[0] + table[1]  # offsets count from the first byte behind the table's item
    if extended and len(extended[0]) == image.frames:
        spans = [[(base + at + 8, size)] for at, size in zip(*extended, strict=False)]
        return Frames(content.data, spans, True, PIXEL_DATA)
    if image.frames == 1:
        return Frames(content.data, [fragments], True, PIXEL_DATA)
    if len(fragments) == image.frames:
        return Frames(content.data, [[fragment] for fragment in fragments], True, PIXEL_DATA)
    starts = {base + at + 8 for at in _words(bytes(content.data[table[0] : table[0] + table[1]]), 4)}
    if len(starts) != image.frames:  # no usable table: a frame ends where its code stream does
        starts = {fragments[0][0]}
        for (at, length), (following, _) in itertools.pairwise(fragments):
            if _ends_a_stream(bytes(content.data[max(at, at + length - 3) : at + length])):
                starts.add(following)
    grouped: list[list[tuple[int, int]]] = []
    for fragment in fragments:
        if fragment[0] in starts or not grouped:
            grouped.append([])
        grouped[-1].append(fragment)
    return Frames(content.data, grouped, True, PIXEL_DATA)


def _ends_a_stream(tail: bytes) -> bool:
    """Whether a fragment ends with the end marker that JPEG and JPEG 2000 share, maybe padded."""
    return b"\xff\xd9" in tail


def _words(raw: bytes, size: int = 8) -> list[int]:
    return [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw) - size + 1, size)]


def _number(found: Attributes, name: str) -> int:
    value: Any = first(found, name)
    return int(value) if isinstance(value, int | float) else 0
