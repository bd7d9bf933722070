"""multipart/related as a stream of pieces: nothing is held in memory (PS3.18 8.6, RFC 2387)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LARGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type with parameters, where it can be had by itself, its bytes."""

    content_type: str
    pieces: Iterable[bytes]
    location: str = ""
    length: int | None = None  # of the bytes, where it is known before they are made

    def head(self, boundary: str) -> bytes:
        """Return what stands before the bytes."""
        lines = [f"--{boundary}", f"Content-Type: {self.content_type}"]
        if self.location:
            lines.append(f"Content-Location: {self.location}")
        if self.length is not None:
            lines.append(f"Content-Length: {self.length}")
        return "\r\n".join([*lines, "", ""]).encode()


def new_boundary() -> str:
    """Return a boundary that no part contains but by an accident of 2**-128."""
    return secrets.token_hex(16)


def content_type(media: str, boundary: str) -> str:
    """Return the Content-Type of a whole message.

    >>> content_type("application/dicom", "b")
    'multipart/related; type="application/dicom"; boundary=b'
    """
    return f'multipart/related; type="{media}"; boundary={boundary}'


def write(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    r"""Yield a message.

    >>> b"".join(write([Part("text/plain", [b"hello"])], "b"))
    b'--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n'
    """
    waiting = b""  # a few bytes are not worth a journey of their own: they go with what follows
    for part in parts:
        waiting += part.head(boundary)
        for piece in part.pieces:
            if waiting and len(piece) < LARGE_BYTES:
                piece = waiting + piece
            elif waiting:  # to copy it would cost more than the journey
                yield waiting
            yield piece
            waiting = b""
        waiting += b"\r\n"
    yield waiting + f"--{boundary}--\r\n".encode()


def length(parts: Iterable[Part], boundary: str) -> int | None:
    r"""Return how many bytes `write` will give, or None where a part does not know.

    >>> parts = [Part("text/plain", [b"hello"], length=5)]
    >>> length(parts, "b") == len(b"".join(write(parts, "b")))
    True
    """
    total = len(boundary) + 6
    for part in parts:
        if part.length is None:
            return None
        total += len(part.head(boundary)) + part.length + 2
    return total
