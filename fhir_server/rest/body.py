"""Request bytes → resource, patch or form parameters (R4/http.html#mime-type, R4/json.html, R4/xml.html).

A body that is too long is refused before it is read: by its Content-Length at once, a chunked
one as soon as the limit is passed. So the memory of a worker is bounded by the limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from fhir_server.config import Config
from fhir_server.interactions.context import Settings
from fhir_server.interactions.patch import FORMATS, Change
from fhir_server.interactions.update import check_id
from fhir_server.model import json_format, xml_format
from fhir_server.outcome import Invalid, TooLarge, UnsupportedMediaType
from fhir_server.rest.negotiation import (
    FHIR_JSON,
    FHIR_VERSIONS,
    FHIR_XML,
    JSON_TYPES,
    XML_TYPES,
    media_type_of,
)
from fhir_server.rest.request import Request, decode_parameters

FORM = "application/x-www-form-urlencoded"
ARCHIVES = frozenset(
    ("application/gzip", "application/x-gzip", "application/tar+gzip", "application/x-tar",
     "application/x-compressed-tar", "application/octet-stream")
)  # fmt: skip
"""How clients name a .tgz."""

_CHUNK_BYTES = 256 * 1024
_MOST_MEMBERS = 64  # what is behind a member is copied for the next one
_UTF8 = ("utf-8", "utf8", "us-ascii")


def resource(request: Request, config: Config) -> dict[str, Any]:
    """Return the resource that the body holds.

    Raises UnsupportedMediaType (415), TooLarge (413), and Invalid (400) with line and column
    for a body that is no JSON or XML, has duplicate keys or nests deeper than the limit.
    """
    written_as_xml = _checked_type(request)
    data = read(request, config.max_body_bytes)
    if not data.strip():
        raise Invalid(f"the body is empty; {request.method} {request.path} needs a resource as {FHIR_JSON}")
    request.sent = data
    if written_as_xml:
        return xml_format.parse(data, max_depth=config.max_json_depth)
    value = json_format.parse(data, max_depth=config.max_json_depth)
    if not isinstance(value, dict):
        raise Invalid(f"the body is a JSON {_json_kind(value)}; a resource is a JSON object")
    if not isinstance(value.get("resourceType"), str):
        raise Invalid(
            'the body has no "resourceType"; a resource names its type, such as "resourceType": "Patient"',
            code="structure",
        )
    return value


class UnsupportedPatch(UnsupportedMediaType):
    """415 to a PATCH: the answer names in Accept-Patch what works (RFC 5789 section 2.2)."""


def patch(request: Request, config: Config, settings: Settings) -> Change:
    """Return the change that the body of a PATCH says.

    Raises UnsupportedPatch (415), TooLarge (413), and Invalid (400) for a body that is no patch.
    """
    media_type, parameters = media_type_of(request.environ.get("CONTENT_TYPE") or "")
    aliases = {**dict.fromkeys(JSON_TYPES, FHIR_JSON), **dict.fromkeys(XML_TYPES, FHIR_XML)}
    read_patch = FORMATS.get(aliases.get(media_type, media_type))
    if read_patch is None:
        raise UnsupportedPatch(
            f"the patch came {'as ' + media_type if media_type else 'without Content-Type'}; "
            f"this server reads {', '.join(FORMATS)} (the last two are Parameters, R4/fhirpatch.html)"
        )
    _check_charset(parameters)
    _check_version(parameters)
    data = read(request, config.max_patch_bytes, "max_patch_bytes")
    if not data.strip():
        raise Invalid(f"the body is empty; {request.method} {request.path} needs a patch as {media_type}")
    return read_patch(data, settings)


def is_there(request: Request) -> bool:
    """Return whether a request has a body at all: an operation without parameters may come without."""
    environ = request.environ
    return (environ.get("CONTENT_LENGTH") or "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ


def is_form(request: Request) -> bool:
    """Return whether the body says that it is a form."""
    return media_type_of(request.environ.get("CONTENT_TYPE") or "")[0] == FORM


def is_archive(request: Request) -> bool:
    """Return whether the body says that it is a .tgz, or bytes of any kind."""
    return media_type_of(request.environ.get("CONTENT_TYPE") or "")[0] in ARCHIVES


def resource_for(
    request: Request, config: Config, type_name: str, resource_id: str | None = None
) -> dict[str, Any]:
    """Return the resource of a create or update after comparing it with the URL.

    Raises Invalid when type or id are not those of the URL (R4/http.html#update: 400).
    """
    value = resource(request, config)
    if value["resourceType"] != type_name:
        raise Invalid(
            f"the body is a {value['resourceType']}, the URL says {type_name}; both must name the same type",
            expression=f"{type_name}.resourceType",
        )
    if resource_id is not None:
        check_id(value, resource_id)
    return value


def form(request: Request, config: Config) -> list[tuple[str, str]]:
    """Return the parameters of a POST …/_search body; an empty body has none.

    Raises UnsupportedMediaType (415) unless the body is a form (R4/http.html#search).
    """
    header = request.environ.get("CONTENT_TYPE") or ""
    media_type, parameters = media_type_of(header)
    limit, setting = min((config.max_form_bytes, "max_form_bytes"), (config.max_body_bytes, "max_body_bytes"))
    if media_type == FORM:
        _check_charset(parameters)
        try:
            text = read(request, limit, setting).decode("ascii")
        except UnicodeDecodeError as error:
            raise Invalid("the form has bytes above 127; write ü as %C3%BC") from error
        return decode_parameters(text, "the form")
    if media_type or read(request, limit, setting):
        raise UnsupportedMediaType(
            f"the search was sent as {media_type or 'a body without Content-Type'}; send it as {FORM}"
        )
    return []


def read(request: Request, limit: int, setting: str = "max_body_bytes") -> bytes:
    """Return the body, unpacked if it came with Content-Encoding gzip.

    Raises TooLarge (413) as soon as it is known to be longer than `limit` bytes.
    """
    environ = request.environ
    stream = environ["wsgi.input"]
    length_text = environ.get("CONTENT_LENGTH") or ""
    if length_text:
        if not length_text.isdecimal():
            raise Invalid(f"Content-Length is {length_text!r}, which is no number")
        length = int(length_text)
        if length > limit:
            raise _too_large(f"{length} bytes", limit, setting)
        data = _read_up_to(stream, length)
        if len(data) < length:
            raise Invalid(f"the body ended after {len(data)} of {length} bytes", code="incomplete")
    elif "chunked" in (environ.get("HTTP_TRANSFER_ENCODING") or "").lower():
        data = _read_up_to(stream, limit + 1)
        if len(data) > limit:
            raise _too_large(f"more than {limit} bytes", limit, setting)
    else:
        return b""
    encoding = (environ.get("HTTP_CONTENT_ENCODING") or "identity").strip().lower()
    return data if encoding == "identity" else _unpacked(data, encoding, limit, setting)


def pieces(request: Request, limit: int, setting: str) -> Iterator[bytes]:
    """Give the body as it comes, a piece at a time, unpacked if it came with Content-Encoding gzip.

    Raises TooLarge (413) as soon as it is known to be longer than `limit` bytes.
    """
    environ = request.environ
    length_text = environ.get("CONTENT_LENGTH") or ""
    if length_text and not length_text.isdecimal():
        raise Invalid(f"Content-Length is {length_text!r}, which is no number")
    length = int(length_text) if length_text else None
    if length is not None and length > limit:
        raise _too_large(f"{length} bytes", limit, setting)
    encoding = (environ.get("HTTP_CONTENT_ENCODING") or "identity").strip().lower()
    sent = _sent(environ["wsgi.input"], length, limit)
    size_bytes = 0
    for piece in sent if encoding == "identity" else _unpacking(sent, encoding):
        size_bytes += len(piece)
        if size_bytes > limit:
            raise _too_large(f"more than {limit} bytes", limit, setting)
        yield piece


def _sent(stream: Any, length: int | None, limit: int) -> Iterator[bytes]:
    have = 0
    most = limit + 1 if length is None else length
    while have < most and (piece := stream.read(min(most - have, _CHUNK_BYTES))):
        have += len(piece)
        yield piece
    if length is not None and have < length:
        raise Invalid(f"the body ended after {have} of {length} bytes", code="incomplete")


def _unpacking(sent: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Give what gzip holds, no more at a time than a piece."""
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedEncoding(f"Content-Encoding is {encoding!r}; send the body plain or as gzip")
    unpacker = zlib.decompressobj(wbits=31)
    members = 1
    for data in sent:
        while data:
            if unpacker.eof:
                unpacker, members = zlib.decompressobj(wbits=31), members + 1
                if members > _MOST_MEMBERS:
                    raise Invalid(f"the gzip body has more than {_MOST_MEMBERS} members", code="too-long")
            try:
                yield unpacker.decompress(data, _CHUNK_BYTES)
            except zlib.error as error:
                raise Invalid("the body says Content-Encoding gzip and is none") from error
            data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        raise Invalid("the gzip body ended early", code="incomplete")


def _read_up_to(stream: Any, most: int) -> bytes:
    """Read until the end of the stream or `most` bytes."""
    first: bytes = stream.read(min(most, _CHUNK_BYTES)) if most else b""
    if len(first) == most or not first:
        return first
    pieces, have = [first], len(first)
    while have < most and (piece := stream.read(min(most - have, _CHUNK_BYTES))):
        pieces.append(piece)
        have += len(piece)
    return b"".join(pieces)


class UnsupportedEncoding(UnsupportedMediaType):
    """415 to a Content-Encoding: Accept-Encoding names what works (RFC 9110 section 15.5.16)."""


def _unpacked(data: bytes, encoding: str, limit: int, setting: str) -> bytes:
    """Return what gzip holds, its members one behind the other (RFC 1952 section 2.2)."""
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedEncoding(f"Content-Encoding is {encoding!r}; send the body plain or as gzip")
    plain = b""
    for _ in range(_MOST_MEMBERS):
        if not data:
            return plain
        unpacker = zlib.decompressobj(wbits=31)
        try:
            plain += unpacker.decompress(data, limit + 1 - len(plain))
        except zlib.error as error:
            raise Invalid("the body says Content-Encoding gzip and is none") from error
        if len(plain) > limit:
            raise _too_large(f"more than {limit} bytes once unpacked", limit, setting)
        if not unpacker.eof:
            raise Invalid("the gzip body ended early", code="incomplete")
        data = unpacker.unused_data
    if data:
        raise Invalid(f"the gzip body has more than {_MOST_MEMBERS} members; pack it as one", code="too-long")
    return plain


def _too_large(size: str, limit: int, setting: str) -> TooLarge:
    return TooLarge(
        f"the body has {size}; this server takes {limit} bytes at most (setting {setting}); "
        "divide it into several requests"
    )


def _checked_type(request: Request) -> bool:
    """Return whether the body is XML; refuse what is neither JSON nor XML."""
    header = request.environ.get("CONTENT_TYPE") or ""
    if header == FHIR_JSON:
        return False
    media_type, parameters = media_type_of(header)
    written_as_xml = media_type in XML_TYPES
    if not written_as_xml and media_type not in JSON_TYPES:
        raise UnsupportedMediaType(
            f"the body came {'as ' + media_type if media_type else 'without Content-Type'}; "
            f"send it with Content-Type: {FHIR_JSON} or {FHIR_XML}"
        )
    _check_charset(parameters)
    _check_version(parameters)
    return written_as_xml


def _check_version(parameters: dict[str, str]) -> None:
    version = parameters.get("fhirversion")
    if version is not None and version not in FHIR_VERSIONS:
        raise UnsupportedMediaType(f"the body is of fhirVersion {version}; this server reads 4.0 (R4)")


def _check_charset(parameters: dict[str, str]) -> None:
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in _UTF8:
        raise UnsupportedMediaType(f"the body says charset={charset}; FHIR is UTF-8 (R4/http.html#mime-type)")


def _json_kind(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "literal"
