"""The door of CDS Hooks: discovery, calls, feedback, source attributes; CORS for browser clients.

CDS Hooks 2.0, "Discovery", "Calling a CDS Service", "Feedback", "Cross-Origin Resource Sharing".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from cds_hooks import feedback, registry
from cds_hooks.calls import BUDGET_S, Calls
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.store import Records, Store
from cds_hooks.service import Service
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.outcome import (
    FhirError,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)

log = logging.getLogger(__name__)
PATH = "/cds-services"
MAX_BODY_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_JSON = ("application/json", "application/fhir+json")


def create(
    entry: Entry,
    *,
    folders: Sequence[Path] = (),
    demonstration: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    services: Mapping[str, Service] | None = None,
    records: Records | None = None,
    base_urls: Sequence[str] = (),
    budget_s: float = BUDGET_S,
    origins: Sequence[str] = ("*",),
) -> Blueprint:
    """Return the blueprint of an installation, to be mounted at the root.

    `folders` hold trained releases; `base_urls` are the FHIR bases that count as our own (those of
    `entry` when not given); `origins` are the browser origins that may call.
    """
    calls = Calls(
        registry.services(folders, demonstration=demonstration, log=ModelLog(entry.engine))
        if services is None
        else services,
        Store(entry.engine) if records is None else records,
        entry=entry,
        base_urls=base_urls or entry.settings.base_urls,
        clock=clock,
        budget_s=budget_s,
    )
    return mount(calls, Store(entry.engine) if records is None else records, origins)


def mount(calls: Calls, records: Records, origins: Sequence[str] = ("*",)) -> Blueprint:
    """Return the blueprint over calls and records that are made already."""
    blueprint = Blueprint("cds_hooks", __name__)

    def door(rest: str = "") -> Response:
        try:
            response = _route(calls, records, request.method, tuple(rest.split("/")) if rest else ())
        except Exception as error:
            response = _error(error)
        return _cors(response, origins)

    for rule in (PATH, f"{PATH}/", f"{PATH}/<path:rest>"):
        blueprint.add_url_rule(rule, view_func=door, methods=_METHODS, provide_automatic_options=False)
    return blueprint


def _route(calls: Calls, records: Records, method: str, parts: tuple[str, ...]) -> Response:
    """Answer one request; `parts` is the path after /cds-services."""
    match ("GET" if method == "HEAD" else method), parts:
        case "OPTIONS", _:
            return _preflight()
        case "GET", ():
            return _answer(200, registry.discovery(calls.services))
        case "POST", (service_id,):
            answer = calls.answer(service_id, _body())
            return _raw(answer.status, answer.body)
        case "POST", (service_id, "feedback"):
            return _take_feedback(calls, records, service_id)
        case "GET", ("models", model_id, "versions", version, "source-attributes"):
            return _source_attributes(calls, model_id, version)
        case _, () | ("models", _, "versions", _, "source-attributes"):
            raise MethodNotAllowed(f"{method} is not for this address; use GET", expression="method")
        case _, (service_id,) | (service_id, "feedback"):
            calls.service(service_id)
            raise MethodNotAllowed(f"{method} is not for this address; use POST", expression="method")
    raise NotFound("there is nothing at this address; GET /cds-services lists the services")


def _take_feedback(calls: Calls, records: Records, service_id: str) -> Response:
    service = calls.service(service_id)
    entries = feedback.parse(_body(), calls.clock())
    known = records.known_cards(service.id, [entry.card for entry in entries])
    kept = [entry for entry in entries if entry.card in known]
    if not kept:
        raise NotFound("none of these cards came from this service", expression="feedback")
    records.keep_feedback(kept)
    return _raw(200, b"{}")


def _source_attributes(calls: Calls, model_id: str, version: str) -> Response:
    found = registry.source_attributes(calls.services, model_id, version)
    if found is None:
        raise NotFound("there is no such version of such a model here", expression="id")
    return _answer(200, found)


def _preflight() -> Response:
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    response.headers["Access-Control-Max-Age"] = "600"
    return response


def _body() -> bytes:
    if request.mimetype not in _JSON:
        raise UnsupportedMediaType(f"the body is {request.mimetype or 'of no type'}; send application/json")
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise TooLarge(f"the body has {length} bytes; at most {MAX_BODY_BYTES} are taken")
    # A chunked body tells no length, so no more of it is read than shows that it is too long.
    stream, pieces, have = request.stream, [], 0
    while have <= MAX_BODY_BYTES and (piece := stream.read(min(_PIECE_BYTES, MAX_BODY_BYTES + 1 - have))):
        pieces.append(piece)
        have += len(piece)
    if have > MAX_BODY_BYTES:
        raise TooLarge(f"the body has more than {MAX_BODY_BYTES} bytes, which is the most that is taken")
    return b"".join(pieces)


def _answer(status: int, body: Mapping[str, Any]) -> Response:
    return _raw(status, json_format.encode(body))


def _raw(status: int, body: bytes) -> Response:
    return Response(body, status, content_type="application/json")


def _error(error: Exception) -> Response:
    """Turn a refusal or a crash of discovery and feedback into an OperationOutcome; calls never crash."""
    if isinstance(error, RequestEntityTooLarge):
        error = TooLarge("the body is longer than this server takes")
    if not isinstance(error, FhirError):
        log.error("cds door: %s", type(error).__name__)
        error = Unavailable("something went wrong here; try again")
    response = _answer(error.status, error.as_json())
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = "GET, OPTIONS" if request.path.rstrip("/") == PATH else "POST, OPTIONS"
    return response


def _cors(response: Response, origins: Sequence[str]) -> Response:
    origin = request.headers.get("Origin")
    if "*" in origins:
        response.headers["Access-Control-Allow-Origin"] = "*"
    elif origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"
    return response
