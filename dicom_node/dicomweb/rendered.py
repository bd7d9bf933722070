"""Pictures of instances: /rendered and /thumbnail (PS3.18 10.4.1.1.3, 10.4.1.1.4, 8.3.5, 8.7.4).

One picture is a frame (the first, or those of the address); as GIF several frames move; as multipart
all frames of all images come, a part each. Of a series or study the single picture is that of the
image in the middle, which shows the most. A video and a PDF come as what they are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from blake3 import blake3

from dicom_node.dicomweb import bulk_data
from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.frames import VIDEO, listed
from dicom_node.dicomweb.media import Accepted, accepted, allows
from dicom_node.dicomweb.multipart import Part, content_type, write
from dicom_node.files.content import opened
from dicom_node.index.locate import Located
from dicom_node.pixels.render import GIF, JPEG, PNG, Region, View, render
from fhir_server.outcome import Invalid, NotAcceptable, NotFound, Unprocessable

THUMBNAIL_PIXELS = 128
MAX_PIXELS = 8192
PICTURES = (JPEG, PNG, GIF)
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
PDF = "application/pdf"

_FUNCTIONS = {"LINEAR": "LINEAR", "LINEAR-EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
_PRESENTATION_STATES = "1.2.840.10008.5.1.4.1.1.11."
_REFUSED = {
    "annotation": "nothing is written into pictures here",
    "iccprofile": "pictures have no colour profile here",
    "presentationseriesUID": "presentation states are not applied here",
    "presentationUID": "presentation states are not applied here",
    "annotations": "nothing is written into pictures here",
}


def rendered(
    archive: Archive,
    accept: str | None,
    found: Sequence[Located],
    frames: str,
    parameters: Mapping[str, str],
    *,
    thumbnail: bool = False,
) -> Body:
    """Return instances, or frames of one ("1,2"; empty: all that are meant), as pictures."""
    ranges = accepted(accept)
    one = shown(found)
    if one.sop_class == ENCAPSULATED_PDF and not frames and not thumbnail:
        return _pdf(archive, ranges, one)
    if one.transfer_syntax in VIDEO and not thumbnail:
        return _video(archive, ranges, one)
    view = _view(parameters, thumbnail=thumbnail)
    numbers = listed(frames) if frames else []
    for wanted in ranges:
        media = next((media for media in PICTURES if allows(wanted.media, media)), None)
        if media is None:
            continue
        if wanted.multipart and not thumbnail:
            return _every(archive, [one] if frames else found, numbers, media, view)
        if media == GIF and not thumbnail and len(found) == 1:
            numbers = numbers or list(range(1, one.frames + 1))
        elif len(numbers) > 1:
            raise Invalid(
                f"{frames[:60]!r}: several frames are given as {GIF}, or as type of multipart/related"
            )
        return one_picture(archive, one, numbers or [1], media, view)
    raise NotAcceptable(f"this is given as {', '.join(PICTURES)}, by itself or as type of multipart/related")


def shown(found: Sequence[Located]) -> Located:
    """Return the instance that stands for all of them: the middle one of those with images."""
    images = [one for one in found if one.has_pixels]
    if images:
        return images[len(images) // 2]
    return found[0]


def picture(archive: Archive, instance: Located, numbers: Sequence[int], media: str, view: View) -> bytes:
    """Return frames (from 1) of an instance as a picture, from memory where it was made before."""
    file = archive.file(instance)
    if instance.sop_class.startswith(_PRESENTATION_STATES):
        raise Unprocessable("this is a presentation state; how it shows its images is not rendered here")
    outside = next((number for number in numbers if not 1 <= number <= instance.frames), None)
    if outside is not None and instance.has_pixels:
        raise NotFound(f"frame {outside} is not there; the instance has {instance.frames}")

    def make() -> bytes:
        with archive.turn(), opened(file) as content:
            return render(content, [number - 1 for number in numbers], media, view)

    return archive.pictures.of((instance.digest, tuple(numbers), media, view), make)


def one_picture(archive: Archive, instance: Located, numbers: Sequence[int], media: str, view: View) -> Body:
    """Return frames (from 1) of an instance as one picture."""
    made = picture(archive, instance, numbers, media, view)
    etag = blake3(f"{instance.digest} {list(numbers)} {media} {view}".encode()).hexdigest(16)
    headers = {"Content-Location": f"{archive.address_of(instance)}/rendered", "Vary": "Accept"}
    return Body(media, [made], len(made), headers, f'"{etag}"')


def _every(
    archive: Archive, found: Sequence[Located], numbers: Sequence[int], media: str, view: View
) -> Body:
    """Return all frames of all images, or the numbered ones of one, a part each."""
    images = [one for one in found if one.has_pixels and one.transfer_syntax not in VIDEO] or list(found[:1])

    def parts() -> Iterator[Part]:
        for one in images:
            for number in numbers or range(1, one.frames + 1):
                made = picture(archive, one, [number], media, view)
                address = f"{archive.address_of(one)}/frames/{number}/rendered"
                yield Part(media, [made], address, len(made))

    made = parts()
    head = list(itertools.islice(made, 1))
    named = " ".join(one.digest for one in images)
    boundary = str(blake3(f"{named} {numbers} {media} {view}".encode()).hexdigest(16))
    pieces = write(itertools.chain(head, made), boundary)
    return Body(content_type(media, boundary), pieces, None, {"Vary": "Accept"}, f'"{boundary}"')


def _pdf(archive: Archive, ranges: Sequence[Accepted], instance: Located) -> Body:
    """Return the document of an encapsulated PDF (PS3.3 A.45.1)."""
    if not any(allows(one.media, PDF) for one in ranges):
        raise NotAcceptable(f"this is a document; it is given as {PDF}")
    return bulk_data.document(archive, instance, "00420011", PDF)


def _video(archive: Archive, ranges: Sequence[Accepted], instance: Located) -> Body:
    media = VIDEO[instance.transfer_syntax]
    if not any(allows(one.media, media) for one in ranges):
        raise NotAcceptable(f"this is a video, which is not decoded here; it is given as {media}")
    return bulk_data.video(archive, instance)


def _view(parameters: Mapping[str, str], *, thumbnail: bool) -> View:
    for name, why in _REFUSED.items():
        if parameters.get(name) not in (None, "", "no"):
            raise Invalid(f"{name} cannot be asked for: {why}")
    width = height = THUMBNAIL_PIXELS if thumbnail else 0
    region = None
    if (viewport := parameters.get("viewport")) is not None:
        width, height, region = _viewport(viewport, sizes_only=thumbnail)
    quality = parameters.get("quality", "90")
    if not re.fullmatch(r"\d{1,3}", quality) or not 1 <= int(quality) <= 100:
        raise Invalid(f"quality is {quality!r}; it is a whole number from 1 to 100")
    return View(_window(parameters.get("window")), width, height, int(quality), region)


def _viewport(text: str, *, sizes_only: bool) -> tuple[int, int, Region | None]:
    """Read `viewport=vw,vh` or `viewport=vw,vh,sx,sy,sw,sh` (PS3.18 8.3.5.1.3); sx to sh may be empty."""
    parts = [part.strip() for part in text.split(",")]
    sizes = [int(part) for part in parts[:2] if re.fullmatch(r"\d{1,5}", part)]
    if len(sizes) != 2 or not min(sizes) > 0 or max(sizes) > MAX_PIXELS or len(parts) not in (2, 6):
        raise Invalid(
            f"viewport is {text!r}; write width,height in pixels, up to {MAX_PIXELS} each, or"
            " width,height,left,top,width,height with the region of the image that is to be shown"
        )
    if len(parts) == 2:
        return sizes[0], sizes[1], None
    if sizes_only:
        raise Invalid(f"viewport is {text!r}; a thumbnail shows all of the image, so write width,height")
    left, top, across, down = (_decimal(part, text) for part in parts[2:])
    region = Region(left or 0.0, top or 0.0, across or 1e9, down or 1e9)
    return sizes[0], sizes[1], region


def _decimal(part: str, text: str) -> float | None:
    if not part:
        return None
    if not re.fullmatch(r"-?\d{1,6}(\.\d{1,9})?", part):
        raise Invalid(f"viewport is {text!r}, and {part!r} is no number")
    return float(part)


def _window(text: str | None) -> tuple[float, float, str] | None:
    """Return (center, width, function) of `window=center,width,function` (PS3.18 8.3.5.1.4)."""
    if text is None:
        return None
    parts = text.split(",")
    try:
        center, width = finite(parts[0]), finite(parts[1])
        function = _FUNCTIONS[parts[2].strip().upper().replace("_", "-") if len(parts) > 2 else "LINEAR"]
    except (IndexError, KeyError, ValueError) as error:
        raise Invalid(
            f"window is {text!r}; write center,width or center,width,function, and the function is one of"
            " linear, linear-exact, sigmoid"
        ) from error
    return center, width, function


def finite(text: str) -> float:
    """Return a number that is one. Raises ValueError."""
    value = float(text)
    if abs(value) > 1e12 or value != value:
        raise ValueError(text)
    return value
