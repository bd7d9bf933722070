"""The routes of QIDO-RS, and its answers as HTTP (PS3.18 10.6.3, 8.5).

The validator of an answer is made of its bytes, so a client that asks again and again gets 304.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from flask import Response, request
from psycopg2.errors import QueryCanceled

from dicom_node import audit
from dicom_node.dicomweb import json_model, multipart, native_model, qido
from dicom_node.dicomweb.answers import accept
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.media import DICOM_JSON, Accepted, accepted, allows, choose
from dicom_node.dicomweb.multipart import Part
from dicom_node.dicomweb.native_model import DICOM_XML
from dicom_node.dicomweb.places import Places
from dicom_node.inquiry import Inquiries
from dicom_node.instance import Level
from fhir_server.outcome import TooCostly


class TooBroad(TooCostly):
    """413, as DICOMweb says of a search that is too broad (PS3.18 table 10.6.3-2)."""

    status = 413


_STUDY = "/studies/<study>"


def routes(
    archive: Archive, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dict[str, Callable[..., Response]]:
    """Return the routes of searches: address → view. Each search is written down for the audit."""
    places, inquiries = Places(), Inquiries(archive.engine)

    def search(level: Level, study: str = "", series: str = "") -> Response:
        media = _media(accepted(accept()))
        try:
            asked_for = request.args.items(multi=True)
            plain = media != DICOM_XML
            answer = qido.search(archive, level, asked_for, study, series, places, as_text=plain)
        except QueryCanceled as error:
            raise TooBroad(
                "the search took longer than the limit; narrow it by a date, a patient or a UID"
            ) from error
        source = audit.Party(address=request.remote_addr or "", requestor=True)
        asked = " ".join(filter(None, (request.path, request.query_string.decode("utf-8", "replace"))))
        inquiries.note(clock(), source, audit.Party(), archive.address, asked)
        return _response(answer, media, archive.address)

    return {
        "/studies": lambda: search(Level.STUDY),
        "/series": lambda: search(Level.SERIES),
        "/instances": lambda: search(Level.INSTANCE),
        f"{_STUDY}/series": lambda study: search(Level.SERIES, study),
        f"{_STUDY}/instances": lambda study: search(Level.INSTANCE, study),
        f"{_STUDY}/series/<series>/instances": lambda study, series: search(Level.INSTANCE, study, series),
    }


def _response(answer: qido.Answer, media: str, address: str) -> Response:
    if media == DICOM_XML:
        documents = [native_model.encode(result) for result in answer.results]
        # made of what it separates, and not of chance: the same answer has the same bytes
        boundary = hashlib.blake2b(b"".join(documents), digest_size=16).hexdigest()
        body = b"".join(multipart.write([Part(DICOM_XML, [each]) for each in documents], boundary))
        content_type = multipart.content_type(DICOM_XML, boundary)
    else:
        body, content_type = _json(answer), media
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    fields = [("ETag", etag), ("Cache-Control", "private, no-cache"), ("Vary", "Accept")]
    fields += [("Warning", f'299 {address} "{_one_line(warning)}"') for warning in answer.warnings]
    if answer.total is not None:
        fields.append(("X-Total-Count", str(answer.total)))
    stated = request.headers.get("If-None-Match", "")
    if etag in (one.strip().removeprefix("W/") for one in stated.split(",")):
        return Response(status=304, headers=fields)
    fields.append(("Content-Type", content_type))
    fields.append(("Content-Length", str(len(body))))
    return Response(body, headers=fields)


def _json(answer: qido.Answer) -> bytes:
    if answer.texts is None:
        return json_model.encode(answer.results)
    return f"[{','.join(answer.texts)}]".encode()


def _media(ranges: Sequence[Accepted]) -> str:
    """Return the media type that suits best: JSON, or XML in a multipart (PS3.18 10.6.3.2)."""
    for wanted in ranges:
        if wanted.multipart and allows(wanted.media, DICOM_XML):
            return DICOM_XML
        if not wanted.multipart and any(allows(wanted.media, media) for media in _JSON):
            break
    return choose(ranges, _JSON)


_JSON = (DICOM_JSON, "application/json")


def _one_line(text: str) -> str:
    """Return a text that can stand in a header field, quotes and line ends away."""
    plain = (sign if sign.isascii() and sign.isprintable() and sign not in '"\\' else " " for sign in text)
    return "".join(plain)[:300]
