"""What one entry of a batch or transaction asks for, carried out (R4/http.html#transaction).

Reads and searches, history and operations are the same functions that the addresses of their own have;
an entry only gives their arguments as Bundle.entry.request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fhir_server.authorization.permit import permit
from fhir_server.interactions import parts, search_compartment, search_system
from fhir_server.interactions.context import Context, Prepared, Result, Settings
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import conditional_delete, delete
from fhir_server.interactions.history import history
from fhir_server.interactions.patch import conditional_patch, of_entry, patch
from fhir_server.interactions.read import read, unchanged
from fhir_server.interactions.requests import Request
from fhir_server.interactions.search_type import search
from fhir_server.interactions.update import conditional_update, update
from fhir_server.interactions.vread import vread
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, NotSupported, TooCostly

Stated = Callable[[Context, Request], Result]
"""Answers an entry that asks for the CapabilityStatement."""

RETURNS = ("minimal", "representation", "OperationOutcome")
"""What an answer may hold beside status and address (Prefer: return, R4/http.html#ops)."""


def prepared(settings: Settings, request: Request) -> Prepared:
    """Return the call of an entry that names an operation; what is wrong with it names the entry."""
    code = request.operation or ""
    if settings.operations is None:
        raise NotSupported(f"${code} cannot be called here", expression=f"{request.path}.request.url")
    try:
        return settings.operations(
            code, request.method, request.type_name, request.id, request.pairs, request.resource
        )
    except FhirError as error:
        raise naming(request, error, _place(request)) from None


def called(context: Context, request: Request, call: Prepared) -> Result:
    """Carry an operation out in the unit of the context."""
    try:
        permit(context.grant, f"${call.code}", request.type_name)
        made = call.run(context)
    except FhirError as error:
        raise naming(request, error, _place(request)) from None
    return Result(200, text=json_format.encode(made).decode())


def naming(request: Request, error: FhirError, place: str | None = None) -> FhirError:
    """Return the refusal so that its expression begins with the entry, at `place` if it does not yet."""
    if (error.issues[0].expression or "").startswith(request.path):
        return error
    return error.within(place or request.path)


def _place(request: Request) -> str:
    return f"{request.path}.{'request.url' if request.resource is None else 'resource'}"


def look(context: Context, request: Request, stated: Stated | None = None) -> Result:
    """Carry out a GET entry: read, vread, history, search, metadata or an operation that changes nothing.

    The result of a read has the status 304 where the entry's ifNoneMatch or ifModifiedSince say that
    its sender has this state already (R4/http.html#cread).
    """
    if request.operation is not None:
        return called(context, request, prepared(context.settings, request))
    if request.metadata:
        if stated is None:
            raise NotSupported("the capabilities cannot be asked for here; GET [base]/metadata by itself")
        return stated(context, request)
    if request.history and request.version_id is None:
        return history(context, request.type_name, request.id, request.pairs)
    if request.type_name is None:
        return search_system.search(context, request.pairs)
    if request.member is not None and request.id is not None:
        return search_compartment.search(
            context, request.type_name, request.id, request.member, request.pairs
        )
    if request.id is None:
        return search(context, request.type_name, request.pairs)
    if request.version_id is not None:
        found = vread(context, request.type_name, request.id, request.version_id)
    else:
        found = read(context, request.type_name, request.id)
    since = request.if_modified_since
    known = datetime.fromisoformat(since) if since is not None else None
    if found.version is not None and unchanged(found.version, request.if_none_match, known):
        return Result(304, found.version)
    if request.query is not None and found.version is not None:
        asked = dict(request.pairs)
        if asked.get("_summary") or asked.get("_elements"):
            text = parts.reduced(found.version.text().encode(), asked.get("_summary"), asked.get("_elements"))
            return replace(found, text=text.decode())
    return found


def change(context: Context, request: Request, *, keep_id: bool = False) -> Result:
    """Carry out the write of one entry of a batch, in a unit of its own."""
    type_name, resource = request.type_name or "", request.resource or {}
    if request.method == "POST":
        return create(context, type_name, resource, request.if_none_exist, keep_id=keep_id)
    if request.method == "DELETE":
        if request.id is None:
            return conditional_delete(context, type_name, request.query or "", request.if_match)
        return delete(context, type_name, request.id, request.if_match)
    if request.method == "PATCH":
        patching = of_entry(resource, context.settings)
        if request.id is None:
            return conditional_patch(context, type_name, request.query or "", patching, request.if_match)
        return patch(context, type_name, request.id, patching, request.if_match)
    if request.id is None:
        return conditional_update(
            context,
            type_name,
            request.query or "",
            resource,
            request.if_match,
            must_be_new=request.must_be_new,
        )
    return update(context, type_name, request.id, resource, request.if_match, must_be_new=request.must_be_new)


def shows_body(request: Request, result: Result, returns: str | None) -> bool:
    """Say whether the answer to an entry holds the resource: what was asked for, or what Prefer wants."""
    if result.status == 304 or request.method == "HEAD" or (not request.writes and result.text is not None):
        return False
    return not request.writes or returns == "representation"


class Room:
    """How many bytes an answer may still hold; whoever asks for more than that is told so."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = self._left_bytes = limit_bytes

    def take(self, text: str, request: Request) -> None:
        """Take the room that the answer to one entry needs. Raises TooCostly (422), naming the entry."""
        self._left_bytes -= len(text)
        if self._left_bytes < 0:
            raise TooCostly(
                f"with the answer to this entry the whole would be longer than {self._limit_bytes} bytes "
                "(setting max_response_bytes); ask for fewer at once, with _count or in several requests",
                expression=request.path,
            )
