"""multipart/related as a stream of pieces: nothing is held in memory (PS3.18 8.6, RFC 2387)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type with parameters, where it can be had by itself, its bytes."""

    content_type: str
    pieces: Iterable[bytes]
    location: str = ""


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
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: {part.content_type}\r\n"
        if part.location:
            head += f"Content-Location: {part.location}\r\n"
        yield f"{head}\r\n".encode()
        yield from part.pieces
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()
