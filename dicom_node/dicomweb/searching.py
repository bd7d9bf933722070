"""The routes of QIDO-RS, and its answers as HTTP (PS3.18 10.6.3, 8.5).

The validator of an answer is made of its bytes, so a client that asks again and again gets 304.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from flask import Response, request
from psycopg2.errors import QueryCanceled

from dicom_node.dicomweb import json_model, qido
from dicom_node.dicomweb.answers import accept
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.media import DICOM_JSON, accepted, choose
from dicom_node.dicomweb.places import Places
from dicom_node.instance import Level
from fhir_server.outcome import TooCostly


class TooBroad(TooCostly):
    """413, as DICOMweb says of a search that is too broad (PS3.18 table 10.6.3-2)."""

    status = 413


_STUDY = "/studies/<study>"


def routes(archive: Archive) -> dict[str, Callable[..., Response]]:
    """Return the routes of searches: address → view."""
    places = Places()

    def search(level: Level, study: str = "", series: str = "") -> Response:
        media = choose(accepted(accept()), (DICOM_JSON, "application/json"))
        try:
            answer = qido.search(archive, level, request.args.items(multi=True), study, series, places)
        except QueryCanceled as error:
            raise TooBroad(
                "the search took longer than the limit; narrow it by a date, a patient or a UID"
            ) from error
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
    body = json_model.encode(answer.results)
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    stated = request.headers.get("If-None-Match", "")
    if etag in (one.strip().removeprefix("W/") for one in stated.split(",")):
        response = Response(status=304)
    else:
        response = Response(body, mimetype=media)
    response.headers["ETag"] = etag
    for warning in answer.warnings:
        response.headers.add("Warning", f'299 {address} "{_one_line(warning)}"')
    if answer.total is not None:
        response.headers["X-Total-Count"] = str(answer.total)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept"
    return response


def _one_line(text: str) -> str:
    """Return a text that can stand in a header field, quotes and line ends away."""
    plain = (sign if sign.isascii() and sign.isprintable() and sign not in '"\\' else " " for sign in text)
    return "".join(plain)[:300]
