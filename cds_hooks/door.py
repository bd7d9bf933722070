"""The door of CDS Hooks: discovery, calls, feedback, source attributes; CORS for browser clients.

CDS Hooks 2.0, "Discovery", "Calling a CDS Service", "Feedback", "Trusting CDS Clients", "Cross-Origin
Resource Sharing". Who calls is asked before anything else of a request is looked at.

It is a WSGI application by itself, which stands in front of Flask (`fhir_server.rest.front`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from cds_hooks import feedback, registry
from cds_hooks.calls import BUDGET_S, Calls
from cds_hooks.client_trust import NOBODY, Caller, ClientTrust, open_to_all
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.store import Records, Store
from cds_hooks.service import Service
from fhir_server.authorization.jwt_trust import Untrusted
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.observability import events
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
_UNREAD: Mapping[type[FhirError], str] = {TooLarge: "too-large", UnsupportedMediaType: "media-type"}
"""Why a call was refused before it was read, for its record."""
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
    trust: ClientTrust | None = None,
) -> Door:
    """Return the door of an installation, to be put in front of its application.

    `folders` hold trained releases; `base_urls` are the FHIR bases that count as our own (those of
    `entry` when not given); without `trust` nobody is asked who he is.
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
    return Door(calls, Store(entry.engine) if records is None else records, trust)


class Door:
    """Answers requests of an installation."""

    def __init__(self, calls: Calls, records: Records, trust: ClientTrust | None = None) -> None:
        self._calls = calls
        self._records = records
        self._trust = trust or open_to_all()

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as a WSGI application (PEP 3333); whatever goes wrong becomes an OperationOutcome."""
        request = Request(environ)
        rest = request.path[len(PATH) + 1 :]
        return self.answer(request, tuple(rest.split("/")) if rest else ())(environ, start_response)

    def answer(self, request: Request, parts: tuple[str, ...]) -> Response:
        """Answer a request; `parts` is its path after /cds-services."""
        caller = NOBODY
        try:
            if request.method == "OPTIONS":
                response = _preflight()
            else:
                caller = self._caller(request, parts)
                response = self._route(request, parts, caller)
        except Unavailable as error:
            response = self._silent(request, parts, error)
        except Exception as error:
            response = _error(request, error)
        return _cors(request, response, self._trust.origins(), caller)

    def _caller(self, request: Request, parts: tuple[str, ...]) -> Caller:
        """Return who calls. What everybody may read is told apart by the address, not by what is there."""
        open_to_all = request.method in ("GET", "HEAD") and (not parts or parts[0] == "models")
        path = "/".join((PATH, *parts))
        try:
            return self._trust.caller(request.headers.get("Authorization"), path, needed=not open_to_all)
        except Untrusted as error:
            # told and counted, not recorded: a stranger must not be able to fill the records
            events.emit(events.CallerRefused("cds", error.reason))
            raise

    def _route(self, request: Request, parts: tuple[str, ...], caller: Caller) -> Response:
        method = request.method
        match ("GET" if method == "HEAD" else method), parts:
            case "GET", ():
                return _answer(200, registry.discovery(self._calls.services))
            case "POST", (service_id,):
                return self._take_call(request, service_id, caller)
            case "POST", (service_id, "feedback"):
                return self._take_feedback(request, service_id, caller)
            case "GET", ("models", model_id, "versions", version, "source-attributes"):
                return _source_attributes(self._calls, model_id, version)
            case _, () | ("models", _, "versions", _, "source-attributes"):
                raise MethodNotAllowed(f"{method} is not for this address; use GET", expression="method")
            case _, (service_id,) | (service_id, "feedback"):
                self._calls.service(service_id)
                raise MethodNotAllowed(f"{method} is not for this address; use POST", expression="method")
        raise NotFound("there is nothing at this address; GET /cds-services lists the services")

    def _take_call(self, request: Request, service_id: str, caller: Caller) -> Response:
        try:
            body = _body(request)
        except (TooLarge, UnsupportedMediaType) as error:
            answer = self._calls.refuse(service_id, error, _UNREAD[type(error)], caller.name)
        else:
            answer = self._calls.answer(service_id, body, caller=caller)
        return _raw(answer.status, answer.body)

    def _take_feedback(self, request: Request, service_id: str, caller: Caller) -> Response:
        service = self._calls.service(service_id)
        entries = feedback.parse(_body(request), self._calls.clock(), caller.name)
        # What became of a card is told by who got it; with tokens off nobody can be told apart.
        known = self._records.known_cards(
            service.id, [entry.card for entry in entries], caller.name, anybody=self._trust.mode == "off"
        )
        kept = [entry for entry in entries if entry.card in known]
        if not kept:
            raise NotFound("none of these cards was given to you by this service", expression="feedback")
        self._records.keep_feedback(kept)
        for entry in kept:
            events.emit(events.FeedbackTaken(service.id, entry.outcome))
        return _raw(200, b"{}")

    def _silent(self, request: Request, parts: tuple[str, ...], error: Unavailable) -> Response:
        """Answer when it cannot be known who calls: to a call no cards, as for all that fails; else 503."""
        if request.method == "POST" and len(parts) == 1 and parts[0] in self._calls.services:
            log.error("cds door: who calls cannot be known now; no cards are shown")
            answer = self._calls.silence(parts[0], "caller-unknown")
            return _raw(answer.status, answer.body)
        return _error(request, error)


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


def _body(request: Request) -> bytes:
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


def _error(request: Request, error: Exception) -> Response:
    """Turn a refusal or a crash of discovery and feedback into an OperationOutcome; calls never crash."""
    if not isinstance(error, FhirError):
        log.error("cds door: %s", type(error).__name__)
        error = Unavailable("something went wrong here; try again")
    response = _answer(error.status, error.as_json())
    if isinstance(error, Untrusted):
        challenge = "" if error.reason == "missing" else ' error="invalid_token"'
        response.headers["WWW-Authenticate"] = f"Bearer{challenge}"
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = "GET, OPTIONS" if request.path.rstrip("/") == PATH else "POST, OPTIONS"
    return response


def _cors(request: Request, response: Response, origins: frozenset[str] | None, caller: Caller) -> Response:
    """Say which pages may read the answer: those of registered clients; None: those of everybody.

    A preflight cannot say whose page it is for; an answer to a client is for that client's pages alone.
    """
    if origins is None:
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response
    response.headers["Vary"] = "Origin"
    allowed = frozenset(caller.client.origins) if caller.client is not None else origins
    origin = request.headers.get("Origin")
    if origin in allowed:
        response.headers["Access-Control-Allow-Origin"] = origin
    return response
