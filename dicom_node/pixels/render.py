"""A frame as a picture: PNG or JPEG, its window and its size as the viewer wants (PS3.18 8.3.5)."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image as Picture

from dicom_node.files.content import Content
from dicom_node.pixels.colour import rgb
from dicom_node.pixels.decode import decode
from dicom_node.pixels.grayscale import display_values
from dicom_node.pixels.image import describe, locate_frames

PNG, JPEG = "image/png", "image/jpeg"


@dataclass(frozen=True, slots=True)
class View:
    """What the viewer wants: a window (center, width, function), a size to fit in, a JPEG quality."""

    window: tuple[float, float, str] | None = None
    width: int = 0
    height: int = 0
    quality: int = 90


def render(content: Content, frame: int, media: str, view: View) -> bytes:
    """Return a frame (from 0) as a PNG or JPEG. Raises Unprocessable when it cannot be shown."""
    image = describe(content)
    samples, photometric = decode(content, image, locate_frames(content, image), frame)
    if photometric.startswith("MONOCHROME") and samples.ndim == 2:
        picture = Picture.fromarray(display_values(samples, image, frame, view.window))
    else:
        picture = Picture.fromarray(rgb(samples, photometric, image))
    if view.width or view.height:
        picture = _fitted(picture, view.width or view.height, view.height or view.width)
    out = io.BytesIO()
    if media == JPEG:
        picture.save(out, "JPEG", quality=view.quality)
    else:
        picture.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _fitted(picture: Picture.Image, width: int, height: int) -> Picture.Image:
    """Scale to the largest size that fits, keeping the proportions (PS3.18 8.3.5.1.3)."""
    factor = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(size, Picture.Resampling.BILINEAR)
