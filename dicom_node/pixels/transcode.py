"""An instance in another transfer syntax (PS3.5 Annex A): decompressed, or compressed without loss.

Frame by frame, so memory holds one of them. Sources: every syntax whose frames can be decoded.
Targets: explicit, implicit and deflated little endian, and the lossless codings RLE, JPEG-LS,
JPEG 2000 and HTJ2K. Nothing is compressed with loss here, and video is not decoded. The SOP
Instance UID stays: the image is the same one (PS3.3 C.7.6.1.1.5, what was lossy stays marked).
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.pixels import get_encoder
from pydicom.uid import UID

from dicom_node import header
from dicom_node.files.content import Content, opened
from dicom_node.files.part10 import meta_information, read_meta
from dicom_node.header import UNDEFINED, Event, Malformed
from dicom_node.instance import first
from dicom_node.pixels.decode import Samples, decodable, decode
from dicom_node.pixels.image import Frames, Image, describe, locate_frames
from dicom_node.recode import recoded
from fhir_server.outcome import Unprocessable

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
PLAIN = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED)
LOSSLESS = (RLE, JPEG_LS, JPEG_2000, HTJ2K)
TARGETS = (*PLAIN, *LOSSLESS)

_UNCODED = frozenset({*PLAIN, "1.2.840.10008.1.2.2", "1.2.840.113619.5.2", "1.2.840.10008.1.20"})
_LOSSY = {  # source syntaxes that lose: what they say in (0028,2114)
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.93": "ISO_15444_2",
    "1.2.840.10008.1.2.4.112": "ISO_18181_1",
}
_MOST_BYTES = 0xFFFFFFFE  # PS3.5 7.1.1: a length of 32 bits, and even

Turn = Callable[[], AbstractContextManager[Any]]


def convertible(source: str, target: str) -> bool:
    """Whether instances in `source` can be had in `target`, as far as the names of the two tell.

    >>> convertible("1.2.840.10008.1.2.4.70", EXPLICIT_LITTLE), convertible(EXPLICIT_LITTLE, JPEG_2000)
    (True, True)
    >>> convertible("1.2.840.10008.1.2.4.102", EXPLICIT_LITTLE), convertible(RLE, "1.2.840.10008.1.2.4.50")
    (False, False)
    """
    return source == target or (target in TARGETS and (source in _UNCODED or decodable(source)))


def transcoded(path: Path, target: str, turn: Turn = nullcontext) -> Iterator[bytes]:
    """Return a kept file in another transfer syntax, as pieces of a file (PS3.10 7.1).

    The first frame is decoded before this returns, so what cannot be done raises Unprocessable here.
    `turn` bounds how many frames are worked on at a time.
    """
    with open(path, "rb") as file:
        meta = read_meta(file.read(4096))
    pieces = data_set(path, target, turn)
    beginning = next(pieces, b"")
    return _joined([meta_information(target, meta.sop_class, meta.sop_uid), beginning], pieces)


def data_set(path: Path, target: str, turn: Turn = nullcontext) -> Iterator[bytes]:
    """Yield the data set of a kept file in another transfer syntax; the first frame comes first of all."""
    with opened(path) as content:
        if not convertible(content.transfer_syntax, target):
            raise Unprocessable(
                f"an instance in {content.transfer_syntax} cannot be had in {target}; there are"
                f" {', '.join((content.transfer_syntax, *TARGETS))}"
            )
        try:
            pieces = _pieces(content, target, turn)
            if target == DEFLATED:
                pieces = _deflated(pieces)
            yield from pieces
        except Malformed as malformed:
            raise Unprocessable(f"the data set cannot be read: {malformed}") from malformed


def _joined(head: Iterable[bytes], tail: Iterator[bytes]) -> Iterator[bytes]:
    yield from head
    yield from tail


def _pieces(content: Content, target: str, turn: Turn) -> Iterator[bytes]:
    implicit = target == IMPLICIT_LITTLE
    coded = content.transfer_syntax not in _UNCODED
    event = _pixel_event(content) if coded or target in LOSSLESS else None
    if event is None or (not coded and target in PLAIN):
        return recoded(content.data, content.syntax, implicit=implicit)
    image = describe(content)
    frames = locate_frames(content, image)
    source = _Source(content, image, frames, turn)
    first_frame, photometric = source.frame(0)
    if photometric == "YBR_FULL_422":  # each pixel has its own chroma once it is decoded
        photometric = "YBR_FULL"
    changes = _changes(content, image, photometric, first_frame)
    if target in LOSSLESS:
        encode = encoder(target, image, photometric)
        with turn():
            one = encode(first_frame)

        def given(_: Event) -> tuple[str, int, Iterable[bytes]]:
            return "OB", UNDEFINED, _encapsulated(one, source.others(first_frame), encode, turn)

    else:
        size = _size(first_frame, image, source.count)
        if size > _MOST_BYTES:
            raise Unprocessable(
                f"decompressed, the pixel data has {size} bytes, more than a length can say; ask for"
                " single frames, or for a coding such as JPEG 2000 lossless"
            )
        vr = "OW" if image.bits_allocated > 8 or implicit else "OB"

        def given(_: Event) -> tuple[str, int, Iterable[bytes]]:
            every = itertools.chain([first_frame], source.others(first_frame))
            native = _bits(every) if image.bits_allocated == 1 else map(_bytes, every)
            return vr, size + size % 2, itertools.chain(native, [b"\0" * (size % 2)])

    return recoded(content.data, content.syntax, implicit=implicit, changes=changes, pixels=given)


class _Source:
    """The frames of an image, decoded one at a time."""

    def __init__(self, content: Content, image: Image, frames: Frames, turn: Turn) -> None:
        self._content, self._image, self._frames, self._turn = content, image, frames, turn
        self.count = len(frames.spans)

    def frame(self, index: int) -> tuple[Samples, str]:
        with self._turn():
            return decode(self._content, self._image, self._frames, index)

    def others(self, like: Samples) -> Iterator[Samples]:
        """Yield the frames behind the first one; each must be like it."""
        for index in range(1, self.count):
            samples, _ = self.frame(index)
            if samples.shape != like.shape or samples.dtype != like.dtype:
                raise Unprocessable(f"frame {index + 1} is not like the first one")
            yield samples


def _pixel_event(content: Content) -> Event | None:
    for event in header.walk(content.data, content.syntax, into=()):
        if event.tag == header.PIXEL_DATA and event.depth == 0:
            return event
    return None


def _bytes(samples: Samples) -> bytes:
    return samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()


def _size(first_frame: Samples, image: Image, count: int) -> int:
    if image.bits_allocated == 1:
        return -(-first_frame.size * count // 8)
    return len(_bytes(first_frame)) * count


def _bits(every: Iterable[Samples]) -> Iterator[bytes]:
    """Yield frames of single bits, which follow each other without padding (PS3.5 8.1.1)."""
    rest = np.empty(0, np.uint8)
    for samples in every:
        bits = np.concatenate([rest, samples.astype(np.uint8).ravel()])
        whole = bits.size // 8 * 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    yield np.packbits(rest, bitorder="little").tobytes()


def _encapsulated(
    one: bytes, others: Iterable[Samples], encode: Callable[[Samples], bytes], turn: Turn
) -> Iterator[bytes]:
    """Yield an empty offset table and a fragment a frame (PS3.5 A.4)."""
    yield b"\xfe\xff\x00\xe0\0\0\0\0"
    yield _item(one)
    for samples in others:
        with turn():
            coded = encode(samples)
        yield _item(coded)


def _item(coded: bytes) -> bytes:
    padded = coded + b"\0" * (len(coded) % 2)
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(padded)) + padded


def _changes(
    content: Content, image: Image, photometric: str, samples: Samples
) -> dict[int, tuple[str, bytes | None]]:
    """Return the elements that are otherwise once the frames are decoded."""
    changes: dict[int, tuple[str, bytes | None]] = {0x7FE00001: ("OV", None), 0x7FE00002: ("OV", None)}
    changes[0x00280004] = ("CS", _padded(photometric))
    if samples.ndim == 3:
        changes[0x00280006] = ("US", b"\0\0")
    if image.bits_allocated != 1 and samples.dtype.itemsize * 8 != image.bits_allocated:
        changes[0x00280100] = ("US", struct.pack("<H", samples.dtype.itemsize * 8))
    method = _LOSSY.get(content.transfer_syntax)
    if method is not None and first(image.attributes, "00282110") is None:
        changes[0x00282110] = ("CS", b"01")
    return changes


def _padded(text: str) -> bytes:
    return text.encode("ascii") + b" " * (len(text) % 2)


def encoder(target: str, image: Image, photometric: str) -> Callable[[Samples], bytes]:
    """Return what codes a frame without loss; Unprocessable for samples that the coding does not take."""
    if image.bits_allocated == 1:
        raise Unprocessable("images of single bits are not compressed here")

    def encode(samples: Samples) -> bytes:
        if samples.dtype.kind not in "iu" or samples.dtype.itemsize > (4 if target == RLE else 2):
            raise Unprocessable(f"samples of type {samples.dtype} cannot be had in {target}")
        native = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder("="), copy=False))
        try:
            if target == HTJ2K:
                return bytes(imagecodecs.htj2k_encode(native, reversible=True, rgb=native.ndim == 3))
            return _by_pydicom(native, target, image, photometric)
        except Exception as error:  # each of the libraries has its own exceptions
            raise Unprocessable(f"the frame cannot be had in {target}: {str(error)[:200]}") from error

    return encode


def _by_pydicom(samples: Samples, target: str, image: Image, photometric: str) -> bytes:
    colour = samples.ndim == 3
    options = {
        "rows": samples.shape[0],
        "columns": samples.shape[1],
        "samples_per_pixel": samples.shape[2] if colour else 1,
        "number_of_frames": 1,
        "bits_allocated": samples.dtype.itemsize * 8,
        "bits_stored": min(image.bits_stored, samples.dtype.itemsize * 8),
        "pixel_representation": int(samples.dtype.kind == "i"),
        "photometric_interpretation": photometric,
        **({"planar_configuration": 0} if colour else {}),
        **({"use_mct": False} if target == JPEG_2000 else {}),
    }
    plugin = {RLE: "pylibjpeg", JPEG_LS: "pyjpegls", JPEG_2000: "pylibjpeg"}[target]
    return bytes(get_encoder(UID(target)).encode(samples, encoding_plugin=plugin, **options))


def _deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a data set deflated (PS3.5 A.5), of even length."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        if packed := stream.compress(piece):
            size += len(packed)
            yield packed
    packed = stream.flush()
    yield packed + b"\0" * ((size + len(packed)) % 2)
