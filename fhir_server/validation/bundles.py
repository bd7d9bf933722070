"""Bundles beyond their invariants (R4/bundle.html, R4/documents.html, R4/messaging.html, R4/http.html).

Entries know who they are (fullUrl against the resource), links say one thing once, a search says how
each resource came to be there, requests fit what they carry. Where references lead is asked in
`resolution`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

from fhir_server.definitions import structures
from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.resolution import HOLDERS, NOTHING, nested

Resource = Mapping[str, Any]

PAGES = frozenset({"self", "first", "last", "next", "previous", "prev"})
PAGED = frozenset({"searchset", "history"})
REQUESTED = frozenset({"batch", "transaction"})
ANSWERED = frozenset({"batch-response", "transaction-response"})
# R4 lets what is to be created go without a fullUrl, and results of operations that are not identified.
IDENTIFIED = frozenset({"document", "message", "history"})
GATHERED = frozenset({"searchset", "collection"})

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_RESTFUL = re.compile(r"https?://.+/([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")
_STATUS = re.compile(r"[1-5][0-9]{2}(?![0-9])")


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Return what is wrong with a Bundle, and with the Bundles inside a resource.

    >>> bundle = {"resourceType": "Bundle", "type": "collection", "entry": [
    ...     {"fullUrl": "Patient/1", "resource": {"resourceType": "Patient", "id": "1"}}]}
    >>> [(issue.expression, issue.diagnostics) for issue in check(bundle)]
    [('Bundle.entry[0].fullUrl', "'Patient/1' is relative; a fullUrl is an absolute address")]
    """
    if resource["resourceType"] in HOLDERS or "contained" in resource:
        return _bundles(resource)
    return NOTHING


def _bundles(resource: Any) -> Iterator[Issue]:
    for bundle, path in nested(resource, "Bundle"):
        yield from _links(bundle, path)
        for number, entry in enumerate(bundle.get("entry", ())):
            place = f"{path}.entry[{number}]"
            yield from _full_url(bundle, entry, place)
            yield from _exchange(bundle.get("type", ""), entry, place)
        if bundle.get("type", "") == "searchset":
            yield from _search(bundle, path)


def _links(bundle: Resource, path: str) -> Iterator[Issue]:
    seen: set[str] = set()
    for number, link in enumerate(bundle.get("link", ())):
        relation = link.get("relation")
        if relation not in PAGES:
            continue
        place = f"{path}.link[{number}]"
        if relation in seen:
            yield Issue(
                "error",
                "value",
                f"there is a link {relation!r} already; one of a kind",
                place,
                "bundle-link-once",
            )
        elif relation != "self" and bundle.get("type", "") not in PAGED:
            what = f"the link {relation!r} is for pages of a search or a history, not for a {bundle['type']}"
            yield Issue("warning", "value", what, f"{place}.relation", "bundle-link-page")
        seen.add(relation)


def _full_url(bundle: Resource, entry: Resource, place: str) -> Iterator[Issue]:
    address, resource = entry.get("fullUrl"), entry.get("resource")
    if address is None:
        kind = bundle.get("type", "")
        found = resource is not None and kind in GATHERED and "id" in resource and not _is_outcome(entry)
        if found or (resource is not None and kind in IDENTIFIED):
            what = f"fullUrl is missing; a resource in a {kind} is known by it"
            yield Issue("error", "required", what, f"{place}.fullUrl", "bundle-fullurl-required")
        return
    if not _SCHEME.match(address):
        what = f"{address!r} is relative; a fullUrl is an absolute address"
        yield Issue("error", "value", what, f"{place}.fullUrl", "bundle-fullurl-absolute")
    elif resource is not None and "id" in resource:
        match = _identity(address)
        identity = (resource["resourceType"], resource["id"])
        if match is not None and match != identity:
            what = f"{address!r} is not the address of {'/'.join(identity)}, which stands here"
            yield Issue("error", "value", what, f"{place}.fullUrl", "bundle-fullurl-id")


def _is_outcome(entry: Resource) -> bool:
    mode, resource = entry.get("search", {}).get("mode"), entry["resource"]
    return bool(mode == "outcome" or resource["resourceType"] == "OperationOutcome")


def _identity(address: str) -> tuple[str, str] | None:
    match = _RESTFUL.fullmatch(address)
    if match is None or not structures.is_resource_type(match[1]):
        return None
    return match[1], match[2]


def _exchange(kind: str, entry: Resource, place: str) -> Iterator[Issue]:
    """Yield what is wrong with the request or the response of an entry."""
    request, response, resource = entry.get("request"), entry.get("response"), entry.get("resource")
    if request is not None and kind in REQUESTED and "url" in request:
        yield from _request(request, resource, place)
    if response is not None and "status" in response and not _STATUS.match(response["status"]):
        # A SHALL of R4 that its own example (bundle-response.json) does not keep.
        what = f"got {response['status']!r}, expected the three digits of an HTTP status first"
        yield Issue("warning", "value", what, f"{place}.response.status", "bundle-response-status")
    if response is not None and resource is not None and "etag" in response:
        version = resource.get("meta", {}).get("versionId")
        etag = response["etag"].removeprefix("W/").strip('"')
        if version is not None and version != etag:
            what = f"the etag {response['etag']} is not that of version {version}, which stands here"
            yield Issue("warning", "value", what, f"{place}.response.etag", "bundle-response-etag")


def _request(request: Resource, resource: Resource | None, place: str) -> Iterator[Issue]:
    method, url = request.get("method"), request["url"]
    at = f"{place}.request.url"
    if _SCHEME.match(url):
        yield Issue(
            "warning",
            "value",
            f"{url!r} is absolute; a request goes from the base address",
            at,
            "bundle-request-url",
        )
        return
    address, _, criteria = url.lstrip("/").partition("?")
    steps = address.split("/")
    if "$" in address or not structures.is_resource_type(steps[0]):
        return
    kind = None if resource is None else resource["resourceType"]
    if method in ("POST", "PUT") and kind is None and "_search" not in steps:
        what = f"a {method} brings a resource; none is in this entry"
        yield Issue("error", "required", what, f"{place}.resource", "bundle-request-resource")
    elif method in ("POST", "PUT") and kind != steps[0] and "_search" not in steps:
        what = f"a {kind} does not go to {url!r}; expected {kind}"
        yield Issue("error", "value", what, at, "bundle-request-type")
    elif method == "POST" and len(steps) > 1 and "_search" not in steps:
        yield Issue(
            "error", "value", f"a POST creates at {steps[0]}, not at {url!r}", at, "bundle-request-create"
        )
    elif method in ("PUT", "PATCH", "DELETE") and len(steps) == 1 and not criteria:
        what = f"a {method} goes to one resource, such as {steps[0]}/123; got {url!r}"
        yield Issue("error", "value", what, at, "bundle-request-one")
    elif method == "PUT" and resource is not None and len(steps) == 2:
        yield from _same_id(resource, url, steps[1], at)


def _same_id(resource: Resource, url: str, name: str, at: str) -> Iterator[Issue]:
    if resource.get("id", name) != name:
        what = f"the resource says its id is {resource['id']!r}, the address {url!r}"
        yield Issue("error", "value", what, at, "bundle-request-id")


def _search(bundle: Resource, path: str) -> Iterator[Issue]:
    types = _searched(bundle)
    matches = 0
    for number, entry in enumerate(bundle.get("entry", ())):
        resource, mode = entry.get("resource"), entry.get("search", {}).get("mode")
        place = f"{path}.entry[{number}].resource"
        if resource is None:
            continue
        kind = resource["resourceType"]
        if "id" not in resource and mode != "outcome" and kind != "OperationOutcome":
            what = "id is missing; what a search finds has one"
            yield Issue("error", "required", what, place, "bundle-search-id")
        if mode == "outcome" and kind != "OperationOutcome":
            what = f"the outcome of a search is an OperationOutcome, not a {kind}"
            yield Issue("error", "value", what, place, "bundle-search-mode")
        elif mode == "match":
            matches += 1
            if types and kind not in types:
                what = f"a {kind} is no match; the search was for {' or '.join(sorted(types))}"
                yield Issue("error", "value", what, place, "bundle-search-mode")
    if matches > bundle.get("total", matches):
        what = f"total says {bundle['total']} matches, but {matches} are on this page"
        yield Issue("warning", "value", what, f"{path}.total", "bundle-search-total")


def _searched(bundle: Resource) -> frozenset[str]:
    """Return the types that the link to itself asks for, none if it does not say.

    >>> link = {"relation": "self", "url": "http://x/fhir?_type=Patient,Group"}
    >>> sorted(_searched({"link": [link]}))
    ['Group', 'Patient']
    """
    for link in bundle.get("link", ()):
        if link.get("relation") == "self" and "url" in link and "$" not in link["url"]:
            address, _, criteria = link["url"].partition("?")
            asked = parse_qs(criteria).get("_type")
            if asked is not None:
                return frozenset(asked[0].split(","))
            last = address.removesuffix("/_search").rpartition("/")[2]
            return frozenset({last}) if structures.is_resource_type(last) else frozenset()
    return frozenset()
