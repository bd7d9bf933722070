"""WADO-RS: studies, series and instances as they are kept, their metadata, frames and bulk data.

PS3.18 10.4. Instances are given in the transfer syntax in which they came; a client that insists on
another one gets 406 with the syntaxes there are. Bodies are streams: nothing is read before it is sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from dicom_node.dicomweb import json_model
from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.media import DICOM, DICOM_JSON, OCTETS, Accepted, accepted, allows, choose
from dicom_node.dicomweb.multipart import Part, content_type, new_boundary, write
from dicom_node.files.content import opened
from dicom_node.files.store import pieces
from dicom_node.header import Malformed
from dicom_node.index.locate import Located
from dicom_node.pixels.decode import decode
from dicom_node.pixels.image import describe, locate_frames
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
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Media type of a coded frame by transfer syntax (PS3.18 table 8.7.3-5)."""

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def instances(archive: Archive, accept: str | None, found: Sequence[Located], *, single: bool) -> Body:
    """Return instances as files. `single` allows one file without a multipart around it."""
    for wanted in accepted(accept):
        if not allows(wanted.media, DICOM):
            continue
        fitting = [one for one in found if _fits(wanted, one.transfer_syntax)]
        if not fitting:
            continue
        if not wanted.multipart and wanted.media == DICOM and single:
            path = archive.file(found[0])
            syntax = f"{DICOM}; transfer-syntax={found[0].transfer_syntax}"
            return Body(syntax, pieces(path), found[0].size_bytes)
        if wanted.multipart or wanted.media in ("*/*", "application/*", DICOM):
            boundary = new_boundary()
            # every file is looked for before the first byte goes out; what is opened is one at a time
            parts = [
                Part(
                    f"{DICOM}; transfer-syntax={one.transfer_syntax}",
                    pieces(archive.file(one)),
                    archive.address_of(one),
                )
                for one in fitting
            ]
            return Body(content_type(DICOM, boundary), write(parts, boundary))
    syntaxes = sorted({one.transfer_syntax for one in found})
    raise NotAcceptable(
        'instances are given as multipart/related; type="application/dicom", in the transfer syntax in which'
        f" they came ({', '.join(syntaxes)}); leave transfer-syntax out or say transfer-syntax=*"
    )


def metadata(archive: Archive, accept: str | None, found: Sequence[Located]) -> Body:
    """Return the metadata of instances as DICOM JSON."""
    media = choose(accepted(accept), (DICOM_JSON, "application/json"))
    files = [archive.file(one) for one in found]
    values = (
        json_model.metadata(file, archive.address_of(one)) for file, one in zip(files, found, strict=True)
    )
    return Body(media, json_model.array(values))


def frames(archive: Archive, accept: str | None, instance: Located, numbers: str) -> Body:
    """Return frames of an instance, numbered from 1 ("3" or "1,2,5").

    As they are kept when that is acceptable, else as plain little-endian samples.
    """
    wanted = _numbers(numbers)
    ranges = accepted(accept)
    coded = FRAME_MEDIA.get(instance.transfer_syntax)
    for one in ranges:
        as_kept = coded is not None and allows(one.media, coded) and _fits(one, instance.transfer_syntax)
        plain = allows(one.media, OCTETS) and one.transfer_syntax in (
            None,
            EXPLICIT_LITTLE,
            instance.transfer_syntax,
        )
        if as_kept or plain:
            break
    else:
        offered = ", ".join(filter(None, (OCTETS, coded)))
        raise NotAcceptable(f"frames of this instance are given as multipart/related; type={offered}")
    media = coded if as_kept and coded else OCTETS
    bodies = _frames(archive, instance, wanted, plain=not as_kept)
    head = list(itertools.islice(bodies, 1))  # what is wrong shows before the answer begins
    kept = f"{media}; transfer-syntax={instance.transfer_syntax if as_kept else EXPLICIT_LITTLE}"
    if not one.multipart and len(wanted) == 1 and "*" not in one.media:
        return Body(media, head, len(head[0]))
    boundary = new_boundary()
    address = archive.address_of(instance)
    parts = (
        Part(kept, [body], f"{address}/frames/{number}")
        for number, body in zip(wanted, itertools.chain(head, bodies), strict=True)
    )
    return Body(content_type(media, boundary), write(parts, boundary))


def _frames(archive: Archive, instance: Located, wanted: list[int], *, plain: bool) -> Iterator[bytes]:
    with opened(archive.file(instance)) as content:
        image = describe(content)
        located = locate_frames(content, image)
        for number in wanted:
            if plain and (located.encapsulated or not content.syntax.little):
                samples, _ = decode(content, image, located, number - 1)
                yield samples.astype(samples.dtype.newbyteorder("<")).tobytes()
            else:
                yield located.frame(number - 1)


def bulk_data(
    archive: Archive, accept: str | None, instance: Located, path: str, byte_range: str | None
) -> Body:
    """Return a binary value of an instance by its path, or a range of its bytes."""
    chosen = next((one for one in accepted(accept) if allows(one.media, OCTETS)), None)
    if chosen is None:
        raise NotAcceptable(f"bulk data is given as {OCTETS}")
    file = archive.file(instance)
    with opened(file) as content:
        try:
            place = json_model.bulk_data(content, path)
        except Malformed as malformed:
            raise NotFound(f"the value {path} cannot be reached: {malformed}") from malformed
        if place is None:
            raise NotFound(f"the instance has no value {path}")
        start, length = place
        raw = bytes(content.data[start : start + length])
    address = f"{archive.address_of(instance)}/bulkdata/{path}"
    if chosen.multipart:
        boundary = new_boundary()
        return Body(content_type(OCTETS, boundary), write([Part(OCTETS, [raw], address)], boundary))
    headers = {"Content-Location": address, "Accept-Ranges": "bytes"}
    if (span := _span(byte_range, length)) is not None:
        low, high = span
        headers["Content-Range"] = f"bytes {low}-{high}/{length}"
        return Body(OCTETS, [raw[low : high + 1]], high + 1 - low, headers)
    return Body(OCTETS, [raw], length, headers)


def _span(byte_range: str | None, length: int) -> tuple[int, int] | None:
    """Return (first, last) of a Range header with one range, or None when it is to be ignored.

    >>> _span("bytes=2-", 10), _span("bytes=-3", 10), _span("bytes=0-1,4-5", 10)
    ((2, 9), (7, 9), None)
    """
    unit, _, text = (byte_range or "").partition("=")
    low, dash, high = text.partition("-")
    if unit.strip() != "bytes" or not dash or not (low + high).isdigit() or not length:
        return None
    if not low:
        return max(0, length - int(high)), length - 1
    span = int(low), min(int(high) if high else length - 1, length - 1)
    return span if span[0] <= span[1] else None


def _numbers(text: str) -> list[int]:
    numbers = [int(part) if part.isdigit() else 0 for part in text.split(",")]
    if 0 in numbers or len(numbers) > 10_000:
        raise Invalid(
            f"{text[:60]!r} is no list of frames; write for example 1 or 1,2,3 (the first frame is 1)"
        )
    return numbers


def _fits(wanted: Accepted, transfer_syntax: str) -> bool:
    return wanted.transfer_syntax in (None, transfer_syntax)
