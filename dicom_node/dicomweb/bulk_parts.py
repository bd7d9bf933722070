"""Metadata with bulk data → encoded data sets: STOW-RS of application/dicom+json (PS3.18 10.5.2, 8.7.3.2).

Metadata parts are held in memory up to a bound; bulk data goes to one nameless file and is read from
there while the data set is stored, so a film of gigabytes costs no memory. A bulk value is found by the
Content-Location of its part; several parts with one location are the frames of compressed pixel data.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dicom_node.attributes import DEEPEST, Attributes
from dicom_node.dicomweb.coded_images import HEAD_BYTES, NATIVE, OF_MEDIA, Picture, describe
from dicom_node.dicomweb.media import DICOM_JSON, OCTETS
from dicom_node.dicomweb.parts import Broken, Piece, Received
from dicom_node.dictionary import vr_of
from dicom_node.encode import Unsayable, encode
from dicom_node.instance import first
from dicom_node.values import BULK
from fhir_server.outcome import TooLarge, Unavailable, UnsupportedMediaType

MAX_METADATA_BYTES = 16 * 1024 * 1024
MAX_INLINE_BYTES = 16 * 1024 * 1024
"""Bulk data within sequences goes through memory; more of it in one instance is refused."""

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
PIXEL_DATA, DOCUMENT, DOCUMENT_LENGTH, DOCUMENT_MEDIA = "7FE00010", "00420011", "00420015", "00420012"
_PIECE_BYTES = 256 * 1024
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_MEDIA = re.compile(r"(?:application|image|video|audio|text|model)/[\w.+-]+")


class Unusable(ValueError):
    """One instance cannot be made of what came; the text says why, without patient data."""


@dataclass(frozen=True, slots=True)
class Made:
    """One data set: its syntax and SOP UIDs, its bytes; or why there is none."""

    transfer_syntax: str = EXPLICIT_LITTLE
    sop_class: str = ""
    sop_uid: str = ""
    pieces: Iterable[bytes] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Bulk:
    """Where the bytes of one part lie in the spool, and what they are."""

    start: int
    length: int
    media: str
    transfer_syntax: str


@dataclass(slots=True)
class _Spool:
    """The bulk data of a request in a file."""

    file: IO[bytes]
    size: int = 0
    by_location: dict[str, list[_Bulk]] = field(default_factory=dict)

    def add(self, part: Received) -> None:
        media, parameters = part.content_type
        start = self.size
        for piece in part.pieces:
            self.file.write(piece)
            self.size += len(piece)
        syntax = parameters.get("transfer-syntax", "").strip()
        bulk = _Bulk(start, self.size - start, media or OCTETS, "" if syntax == "*" else syntax)
        location = part.location
        if not location and (content_id := part.headers.get("content-id")):
            location = f"cid:{content_id.strip().strip('<>')}"
        if not location:
            raise Broken(f"part {part.number} is bulk data without Content-Location, so no value is its own")
        self.by_location.setdefault(location, []).append(bulk)

    def find(self, uri: str) -> list[_Bulk]:
        """Return the parts of a BulkDataURI; a relative address may stand for a whole one."""
        if (exact := self.by_location.get(uri)) is not None:
            return exact
        ending = [
            bulks
            for location, bulks in self.by_location.items()
            if location.endswith(f"/{uri.lstrip('./')}") or uri.endswith(f"/{location.lstrip('./')}")
        ]
        return ending[0] if len(ending) == 1 else []

    def read(self, start: int, length: int) -> Iterator[bytes]:
        while length > 0 and (piece := os.pread(self.file.fileno(), min(length, _PIECE_BYTES), start)):
            start, length = start + len(piece), length - len(piece)
            yield piece


@contextmanager
def collected(received: Iterable[Received], folder: Path) -> Iterator[Iterator[Made]]:
    """Read all parts and give one data set for each instance of the metadata, as it is asked for.

    `folder` is where bulk data lies meanwhile. Raises Broken, TooLarge, Unavailable (no room on disk)
    and UnsupportedMediaType (the first part is not metadata).
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        spool = _Spool(file)
        metadata: list[Any] = []
        metadata_bytes = 0
        try:
            for part in received:
                media, _ = part.content_type
                if media in (DICOM_JSON, "application/json"):
                    raw = b"".join(_bounded(part.pieces, MAX_METADATA_BYTES - metadata_bytes))
                    metadata_bytes += len(raw)
                    metadata.extend(_parsed(raw, part.number))
                elif not metadata:
                    raise UnsupportedMediaType(
                        f"part {part.number} is {media[:80] or 'without Content-Type'}; the first part is the"
                        f" metadata, as {DICOM_JSON}"
                    )
                else:
                    spool.add(part)
            file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Unavailable("there is no room on disk for the bulk data") from error
            raise
        if not metadata:
            raise Broken("the metadata names no instance")
        yield (_made(one, spool) for one in metadata)


def _bounded(pieces: Iterable[Piece], most: int) -> Iterator[Piece]:
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            raise TooLarge(f"the metadata has more than {MAX_METADATA_BYTES} bytes; divide the request")
        yield piece


def _parsed(raw: bytes, number: int) -> list[Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Broken(f"part {number} says that it is {DICOM_JSON} and is no JSON") from error
    return value if isinstance(value, list) else [value]


def _made(metadata: Any, spool: _Spool) -> Made:
    sop_class = sop_uid = ""
    try:
        if not isinstance(metadata, dict):
            raise Unusable("its metadata is no JSON object")
        sop_class, sop_uid = _text(metadata, "00080016"), _text(metadata, "00080018")
        if lacking := [
            name
            for name, tag in (
                ("SOPClassUID", "00080016"),
                ("SOPInstanceUID", "00080018"),
                ("StudyInstanceUID", "0020000D"),
                ("SeriesInstanceUID", "0020000E"),
            )
            if not _text(metadata, tag)
        ]:
            raise Unusable(f"its metadata has no {', '.join(lacking)}")
        syntax, pieces = _data_set(metadata, spool)
        return Made(syntax, sop_class, sop_uid, pieces)
    except (Unusable, Unsayable) as error:
        return Made(sop_class=sop_class, sop_uid=sop_uid, problem=str(error))


def _text(metadata: Attributes, tag: str) -> str:
    element = metadata.get(tag)
    value = first(metadata, tag) if isinstance(element, dict) and _listed(element) else ""
    return value if isinstance(value, str) else ""


def _listed(element: dict[str, Any]) -> bool:
    return isinstance(element.get("Value", []), list)


def _data_set(metadata: Attributes, spool: _Spool) -> tuple[str, Iterator[bytes]]:
    """Return the transfer syntax and the encoded data set, large values read from the spool on the way."""
    budget = [MAX_INLINE_BYTES]
    found: Attributes = {}
    large: list[tuple[bytes, str, list[_Bulk], bool]] = []
    syntax = EXPLICIT_LITTLE
    for name, element in metadata.items():
        if not _TAG.fullmatch(name) or not isinstance(element, dict) or not _listed(element):
            raise Unusable(f"{name[:20]!r} is no element of the DICOM JSON model")
        name = name.upper()
        if name[:4] in ("0000", "0002"):
            continue
        vr = _vr(name, element)
        if "BulkDataURI" not in element:
            found[name] = _inlined({**element, "vr": vr}, spool, budget, 1)
            continue
        bulks = _bulks(element, name, spool)
        coded = False
        if name == PIXEL_DATA:
            picture, syntax = _pixels(bulks, spool)
            coded = syntax not in NATIVE
            for tag, derived in picture.attributes.items() if coded else ():
                if not metadata.get(tag, {}).get("Value"):
                    found[tag] = derived
            if coded and len(bulks) > 1 and "00280008" not in metadata:
                found["00280008"] = {"vr": "IS", "Value": [len(bulks)]}
            if picture.start:
                bulks = [_stripped(one, spool) for one in bulks]
        elif len(bulks) > 1:
            raise Unusable(f"{len(bulks)} parts say that they are the value {name}")
        elif name == DOCUMENT:
            _document(found, metadata, bulks[0])
        if vr not in BULK:
            raise Unusable(f"{name} has VR {str(vr)[:4]}, whose values are no bulk data")
        mark = secrets.token_bytes(16)
        large.append((mark, vr, bulks, coded))
        found[name] = {"vr": vr, "InlineBinary": base64.b64encode(mark).decode()}
    raw = encode(found, EXPLICIT_LITTLE)
    return syntax, _pieces(raw, sorted(large, key=lambda one: raw.index(one[0])), spool)


def _pieces(raw: bytes, large: list[tuple[bytes, str, list[_Bulk], bool]], spool: _Spool) -> Iterator[bytes]:
    """Yield a data set with the large values in the places of their marks (explicit VR little endian)."""
    position = 0
    for mark, vr, bulks, coded in large:
        at = raw.index(mark, position)
        yield raw[position : at - 8]  # tag; then VR, two reserved bytes, length
        if coded:
            yield b"OB\0\0\xff\xff\xff\xff" + _item(0)
            for bulk in bulks:
                yield _item(bulk.length + bulk.length % 2)
                yield from spool.read(bulk.start, bulk.length)
                yield bytes(bulk.length % 2)
            yield b"\xfe\xff\xdd\xe0\0\0\0\0"
        else:
            length = sum(bulk.length for bulk in bulks)
            yield vr.encode() + b"\0\0" + (length + length % 2).to_bytes(4, "little")
            for bulk in bulks:
                yield from spool.read(bulk.start, bulk.length)
            yield bytes(length % 2)
        position = at + len(mark)
    yield raw[position:]


def _vr(name: str, element: dict[str, Any]) -> str:
    """Return the VR of an element; some write no VR, or both of a choice such as "OB or OW".

    >>> _vr("00280106", {"vr": "US or SS", "Value": [-1]})
    'SS'
    """
    stated = element.get("vr")
    if isinstance(stated, str) and len(stated) == 2:
        return stated
    vr = vr_of(int(name, 16))
    values = element.get("Value") or ()
    signed = vr == "US" and any(isinstance(value, (int, float)) and value < 0 for value in values)
    return "SS" if signed else vr


def _item(length: int) -> bytes:
    return b"\xfe\xff\x00\xe0" + length.to_bytes(4, "little")


def _bulks(element: dict[str, Any], name: str, spool: _Spool) -> list[_Bulk]:
    uri = element["BulkDataURI"]
    bulks = spool.find(uri) if isinstance(uri, str) else []
    if not bulks:
        raise Unusable(f"no part has the Content-Location that the BulkDataURI of {name} names")
    if any(bulk.length >= 2**32 - 2 for bulk in bulks):
        raise Unusable(f"the value {name} is longer than DICOM can say (4 GiB)")
    return bulks


def _pixels(bulks: list[_Bulk], spool: _Spool) -> tuple[Picture, str]:
    """Return what the picture tells, and the transfer syntax of all of them."""
    bulk = bulks[0]
    picture = describe(b"".join(spool.read(bulk.start, min(bulk.length, HEAD_BYTES))))
    if bulk.media == OCTETS:
        return picture, bulk.transfer_syntax or EXPLICIT_LITTLE
    default = OF_MEDIA.get(bulk.media)
    if default is None:
        raise Unusable(f"pixel data cannot be {bulk.media[:80]}; it is {OCTETS} or {', '.join(OF_MEDIA)}")
    return picture, bulk.transfer_syntax or picture.transfer_syntax or default


def _stripped(bulk: _Bulk, spool: _Spool) -> _Bulk:
    """Return a picture without the file around its code stream."""
    start = describe(b"".join(spool.read(bulk.start, min(bulk.length, HEAD_BYTES)))).start
    return _Bulk(bulk.start + start, bulk.length - start, bulk.media, bulk.transfer_syntax)


def _document(found: Attributes, metadata: Attributes, bulk: _Bulk) -> None:
    """Add what an encapsulated document has to say of itself (PS3.3 C.24.2)."""
    if _MEDIA.fullmatch(bulk.media) and bulk.media != OCTETS and not _text(metadata, DOCUMENT_MEDIA):
        found[DOCUMENT_MEDIA] = {"vr": "LO", "Value": [bulk.media]}
    if DOCUMENT_LENGTH not in metadata:
        found[DOCUMENT_LENGTH] = {"vr": "UL", "Value": [bulk.length]}


def _inlined(element: dict[str, Any], spool: _Spool, budget: list[int], depth: int) -> dict[str, Any]:
    """Return an element of a sequence's items with its bulk data in place."""
    if depth > DEEPEST:
        raise Unusable(f"more than {DEEPEST} sequences within each other")
    if element.get("vr") != "SQ":
        return element
    items: list[Attributes] = []
    for item in element.get("Value") or ():
        if item is None:
            items.append({})
            continue
        if not isinstance(item, dict):
            raise Unusable("an item of a sequence is no JSON object")
        made: Attributes = {}
        for name, inner in item.items():
            if not _TAG.fullmatch(name) or not isinstance(inner, dict) or not _listed(inner):
                raise Unusable(f"{name[:20]!r} is no element of the DICOM JSON model")
            if "BulkDataURI" in inner:
                raw = b"".join(
                    piece for bulk in _bulks(inner, name, spool) for piece in _within(bulk, spool, budget)
                )
                inner = {"vr": _vr(name, inner), "InlineBinary": base64.b64encode(raw).decode()}
            made[name.upper()] = _inlined({**inner, "vr": _vr(name, inner)}, spool, budget, depth + 1)
        items.append(made)
    return {"vr": "SQ", "Value": items}


def _within(bulk: _Bulk, spool: _Spool, budget: list[int]) -> Iterator[bytes]:
    budget[0] -= bulk.length
    if budget[0] < 0:
        raise Unusable(f"more than {MAX_INLINE_BYTES} bytes of bulk data stand within sequences")
    yield from spool.read(bulk.start, bulk.length)
