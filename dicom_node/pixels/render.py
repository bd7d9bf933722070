"""Frames as pictures: PNG, JPEG or GIF, with the window, the region and the size that the viewer wants.

PS3.18 8.3.5.1 (viewport, window, quality). A GIF of several frames moves as fast as the data set says.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as Picture

from dicom_node.files.content import Content
from dicom_node.instance import first
from dicom_node.pixels.colour import rgb
from dicom_node.pixels.decode import decode
from dicom_node.pixels.grayscale import display_values
from dicom_node.pixels.image import Frames, Image, describe, locate_frames
from fhir_server.outcome import Invalid, Unprocessable

PNG, JPEG, GIF = "image/png", "image/jpeg", "image/gif"

MOST_GIF_PIXELS = 100_000_000
"""Pixels of all frames of a GIF together; they are in memory at once."""

_FRAME_MS = 100.0  # where a data set does not say how fast its frames follow each other


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the image in pixels of the source; a negative size flips it (PS3.18 8.3.5.1.3)."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class View:
    """What the viewer wants: a window (center, width, function), a size to fit in, a JPEG quality.

    Either size may be 0: then the other decides. `region` None is all of the image; `relative` says
    that its numbers are parts of the image, from 0 to 1 (PS3.18 9.5.1.2.1.6).
    """

    window: tuple[float, float, str] | None = None
    width: int = 0
    height: int = 0
    quality: int = 90
    region: Region | None = None
    relative: bool = False


def render(content: Content, frames: Sequence[int], media: str, view: View) -> bytes:
    """Return a frame (from 0) as a picture, or several as a GIF. Raises Unprocessable when they cannot be."""
    image = describe(content)
    located = locate_frames(content, image)
    if len(frames) * image.rows * image.columns > MOST_GIF_PIXELS and len(frames) > 1:
        raise Unprocessable(
            f"{len(frames)} frames of {image.columns} by {image.rows} are too many for one GIF; ask for"
            " some of them by /frames/1,2,3/rendered, or for each by multipart/related"
        )
    pictures = [_picture(content, image, located, frame, view) for frame in frames]
    out = io.BytesIO()
    if media == JPEG:
        pictures[0].save(out, "JPEG", quality=view.quality)
    elif media == GIF:
        moving = {"save_all": True, "append_images": pictures[1:], "loop": 0} if len(pictures) > 1 else {}
        pictures[0].save(out, "GIF", duration=_frame_ms(image), **moving)
    else:
        pictures[0].save(out, "PNG", compress_level=3)
    return out.getvalue()


def _picture(content: Content, image: Image, located: Frames, frame: int, view: View) -> Picture.Image:
    samples, photometric = decode(content, image, located, frame)
    if photometric.startswith("MONOCHROME") and samples.ndim == 2:
        picture = Picture.fromarray(display_values(samples, image, frame, view.window))
    else:
        picture = Picture.fromarray(rgb(samples, photometric, image))
    if view.region is not None:
        picture = _cut(picture, view.region, relative=view.relative)
    if view.width or view.height:
        picture = _fitted(picture, view.width, view.height)
    return picture


def _frame_ms(image: Image) -> int:
    stated = first(image.attributes, "00181063")
    milliseconds = float(stated) if isinstance(stated, int | float) and stated > 0 else _FRAME_MS
    return max(20, min(10_000, round(milliseconds)))  # browsers slow down what is faster than 50 a second


def _cut(picture: Picture.Image, region: Region, *, relative: bool) -> Picture.Image:
    """Return the region of a picture, as far as it is within it, flipped where a size is negative."""
    across, down = (picture.width, picture.height) if relative else (1, 1)
    left, top = region.left * across, region.top * down
    right, bottom = left + abs(region.width) * across, top + abs(region.height) * down
    box = (
        max(0, round(left)),
        max(0, round(top)),
        min(picture.width, round(right)),
        min(picture.height, round(bottom)),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise Invalid(
            f"the region lies outside of the image of {picture.width} columns and {picture.height} rows"
        )
    cut = picture.crop(box)
    if region.width < 0:
        cut = cut.transpose(Picture.Transpose.FLIP_LEFT_RIGHT)
    if region.height < 0:
        cut = cut.transpose(Picture.Transpose.FLIP_TOP_BOTTOM)
    return cut


def _fitted(picture: Picture.Image, width: int, height: int) -> Picture.Image:
    """Scale to the largest size that fits, keeping the proportions (PS3.18 8.3.5.1.3)."""
    factor = min(
        width / picture.width if width else float("inf"), height / picture.height if height else float("inf")
    )
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(size, Picture.Resampling.BILINEAR)
