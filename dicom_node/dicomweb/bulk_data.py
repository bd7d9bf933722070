"""Bulk data: values by the URI that metadata gives for them, and all of them of an instance or more.

PS3.18 10.4.1.1.5. Values come in little-endian order whatever the file's is. Pixel data that is coded
comes decoded as application/octet-stream (table 8.7.3-4), its frames a part each in their own media
type, or as it is kept with transfer-syntax=*; a video is one stream, which can be had in ranges.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from dicom_node import header
from dicom_node.dicomweb import frames
from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.frames import FRAME_MEDIA, VIDEO
from dicom_node.dicomweb.json_model import INLINE_BYTES
from dicom_node.dicomweb.media import ANY_SYNTAX, OCTETS, Accepted, accepted, allows
from dicom_node.dicomweb.multipart import Part, content_type, length, write
from dicom_node.dictionary import hex_of
from dicom_node.files.content import Content, opened
from dicom_node.files.store import PIECE_BYTES
from dicom_node.header import FRAGMENTS, ITEM, ITEM_END, SEQUENCE, SEQUENCE_END, VALUE, Malformed
from dicom_node.index.locate import Located
from dicom_node.recode import BITS_ALLOCATED, swapped, word
from dicom_node.values import BULK
from fhir_server.outcome import NotAcceptable, NotFound

PIXEL_DATA = "7FE00010"


@dataclass(frozen=True, slots=True)
class Value:
    """A binary value of a data set: its path ("00091002", "52009229/0/00091002") and where it lies.

    `spans` are parts of the data set, one but for coded pixel data; `word` is the size of the words
    whose bytes are in the other order, 1 where none are.
    """

    path: str
    spans: tuple[tuple[int, int], ...]
    encapsulated: bool = False
    word: int = 1

    @property
    def length(self) -> int:
        """Return how many bytes it has; of encapsulated data with the heads of its items."""
        if self.encapsulated:
            last_start, last_size = self.spans[-1]
            return last_start + last_size - self.spans[0][0] + 8
        return sum(size for _, size in self.spans)


def value(archive: Archive, accept: str | None, instance: Located, path: str) -> Body:
    """Return a binary value of an instance by its path."""
    ranges = accepted(accept)
    file = archive.file(instance)
    with opened(file) as content:
        found = _found(content, path)
    if found.encapsulated and path == PIXEL_DATA:
        if instance.transfer_syntax in VIDEO:
            return _video(archive, ranges, instance, file, found)
        chosen = next((one for one in ranges if allows(one.media, OCTETS) or _is_image(one)), None)
        if chosen is None or chosen.media != OCTETS or (chosen.multipart and not _as_kept(chosen)):
            return frames.pixel_data(archive, accept, [instance])
        if not _as_kept(chosen):
            return frames.samples(archive, instance)
    chosen = next((one for one in ranges if allows(one.media, OCTETS)), None)
    if chosen is None:
        raise NotAcceptable(f"bulk data is given as {OCTETS}, by itself or as type of multipart/related")
    address = f"{archive.address_of(instance)}/bulkdata/{path}"
    etag = f'"{blake3(f"{instance.digest} {path}".encode()).hexdigest(16)}"'
    headers = {"Content-Location": address, "Vary": "Accept"}
    size = found.length
    if chosen.multipart:
        boundary = etag.strip('"')
        part = Part(OCTETS, _pieces(file, found, 0, size), address, size)
        pieces = write([part], boundary)
        return Body(content_type(OCTETS, boundary), pieces, length([part], boundary), headers, etag)
    return Body(
        OCTETS,
        _pieces(file, found, 0, size),
        size,
        headers,
        etag,
        lambda start, stop: _pieces(file, found, start, stop),
    )


def every(archive: Archive, accept: str | None, found: Sequence[Located]) -> Body:
    """Return all bulk data of instances, a part each; coded pixel data a part a frame."""
    ranges = accepted(accept)
    if not any(
        allows(one.media, OCTETS) or _is_image(one) or one.media.startswith("video/") for one in ranges
    ):
        raise NotAcceptable(f'bulk data is given as multipart/related; type="{OCTETS}"')
    for one in found:
        archive.file(one)
        if one.has_pixels and one.transfer_syntax in FRAME_MEDIA:
            frames.chosen(ranges, one)  # what cannot be given shows before the answer begins
    parts = (part for one in found for part in _parts_of(archive, ranges, one))
    head = list(itertools.islice(parts, 1))
    if not head:
        raise NotFound("there is no bulk data here: all values stand in the metadata")
    boundary = str(blake3("".join(one.digest for one in found).encode()).hexdigest(16))
    media = head[0].content_type.partition(";")[0]
    pieces = write(itertools.chain(head, parts), boundary)
    return Body(content_type(media, boundary), pieces, None, {"Vary": "Accept"})


def _parts_of(archive: Archive, ranges: Sequence[Accepted], instance: Located) -> Iterator[Part]:
    file = archive.file(instance)
    with opened(file) as content:
        try:
            values = [one for one in values_of(content) if one.length > INLINE_BYTES or one.encapsulated]
        except Malformed:
            return
    address = f"{archive.address_of(instance)}/bulkdata"
    for one in values:
        if one.encapsulated and one.path == PIXEL_DATA and instance.transfer_syntax in VIDEO:
            media = f"{VIDEO[instance.transfer_syntax]}; transfer-syntax={instance.transfer_syntax}"
            stream = _stream(one)
            yield Part(media, _pieces(file, stream, 0, stream.length), f"{address}/{one.path}", stream.length)
        elif one.encapsulated and one.path == PIXEL_DATA:
            yield from frames.parts(archive, instance, frames.chosen(ranges, instance)[1])
        else:
            yield Part(OCTETS, _pieces(file, one, 0, one.length), f"{address}/{one.path}", one.length)


def values_of(content: Content, wanted: str | None = None) -> Iterator[Value]:
    """Yield the binary values of a data set, or the one of any kind at a path. Raises Malformed."""
    trail: list[str] = []
    items: list[int] = []
    bits: dict[int, int] = {}  # depth → Bits Allocated there
    for event in header.walk(content.data, content.syntax):
        name = hex_of(event.tag)
        if event.tag == BITS_ALLOCATED and event.kind == VALUE:
            bits[event.depth] = max(content.data[event.start : event.start + 2], default=0)
        if event.kind == SEQUENCE:
            trail.append(name)
            items.append(-1)
        elif event.kind == ITEM:
            items[-1] += 1
            trail.append(str(items[-1]))
        elif event.kind in (ITEM_END, SEQUENCE_END):
            trail.pop()
            if event.kind == SEQUENCE_END:
                items.pop()
        elif event.kind == VALUE and (event.vr in BULK if wanted is None else name == wanted[-8:]):
            path = "/".join([*trail, name])
            if wanted in (None, path):
                size = 1 if content.syntax.little else word(event.tag, event.vr, bits.get(event.depth, 0))
                yield Value(path, ((event.start, event.length),), word=size)
        elif event.kind == FRAGMENTS:
            path = "/".join([*trail, name])
            if wanted in (None, path):
                spans = tuple(header.fragments(content.data, event.start, little=content.syntax.little))
                yield Value(path, spans, encapsulated=True)


def _found(content: Content, path: str) -> Value:
    try:
        for found in values_of(content, path):
            if found.spans[0][0] + found.length > len(content.data):
                raise NotFound(f"the value {path} breaks off; its file ends before it does")
            return found
    except Malformed as malformed:
        raise NotFound(f"the value {path} cannot be reached: {malformed}") from malformed
    raise NotFound(f"the instance has no value {path}")


def _as_kept(wanted: Accepted) -> bool:
    return wanted.transfer_syntax == ANY_SYNTAX


def _is_image(wanted: Accepted) -> bool:
    return wanted.media == "image/*" or wanted.media in FRAME_MEDIA.values()


def _video(archive: Archive, ranges: Sequence[Accepted], instance: Located, file: Path, found: Value) -> Body:
    media = VIDEO[instance.transfer_syntax]
    chosen = next((one for one in ranges if allows(one.media, media) or allows(one.media, OCTETS)), None)
    if chosen is None:
        raise NotAcceptable(f"this is a video; it is given as {media} or {OCTETS}")
    given = media if allows(chosen.media, media) else OCTETS
    body = _whole(archive, instance, file, _stream(found), given)
    if not chosen.multipart or body.length is None:
        return body
    boundary = body.etag.strip('"')
    described = f"{given}; transfer-syntax={instance.transfer_syntax}"
    part = Part(described, body.pieces, body.headers["Content-Location"], body.length)
    whole = length([part], boundary)
    return Body(content_type(given, boundary), write([part], boundary), whole, body.headers, body.etag)


def video(archive: Archive, instance: Located) -> Body:
    """Return a video as the stream that it is (PS3.5 8.2.5): its fragments one after the other."""
    file = archive.file(instance)
    with opened(file) as content:
        found = _found(content, PIXEL_DATA)
    return _whole(archive, instance, file, _stream(found), VIDEO[instance.transfer_syntax])


def document(archive: Archive, instance: Located, path: str, media: str) -> Body:
    """Return a value as a document of its own; it may have the byte of padding that files need."""
    file = archive.file(instance)
    with opened(file) as content:
        found = _found(content, path)
    return _whole(archive, instance, file, found, media)


def _whole(archive: Archive, instance: Located, file: Path, found: Value, media: str) -> Body:
    size = found.length
    address = f"{archive.address_of(instance)}/bulkdata/{found.path}"
    etag = f'"{blake3(f"{instance.digest} {found.path} {media}".encode()).hexdigest(16)}"'
    return Body(
        media,
        _pieces(file, found, 0, size),
        size,
        {"Content-Location": address, "Vary": "Accept"},
        etag,
        lambda start, stop: _pieces(file, found, start, stop),
    )


def _stream(found: Value) -> Value:
    """Return encapsulated data without its offset table."""
    return Value(found.path, found.spans[1:], encapsulated=False)


def _pieces(file: Path, found: Value, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes of a value from `start` to `stop`, in pieces.

    Encapsulated data comes with its items' heads, from the offset table to the last fragment.
    """
    spans = found.spans
    if found.encapsulated:
        spans = ((spans[0][0] - 8, found.length),)
    passed = 0
    with opened(file) as content:
        for at, size in spans:
            low, high = max(start - passed, 0), min(stop - passed, size)
            passed += size
            for position in range(low - low % found.word, high, PIECE_BYTES):
                piece = bytes(content.data[at + position : at + min(position + PIECE_BYTES, size)])
                if found.word > 1:
                    piece = swapped(piece, found.word)
                yield piece[max(low - position, 0) : high - position]
