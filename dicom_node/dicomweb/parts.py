"""multipart/related → its parts as streams: a body of any size is read with the memory of one piece.

PS3.18 8.6.1.2, RFC 2046 5.1.1, RFC 2387. Delimiters are found across pieces; a line that only begins
like one belongs to its part. Preamble and epilogue are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fhir_server.outcome import Invalid

MAX_HEADERS_BYTES = 16 * 1024
MAX_PADDING_BYTES = 256  # blanks that a gateway may put behind a boundary (RFC 2046 5.1.1)

_PARAMETER = re.compile(r';\s*([A-Za-z0-9-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_LINE_END = re.compile(rb"[ \t]*\r\n")
_MAYBE_LINE_END = re.compile(rb"[ \t]*\r?\Z")
_HEADERS_END = re.compile(rb"(?:\A|\r?\n)\r?\n")


class Broken(Invalid):
    """400: the body is no multipart message, or it breaks off."""


def media_type(header: str | None) -> tuple[str, dict[str, str]]:
    """Return a Content-Type as media type and parameters; quotes may be missing.

    >>> media_type('multipart/related; type="application/dicom"; boundary=b')
    ('multipart/related', {'type': 'application/dicom', 'boundary': 'b'})
    """
    media, _, _ = (header or "").partition(";")
    parameters = {
        name.lower(): re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value.strip()
        for name, value in _PARAMETER.findall((header or "")[len(media) :])
    }
    return media.strip().lower(), parameters


Piece = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Received:
    """One part: its number from 1, its header fields by lower-case name, its bytes (to be read once)."""

    number: int
    headers: Mapping[str, str]
    pieces: Iterator[Piece]

    @property
    def content_type(self) -> tuple[str, dict[str, str]]:
        """Return the media type and its parameters; empty where the part does not say."""
        return media_type(self.headers.get("content-type"))

    @property
    def location(self) -> str:
        """Return its Content-Location, empty where it has none."""
        return self.headers.get("content-location", "").strip()


def parts(body: Iterable[bytes], boundary: str) -> Iterator[Received]:
    r"""Yield the parts of a message; what a caller leaves of one is passed over.

    Raises Broken where the message has no part or ends within one: then that part is not whole.

    >>> body = [b"--b\r\nContent-Type: text/plain\r\n\r\nhel", b"lo\r", b"\n--b--\r\n"]
    >>> [(part.content_type[0], b"".join(part.pieces)) for part in parts(body, "b")]
    [('text/plain', b'hello')]
    """
    if not 0 < len(boundary) <= 200 or not boundary.isascii() or not boundary.isprintable():
        raise Broken(f"the boundary is {boundary[:80]!r}; it has 1 to 70 printable ASCII characters")
    reader = _Reader(iter(body), boundary.encode())
    for _ in reader.content():
        pass
    number = 0
    while not reader.ended:
        number += 1
        pieces = reader.content()
        yield Received(number, reader.headers(number), pieces)
        for _ in pieces:
            pass
    if not number:
        raise Broken("the multipart message has no part")


class _Reader:
    def __init__(self, body: Iterator[bytes], boundary: bytes) -> None:
        self._body = body
        self._mark = b"\r\n--" + boundary
        self._left = b"\r\n"  # the first boundary may stand at the very beginning
        self.ended = False

    def content(self) -> Iterator[Piece]:
        """Yield what stands before the next boundary; afterwards `ended` says whether it was the last."""
        mark, keep = self._mark, len(self._mark) + MAX_PADDING_BYTES
        searched, skip = 0, 2  # the line end that was put in front of it is no content
        while True:
            at = self._left.find(mark, searched)
            if at >= 0:
                behind = self._behind(at + len(mark))
                if behind is not None:
                    content, self._left = self._left[skip:at], self._left[behind:]
                    if content:
                        yield content
                    return
                searched = at + 1
                continue
            settled = len(self._left) - keep
            if settled > skip:
                whole, self._left = self._left, self._left[settled:]
                yield memoryview(whole)[skip:settled]  # most of a body comes by here: without a copy
                skip = 0
            searched = max(0, len(self._left) - len(mark) + 1)
            if not self._more():
                raise Broken(
                    "the body ends without its closing boundary, so its last part may not be whole and was"
                    " not kept; send that part again"
                )

    def headers(self, number: int) -> dict[str, str]:
        """Return the header fields of the part that begins here."""
        while (end := _HEADERS_END.search(self._left)) is None:
            if len(self._left) > MAX_HEADERS_BYTES or not self._more():
                raise Broken(f"the header fields of part {number} do not end, or are longer than 16 KiB")
        raw, self._left = self._left[: end.start()], self._left[end.end() :]
        self._left = b"\r\n" + self._left  # the end of the blank line may also be that of a boundary
        fields: dict[str, str] = {}
        for line in re.sub(rb"\r?\n[ \t]+", b" ", raw).splitlines():
            name, colon, value = line.partition(b":")
            if colon:
                fields[name.strip().lower().decode("latin_1")] = value.strip().decode("utf-8", "replace")
        return fields

    def _behind(self, at: int) -> int | None:
        """Return where the line of a boundary ends, None where it was only bytes that look like one."""
        while True:
            if self._left[at : at + 2] == b"--":
                self.ended = True
                return at + 2
            if (end := _LINE_END.match(self._left, at)) is not None:
                return end.end()
            undecided = len(self._left) - at < 2 or (
                len(self._left) - at < MAX_PADDING_BYTES and _MAYBE_LINE_END.match(self._left, at)
            )
            if not undecided or not self._more():
                return None

    def _more(self) -> bool:
        for piece in self._body:
            if piece:
                self._left += piece
                return True
        return False
