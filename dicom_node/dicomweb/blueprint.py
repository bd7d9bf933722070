"""The DICOMweb services as a Flask blueprint: the routes as one table (PS3.18 chapter 10).

`app.py` mounts it at /dicom-web. A refusal is an OperationOutcome with its HTTP status.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

from flask import Blueprint, Response, request
from psycopg2.errors import QueryCanceled

from dicom_node.dicomweb import retrieval, searching
from dicom_node.dicomweb.accesses import Accesses
from dicom_node.dicomweb.archive import Archive
from dicom_node.files.store import FileStore
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from fhir_server.observability import events
from fhir_server.outcome import FhirError, MethodNotAllowed, NotFound, TooCostly
from fhir_server.rest.ranges import RangeNotSatisfiable

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]  # all, so that a refusal is ours too
_ALLOWED = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_EXPOSED = (
    "ETag, Location, Content-Location, Content-Range, Content-Length, Accept-Ranges, Warning, X-Total-Count"
)
_SHARED = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", _EXPOSED),
    # a viewer that isolates itself (COEP: require-corp), as those with decoders in threads do, needs this
    ("Cross-Origin-Resource-Policy", "cross-origin"),
)
_SENT = "Accept, Authorization, Content-Type, Range, If-Range, If-None-Match, Cache-Control"


Changing = Mapping[tuple[str, str], Callable[..., Response]]
"""Transactions by method and rule: ("POST", "/studies")."""


def create(
    engine: Engine,
    files: FileStore,
    address: str,
    caller: Callable[[], Grant],
    changing: Changing | None = None,
    time_zone: str = "UTC",
) -> Blueprint:
    """Return the blueprint. `address` is its public address, `caller` gives the Grant of a request.

    `changing` are the transactions that do more than search and retrieve (storage.py, workitems.py).
    """
    archive = Archive(engine, files, address.rstrip("/"), caller, time_zone)
    blueprint = Blueprint("dicomweb", __name__)
    routes = {**searching.routes(archive), **retrieval.routes(archive)}
    allowed: dict[str, set[str]] = {rule: {"GET"} for rule in routes}
    for (method, rule), view in (changing or {}).items():
        allowed.setdefault(rule, set()).add(method)
        endpoint = f"{method} {rule.replace('.', '_')}"
        blueprint.add_url_rule(rule, endpoint=endpoint, view_func=view, methods=[method])
    for rule, methods in allowed.items():
        refused = [method for method in _METHODS if method not in methods]
        blueprint.add_url_rule(
            rule, endpoint=f"no {rule.replace('.', '_')}", view_func=_refused(methods), methods=refused
        )
    for rule, view in routes.items():
        blueprint.add_url_rule(rule, endpoint=rule.replace(".", "_"), view_func=view, methods=["GET"])
    for rule in ("", "/"):
        here = partial(retrieval.root, archive, Accesses(engine))
        blueprint.add_url_rule(rule, endpoint=f"root{rule}", view_func=here, methods=["GET", "OPTIONS"])
    blueprint.add_url_rule("/<path:rest>", endpoint="unknown", view_func=_unknown, methods=_METHODS)
    blueprint.after_request(_shared_with_browsers)
    blueprint.register_error_handler(Exception, _refusal)
    return blueprint


def _unknown(rest: str) -> Response:
    raise NotFound(
        "this address is none of DICOMweb's here; there are /studies, /series, /instances, below each of"
        " them /metadata, /bulkdata, /pixeldata, /rendered and /thumbnail, and below an instance /frames"
    )


class _NotHere(MethodNotAllowed):
    """405, with the methods that the address knows."""

    def __init__(self, methods: set[str]) -> None:
        known = {*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}
        self.allow = ", ".join(sorted(known))
        super().__init__(f"{request.method} is not done at this address of DICOMweb; it knows {self.allow}")


def _refused(methods: set[str]) -> Callable[..., Response]:
    def refuse(**_: str) -> Response:
        raise _NotHere(methods)

    return refuse


def _shared_with_browsers(response: Response) -> Response:
    """Let pages of other origins read the answer: viewers are served from anywhere."""
    response.headers.extend(_SHARED)
    if response.is_sequence:  # else Flask makes a stream of it, which is sent piece by piece
        response.direct_passthrough = True
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = _ALLOWED
        response.headers["Access-Control-Allow-Headers"] = _SENT
        response.headers["Access-Control-Max-Age"] = "600"
    return response


def _refusal(error: Exception) -> Response:
    """Return an OperationOutcome; what nobody foresaw is told to the log, not to the client."""
    if isinstance(error, QueryCanceled):
        error = TooCostly("the search took longer than the limit; narrow it by a date, a patient or a UID")
    if not isinstance(error, FhirError):
        events.emit(events.crashed(error))
        error = FhirError("something went wrong here; the log of the server says what")
    body = json.dumps(error.as_json(), ensure_ascii=False)
    response = Response(body, error.status, mimetype="application/fhir+json")
    if isinstance(error, _NotHere):
        response.headers["Allow"] = error.allow
    if error.status == 503:
        response.headers["Retry-After"] = "5"
    if isinstance(error, RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.size_bytes}"
    return response
