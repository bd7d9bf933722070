"""Photometric interpretations of colour → RGB with 8 bits a sample (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5)."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.attributes import Attributes
from dicom_node.pixels.image import Image
from fhir_server.outcome import Unprocessable

Colour = NDArray[np.uint8]
_CHANNELS = (("00281101", "00281201"), ("00281102", "00281202"), ("00281103", "00281203"))
_SEGMENTED = {"00281201": "00281221", "00281202": "00281222", "00281203": "00281223"}


def rgb(samples: NDArray[Any], photometric: str, image: Image) -> Colour:
    """Return a colour frame as (rows, columns, 3) of uint8. Raises Unprocessable for unknown kinds."""
    if photometric == "PALETTE COLOR":
        return _palette(samples, image.attributes)
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        return _from_ybr(_eight_bits(samples, image))
    if samples.ndim == 3 and samples.shape[2] >= 3:  # RGB, and YBR_ICT and YBR_RCT, which decoders undo
        return _eight_bits(samples[:, :, :3], image)
    raise Unprocessable(f"images in {photometric} are not rendered")


def _eight_bits(samples: NDArray[Any], image: Image) -> Colour:
    if image.bits_stored <= 8 and samples.dtype.itemsize == 1:
        return samples.astype(np.uint8)
    return (
        (samples.astype(np.float64) * (255 / ((1 << image.bits_stored) - 1)))
        .clip(0, 255)
        .round()
        .astype(np.uint8)
    )


def _from_ybr(samples: Colour) -> Colour:
    """Undo YBR_FULL (PS3.3 C.7.6.3.1.2, ITU-R BT.601 over the full range).

    >>> _from_ybr(np.array([[[128, 128, 128]]], np.uint8)).tolist()
    [[[128, 128, 128]]]
    """
    y, cb, cr = (samples[:, :, channel].astype(np.float64) for channel in range(3))
    cb, cr = cb - 128, cr - 128
    mixed = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
    return mixed.clip(0, 255).round().astype(np.uint8)


def _palette(samples: NDArray[Any], found: Attributes) -> Colour:
    channels = []
    for descriptor, data in _CHANNELS:
        values = found.get(descriptor, {}).get("Value", [])
        if len(values) != 3:
            raise Unprocessable("the palette is incomplete")
        entries, start, bits = (int(value) for value in values)
        table = _table(found, data, entries % 65_536 or 65_536, bits)
        channels.append(table[np.clip(samples.astype(np.int64) - start, 0, len(table) - 1)])
    return np.stack(channels, axis=2)


def _table(found: Attributes, name: str, entries: int, bits: int) -> Colour:
    """Return one channel of a palette as bytes (PS3.3 C.7.6.3.1.5, C.7.9.2)."""
    segmented = _binary(found, _SEGMENTED[name])
    raw = _binary(found, name)
    if segmented:
        kind = "<u2" if bits > 8 or len(segmented) % 2 == 0 else "u1"
        wide = np.asarray(expanded(np.frombuffer(segmented, kind).tolist()), np.uint16)
    elif bits <= 8 and len(raw) <= entries + entries % 2:
        wide = np.frombuffer(raw, np.uint8)[:entries].astype(np.uint16)
    else:
        wide = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2")[:entries]
    if not wide.size:
        raise Unprocessable("the palette is incomplete")
    # makers also put 8-bit values into words that they call 16-bit
    return (wide >> 8 if bits > 8 and wide.max() > 255 else wide).astype(np.uint8)


def expanded(segments: list[int]) -> list[int]:
    """Return the entries of a segmented palette (PS3.3 C.7.9.2): discrete, linear, indirect segments.

    >>> expanded([0, 2, 5, 6, 1, 4, 10])
    [5, 6, 7, 8, 9, 10]

    Raises Unprocessable when the segments break off or never end.
    """
    entries: list[int] = []
    pending = [(0, len(segments))]  # where to read on: an indirect segment puts its own range on top
    starts: list[int] = []
    try:
        while pending:
            at, end = pending.pop()
            if at >= end:
                continue
            opcode, count = segments[at], segments[at + 1]
            if opcode == 0:
                entries += segments[at + 2 : at + 2 + count]
                following = at + 2 + count
            elif opcode == 1:
                low, high = entries[-1], segments[at + 2]
                entries += [round(low + (high - low) * step / count) for step in range(1, count + 1)]
                following = at + 3
            elif opcode == 2:
                target = segments[at + 2] | segments[at + 3] << 16
                following = at + 4
                pending.append((following, end))
                pending.append((target, _end_of(segments, target, count)))
            else:
                raise Unprocessable(f"the palette has an unknown segment of type {opcode}")
            if len(entries) > 65_536 or len(starts) > 65_536:
                raise Unprocessable("the palette has more than 65536 entries")
            starts.append(at)
            if opcode != 2:
                pending.append((following, end))
    except IndexError as error:
        raise Unprocessable("the palette breaks off") from error
    return entries


def _end_of(segments: list[int], at: int, count: int) -> int:
    """Return where `count` segments from `at` on end; they are discrete or linear."""
    for _ in range(count):
        at += 3 if segments[at] == 1 else 2 + segments[at + 1]
    return at


def _binary(found: Attributes, name: str) -> bytes:
    element = found.get(name, {})
    if "Value" in element:
        return np.asarray(element["Value"], "<u2").tobytes()
    return base64.b64decode(element.get("InlineBinary", ""))
