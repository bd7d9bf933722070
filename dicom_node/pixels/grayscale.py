"""Stored values → values to display: the grayscale pipeline (PS3.4 N.2, PS3.3 C.11.1, C.11.2).

modality LUT → VOI LUT or window → presentation. Windows are those of PS3.3 C.11.2.1.2 and C.11.2.1.3,
with their half steps.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.attributes import Attributes
from dicom_node.instance import first
from dicom_node.pixels.image import Image
from fhir_server.outcome import Invalid

Values = NDArray[np.float64]
Display = NDArray[np.uint8]


def window(values: NDArray[Any], center: float, width: float, function: str = "LINEAR") -> Display:
    """Map values to display values 0–255 by a VOI window.

    PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT). `values` is any
    array, already through the modality LUT (so in Hounsfield units for CT).

    >>> window(np.array([[-200, 40, 280]]), center=40, width=400).tolist()
    [[0, 128, 255]]
    >>> window(np.array([0, 1]), center=1, width=1).tolist()
    [0, 255]

    Raises Invalid (400) when `width` is below 1 (LINEAR) or not above 0 (the others).
    """
    x = values.astype(np.float64)
    if function == "SIGMOID":
        if width <= 0:
            raise Invalid(f"a window width of {width} is not above 0 (PS3.3 C.11.2.1.3.1)")
        with np.errstate(over="ignore"):
            return _to_bytes(1 / (1 + np.exp(-4 * (x - center) / width)))
    if function == "LINEAR_EXACT":
        if width <= 0:
            raise Invalid(f"a window width of {width} is not above 0 (PS3.3 C.11.2.1.3.2)")
        return _to_bytes((x - center) / width + 0.5)
    if width < 1:
        raise Invalid(f"a window width of {width} is below 1 (PS3.3 C.11.2.1.2)")
    if width == 1:
        return np.where(x <= center - 0.5, 0, 255).astype(np.uint8)
    return _to_bytes((x - (center - 0.5)) / (width - 1) + 0.5)


def _to_bytes(part: Values) -> Display:
    return np.rint(np.clip(part, 0, 1) * 255).astype(np.uint8)


def modality_values(samples: NDArray[Any], image: Image, frame: int) -> NDArray[Any]:
    """Return the samples through the modality LUT or the rescale of their frame (PS3.3 C.11.1)."""
    table = first(image.attributes, "00283000")
    if isinstance(table, dict) and (mapped := _look_up(samples, table)) is not None:
        return mapped
    group = image.group(frame, "00289145")
    slope, intercept = _number(group, "00281053"), _number(group, "00281052")
    if slope is None and intercept is None:
        return samples
    return samples * (1.0 if slope is None else slope) + (intercept or 0.0)


def display_values(
    samples: NDArray[Any], image: Image, frame: int, chosen: tuple[float, float, str] | None = None
) -> Display:
    """Return a monochrome frame as it is to be shown: 0 is black, 255 white.

    `chosen` is a window (center, width, function) that the viewer wants instead of the data set's.
    Without any window, the range of the frame is shown, padding left out (PS3.3 C.7.5.1.1.2).
    """
    values = modality_values(samples, image, frame)
    group = image.group(frame, "00289132")
    table = first(group, "00283010")
    shown: Display | None = None
    if chosen is not None:
        shown = window(values, *chosen)
    elif (center := _number(group, "00281050")) is not None and (width := _number(group, "00281051")):
        function = str(first(group, "00281056") or "LINEAR")
        if width >= 1 or (function != "LINEAR" and width > 0):
            shown = window(values, center, width, function)
    elif isinstance(table, dict) and (mapped := _look_up(values, table)) is not None:
        entries, _, bits = _descriptor(table)
        shown = _to_bytes(mapped.astype(np.float64) / float((1 << bits) - 1)) if entries else None
    if shown is None:
        shown = _full_range(values, samples, image)
    inverse = first(image.attributes, "20500020") == "INVERSE"
    if inverse or (image.photometric == "MONOCHROME1" and first(image.attributes, "20500020") != "IDENTITY"):
        return 255 - shown
    return shown


def _full_range(values: NDArray[Any], samples: NDArray[Any], image: Image) -> Display:
    usable = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    padding = _number(image.attributes, "00280120")
    if padding is not None:
        limit = _number(image.attributes, "00280121")
        low, high = sorted((padding, padding if limit is None else limit))
        usable &= (samples < low) | (samples > high)
    inside = values[usable]
    if not inside.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(inside.min()), float(inside.max())
    return _to_bytes((np.nan_to_num(values.astype(np.float64)) - low) / (high - low or 1.0))


def _look_up(values: NDArray[Any], table: Attributes) -> NDArray[Any] | None:
    """Map values through a LUT item (PS3.3 C.11.1.1, C.11.2.1.1), or None when it cannot be read."""
    entries, start, bits = _descriptor(table)
    data = _lut_data(table, entries, bits)
    if not entries or data is None or len(data) < entries:
        return None
    position = np.clip(values.astype(np.int64) - start, 0, entries - 1)
    return data[position]


def _descriptor(table: Attributes) -> tuple[int, int, int]:
    found = table.get("00283002", {}).get("Value", [])
    if len(found) != 3:
        return 0, 0, 0
    entries, start, bits = (int(value) for value in found)
    return entries % 65_536 or 65_536, start, bits


def _lut_data(table: Attributes, entries: int, bits: int) -> NDArray[Any] | None:
    element = table.get("00283006", {})
    if "Value" in element:
        return np.asarray(element["Value"])
    if "InlineBinary" not in element:
        return None
    raw = base64.b64decode(element["InlineBinary"])
    if bits <= 8 and len(raw) in (entries, entries + entries % 2):
        return np.frombuffer(raw, np.uint8)
    return np.frombuffer(raw[: len(raw) // 2 * 2], "<u2")


def _number(found: Attributes, name: str) -> float | None:
    value = first(found, name)
    return float(value) if isinstance(value, int | float) else None
