"""The body of a request as a stream, however it comes: with its length, or in chunks (RFC 9112 6, 7.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_node.dicomweb.parts import Broken
from fhir_server.outcome import TooLarge, UnsupportedMediaType

PIECE_BYTES = 256 * 1024


def pieces(environ: Mapping[str, Any], limit: int, setting: str) -> Iterator[bytes]:
    """Yield the body a piece at a time; a longer one than `limit` is refused as soon as that is known.

    Raises TooLarge (413, at once where Content-Length says it), Broken (400) when the body ends
    before its length, UnsupportedMediaType (415) for a Content-Encoding.
    """
    encoding = (environ.get("HTTP_CONTENT_ENCODING") or "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"Content-Encoding is {encoding[:40]!r}; send the body as it is")
    text = environ.get("CONTENT_LENGTH") or ""
    if text and not text.isdecimal():
        raise Broken(f"Content-Length is {text[:40]!r}, which is no number")
    length = int(text) if text else None
    if length is not None and length > limit:
        raise _too_large(f"{length} bytes", limit, setting)
    if length is None and "chunked" not in (environ.get("HTTP_TRANSFER_ENCODING") or "").lower():
        return iter(())
    return _read(environ["wsgi.input"], length, limit, setting)


def _read(stream: Any, length: int | None, limit: int, setting: str) -> Iterator[bytes]:
    have = 0
    while length is None or have < length:
        piece = stream.read(PIECE_BYTES if length is None else min(PIECE_BYTES, length - have))
        if not piece:
            break
        have += len(piece)
        if have > limit:
            raise _too_large(f"more than {limit} bytes", limit, setting)
        yield piece
    if length is not None and have < length:
        raise Broken(f"the body ended after {have} of {length} bytes")


def _too_large(size: str, limit: int, setting: str) -> TooLarge:
    return TooLarge(
        f"the body has {size}; this server takes {limit} bytes at most (setting {setting}); "
        "divide it into several requests"
    )
