"""Frames and pixel data: /frames/1,2 and /pixeldata (PS3.18 10.4.1.1.6, 10.4.1.1.7, 8.7.3.3).

A frame comes as it is kept where the client takes that, found by its offset and not decoded; else as
plain little-endian samples, or in a lossless coding that the client names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.media import ANY_SYNTAX, OCTETS, Accepted, accepted, allows
from dicom_node.dicomweb.multipart import Part, content_type, length, write
from dicom_node.files.content import opened
from dicom_node.index.locate import Located
from dicom_node.pixels.decode import decodable, decode
from dicom_node.pixels.transcode import EXPLICIT_LITTLE, LOSSLESS, encoder
from fhir_server.outcome import Invalid, NotAcceptable, NotFound

FRAME_MEDIA = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Media type of a coded frame by transfer syntax (PS3.18 table 8.7.3-5)."""

VIDEO = {
    **dict.fromkeys(("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101"), "video/mpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in range(102, 109)), "video/mp4"),
}
"""Media type of a video by transfer syntax (PS3.18 table 8.7.3-5); it has no frames to be had singly."""

_UNCODED = frozenset(
    {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.113619.5.2",
    }
)


@dataclass(frozen=True, slots=True)
class Form:
    """How frames are to be given: a media type and a transfer syntax; `kept` as they are in the file."""

    media: str
    transfer_syntax: str
    kept: bool


def frames(archive: Archive, accept: str | None, instance: Located, numbers: str) -> Body:
    """Return frames of an instance, numbered from 1 ("3" or "1,2,5")."""
    wanted = listed(numbers)
    accepting, form = chosen(accepted(accept), instance)
    bodies = _frames(archive, instance, form, wanted)
    head = list(itertools.islice(bodies, 1))  # what is wrong shows before the answer begins
    etag = _hash(instance.digest, numbers, form.media, form.transfer_syntax)
    headers = {"Vary": "Accept"}
    if not accepting.multipart and len(wanted) == 1 and "*" not in accepting.media:
        (raw,) = head
        media = _described(form)
        return Body(media, head, len(raw), headers, f'"{etag}"', lambda start, stop: [raw[start:stop]])
    made = _parts(archive, instance, form, wanted, itertools.chain(head, bodies))
    if len(wanted) == 1:
        known = list(made)
        size = length(known, etag)
        return Body(content_type(form.media, etag), list(write(known, etag)), size, headers, f'"{etag}"')
    return Body(content_type(form.media, etag), write(made, etag), None, headers, f'"{etag}"')


def pixel_data(archive: Archive, accept: str | None, found: Sequence[Located]) -> Body:
    """Return all frames of instances, a part each, those without pixels left out."""
    ranges = accepted(accept)
    images = [one for one in found if one.has_pixels]
    if not images:
        raise NotFound("there are no images here, so there is no pixel data")
    forms = [chosen(ranges, one)[1] for one in images]
    for one in images:
        archive.file(one)
    etag = _hash(
        *(
            f"{one.digest} {form.media} {form.transfer_syntax}"
            for one, form in zip(images, forms, strict=True)
        )
    )

    made = (part for one, form in zip(images, forms, strict=True) for part in parts(archive, one, form))
    head = list(itertools.islice(made, 1))
    pieces = write(itertools.chain(head, made), etag)
    return Body(content_type(forms[0].media, etag), pieces, None, {"Vary": "Accept"}, f'"{etag}"')


def parts(archive: Archive, instance: Located, form: Form) -> Iterator[Part]:
    """Yield all frames of an instance in one form, a part each."""
    every = range(1, instance.frames + 1)
    return _parts(archive, instance, form, every, _frames(archive, instance, form, every))


def samples(archive: Archive, instance: Located) -> Body:
    """Return all frames of an instance as plain samples, one after the other."""
    form = Form(OCTETS, EXPLICIT_LITTLE, False)
    if not decodable(instance.transfer_syntax):
        chosen(accepted(OCTETS), instance)
    every = range(1, instance.frames + 1)
    bodies = _frames(archive, instance, form, every)
    head = list(itertools.islice(bodies, 1))
    etag = _hash(instance.digest, "samples")
    return Body(_described(form), itertools.chain(head, bodies), None, {"Vary": "Accept"}, f'"{etag}"')


def chosen(ranges: Sequence[Accepted], instance: Located) -> tuple[Accepted, Form]:
    """Return the first media range that can be met, and how."""
    for wanted in ranges:
        if (form := _form(wanted, instance.transfer_syntax)) is not None:
            return wanted, form
    kept = instance.transfer_syntax
    if kept in VIDEO:
        raise NotAcceptable(
            f"this is a video ({kept}); its pixel data is one stream, to be had as {VIDEO[kept]} below"
            " /bulkdata/7FE00010"
        )
    offered = [f"{media}; transfer-syntax={kept}" for media in (FRAME_MEDIA.get(kept, OCTETS),)]
    if decodable(kept):
        offered += [
            f"{FRAME_MEDIA.get(one, OCTETS)}; transfer-syntax={one}" for one in (EXPLICIT_LITTLE, *LOSSLESS)
        ]
    raise NotAcceptable(
        "frames of this instance are given, by themselves or as type of multipart/related, as "
        + ", or ".join(dict.fromkeys(offered))
    )


def _form(wanted: Accepted, kept: str) -> Form | None:
    """Return how frames kept in a transfer syntax can be given within one media range, or None."""
    if kept in VIDEO:
        return None
    coded = FRAME_MEDIA.get(kept)
    asked = wanted.transfer_syntax
    if coded is not None and allows(wanted.media, coded) and asked in (ANY_SYNTAX, kept, ""):
        return Form(coded, kept, True)
    if allows(wanted.media, OCTETS):
        # what is coded is no application/octet-stream, strictly; viewers that say * want it, and say how
        if asked in (ANY_SYNTAX, kept) and (kept not in _UNCODED):
            return Form(OCTETS, kept, True)
        if asked in (ANY_SYNTAX, kept, "", EXPLICIT_LITTLE) and decodable(kept):
            return Form(OCTETS, EXPLICIT_LITTLE, False)
    if asked in LOSSLESS and allows(wanted.media, FRAME_MEDIA[asked]) and decodable(kept):
        return Form(FRAME_MEDIA[asked], asked, False)
    return None


def _frames(archive: Archive, instance: Located, form: Form, wanted: Sequence[int]) -> Iterator[bytes]:
    with opened(archive.file(instance)) as content:
        table = archive.frame_tables.of(instance.digest, content)
        located, image = table.frames, table.image
        plain = not located.encapsulated and content.syntax.little and not located.bit_offset
        for number in wanted:
            if form.kept or (plain and form.transfer_syntax == EXPLICIT_LITTLE):
                yield located.frame(number - 1)
                continue
            with archive.turn():
                samples, photometric = decode(content, image, located, number - 1)
                if form.transfer_syntax == EXPLICIT_LITTLE and image.bits_allocated == 1:
                    raw = np.packbits(samples.astype(np.uint8).ravel(), bitorder="little").tobytes()
                elif form.transfer_syntax == EXPLICIT_LITTLE:
                    raw = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
                else:
                    raw = encoder(form.transfer_syntax, image, photometric)(samples)
            yield raw


def _parts(
    archive: Archive, instance: Located, form: Form, numbers: Sequence[int], bodies: Iterator[bytes]
) -> Iterator[Part]:
    address = archive.address_of(instance)
    for number, body in zip(numbers, bodies, strict=True):
        yield Part(_described(form), [body], f"{address}/frames/{number}", len(body))


def _described(form: Form) -> str:
    return f"{form.media}; transfer-syntax={form.transfer_syntax}"


def _hash(*texts: str) -> str:
    return str(blake3("\n".join(texts).encode()).hexdigest(16))


def listed(text: str) -> list[int]:
    """Return the frames that an address names ("1,2,5"). Raises Invalid."""
    numbers = [
        int(part) if part.isascii() and part.isdigit() and len(part) < 10 else 0 for part in text.split(",")
    ]
    if 0 in numbers or len(numbers) > 10_000:
        raise Invalid(
            f"{text[:60]!r} is no list of frames; write for example 1 or 1,2,3 (the first frame is 1)"
        )
    return numbers
