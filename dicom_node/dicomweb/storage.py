"""The addresses that instances are stored to, and how their outcome is told (PS3.18 10.5)."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request

from dicom_node.dicomweb import json_model, native_model
from dicom_node.dicomweb.answers import accept, one_line
from dicom_node.dicomweb.media import DICOM_JSON, accepted, choose
from dicom_node.dicomweb.native_model import DICOM_XML
from dicom_node.dicomweb.stow import Request, Storing, store
from fhir_server.authorization.grant import Grant

_ANSWERS = (DICOM_JSON, "application/json", DICOM_XML, "application/xml", "text/xml")


def routes(storing: Storing, caller: Callable[[], Grant]) -> dict[tuple[str, str], Callable[..., Response]]:
    """Return (method, address) → view."""
    return {
        ("POST", "/studies"): lambda: _store(storing, caller()),
        ("POST", "/studies/<study>"): lambda study: _store(storing, caller(), study),
    }


def _store(storing: Storing, grant: Grant, study: str = "") -> Response:
    media = choose(accepted(accept()), _ANSWERS)  # before anything is kept
    result = store(storing, Request(request.environ, grant, study))
    encode = native_model.encode if media.endswith("xml") else json_model.encode
    response = Response(encode(result.attributes()), status=result.status, mimetype=media)
    for warning in result.warnings:
        response.headers.add("Warning", f'299 {storing.address} "{one_line(warning)}"')
    if result.status == 503:
        response.headers["Retry-After"] = "5"
    return response
