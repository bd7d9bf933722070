"""Rendered frames: /rendered and /thumbnail (PS3.18 10.4.1.1.3, 10.4.1.1.4, 8.3.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.media import accepted, choose
from dicom_node.files.content import opened
from dicom_node.index.locate import Located
from dicom_node.pixels.render import JPEG, PNG, View, render
from fhir_server.outcome import Invalid

THUMBNAIL_PIXELS = 128
MAX_PIXELS = 8192
_FUNCTIONS = {"LINEAR": "LINEAR", "LINEAR-EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}


def rendered(
    archive: Archive,
    accept: str | None,
    instance: Located,
    frames: str,
    parameters: Mapping[str, str],
    *,
    thumbnail: bool = False,
) -> Body:
    """Return one frame as a picture; JPEG unless the client would rather have PNG."""
    media = choose(accepted(parameters.get("accept", accept)), (JPEG, PNG))
    if not frames.isdigit() or not int(frames):
        raise Invalid(f"{frames[:60]!r}: one frame can be rendered at a time; the first is 1")
    view = _view(parameters, thumbnail=thumbnail)
    with opened(archive.file(instance)) as content:
        picture = render(content, int(frames) - 1, media, view)
    return Body(media, [picture], len(picture))


def _view(parameters: Mapping[str, str], *, thumbnail: bool) -> View:
    width = height = THUMBNAIL_PIXELS if thumbnail else 0
    if (viewport := parameters.get("viewport")) is not None:
        sizes = [int(part) for part in viewport.split(",")[:2] if re.fullmatch(r"\d{1,5}", part.strip())]
        if len(sizes) != 2 or not min(sizes) > 0 or max(sizes) > MAX_PIXELS:
            raise Invalid(f"viewport is {viewport!r}; write width,height in pixels, up to {MAX_PIXELS} each")
        width, height = sizes
    quality = parameters.get("quality", "90")
    if not quality.isdigit() or not 1 <= int(quality) <= 100:
        raise Invalid(f"quality is {quality!r}; it is a whole number from 1 to 100")
    return View(_window(parameters.get("window")), width, height, int(quality))


def _window(text: str | None) -> tuple[float, float, str] | None:
    """Return (center, width, function) of `window=center,width,function` (PS3.18 8.3.5.1.4)."""
    if text is None:
        return None
    parts = text.split(",")
    try:
        center, width = float(parts[0]), float(parts[1])
        function = _FUNCTIONS[parts[2].strip().upper().replace("_", "-") if len(parts) > 2 else "LINEAR"]
    except (IndexError, KeyError, ValueError) as error:
        raise Invalid(
            f"window is {text!r}; write center,width or center,width,function, and the function is one of"
            " linear, linear-exact, sigmoid"
        ) from error
    return center, width, function
