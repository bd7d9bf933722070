"""Binary in its own media type (R4/binary.html): any content in and out, large ones a piece at a time.

A body of another type than FHIR's is the content itself: up to INLINE_BYTES it is stored as Binary.data,
beyond that in pieces (database/contents.py). A read gives the content as it came unless a FHIR type is
asked for by name. What goes out is never run by a browser as a page of ours: it is an attachment, in a
sandbox.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from fhir_server.database import contents
from fhir_server.database.contents import Content
from fhir_server.interactions import binary as binary_
from fhir_server.interactions import read as read_
from fhir_server.interactions import vread as vread_
from fhir_server.model import json_format
from fhir_server.outcome import Invalid, UnsupportedMediaType
from fhir_server.rest import body, handlers, negotiation, ranges, response
from fhir_server.rest.caller import caller
from fhir_server.rest.installation import Installation
from fhir_server.rest.request import Request
from fhir_server.rest.response import Answer
from fhir_server.rest.routes import Match

if TYPE_CHECKING:
    from fhir_server.interactions.context import Context, Resource, Result

INLINE_BYTES = 256 * 1024
"""The largest content that is stored in the resource: it is read with it in one statement."""

_SNIFFED_BYTES = 4096
_RESOURCE = re.compile(
    rb'\s*(?:\{.*"resourceType"\s*:\s*"Binary"|(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<Binary[\s/>])',
    re.DOTALL,
)
_HOLE = "AAAAxinglinAAAAcontentAAAA"  # valid base64 that stands for the data while the rest is written
_SAFE = [
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("Content-Disposition", "attachment"),
]


def create(here: Installation, request: Request, match: Match) -> Answer:
    """R4/binary.html, R4/http.html#create."""
    sent = _sent(here, request)
    if sent is None:
        return handlers.create(here, request, match)
    resource, content = sent
    with _used(here, content):
        return handlers.created(here, request, "Binary", resource, content)


def update(here: Installation, request: Request, match: Match) -> Answer:
    """R4/binary.html, R4/http.html#update."""
    id_ = match.values["id"]
    handlers.if_match(request)
    handlers.only_create(request)
    sent = _sent(here, request)
    if sent is None:
        return handlers.update(here, request, match)
    resource, content = sent
    with _used(here, content):
        return handlers.updated(here, request, "Binary", id_, {**resource, "id": id_}, content)


@contextmanager
def _used(here: Installation, content: Content | None) -> Iterator[None]:
    """Take a content away again unless a version has it at the end: it was refused, or there already."""
    try:
        yield
    finally:
        if content is not None:
            contents.discard_unused(here.entry.engine, content.pk)


def _sent(here: Installation, request: Request) -> tuple[Resource, Content | None] | None:
    """Return the Binary that a body of its own media type becomes; None for a body that is a resource.

    Types that are FHIR's and others', such as text/xml, are a resource if they begin like a Binary.
    """
    declared = (request.environ.get("CONTENT_TYPE") or "").strip()
    media_type, _ = negotiation.media_type_of(declared)
    if media_type in (negotiation.FHIR_JSON, negotiation.FHIR_XML):
        return None
    if not media_type:
        raise UnsupportedMediaType(
            "the body came without Content-Type; send the content of a Binary with its own media type, for "
            f"example application/pdf, or a resource as {negotiation.FHIR_JSON}"
        )
    pieces = body.pieces(request, here.config.max_binary_bytes, "max_binary_bytes")
    if media_type in negotiation.OURS:
        start = _start(pieces)
        if _RESOURCE.match(start):
            _put_back(request, start, pieces)
            return None
        pieces = chain([start], pieces)
    return _stored(here, request, declared, pieces)


def _start(pieces: Iterator[bytes]) -> bytes:
    start = b""
    while len(start) < _SNIFFED_BYTES and (piece := next(pieces, None)) is not None:
        start += piece
    return start


def _put_back(request: Request, start: bytes, pieces: Iterator[bytes]) -> None:
    """Let the body be read again from its beginning, unpacked as it is now."""
    environ = {**request.environ, "wsgi.input": _Again(chain([start], pieces))}
    for name in ("CONTENT_LENGTH", "HTTP_CONTENT_ENCODING"):
        environ.pop(name, None)
    environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    request.environ = environ


class _Again:
    """Pieces as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""
        while not self._left and (piece := next(self._pieces, None)) is not None:
            self._left = piece
        data, self._left = self._left[:size], self._left[size:]
        return data


def _stored(
    here: Installation, request: Request, media_type: str, pieces: Iterator[bytes]
) -> tuple[Resource, Content | None]:
    """Return the Binary of a content: small ones with their data, large ones with what is written apart."""
    resource: Resource = {"resourceType": "Binary", "contentType": media_type}
    if (context := request.header("X_SECURITY_CONTEXT")) is not None:
        resource["securityContext"] = {"reference": context.strip()}
    small = bytearray()
    writer: contents.Writer | None = None
    try:
        for piece in pieces:
            if writer is None:
                small += piece
                if len(small) > INLINE_BYTES:
                    writer = contents.Writer(here.entry.engine)
                    writer.write(bytes(small))
            else:
                writer.write(piece)
    except BaseException:
        if writer is not None:
            writer.discard()
        raise
    if writer is not None:
        content = writer.close()
        return {**resource, "_data": binary_.described(content)}, content
    if not small:
        raise Invalid("the body is empty; a Binary without data is sent as a resource")
    return {**resource, "data": base64.b64encode(small).decode()}, None


def read(here: Installation, request: Request, match: Match) -> Answer:
    """R4/binary.html, R4/http.html#read, #vread: the content as it came, or the resource."""
    values = match.values

    def work(context: Context) -> tuple[Result, Content | None]:
        if "version" in values:
            found = vread_.vread(context, "Binary", values["id"], values["version"])
        else:
            found = read_.read(context, "Binary", values["id"])
        return found, None if found.version is None else binary_.content_of(context, found.version)

    result, content = here.entry.read(caller(request), work)
    version = result.version
    if version is None:
        raise ValueError("a read without a version has no answer")
    resource = json_format.parse(version.text().encode())
    native = resource.get("contentType", "")
    if not _fits_header(native):  # loaded before it was looked at
        native = "application/octet-stream"
    wanted = negotiation.takes(request.environ.get("HTTP_ACCEPT"), request.parameter("_format"), native)
    made = response.of_read(request, result, here.base_url)
    if made.status == 304:
        return made
    if wanted is not None:
        return _as_resource(here, request, made, wanted, resource, content)
    reference = resource.get("securityContext", {}).get("reference")
    if _fits_header(reference):
        made.headers.append(("X-Security-Context", reference))
    return _as_content(here, request, made, native, resource, content)


def _fits_header(text: object) -> bool:
    """Say whether a text of a resource can stand in a header as it is."""
    return isinstance(text, str) and text != "" and text.isascii() and text.isprintable()


def _as_content(
    here: Installation,
    request: Request,
    made: Answer,
    native: str,
    resource: dict[str, Any],
    content: Content | None,
) -> Answer:
    """Return the content in its own media type, whole or the part that Range asks for."""
    data = _decoded(resource) if content is None else b""
    size_bytes = len(data) if content is None else content.size_bytes
    span = ranges.asked(request, size_bytes, dict(made.headers)["ETag"])
    start, stop = span or (0, size_bytes)
    made.status, made.body, made.media_type = 206 if span else 200, data[start:stop], native
    made.headers += [*_SAFE, ("Accept-Ranges", "bytes")]
    if span is not None:
        made.headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{size_bytes}"))
    if content is not None:
        made.stream = contents.read(here.entry.engine, content.pk, start, stop)
        made.size_bytes = stop - start
    return made


def _decoded(resource: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode("".join(str(resource.get("data", "")).split()), validate=True)
    except binascii.Error:  # stored before it was looked at, or loaded
        return b""


def _as_resource(
    here: Installation,
    request: Request,
    made: Answer,
    media_type: str,
    resource: dict[str, Any],
    content: Content | None,
) -> Answer:
    """Return the resource; data in pieces are written into it as they come."""
    made.media_type = media_type
    if content is not None:
        resource = {name: value for name, value in resource.items() if name != "_data"}
        made.body = response.reduced(request, json_format.encode({**resource, "data": _HOLE}))
    if negotiation.is_xml(media_type):
        response.as_xml(request, made, pretty=request.parameter("_pretty") == "true")
    elif request.parameter("_pretty") == "true":
        made.body = response.pretty(made.body)
    head, hole, tail = made.body.partition(_HOLE.encode())
    if content is None or not hole:
        return made
    made.size_bytes = len(head) + (content.size_bytes + 2) // 3 * 4 + len(tail)
    data = contents.read(here.entry.engine, content.pk, 0, content.size_bytes)
    made.body, made.stream = b"", chain([head], _encoded(data), [tail])
    return made


def _encoded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give the base64 of bytes that come in pieces.

    >>> b"".join(_encoded(iter([b"a", b"bcd", b"e"]))) == base64.b64encode(b"abcde")
    True
    """
    left = b""
    for piece in pieces:
        data = left + piece
        whole = len(data) - len(data) % 3
        left = data[whole:]
        yield base64.b64encode(data[:whole])
    yield base64.b64encode(left)


HANDLERS = {"create": create, "update": update, "read": read, "vread": read}
"""What answers these interactions on Binary."""
