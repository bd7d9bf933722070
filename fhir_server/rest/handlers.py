"""One handler for each interaction of the route table: values of the request → an Answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fhir_server.authorization.permit import permit
from fhir_server.database.contents import Content
from fhir_server.interactions import binary as binary_
from fhir_server.interactions import create as create_
from fhir_server.interactions import delete as delete_
from fhir_server.interactions import history as history_
from fhir_server.interactions import patch as patch_
from fhir_server.interactions import provenance as provenance_
from fhir_server.interactions import read as read_
from fhir_server.interactions import search_compartment as search_compartment_
from fhir_server.interactions import search_system as search_system_
from fhir_server.interactions import search_type as search_type_
from fhir_server.interactions import stated as stated_
from fhir_server.interactions import transaction as transaction_
from fhir_server.interactions import update as update_
from fhir_server.interactions import vread as vread_
from fhir_server.interactions.capabilities import MODES
from fhir_server.interactions.context import ANY_VERSION
from fhir_server.model import json_format
from fhir_server.operations import registry as operations
from fhir_server.operations.declaration import Argument, Call, Operation
from fhir_server.operations.parameters import arguments
from fhir_server.outcome import Invalid, MethodNotAllowed, PreconditionFailed, Unavailable
from fhir_server.rest import async_request, body, response
from fhir_server.rest.caller import caller
from fhir_server.rest.installation import Installation as Installation
from fhir_server.rest.preferences import preferences
from fhir_server.rest.request import Request, unescaped_utf8
from fhir_server.rest.response import Answer
from fhir_server.rest.routes import Match, WrongMethod, locate

if TYPE_CHECKING:
    from fhir_server.interactions.context import Context, Resource, Result


Handler = Callable[[Installation, Request, Match], Answer]


def read(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#read."""
    values = match.values
    type_name, id_ = values["type"], values["id"]

    def work(context: Context) -> Result:
        return read_.read(context, type_name, id_)

    return response.of_read(request, here.entry.read(caller(request), work), here.base_url)


def vread(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#vread."""
    values = match.values
    result = here.entry.read(
        caller(request),
        lambda context: vread_.vread(context, values["type"], values["id"], values["version"]),
    )
    return response.of_read(request, result, here.base_url)


def create(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#create, #ccreate."""
    type_name = match.values["type"]
    return created(here, request, type_name, body.resource_for(request, here.config, type_name))


def created(
    here: Installation, request: Request, type_name: str, resource: Resource, content: Content | None = None
) -> Answer:
    """Return the answer of a create; `content` is what stands beside a Binary."""
    response.check_parts(request, type_name)
    condition = request.header("IF_NONE_EXIST")
    if condition is not None:
        if not condition.isascii():
            condition = unescaped_utf8(condition, "If-None-Exist")
        condition = condition.strip().removeprefix("?")
        if not condition:
            raise Invalid("If-None-Exist is empty; give criteria, for instance identifier=urn:a|1")

    def work(context: Context) -> Result:
        return binary_.linked(context, create_.create(context, type_name, resource, condition), content)

    result = written(here, request, work)
    return response.of_write(
        request,
        result,
        preferences(request.header("PREFER")),
        here.base_url,
        created_by_post=True,
        sent=request.sent,
    )


def written(here: Installation, request: Request, work: Callable[[Context], Result]) -> Result:
    """Carry out a write, with the Provenance that came in a header (R4/provenance.html#header)."""
    header = request.header("X_PROVENANCE")
    if header is not None and not header.isascii():
        header = unescaped_utf8(header, provenance_.HEADER)
    provenance = provenance_.read(header, here.config.max_json_depth)
    return here.entry.write(
        caller(request), lambda context: provenance_.attach(context, work(context), provenance)
    )


def update(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#update, #upsert, #concurrency."""
    type_name, id_ = match.values["type"], match.values["id"]
    if_match(request)
    only_create(request)
    resource = body.resource_for(request, here.config, type_name, id_)
    return updated(here, request, type_name, id_, resource)


def updated(
    here: Installation,
    request: Request,
    type_name: str,
    id_: str,
    resource: Resource,
    content: Content | None = None,
) -> Answer:
    """Return the answer of an update; `content` is what stands beside a Binary."""
    response.check_parts(request, type_name)
    expected, must_be_new = if_match(request), only_create(request)

    def work(context: Context) -> Result:
        made = update_.update(context, type_name, id_, resource, expected, must_be_new=must_be_new)
        return binary_.linked(context, made, content)

    try:
        result = written(here, request, work)
    except MethodNotAllowed as error:
        others = ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS")
        raise WrongMethod("PUT", request.path, others, f". {error}") from None
    return response.of_write(
        request,
        result,
        preferences(request.header("PREFER")),
        here.base_url,
        created_by_post=False,
        sent=request.sent,
    )


def conditional_update(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#cond-update."""
    type_name = match.values["type"]
    criteria = _criteria_text(request, "an update")
    expected = if_match(request)
    must_be_new = only_create(request)
    resource = body.resource_for(request, here.config, type_name)
    result = written(
        here,
        request,
        lambda context: update_.conditional_update(
            context, type_name, criteria, resource, expected, must_be_new=must_be_new
        ),
    )
    return response.of_write(
        request,
        result,
        preferences(request.header("PREFER")),
        here.base_url,
        created_by_post=False,
        shaped=False,
        sent=request.sent,
    )


def patch(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#patch."""
    type_name, id_ = match.values["type"], match.values["id"]
    response.check_parts(request, type_name)
    expected = if_match(request)
    change = body.patch(request, here.config, here.entry.settings)
    result = written(here, request, lambda context: patch_.patch(context, type_name, id_, change, expected))
    return response.of_write(
        request, result, preferences(request.header("PREFER")), here.base_url, created_by_post=False
    )


def conditional_patch(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#patch, by criteria."""
    type_name = match.values["type"]
    criteria = _criteria_text(request, "a patch")
    expected = if_match(request)
    change = body.patch(request, here.config, here.entry.settings)
    result = written(
        here,
        request,
        lambda context: patch_.conditional_patch(context, type_name, criteria, change, expected),
    )
    return response.of_write(
        request,
        result,
        preferences(request.header("PREFER")),
        here.base_url,
        created_by_post=False,
        shaped=False,
    )


def delete(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#delete."""
    provenance_.refuse(request.header("X_PROVENANCE"), "a delete")
    values, expected = match.values, if_match(request)
    result = here.entry.write(
        caller(request),
        lambda context: delete_.delete(context, values["type"], values["id"], expected),
    )
    return response.of_delete(result, preferences(request.header("PREFER")))


def conditional_delete(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#cdelete."""
    provenance_.refuse(request.header("X_PROVENANCE"), "a delete")
    type_name, criteria = match.values["type"], _criteria_text(request, "a delete")
    expected = if_match(request)
    result = here.entry.write(
        caller(request), lambda context: delete_.conditional_delete(context, type_name, criteria, expected)
    )
    return response.of_delete(result, preferences(request.header("PREFER")))


def search(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#search, by GET and by POST with a form."""
    type_name = match.values["type"]
    return _searched(
        here,
        request,
        lambda context, pairs, strict: search_type_.search(context, type_name, pairs, strict=strict),
    )


def search_system(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#search over several types or all, by GET and by POST with a form."""
    return _searched(
        here,
        request,
        lambda context, pairs, strict: search_system_.search(context, pairs, strict=strict),
    )


def search_compartment(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#vsearch, in a compartment, by GET and by POST with a form."""
    values = match.values
    compartment, id_, member = values["type"], values["id"], values["member"]
    return _searched(
        here,
        request,
        lambda context, pairs, strict: search_compartment_.search(
            context, compartment, id_, member, pairs, strict=strict
        ),
    )


def _searched(
    here: Installation, request: Request, search: Callable[[Context, Sequence[tuple[str, str]], bool], Result]
) -> Answer:
    if request.method == "POST":
        request.form = body.form(request, here.config)
    pairs = request.criteria()
    strict = not preferences(request.header("PREFER")).lenient
    result = here.entry.read(caller(request), lambda context: search(context, pairs, strict))
    return response.of_search(request, result)


def history(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#history at its three levels."""
    type_name, id_ = match.values.get("type"), match.values.get("id")
    pairs = request.criteria()
    result = here.entry.read(
        caller(request), lambda context: history_.history(context, type_name, id_, pairs)
    )
    return response.of_text(result)


def transaction(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#transaction: batch and transaction."""
    provenance_.refuse(request.header("X_PROVENANCE"), "a Bundle")
    bundle = body.resource_for(request, here.config, "Bundle")
    # Without a wish the answer has addresses and versions only: the client knows what it has sent.
    wanted = preferences(request.header("PREFER")).returns
    stated = stated_.of_entries(here.capabilities)
    result = transaction_.execute(
        here.entry, caller(request), bundle, returns=wanted, sent=request.sent, stated=stated
    )
    return response.of_text(result)


def capabilities(here: Installation, request: Request, match: Match) -> Answer:
    """R4/http.html#capabilities."""
    mode = request.parameter("mode") or "full"
    if mode not in MODES:
        raise Invalid(f"mode={mode} is not known; {', '.join(MODES)} are")
    unknown = [name for name, _ in request.criteria() if name not in ("mode", "_summary", "_elements")]
    if unknown and not preferences(request.header("PREFER")).lenient:
        raise Invalid(f"metadata has no parameter {unknown[0]!r}; known are mode, _summary and _elements")
    try:
        made = here.entry.read(caller(request), lambda context: here.capabilities.published(context, mode))
    except Unavailable:  # what we are able to do does not depend on the database being there
        made = here.capabilities.last(mode)
    return response.of_statement(request, made.text, made.tag)


def operation(here: Installation, request: Request, match: Match) -> Answer:
    """R4/operations.html: at the level of the address, by GET where nothing changes, and by POST.

    A form has what could stand in the URL (R4/http.html#summary).
    """
    values = match.values
    type_name, id_ = values.get("type"), values.get("id")
    found = operations.find(values["operation"].removeprefix("$"), match.route.level, type_name)
    allowed = _methods(found)
    if request.method not in allowed:
        raise WrongMethod(request.method, request.path, allowed, f"; ${found.code} changes something")
    sent, archive = None, None
    if request.method == "POST" and body.is_there(request):
        if "package" in found.inputs and body.is_archive(request):
            archive = body.read(request, here.config.max_body_bytes)
        elif body.is_form(request):
            request.form = body.form(request, here.config)
        else:
            sent = body.resource(request, here.config)
    lenient = preferences(request.header("PREFER")).lenient
    given = arguments(found, request.criteria(), sent, type_name, lenient=lenient)
    if archive is not None:
        given = {**given, "package": [Argument(archive, "base64Binary")]}
    call = Call(type_name, id_, given, request.sent)

    def work(context: Context) -> dict[str, Any]:
        permit(context.grant, f"${found.code}", type_name)
        return found.run(context, call)

    unit = here.entry.write if found.affects_state else here.entry.read
    return Answer(200, json_format.encode(unit(caller(request), work)))


def allowed_methods(path: str) -> tuple[str, ...]:
    """Return what an address takes, for OPTIONS and the Allow header; an operation says it itself."""
    address, values = locate(path)
    if "operation" not in values:
        return address.allowed
    level = address.methods["POST"].level
    return _methods(operations.find(values["operation"].removeprefix("$"), level, values.get("type")))


def _methods(found: Operation) -> tuple[str, ...]:
    return ("GET", "HEAD", "POST", "OPTIONS") if "GET" in found.methods else ("POST", "OPTIONS")


HANDLERS: Mapping[str, Handler] = {
    "read": read,
    "vread": vread,
    "create": create,
    "update": update,
    "update-conditional": conditional_update,
    "patch": patch,
    "patch-conditional": conditional_patch,
    "delete": delete,
    "delete-conditional": conditional_delete,
    "search-type": search,
    "history-instance": history,
    "history-type": history,
    "history-system": history,
    "transaction": transaction,
    "capabilities": capabilities,
    "search-system": search_system,
    "search-compartment": search_compartment,
    "operation": operation,
    "async-status": async_request.status,
    "async-cancel": async_request.cancel,
    "async-file": async_request.file,
}

BUILT = frozenset(HANDLERS)
"""The interactions that are answered, for the CapabilityStatement."""

_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"\Z')


def if_match(request: Request) -> int | None:
    """Return the version that If-Match names, or None without the header (R4/http.html#concurrency).

    `*` is ANY_VERSION: there must be one.

    Raises Invalid (400) for what is no entity tag, PreconditionFailed (412) for one that can
    be no version of ours.
    """
    text = request.header("IF_MATCH")
    if text is None:
        return None
    if text.strip() == "*":
        return ANY_VERSION
    tag = _ENTITY_TAG.match(text.strip())
    if tag is None:
        raise Invalid(f'If-Match is {text!r}; write the ETag of the version you know, for instance W/"3"')
    number = tag[1].lstrip("0")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise PreconditionFailed(f"If-Match names the version {number!r}, which this server never gave")
    return int(number)


def only_create(request: Request) -> bool:
    """Say whether If-None-Match lets an update only create (R4/http.html#upsert).

    Raises Invalid (400) for entity tags: which versions shall not be current says nothing here.
    """
    text = request.header("IF_NONE_MATCH")
    if text is not None and text.strip() != "*":
        raise Invalid(f"If-None-Match is {text!r}; on an update it can be *, which lets it only create")
    return text is not None


def _criteria_text(request: Request, what: str) -> str:
    pairs = request.criteria()
    if not pairs:
        raise Invalid(
            f"{what} needs an id in the URL or criteria behind a question mark, for instance "
            f"{request.path}?identifier=urn:a|1"
        )
    return urlencode(pairs)
