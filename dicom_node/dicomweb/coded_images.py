"""What a coded picture says of itself: its transfer syntax, its size, its samples.

A client that stores metadata with compressed bulk data may leave out what the picture itself tells
(PS3.18 10.5.2 and table 8.7.3-5; attributes of PS3.3 C.7.6.3). ISO 10918-1 (JPEG), 14495-1 (JPEG-LS),
15444-1 (JPEG 2000) markers; the JP2 file around a code stream is taken off (PS3.5 8.2.4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import unpack_from
from typing import Final

from dicom_node.attributes import Attributes

HEAD_BYTES: Final = 64 * 1024
"""As much of a picture is looked at."""

JPEG_BASELINE, JPEG_EXTENDED, JPEG_PROGRESSIVE = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.55",
)
JPEG_LOSSLESS, JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS, HTJ2K = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203"

OF_MEDIA: Final = {
    "image/jpeg": JPEG_BASELINE,
    "image/jls": JPEG_LS,
    "image/jp2": J2K_LOSSLESS,
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jphc": HTJ2K_LOSSLESS,
    "image/jxl": "1.2.840.10008.1.2.4.110",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg": "1.2.840.10008.1.2.4.100",
    "video/mpeg2": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102",
    "video/h265": "1.2.840.10008.1.2.4.107",
}
"""The transfer syntax of a media type where the picture itself does not tell a better one."""

NATIVE: Final = frozenset(
    {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
)
_LOSSY: Final = {
    JPEG_BASELINE: "ISO_10918_1",
    JPEG_EXTENDED: "ISO_10918_1",
    JPEG_PROGRESSIVE: "ISO_10918_1",
    JPEG_LS_NEAR: "ISO_14495_1",
    J2K: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A coded picture: its transfer syntax (empty: unknown), its attributes, where its code begins."""

    transfer_syntax: str = ""
    attributes: Attributes = field(default_factory=dict)
    start: int = 0


def describe(head: bytes) -> Picture:
    """Return what the first bytes of a picture tell; an empty Picture where they tell nothing.

    >>> describe(bytes.fromhex("ffd8 ffc0 000b 08 0010 0020 01 011100")).attributes["00280010"]
    {'vr': 'US', 'Value': [16]}
    """
    try:
        if head[:2] == b"\xff\xd8":
            return _jpeg(head)
        if head[4:8] == b"jP  ":
            start = _code_stream(head)
            return _jpeg_2000(head, start) if start else Picture()
        if head[:4] == b"\xff\x4f\xff\x51":
            return _jpeg_2000(head, 0)
    except (IndexError, struct.error):  # it ends too early to tell
        pass
    return Picture()


def _segments(head: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Yield (marker, where its parameters begin) of a code stream's header."""
    while position + 4 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        yield marker, position + 4
        position += 2 + int(unpack_from(">H", head, position + 2)[0])


def _jpeg(head: bytes) -> Picture:
    frame = 0
    bits = rows = columns = samples = 0
    halved = adobe_rgb = False
    syntax = ""
    for marker, at in _segments(head, 2):
        if marker == 0xEE and head[at : at + 5] == b"Adobe":
            adobe_rgb = head[at + 11] == 0
        elif marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
            frame = marker
            bits, rows, columns, samples = unpack_from(">BHHB", head, at)
            halved = head[at + 7] >> 4 == 2 if samples == 3 else False
        elif marker == 0xDA:
            selection = head[at + 1 + 2 * head[at]]  # the predictor, or how far JPEG-LS may be off
            syntax = {
                0xC3: JPEG_LOSSLESS_SV1 if selection == 1 else JPEG_LOSSLESS,
                0xF7: JPEG_LS if selection == 0 else JPEG_LS_NEAR,
            }.get(frame, "")
            break
    if not frame:
        return Picture()
    syntax = (
        syntax
        or {
            0xC0: JPEG_BASELINE,
            0xC1: JPEG_EXTENDED,
            0xC2: JPEG_PROGRESSIVE,
            0xC3: JPEG_LOSSLESS,
            0xF7: JPEG_LS,
        }[frame]
    )
    colour = "MONOCHROME2"
    if samples == 3:
        coded = "YBR_FULL_422" if halved else "YBR_FULL"
        colour = "RGB" if frame in (0xC3, 0xF7) or adobe_rgb else coded
    return Picture(syntax, _attributes(rows, columns, samples, bits, 0, colour, syntax))


def _jpeg_2000(head: bytes, start: int) -> Picture:
    rows = columns = samples = bits = signed = 0
    reversible = mixed = high_throughput = False
    for marker, at in _segments(head, start + 2):
        if marker == 0x51:
            right, low, left, top = unpack_from(">IIII", head, at + 2)
            columns, rows = right - left, low - top
            samples = unpack_from(">H", head, at + 34)[0]
            bits, signed = (head[at + 36] & 0x7F) + 1, head[at + 36] >> 7
        elif marker == 0x50:
            high_throughput = True
        elif marker == 0x52:
            mixed, reversible = bool(head[at + 4]), head[at + 9] == 1
            break
    if not samples:
        return Picture()
    syntax = (
        (HTJ2K_LOSSLESS if reversible else HTJ2K)
        if high_throughput
        else (J2K_LOSSLESS if reversible else J2K)
    )
    colour = "MONOCHROME2"
    if samples == 3:
        colour = ("YBR_RCT" if reversible else "YBR_ICT") if mixed else "RGB"
    return Picture(syntax, _attributes(rows, columns, samples, bits, signed, colour, syntax), start)


def _code_stream(head: bytes) -> int:
    """Return where the code stream of a JP2 file begins (ISO 15444-1 Annex I), 0 where it is not shown."""
    position = 0
    while position + 8 <= len(head):
        length, kind = unpack_from(">I4s", head, position)
        size = 8
        if length == 1:
            length, size = unpack_from(">Q", head, position + 8)[0], 16
        if kind == b"jp2c":
            return position + size
        if length < size:
            return 0
        position += length
    return 0


def _attributes(
    rows: int, columns: int, samples: int, bits: int, signed: int, colour: str, syntax: str
) -> Attributes:
    numbers = {
        "00280002": samples,
        "00280010": rows,
        "00280011": columns,
        "00280100": 8 if bits <= 8 else 16,
        "00280101": bits,
        "00280102": bits - 1,
        "00280103": signed,
    }
    if samples > 1:
        numbers["00280006"] = 0
    found: Attributes = {name: {"vr": "US", "Value": [value]} for name, value in numbers.items()}
    found["00280004"] = {"vr": "CS", "Value": [colour]}
    if method := _LOSSY.get(syntax):
        found["00282110"] = {"vr": "CS", "Value": ["01"]}
        found["00282114"] = {"vr": "CS", "Value": [method]}
    return found
