"""A frame's bytes → samples as numbers, whatever its transfer syntax (PS3.5 8.2, Annex A).

Plain samples are read here; coded ones by pydicom's decoders (RLE, JPEG baseline by pillow, JPEG-LS
by CharLS, JPEG 2000 and HTJ2K by OpenJPEG), and by imagecodecs what those leave open: lossless JPEG
(process 14), JPEG with 12 bits (both by libjpeg-turbo) and JPEG XL (by libjxl). Video is not decoded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from dicom_node.files.content import Content
from dicom_node.pixels.image import DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA, Frames, Image
from fhir_server.outcome import Unprocessable

MOST_FRAME_BYTES = 512 * 1024 * 1024
"""A frame that claims to be larger is not decoded: a few bytes may claim anything."""

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
ENCAPSULATED_PLAIN = "1.2.840.10008.1.2.1.98"
LOSSLESS_JPEG = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
EXTENDED_JPEG = "1.2.840.10008.1.2.4.51"
JPEG_XL = frozenset({"1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"})
Samples = NDArray[Any]


def decodable(transfer_syntax: str) -> bool:
    """Whether frames in this transfer syntax can be decoded at all; a broken one still cannot.

    >>> decodable("1.2.840.10008.1.2.4.70"), decodable("1.2.840.10008.1.2.4.102")
    (True, False)
    """
    if transfer_syntax in _PLAIN | LOSSLESS_JPEG | JPEG_XL:
        return True
    try:
        return bool(get_decoder(UID(transfer_syntax)).is_available)
    except NotImplementedError:
        return False


_PLAIN = frozenset(
    {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.113619.5.2",
        DEFLATED_FRAMES,
        ENCAPSULATED_PLAIN,
    }
)


def decode(content: Content, image: Image, frames: Frames, index: int) -> tuple[Samples, str]:
    """Return a frame (from 0) as an array and its photometric interpretation.

    (rows, columns) for one sample a pixel, (rows, columns, 3) for colour, which comes out as RGB
    where a decoder had to change the colour space. Raises Unprocessable when it cannot be decoded.
    """
    size = image.rows * image.columns * image.samples * max(8, image.bits_allocated) // 8
    if size > MOST_FRAME_BYTES:
        raise Unprocessable(
            f"a frame of {size} bytes is not decoded here, {MOST_FRAME_BYTES} are the most; it can be"
            " retrieved as it is"
        )
    raw = frames.frame(index)
    if content.transfer_syntax == DEFLATED_FRAMES:
        try:
            raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, size + 8)
        except zlib.error as error:
            raise Unprocessable(f"the frame cannot be inflated: {error}") from error
    elif frames.encapsulated and content.transfer_syntax != ENCAPSULATED_PLAIN:
        return _coded(raw, content.transfer_syntax, image)
    return _plain(raw, content, image, frames, index), image.photometric


def _plain(raw: bytes, content: Content, image: Image, frames: Frames, index: int) -> Samples:
    order = "<" if content.syntax.little else ">"
    shape = (image.rows, image.columns)
    if frames.tag in (FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
        kind = "f4" if frames.tag == FLOAT_PIXEL_DATA else "f8"
        return np.frombuffer(raw, f"{order}{kind}", image.rows * image.columns).reshape(shape)
    if image.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        skipped = frames.bit_offset * index % 8
        return bits[skipped : skipped + image.rows * image.columns].reshape(shape)
    if image.bits_allocated not in (8, 16, 32, 64):
        raise Unprocessable(f"samples of {image.bits_allocated} bits are not read")
    kind = "i" if image.signed else "u"
    wanted = image.rows * image.columns * image.samples
    if image.photometric == "YBR_FULL_422":
        wanted = image.rows * image.columns * 2
    samples = np.frombuffer(raw, f"{order}{kind}{image.bits_allocated // 8}")
    if samples.size < wanted:
        raise Unprocessable(f"the frame has {samples.size} samples; {wanted} are needed")
    samples = samples[:wanted]
    if image.samples == 1:
        return _sign(samples.reshape(shape), image)
    if image.photometric == "YBR_FULL_422":
        pairs = samples.reshape(image.rows, image.columns // 2, 4)  # Y1 Y2 Cb Cr
        colour = np.empty((image.rows, image.columns, 3), samples.dtype)
        colour[:, 0::2, 0], colour[:, 1::2, 0] = pairs[:, :, 0], pairs[:, :, 1]
        colour[:, :, 1] = np.repeat(pairs[:, :, 2], 2, axis=1)
        colour[:, :, 2] = np.repeat(pairs[:, :, 3], 2, axis=1)
        return colour
    if image.planar:
        return samples.reshape(image.samples, *shape).transpose(1, 2, 0)
    return samples.reshape(*shape, image.samples)


def _sign(samples: Samples, image: Image) -> Samples:
    """Cut away what lies above the bits stored, which may hold overlays or nothing (PS3.5 8.1.1)."""
    spare = image.bits_allocated - image.bits_stored
    if not 0 < spare < image.bits_allocated:
        return samples
    native = samples.astype(samples.dtype.newbyteorder("="))
    return native << spare >> spare  # the shift back is arithmetic for signed samples


def _coded(raw: bytes, transfer_syntax: str, image: Image) -> tuple[Samples, str]:
    if transfer_syntax in LOSSLESS_JPEG or (transfer_syntax == EXTENDED_JPEG and image.bits_allocated > 8):
        # no colour is changed: the samples are what the data set says they are
        return _checked(
            imagecodecs.jpeg8_decode, raw, image, colorspace=_kind(image), outcolorspace=_kind(image)
        )
    if transfer_syntax in JPEG_XL:
        samples, photometric = _checked(imagecodecs.jpegxl_decode, raw, image)
        return samples, "RGB" if photometric.startswith("YBR") else photometric  # its code stream says how
    try:
        decoder = get_decoder(UID(transfer_syntax))
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        raise Unprocessable(
            f"frames in transfer syntax {transfer_syntax} cannot be decoded here; retrieve them as they are"
        )
    # pydicom wants the frame in its capsule: an empty offset table and one item
    padded = raw + b"\0" * (len(raw) % 2)
    capsule = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + struct.pack("<I", len(padded)) + padded
    options = {
        "rows": image.rows,
        "columns": image.columns,
        "number_of_frames": 1,
        "samples_per_pixel": image.samples,
        "bits_allocated": image.bits_allocated,
        "bits_stored": image.bits_stored,
        "pixel_representation": int(image.signed),
        "photometric_interpretation": image.photometric,
        "planar_configuration": int(image.planar),
        "pixel_keyword": "PixelData",
    }
    try:
        samples, seen = decoder.as_array(capsule, index=0, **options)
    except Exception as error:  # each of the libraries has its own exceptions
        raise Unprocessable(f"the frame cannot be decoded: {str(error)[:200]}") from error
    return samples, str(seen["photometric_interpretation"])


def _kind(image: Image) -> str | None:
    return None if image.samples == 1 else "RGB"


def _checked(decoder: Callable[..., Any], raw: bytes, image: Image, **options: Any) -> tuple[Samples, str]:
    """Decode by a function of imagecodecs; what comes out must be what the data set announces."""
    try:
        samples = np.asarray(decoder(raw, **options))
    except Exception as error:  # each of the codecs has its own exceptions
        raise Unprocessable(f"the frame cannot be decoded: {str(error)[:200]}") from error
    shape = (image.rows, image.columns, *([] if image.samples == 1 else [image.samples]))
    if samples.shape != shape or samples.dtype.kind not in "iu":
        raise Unprocessable(f"the frame decodes to {samples.shape}; the data set announces {shape}")
    if image.signed and samples.dtype.kind == "u":
        samples = samples.view(samples.dtype.str.replace("u", "i"))
    return _sign(samples, image) if image.samples == 1 else samples, image.photometric
