"""Prefetch: templates, what the client gave, what has to be fetched, what cannot be had.

CDS Hooks 2.0, "Prefetch Template". Four cases are told apart: a value (used), null (the client
looked and there is nothing; not fetched again), a missing key (the client declined; fetched where
we may), an OperationOutcome (the client failed; treated as missing). A Bundle with a next page is
no complete answer and counts as missing too, unless the template asked for a page by `_count`.
What is needed and cannot be had makes 412.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote

from cds_hooks.hooks.hook import Hook
from cds_hooks.request import HookRequest
from fhir_server.authorization.grant import Grant
from fhir_server.interactions import read, search_type
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.outcome import Gone, Invalid, NotFound, PreconditionFailed

Resource = dict[str, Any]
_TOKEN = re.compile(r"\{\{\s*([A-Za-z.]+)\s*\}\}")
_USER = {
    "userPractitionerId": "Practitioner",
    "userPractitionerRoleId": "PractitionerRole",
    "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}


class Source(Protocol):
    """Where missing data may be fetched: queries in, the resources of each query out."""

    def fetch(self, queries: Mapping[str, str]) -> dict[str, list[Resource]]:
        """Run each query (`Patient/7`, `Condition?patient=7`) and return its resources by key."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All resources of a call, and where each key came from: given, empty or fetched."""

    resources: tuple[Resource, ...]
    origin: Mapping[str, str]


def gather(templates: Mapping[str, str], request: HookRequest, hook: Hook, source: Source | None) -> Gathered:
    """Return the resources of all keys.

    Raises Invalid (400) for a prefetch value that is no resource, PreconditionFailed (412) naming
    the keys that are missing and cannot be fetched.
    """
    found: dict[str, list[Resource]] = {}
    origin: dict[str, str] = {}
    for key in templates:
        given = _given(key, request.prefetch, counted="_count=" in templates[key])
        if given is not None:
            found[key] = given
            origin[key] = "given" if given else "empty"
    missing = {key: fill(template, request, hook) for key, template in templates.items() if key not in found}
    if missing and source is None:
        raise PreconditionFailed(
            f"the prefetch keys {', '.join(sorted(missing))} are missing or failed, and this service may not"
            " fetch them: give them (null where there is nothing), or name this installation as fhirServer",
            code="required",
            expression=f"prefetch.{min(missing)}",
        )
    if missing and source is not None:
        found |= source.fetch(missing)
        origin |= dict.fromkeys(missing, "fetched")
    resources = tuple(resource for key in templates for resource in found[key])
    return Gathered(resources, {key: origin[key] for key in templates})


def _given(key: str, prefetch: Mapping[str, Any], *, counted: bool) -> list[Resource] | None:
    """Return the resources that came under a key; None when it counts as missing."""
    if key not in prefetch:
        return None
    value = prefetch[key]
    if value is None:
        return []
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        raise Invalid(f"prefetch.{key} has to be a resource, a Bundle or null", expression=f"prefetch.{key}")
    if value["resourceType"] == "OperationOutcome":
        return None
    if value["resourceType"] != "Bundle":
        return [value]
    links = value.get("link", [])
    more = any(isinstance(link, dict) and link.get("relation") == "next" for link in _list(links))
    if more and not counted:
        return None
    return list(_entries(key, value))


def _entries(key: str, bundle: Resource) -> Iterator[Resource]:
    for number, entry in enumerate(_list(bundle.get("entry", []))):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            place = f"prefetch.{key}.entry[{number}].resource"
            raise Invalid(f"{place} has to be a resource", expression=place)
        if resource["resourceType"] != "OperationOutcome":
            yield resource


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def fill(template: str, request: HookRequest, hook: Hook) -> str:
    """Return the query of a template, its tokens replaced from the context.

    Raises PreconditionFailed (412) when the context lacks a field that a token names.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        text: Any = None
        if name.startswith("context.") and name[8:] in hook.tokens:
            text = request.context.get(name[8:])
        elif name in _USER and request.user is not None:
            kind, _, identifier = request.user.partition("/")
            text = identifier if kind == _USER[name] else None
        if not isinstance(text, str):
            raise PreconditionFailed(f"{{{{{name}}}}} has no value in this call", expression=name)
        return quote(text, safe="")

    return _TOKEN.sub(value, template)


def check_template(template: str, hook: Hook) -> None:
    """Raise ValueError when a template holds a token that the specification does not allow.

    Only root-level fields with a primitive value are eligible, never draftOrders or selections.
    """
    for name in _TOKEN.findall(template):
        if name not in _USER and name not in {f"context.{token}" for token in hook.tokens}:
            raise ValueError(f"{{{{{name}}}}} is no prefetch token of {hook.name}")
    if "{{" in _TOKEN.sub("", template):
        raise ValueError(f"{template!r} has a token that cannot be read")


class OwnStore:
    """This installation's own FHIR store, read in one snapshot with the grant of the call."""

    def __init__(self, entry: Entry, grant: Grant) -> None:
        self._entry = entry
        self._grant = grant

    def fetch(self, queries: Mapping[str, str]) -> dict[str, list[Resource]]:
        """Run the queries in one reading unit."""
        return self._entry.read(
            self._grant, lambda context: {key: _run(context, query) for key, query in queries.items()}
        )


def _run(context: Context, query: str) -> list[Resource]:
    path, question, parameters = query.partition("?")
    if not question:
        type_name, _, identifier = path.partition("/")
        return _one(context, type_name, unquote(identifier))
    pairs = parse_qsl(parameters, keep_blank_values=True)
    if any(name == "_count" for name, _ in pairs):
        return search_type.resources(context, path, pairs)
    most = context.settings.max_count
    found = search_type.resources(context, path, [*pairs, ("_count", str(most))])
    if len(found) >= most:  # a longer list would be decided on in part
        raise PreconditionFailed(f"this patient has {most} or more {path}; the list cannot be had whole")
    return found


def _one(context: Context, type_name: str, identifier: str) -> list[Resource]:
    try:
        version = read.read(context, type_name, identifier).version
    except (NotFound, Gone):
        return []
    return [] if version is None else [json_format.parse(version.text().encode())]


def own_store(
    request: HookRequest, entry: Entry | None, base_urls: Sequence[str], grant: Grant
) -> Source | None:
    """Return our own store when the call names it as its FHIR server; None otherwise.

    An id means another person on another server, so a call that names no server or a foreign one
    gets nothing out of ours.
    """
    if entry is None or request.fhir_server is None:
        return None
    ours = {url.rstrip("/") for url in base_urls}
    return OwnStore(entry, grant) if request.fhir_server in ours else None
