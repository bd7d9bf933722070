"""What a DICOMweb resource gives → an HTTP response: pieces, length, validators (RFC 9110, PS3.18 8.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flask import Response, request


@dataclass(frozen=True, slots=True)
class Body:
    """An answer: its media type, its pieces, and its length where that is known beforehand."""

    content_type: str
    pieces: Iterable[bytes]
    length: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


def answer(body: Body) -> Response:
    """Return the response of a body; its pieces are taken while it is sent."""
    response = Response(body.pieces, status=206 if "Content-Range" in body.headers else 200)
    response.headers["Content-Type"] = body.content_type
    if body.length is not None:
        response.headers["Content-Length"] = str(body.length)
    response.headers.update(body.headers)
    return response


def accept() -> str | None:
    """Return what the client accepts: the query parameter wins over the header (PS3.18 8.3.3.1)."""
    return request.args.get("accept") or request.headers.get("Accept")
