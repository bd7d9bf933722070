"""The door: one request in, one answer out; route, media type, interaction, finish.

`Door.answer` is a plain function of the WSGI environment, `Door.wsgi` the application made of it;
`front.py` puts that in front of Flask.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from fhir_server.interactions.patch import FORMATS
from fhir_server.outcome import NotAcceptable
from fhir_server.rest import async_request, binary, errors, response, routes
from fhir_server.rest.async_request import MAY_TAKE_LONG, start
from fhir_server.rest.handlers import HANDLERS, Installation, allowed_methods
from fhir_server.rest.negotiation import DEFAULT, content_type, is_xml
from fhir_server.rest.preferences import preferences
from fhir_server.rest.request import Request
from fhir_server.rest.response import Answer

Observer = Callable[[str, str, str, int, float, int], None]
"""Told of each served request: interaction, method, resource type or "", status, seconds, bytes out."""

STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_OWN_TYPE = (binary.read, async_request.file)
"""What answers with a media type that is not FHIR's, and looks at Accept itself."""

_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "private, no-cache"),  # kept by the client's own cache only, and asked again
)
_CORS_EXPOSED = (
    "ETag, Location, Content-Location, Last-Modified, X-Correlation-Id, X-Request-Id, X-Warnings, "
    "X-Progress, Retry-After, Expires, Accept-Ranges, Content-Range, X-Security-Context"
)
_CORS_HEADERS = (
    "Accept, Authorization, Content-Encoding, Content-Type, If-Match, If-Modified-Since, If-None-Exist, "
    "If-None-Match, If-Range, Prefer, Range, X-Correlation-Id, X-Provenance, X-Request-Id, X-Requested-With, "
    "X-Security-Context"
)


class Door:
    """The FHIR door of one installation."""

    __slots__ = ("_installation", "_observer")

    def __init__(self, installation: Installation, observer: Observer | None = None) -> None:
        self._installation = installation
        self._observer = observer

    def answer(self, environ: dict[str, Any]) -> Answer:
        """Return the finished answer to a request; whatever goes wrong is an OperationOutcome."""
        started = time.perf_counter()
        request = Request(environ)
        interaction, type_name, media_type = "none", "", ""
        try:
            if request.method == "OPTIONS":
                interaction, made = "options", _options(request)
            else:
                match = routes.find(request.method, request.path)
                interaction, type_name = match.route.interaction, match.values.get("type", "")
                handler = HANDLERS[interaction]
                if type_name == "Binary":
                    handler = binary.HANDLERS.get(interaction, handler)
                if handler not in _OWN_TYPE:
                    media_type = content_type(environ.get("HTTP_ACCEPT"), request.parameter("_format"))
                prefer = environ.get("HTTP_PREFER")
                long = prefer is not None and interaction in MAY_TAKE_LONG and request.method != "HEAD"
                if long and preferences(prefer).respond_async:
                    made = start(self._installation, request, match)
                else:
                    made = handler(self._installation, request, match)
                if request.form:  # which may ask for another form of the answer than the URL
                    media_type = content_type(environ.get("HTTP_ACCEPT"), request.parameter("_format"))
                if made.body and made.media_type is None and is_xml(media_type):
                    response.as_xml(request, made, pretty=_wants_pretty(request))
        except Exception as error:  # the one place that turns all of them into answers
            made = errors.answer(error, request.sent)
            media_type = media_type or _for_error(request)
            if is_xml(media_type):
                response.as_xml(request, made, pretty=_wants_pretty(request))
        finished = _finish(request, made, media_type)
        if "HTTP_ORIGIN" in environ:
            origins = self._installation.config.fhir_cors_origins
            finished.headers.extend(_for_pages(environ["HTTP_ORIGIN"], origins))
        if self._observer is not None:
            # A made-up method is not counted by its name: it may hold anything, and each would be a series.
            method = request.method if request.method in METHODS else "other"
            took_s = time.perf_counter() - started
            size_bytes = len(finished.body) or finished.size_bytes
            self._observer(interaction, method, type_name, finished.status, took_s, size_bytes)
        return finished

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as a WSGI application (PEP 3333)."""
        made = self.answer(environ)
        start_response(STATUS_LINES[made.status], made.headers)
        return [made.body] if made.stream is None else made.stream


def _options(request: Request) -> Answer:
    """Return what an address takes; also the answer to a CORS preflight."""
    methods = allowed_methods(request.path)
    allowed = ", ".join(methods)
    headers = [("Allow", allowed)]
    if "PATCH" in methods:
        headers.append(("Accept-Patch", ", ".join(FORMATS)))
    if request.header("ACCESS_CONTROL_REQUEST_METHOD"):
        headers += [
            ("Access-Control-Allow-Methods", allowed),
            ("Access-Control-Allow-Headers", _CORS_HEADERS),
            ("Access-Control-Max-Age", "600"),
        ]
    return Answer(204, b"", headers)


def _finish(request: Request, made: Answer, media_type: str) -> Answer:
    """Add the headers that every answer has, indent and pack the body if that was asked for."""
    headers, environ = made.headers, request.environ
    headers.extend(_ALWAYS)
    if made.stream is not None:
        headers.append(("Content-Type", made.media_type or media_type))
        headers.append(("Vary", "Accept"))
    elif made.body:
        headers.append(("Content-Type", made.media_type or media_type))
        as_json = made.media_type is None and not is_xml(media_type)
        said = request.form or "_pretty" in environ.get("QUERY_STRING", "")
        if as_json and said and _wants_pretty(request):
            made.body = response.pretty(made.body)
        headers.append(("Vary", "Accept, Accept-Encoding"))
        encodings = environ.get("HTTP_ACCEPT_ENCODING")
        # a part of a content is a part of its own bytes, not of packed ones
        packed = response.compressed(made.body, encodings) if encodings and made.status != 206 else None
        if packed is not None:
            made.body = packed
            headers.append(("Content-Encoding", "gzip"))
    if made.status not in (204, 304):
        size_bytes = len(made.body) if made.stream is None else made.size_bytes
        headers.append(("Content-Length", str(size_bytes)))
    if "HTTP_X_REQUEST_ID" in environ or "HTTP_X_CORRELATION_ID" in environ:
        headers.extend(request.own_ids())
    if request.method == "HEAD":
        made.body, made.stream = b"", None
    return made


def _for_pages(origin: str, allowed: Sequence[str]) -> list[tuple[str, str]]:
    """Return the headers by which a browser lets pages of an origin read the answer, none where it shall not.

    >>> [value for _, value in _for_pages("https://a.org", ["https://a.org"])][:2]
    ['https://a.org', 'Origin']
    """
    if "*" in allowed:
        named = [("Access-Control-Allow-Origin", "*")]
    elif origin in allowed:
        named = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
    else:
        return [("Vary", "Origin")]
    return [*named, ("Access-Control-Expose-Headers", _CORS_EXPOSED)]


def _for_error(request: Request) -> str:
    """Return the media type of a refusal that came before the one of the answer was known."""
    accept = request.environ.get("HTTP_ACCEPT")
    try:
        return content_type(accept, request.parameter("_format"))
    except NotAcceptable:
        return DEFAULT
    except Exception:  # parameters that cannot be decoded
        return _for_error(Request({**request.environ, "QUERY_STRING": ""}))


def _wants_pretty(request: Request) -> bool:
    try:
        return request.parameter("_pretty") == "true"
    except Exception:  # parameters that cannot be decoded have their own answer already
        return False
