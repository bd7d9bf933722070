"""WADO-URI: one instance by a query, as a file or as a picture (PS3.18 chapter 9).

    /dicom-web?requestType=WADO&studyUID=1.2&seriesUID=1.2.3&objectUID=1.2.3.4&contentType=image/png

What the standard lets a server leave out is refused by name: annotation, anonymize, presentation
states. Without a content type an image comes as JPEG (9.3) and what is no image as a file.
"""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.dicomweb import rendered, wado
from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.frames import VIDEO
from dicom_node.dicomweb.media import ANY_SYNTAX, DICOM, accepted, allows
from dicom_node.index.locate import Located
from dicom_node.pixels.render import GIF, JPEG, PNG, Region, View
from dicom_node.pixels.transcode import EXPLICIT_LITTLE, convertible
from fhir_server.outcome import Invalid, NotAcceptable

_PICTURES = (JPEG, PNG, GIF)
_REFUSED = {
    "annotation": "nothing is written into pictures here",
    "anonymize": "nothing is de-identified on the way out",
    "presentationUID": "presentation states are not applied here",
    "presentationSeriesUID": "presentation states are not applied here",
}


def retrieve(archive: Archive, accept: str | None, parameters: Mapping[str, str]) -> Body:
    """Return what a query with requestType=WADO asks for."""
    if parameters.get("requestType") != "WADO":
        raise Invalid(f"requestType is {parameters.get('requestType')!r}; only WADO is known")
    for name, why in _REFUSED.items():
        if parameters.get(name) not in (None, "", "no"):
            raise Invalid(f"{name} cannot be asked for: {why}")
    uids = [parameters.get(name, "") for name in ("studyUID", "seriesUID", "objectUID")]
    if not all(uids):
        raise Invalid("studyUID, seriesUID and objectUID are all needed; one of them is missing")
    (instance, *_) = archive.locate(*uids)
    ranges = accepted(parameters.get("contentType") or accept)
    for wanted in ranges:
        if wanted.media == "*/*":
            return _by_default(archive, instance, parameters)
        if allows(wanted.media, DICOM):
            return _file(archive, instance, parameters)
        media = next((one for one in _PICTURES if allows(wanted.media, one)), None)
        if media is not None and instance.transfer_syntax not in VIDEO:
            return _picture(archive, instance, parameters, media)
        if wanted.media.startswith(("video/", "application/pdf")):
            return rendered.rendered(archive, wanted.media, [instance], "", {})
    raise NotAcceptable(f"contentType can be {', '.join((DICOM, *_PICTURES))} here")


def _by_default(archive: Archive, instance: Located, parameters: Mapping[str, str]) -> Body:
    if instance.transfer_syntax in VIDEO or instance.sop_class == rendered.ENCAPSULATED_PDF:
        return rendered.rendered(archive, None, [instance], "", {})
    if instance.has_pixels:
        return _picture(archive, instance, parameters, JPEG)
    return _file(archive, instance, parameters)


def _file(archive: Archive, instance: Located, parameters: Mapping[str, str]) -> Body:
    """Return the file; where its syntax cannot be had, in explicit little endian (9.4.1.2.4)."""
    kept = instance.transfer_syntax
    for syntax in (parameters.get("transferSyntax") or EXPLICIT_LITTLE, EXPLICIT_LITTLE):
        if syntax in (ANY_SYNTAX, kept):
            return _named(wado.file(archive, instance, kept))
        if convertible(kept, syntax):
            return _named(wado.file(archive, instance, syntax))
    return _named(wado.file(archive, instance, kept))


def _named(body: Body) -> Body:
    """Leave the transfer syntax out of the media type, which has none in this service (8.7.3.5.2)."""
    return Body(DICOM, body.pieces, body.length, body.headers, body.etag, body.part)


def _picture(archive: Archive, instance: Located, parameters: Mapping[str, str], media: str) -> Body:
    number = _whole(parameters, "frameNumber", 1, 10**9) or 1
    center, width = parameters.get("windowCenter"), parameters.get("windowWidth")
    window = None
    if center is not None or width is not None:
        try:
            window = rendered.finite(center or ""), rendered.finite(width or ""), "LINEAR"
        except ValueError as error:
            raise Invalid("windowCenter and windowWidth go together, and are decimal numbers") from error
    view = View(
        window,
        _whole(parameters, "columns", 1, rendered.MAX_PIXELS),
        _whole(parameters, "rows", 1, rendered.MAX_PIXELS),
        _whole(parameters, "imageQuality", 1, 100) or 90,
        _region(parameters.get("region")),
        relative=True,
    )
    return rendered.one_picture(archive, instance, [number], media, view)


def _region(text: str | None) -> Region | None:
    """Read `region=xmin,ymin,xmax,ymax`, each a part of the image from 0 to 1 (9.5.1.2.1.6)."""
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(text)
    except ValueError as error:
        raise Invalid(
            f"region is {text!r}; write xmin,ymin,xmax,ymax as parts of the image from 0.0 to 1.0"
        ) from error
    return Region(left, top, right - left, bottom - top)


def _whole(parameters: Mapping[str, str], name: str, low: int, high: int) -> int:
    """Return a whole number within limits; 0 where it is not given."""
    text = parameters.get(name)
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not low <= int(text) <= high:
        raise Invalid(f"{name} is {text!r}; it is a whole number from {low} to {high}")
    return int(text)
