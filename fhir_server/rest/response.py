"""What an interaction came to → status, headers and bytes (R4/http.html#return, #versioning).

The text of a stored resource passes through untouched; it is parsed only for _summary, _elements
and XML. All addresses begin with the configured base URL, never with the Host header.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

import msgspec

from fhir_server.database import contents
from fhir_server.database.contents import Content
from fhir_server.database.engine import Engine
from fhir_server.interactions import parts
from fhir_server.interactions.context import Result, Version
from fhir_server.interactions.read import is_among, unchanged
from fhir_server.model import json_format, positions, xml_format
from fhir_server.outcome import Issue, NotAcceptable, operation_outcome
from fhir_server.rest import ranges
from fhir_server.rest.preferences import Preferences
from fhir_server.rest.request import Request

GZIP_FROM_BYTES = 1024
_ANY_DEPTH = 10_000


@dataclass(slots=True)
class Answer:
    """An HTTP answer before it is sent; Content-Type and Content-Length are added at the end.

    `media_type` is that of a body which is no FHIR resource. A body that is too large for memory comes as
    `stream`, `size_bytes` long.
    """

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    media_type: str | None = None
    stream: Iterator[bytes] | None = None
    size_bytes: int = 0


def etag(version: int) -> str:
    """Return the weak entity tag of a version (R4/http.html#versioning)."""
    return f'W/"{version}"'


@lru_cache(maxsize=4096)
def http_date(seconds: str) -> str:
    """Return the HTTP date of a UTC moment given to the second.

    >>> http_date("2026-01-02T03:04:05")
    'Fri, 02 Jan 2026 03:04:05 GMT'
    """
    moment = datetime.fromisoformat(seconds)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year:04d} "
        f"{moment:%H:%M:%S} GMT"
    )


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def version_headers(version: Version) -> list[tuple[str, str]]:
    """Return ETag and Last-Modified of a version."""
    return [("ETag", etag(version.version)), ("Last-Modified", http_date(version.last_updated[:19]))]


def of_read(request: Request, result: Result, base_url: str) -> Answer:
    """Return the answer of read and vread: 200 with the resource, or 304 (R4/http.html#cread)."""
    version = result.version
    if version is None:
        raise ValueError("a read without a version has no answer")
    headers = version_headers(version)
    environ = request.environ
    if ("HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MODIFIED_SINCE" in environ) and _unchanged(
        request, version
    ):
        return Answer(304, b"", headers)
    headers.append(("Content-Location", _versioned_address(base_url, version)))
    text = version.text().encode()
    if environ.get("QUERY_STRING"):
        text = reduced(request, text)
    return Answer(200, text, headers)


def check_parts(request: Request, type_name: str) -> None:
    """Raise Invalid (400) for a _summary or _elements that a resource of this type cannot have.

    Of a write they shape the answer; what cannot be answered is refused before it is written.
    """
    if request.environ.get("QUERY_STRING"):
        reduced(request, json_format.encode({"resourceType": type_name}))


def of_write(
    request: Request,
    result: Result,
    preferences: Preferences,
    base_url: str,
    *,
    created_by_post: bool,
    shaped: bool = True,
    sent: bytes | None = None,
) -> Answer:
    """Return the answer of create and update: 201 or 200, its body as Prefer asks (R4/http.html#ops).

    `shaped` is False where the URL has criteria, among which _summary and _elements have no place.

    What validation had to say of a resource that it let pass is in the body with
    return=OperationOutcome; otherwise the header X-Warnings tells how much there is to read.
    """
    version = result.version
    if version is None:
        raise ValueError("a write without a version has no answer")
    address = _versioned_address(base_url, version)
    headers = version_headers(version)
    if result.status == 201 or created_by_post:
        headers.append(("Location", address))
    if preferences.returns == "OperationOutcome":
        did = "created" if result.status == 201 else "stored"
        said = f"{version.address} is {did}, version {version.version}"
        issues = positions.placed(result.issues, sent or b"")
        return Answer(result.status, outcome_text(issues, said), headers)
    if warnings := sum(issue.severity != "information" for issue in result.issues):
        headers.append(("X-Warnings", str(warnings)))
    if preferences.returns == "minimal":
        return Answer(result.status, b"", headers)
    headers.append(("Content-Location", address))
    text = version.text().encode()
    if shaped and request.environ.get("QUERY_STRING"):
        text = reduced(request, text)
    return Answer(result.status, text, headers)


def of_delete(result: Result, preferences: Preferences) -> Answer:
    """Return the answer of delete: 204 with the ETag of the deletion, or 200 with an OperationOutcome.

    What is to be said of a deletion (how many were deleted, who still refers to it) is told unless the
    client wants no body.
    """
    version = result.version
    headers = version_headers(version) if version is not None else []
    if preferences.returns == "minimal" or not (result.issues or preferences.returns == "OperationOutcome"):
        return Answer(204, b"", headers)
    if version is None and result.changes:
        return Answer(200, json_format.encode(operation_outcome(result.issues)), headers)
    what = f"{version.address} is deleted" if version is not None else "there was nothing to delete"
    return Answer(200, outcome_text(result.issues, what), headers)


def of_statement(request: Request, text: bytes, tag: str) -> Answer:
    """Return the answer of capabilities: 200 with the statement, or 304 (R4/http.html#capabilities)."""
    headers = [("ETag", f'W/"{tag}"')]
    if _is_known(request, tag):
        return Answer(304, b"", headers)
    return Answer(200, reduced(request, text) if request.environ.get("QUERY_STRING") else text, headers)


def of_text(result: Result) -> Answer:
    """Return the answer of an interaction whose result is a whole Bundle."""
    return Answer(result.status, (result.text or "").encode())


def of_search(request: Request, result: Result) -> Answer:
    """Return the answer of a search: 304 where the client has this page (RFC 9110 13.1.2), else the Bundle.

    By POST there is no tag: its address does not say what was searched for.
    """
    if result.tag is None or request.method == "POST":
        return of_text(result)
    tag = f'W/"{result.tag}"'
    if _is_known(request, result.tag):
        return Answer(304, b"", [("ETag", tag)])
    made = of_text(result)
    made.headers.append(("ETag", tag))
    return made


def outcome_text(issues: tuple[Issue, ...], done: str) -> bytes:
    """Return an OperationOutcome of `issues` and of what was `done`."""
    return json_format.encode(operation_outcome([*issues, Issue("information", "informational", done)]))


def of_content(
    request: Request,
    engine: Engine,
    content: Content,
    media_type: str,
    headers: Sequence[tuple[str, str]] = (),
    tag: str | None = None,
) -> Answer:
    """Return a content as it is, a piece at a time; or the part that Range asks for (RFC 9110 section 14).

    The entity tag is `tag`, or its hash: strong, for each byte is known. Raises RangeNotSatisfiable (416).
    """
    tag = tag or f'"{content.sha256[:32]}"'
    sent = [("ETag", tag), ("Accept-Ranges", "bytes"), *headers]
    if _is_known(request, tag.strip('"')):
        return Answer(304, b"", sent)
    span = ranges.asked(request, content.size_bytes, tag)
    start, stop = span or (0, content.size_bytes)
    if span is not None:
        sent.append(("Content-Range", f"bytes {start}-{stop - 1}/{content.size_bytes}"))
    return Answer(
        206 if span else 200,
        b"",
        sent,
        media_type,
        contents.read(engine, content.pk, start, stop),
        stop - start,
    )


def pretty(text: bytes) -> bytes:
    """Return the JSON indented by two spaces; no value is touched.

    >>> pretty(b'{"value":1.50}')
    b'{\\n  "value": 1.50\\n}'
    """
    return msgspec.json.format(text, indent=2)


def as_xml(request: Request, made: Answer, *, pretty: bool) -> None:
    """Turn the JSON of an answer into XML.

    Raises NotAcceptable (406) for what XML cannot hold (a control character, a narrative that is not
    well-formed) where something was asked. After a write there is no way back: the status stays, and
    the body says what happened. The messages of errors are always written.
    """
    # What storage or we have written is deep enough already: its limit was that of the door.
    resource = json_format.parse(made.body, max_depth=_ANY_DEPTH)
    try:
        made.body = xml_format.encode(resource, pretty=pretty, whole=made.status < 400)
    except xml_format.Unwritable as error:
        what = f"XML cannot hold what there is to tell: {error}; ask for application/fhir+json"
        if request.method in ("GET", "HEAD"):
            raise NotAcceptable(what) from error
        told = operation_outcome([Issue("warning", "not-supported", f"the request was served. {what}")])
        made.body = xml_format.encode(told, pretty=pretty, whole=False)


def compressed(body: bytes, accept_encoding: str) -> bytes | None:
    """Return the body as gzip, or None when the client does not take it or it is not worth it."""
    if len(body) < GZIP_FROM_BYTES or not _takes_gzip(accept_encoding):
        return None
    packer = zlib.compressobj(level=1, wbits=31)
    packed = packer.compress(body) + packer.flush()
    return packed if len(packed) < len(body) * 9 // 10 else None


@lru_cache(maxsize=128)
def _takes_gzip(accept_encoding: str) -> bool:
    """Say whether an Accept-Encoding header allows gzip.

    >>> _takes_gzip("br, gzip;q=0.8"), _takes_gzip("gzip;q=0"), _takes_gzip("*")
    (True, False, True)
    """
    weights = {}
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";")
        weights[name.strip()] = weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def _versioned_address(base_url: str, version: Version) -> str:
    return f"{base_url}/{version.type_name}/{version.id}/_history/{version.version}"


def _is_known(request: Request, tag: str) -> bool:
    """Say whether If-None-Match names this tag."""
    known = request.header("IF_NONE_MATCH")
    return known is not None and is_among(tag, known)


def _unchanged(request: Request, version: Version) -> bool:
    """Say whether the client has this state already (R4/http.html#cread)."""
    since = None
    with suppress(ValueError):  # a date that cannot be read is as if it were not there
        since = parsedate_to_datetime(request.header("IF_MODIFIED_SINCE") or "")
        since = since.replace(tzinfo=UTC) if since.tzinfo is None else since
    return unchanged(version, request.header("IF_NONE_MATCH"), since)


def reduced(request: Request, text: bytes) -> bytes:
    """Apply _summary and _elements to one resource (R4/search.html#summary, #elements)."""
    return parts.reduced(text, request.parameter("_summary"), request.parameter("_elements"))
