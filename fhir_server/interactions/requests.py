"""The requests inside a batch or transaction: Bundle.entry.request as a value (R4/bundle.html)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from fhir_server.definitions.structures import is_resource_type
from fhir_server.interactions.context import ANY_VERSION, Resource
from fhir_server.interactions.drafts import ID
from fhir_server.model import temporal
from fhir_server.outcome import FhirError, Invalid, NotFound, NotSupported

METHODS = ("DELETE", "POST", "PUT", "PATCH", "GET", "HEAD")
"""The verbs in the order in which a transaction carries them out (R4/http.html#trules)."""


@dataclass(slots=True)
class Request:
    """One entry: `number` is its place in the Bundle, from 0.

    `type_name`, `id` and `version_id` come from the path of the url, `query` is what follows
    its question mark (None without one). `if_match` is a version number, `member` the type or `*`
    that is asked for in a compartment.
    """

    number: int
    method: str
    type_name: str | None
    id: str | None
    version_id: str | None
    history: bool
    query: str | None
    full_url: str | None
    resource: Resource | None
    if_match: int | None
    if_none_exist: str | None
    must_be_new: bool
    member: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None

    @property
    def path(self) -> str:
        """Return the FHIRPath of the entry."""
        return f"Bundle.entry[{self.number}]"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return the parameters of the query, decoded."""
        return parse_qsl(self.query or "", keep_blank_values=True)


def requests(bundle: Resource, base_urls: tuple[str, ...]) -> Iterator[Request | FhirError]:
    """Yield each entry as a Request, or as the refusal that it earns (already within Bundle.entry[n])."""
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        raise Invalid("entry must be an array", expression="Bundle.entry")
    for number, entry in enumerate(entries):
        try:
            yield request(number, entry, base_urls)
        except FhirError as error:
            yield error


def request(number: int, entry: Any, base_urls: tuple[str, ...]) -> Request:
    """Return one entry as a Request; raises Invalid, NotFound or NotSupported naming the entry."""
    path = f"Bundle.entry[{number}]"
    asked = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(asked, dict):
        raise Invalid(
            f"{path} has no request; each entry needs request.method and request.url", expression=path
        )
    method, url = asked.get("method"), asked.get("url")
    if method not in METHODS:
        raise Invalid(
            f"request.method is {method!r}; it can be {', '.join(METHODS)}",
            expression=f"{path}.request.method",
        )
    if not isinstance(url, str):
        raise Invalid("request.url is missing; write for example Patient/7", expression=f"{path}.request.url")
    type_name, id_, version_id, history, query = _parts(url, base_urls, path)
    member = None
    if method in ("GET", "HEAD") and version_id is not None and not history:
        member, version_id = version_id, None
    resource = entry.get("resource")
    if method in ("POST", "PUT"):
        if type_name is None or history:
            raise NotSupported(
                f"{method} {url!r} cannot be an entry; write the type of the resource, for example Patient",
                expression=f"{path}.request.url",
            )
        if not isinstance(resource, dict):
            raise Invalid(f"{method} {url!r} needs a resource", expression=f"{path}.resource")
        if resource.get("resourceType") != type_name:
            raise Invalid(
                f"request.url is for {type_name}, but the resource is {resource.get('resourceType')!r}",
                expression=f"{path}.resource",
            )
    if method == "PATCH" and not isinstance(resource, dict):
        raise Invalid(
            f"PATCH {url!r} needs a resource: the patch as Parameters, or a Binary that holds it",
            expression=f"{path}.resource",
        )
    if method in ("DELETE", "PATCH") and (type_name is None or history):
        raise Invalid(
            f"{method} {url!r} cannot be an entry; write for example Patient/7",
            expression=f"{path}.request.url",
        )
    if method in ("PUT", "DELETE", "PATCH") and id_ is None and query is None:
        raise Invalid(
            f"{method} {url!r} needs an id or criteria, as {type_name}/7 or {type_name}?identifier=a|1",
            expression=f"{path}.request.url",
        )
    for value, name in (
        (entry.get("fullUrl"), "fullUrl"),
        (asked.get("ifNoneExist"), "request.ifNoneExist"),
        (asked.get("ifNoneMatch"), "request.ifNoneMatch"),
    ):
        if value is not None and not isinstance(value, str):
            raise Invalid(f"{name} is {value!r}; it is a text", expression=f"{path}.{name}")
    if method == "PUT" and (tag := asked.get("ifNoneMatch", "*")) != "*":
        raise Invalid(
            f"request.ifNoneMatch is {tag!r}; on an update it can be *, which lets it only create",
            expression=f"{path}.request.ifNoneMatch",
        )
    return Request(
        number,
        method,
        type_name,
        id_,
        version_id,
        history,
        query,
        entry.get("fullUrl"),
        resource,
        _version_of(asked.get("ifMatch"), f"{path}.request.ifMatch"),
        asked.get("ifNoneExist"),
        asked.get("ifNoneMatch") == "*" and method == "PUT",
        member,
        asked.get("ifNoneMatch"),
        _moment_of(asked.get("ifModifiedSince"), f"{path}.request.ifModifiedSince"),
    )


def _parts(
    url: str, base_urls: tuple[str, ...], path: str
) -> tuple[str | None, str | None, str | None, bool, str | None]:
    """Split a url into type, id, version, whether it asks for a history, and query."""
    for base in base_urls:
        if url.startswith(f"{base}/"):
            url = url[len(base) + 1 :]
    where, mark, query = url.lstrip("/").partition("?")
    steps = [unquote(step) for step in where.split("/") if step]
    type_name = steps[0] if steps else None
    if type_name is not None and not is_resource_type(type_name) and type_name != "_history":
        raise NotFound(
            f"request.url {url!r} begins with {type_name!r}, which is no resource type of R4",
            expression=f"{path}.request.url",
        )
    history = bool(steps) and (steps[-1] == "_history" or (len(steps) == 4 and steps[2] == "_history"))
    rest = [step for step in steps if step != "_history"]
    if len(rest) > 3 or any(step.startswith("$") for step in rest):
        raise NotSupported(
            f"request.url {url!r} is no interaction that an entry can carry", expression=f"{path}.request.url"
        )
    id_ = rest[1] if len(rest) > 1 else None
    if id_ is not None and not ID.match(id_):
        raise Invalid(
            f"{id_!r} is no id; an id has 1 to 64 characters out of A-Z a-z 0-9 - .",
            expression=f"{path}.request.url",
        )
    return (
        rest[0] if rest else None,
        id_,
        rest[2] if len(rest) > 2 else None,
        history,
        query if mark else None,
    )


def _version_of(etag: Any, path: str) -> int | None:
    """Return the number in an ETag.

    >>> _version_of('W/"3"', "")
    3
    """
    if etag is None:
        return None
    if etag == "*":
        return ANY_VERSION
    number = str(etag).removeprefix("W/").strip('"').lstrip("0")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Invalid(f'{etag!r} is no version; write W/"3"', expression=path)
    return int(number)


def _moment_of(text: Any, path: str) -> datetime | None:
    """Return the moment of ifModifiedSince."""
    if text is None:
        return None
    try:
        return temporal.interval(str(text))[0]
    except FhirError as error:
        raise Invalid(str(error), expression=path) from None
