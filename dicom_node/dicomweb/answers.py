"""What a DICOMweb resource gives → an HTTP response: pieces, length, validators, ranges (RFC 9110).

PS3.18 8.4 (header fields), 8.5 (status codes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from flask import Response, request

from fhir_server.rest import ranges
from fhir_server.rest.request import Request

SMALL_BYTES = 1024 * 1024
"""A body up to this length is in memory as a whole while it is sent; a longer one is only in pieces."""

Slice = Callable[[int, int], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Body:
    """An answer: its media type, its pieces, and its length where that is known beforehand.

    `part` gives the bytes from one position to another, for answers that can be had in parts;
    `etag` is strong: the same tag means the same bytes.
    """

    content_type: str
    pieces: Iterable[bytes]
    length: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    part: Slice | None = None


def answer(body: Body) -> Response:
    """Return the response of a body; its pieces are taken while it is sent."""
    known = bool(body.etag) and _known(body.etag)
    # all header fields at once: set one by one, each is looked for among those that are there
    fields: list[tuple[str, str]] = [] if known else [("Content-Type", body.content_type)]
    if body.etag:
        fields.append(("ETag", body.etag))
        # an instance may get a newer version under its address: kept, but asked for again
        fields.append(("Cache-Control", "private, no-cache"))
    fields += body.headers.items()
    if known:
        return Response(status=304, headers=fields)
    span = None
    if body.part is not None and body.length is not None:
        span = ranges.asked(Request(request.environ), body.length, body.etag)
        fields.append(("Accept-Ranges", "bytes"))
    if span is not None and body.part is not None:
        start, stop = span
        fields.append(("Content-Range", f"bytes {start}-{stop - 1}/{body.length}"))
        fields.append(("Content-Length", str(stop - start)))
        return Response(body.part(start, stop), 206, fields, direct_passthrough=True)
    if body.length is not None:
        fields.append(("Content-Length", str(body.length)))
    return Response(_at_once(body), 200, fields, direct_passthrough=True)


def _at_once(body: Body) -> Iterable[bytes]:
    """Return the pieces of a small body as one: it is sent by one call instead of as a stream of some."""
    small = body.length is not None and body.length <= SMALL_BYTES
    return [b"".join(body.pieces)] if small and request.method == "GET" else body.pieces


def accept() -> str | None:
    """Return what the client accepts: the query parameter wins over the header (PS3.18 8.3.3.1)."""
    return request.args.get("accept") or request.headers.get("Accept")


def one_line(text: str) -> str:
    """Return a text that can stand in a header field, quotes and line ends away."""
    return "".join(sign if sign.isprintable() and sign not in '"\\' else " " for sign in text)[:300]


def _known(etag: str) -> bool:
    """Whether the client has this state already (RFC 9110 13.1.2; the comparison is the weak one)."""
    stated = request.headers.get("If-None-Match")
    if stated is None:
        return False
    return stated.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in stated.split(","))
