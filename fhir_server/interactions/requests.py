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
from fhir_server.outcome import FhirError, Invalid, NotFound, NotSupported, TooLarge

METHODS = ("DELETE", "POST", "PUT", "PATCH", "GET", "HEAD")
"""The verbs in the order in which a transaction carries them out (R4/http.html#trules)."""

MAX_PARAMETERS = 500
"""Parameters of one query: far above any search that a person or program means."""


@dataclass(slots=True)
class Request:
    """One entry: `number` is its place in the Bundle, from 0.

    `type_name`, `id` and `version_id` come from the path of the url, `query` is what follows
    its question mark (None without one). `if_match` is a version number, `member` the type or `*`
    that is asked for in a compartment, `operation` the code of an operation that is called.
    `if_none_match` and `if_modified_since` are those of a read; `metadata` asks for the CapabilityStatement.
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
    operation: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    metadata: bool = False

    @property
    def writes(self) -> bool:
        """Say whether the entry is to make, change or delete a resource."""
        return self.method not in ("GET", "HEAD") and self.operation is None

    @property
    def path(self) -> str:
        """Return the FHIRPath of the entry."""
        return f"Bundle.entry[{self.number}]"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return the parameters of the query, decoded; raises Invalid (400) for too many."""
        try:
            return parse_qsl(self.query or "", keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError as error:
            what = f"request.url has more than {MAX_PARAMETERS} parameters"
            raise Invalid(what, code="too-long", expression=f"{self.path}.request.url") from error


def check_size(limit: int, bundle: Resource) -> None:
    """Raise TooLarge (413) for a Bundle with more entries than the installation takes at once."""
    entries = bundle.get("entry")
    if isinstance(entries, list) and len(entries) > limit:
        raise TooLarge(
            f"the Bundle has {len(entries)} entries; at most {limit} are taken at once, "
            "so send it in parts or load it as a file",
            expression="Bundle.entry",
        )


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
    type_name, id_, version_id, history, query, operation = _parts(url, base_urls, path)
    if type_name == "metadata":
        return _metadata(number, method, query, asked)
    if operation is not None:
        return _operation(number, method, (type_name, id_, operation, query), entry)
    member = None
    if method in ("GET", "HEAD") and version_id is not None and not history:
        member, version_id = version_id, None
    resource = entry.get("resource")
    if method == "POST" and id_ is not None:
        raise NotSupported(
            f"POST {url!r} cannot be an entry; a create is POST {type_name}, an update PUT {type_name}/{id_}",
            expression=f"{path}.request.url",
        )
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
    texts = {f"request.{name}": asked.get(name) for name in ("ifNoneExist", "ifNoneMatch", "ifModifiedSince")}
    for name, value in ({"fullUrl": entry.get("fullUrl")} | texts).items():
        if value is not None and not isinstance(value, str):
            raise Invalid(f"{name} is {value!r}; it is a text", expression=f"{path}.{name}")
    if method in ("GET", "HEAD") and asked.get("ifModifiedSince") is not None:
        _check_instant(asked["ifModifiedSince"], f"{path}.request.ifModifiedSince")
    if method == "PUT" and asked.get("ifNoneMatch") not in (None, "*"):
        raise Invalid(
            f"ifNoneMatch is {asked['ifNoneMatch']!r}; with PUT it can be * (the resource must be new)",
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
        if_none_match=asked.get("ifNoneMatch"),
        if_modified_since=asked.get("ifModifiedSince"),
    )


def _operation(
    number: int, method: str, address: tuple[str | None, str | None, str, str | None], entry: dict[str, Any]
) -> Request:
    """Return an entry that calls an operation; whether there is such a one is told when it is called."""
    type_name, id_, operation, query = address
    path, resource = f"Bundle.entry[{number}]", entry.get("resource")
    if method not in ("GET", "POST"):
        raise Invalid(
            f"{method} cannot call ${operation}; GET and POST can (R4/operations.html#3.2.0.1)",
            expression=f"{path}.request.method",
        )
    if resource is not None and (method == "GET" or not isinstance(resource, dict)):
        raise Invalid(
            f"{method} ${operation} came with a resource that it cannot have; POST takes one resource",
            expression=f"{path}.resource",
        )
    if resource is not None and not isinstance(resource.get("resourceType"), str):
        raise Invalid("the resource has no resourceType", expression=f"{path}.resource")
    return Request(
        number, method, type_name, id_, None, False, query, None, resource, None, None, False,
        operation=operation,
    )  # fmt: skip


def _metadata(number: int, method: str, query: str | None, asked: dict[str, Any]) -> Request:
    """Return an entry that asks for the CapabilityStatement."""
    path, tags = f"Bundle.entry[{number}]", asked.get("ifNoneMatch")
    if method not in ("GET", "HEAD"):
        raise Invalid(f"{method} metadata cannot be an entry; GET can", expression=f"{path}.request.method")
    if tags is not None and not isinstance(tags, str):
        raise Invalid(f"ifNoneMatch is {tags!r}; it is a text", expression=f"{path}.request.ifNoneMatch")
    return Request(
        number, method, None, None, None, False, query, None, None, None, None, False,
        if_none_match=tags, metadata=True,
    )  # fmt: skip


def _check_instant(text: str, path: str) -> None:
    try:
        if "T" in text and datetime.fromisoformat(text).tzinfo is not None:
            return
    except ValueError:
        pass
    raise Invalid(
        f"ifModifiedSince is {text!r}; it is an instant such as 2026-01-02T03:04:05Z", expression=path
    )


def _parts(
    url: str, base_urls: tuple[str, ...], path: str
) -> tuple[str | None, str | None, str | None, bool, str | None, str | None]:
    """Split a url into type, id, version, whether it asks for a history, query, and operation."""
    for base in base_urls:
        if url.startswith(base) and url[len(base) : len(base) + 1] in ("", "/", "?"):
            url = url[len(base) :]
            break
    where, mark, query = url.lstrip("/").partition("?")
    steps = [unquote(step) for step in where.split("/") if step]
    operation = steps.pop()[1:] if steps and steps[-1].startswith("$") else None
    type_name = steps[0] if steps else None
    if steps == ["metadata"] and operation is None:
        return "metadata", None, None, False, query if mark else None, None
    if type_name is not None and not is_resource_type(type_name) and type_name not in ("_history", "_search"):
        raise NotFound(
            f"request.url {url!r} begins with {type_name!r}, which is no resource type of R4",
            expression=f"{path}.request.url",
        )
    if "_search" in steps:
        raise NotSupported(
            f"request.url {url!r} is a search by POST, whose form no entry holds; write GET Patient?name=a",
            expression=f"{path}.request.url",
        )
    history = bool(steps) and (steps[-1] == "_history" or (len(steps) == 4 and steps[2] == "_history"))
    rest = [step for step in steps if step != "_history"]
    called_wrong = operation is not None and (len(rest) > 2 or history)
    if len(rest) > 3 or called_wrong or any(step.startswith("$") for step in rest):
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
        operation,
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
