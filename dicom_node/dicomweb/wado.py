"""WADO-RS: studies, series and instances as files (PS3.18 10.4.1.1.1, 8.7.3).

`transfer-syntax=*` gives each as it is kept, byte for byte. Without a transfer syntax the default of
application/dicom is asked for, explicit VR little endian (8.7.3.5.2): what is coded is decoded, and
what nobody can decode here (video) comes as it is, its part saying so. Bodies are streams; a file
that is sent as it is kept is never looked into.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Iterator, Sequence

from blake3 import blake3

from dicom_node.dicomweb.answers import SMALL_BYTES, Body
from dicom_node.dicomweb.archive import Archive
from dicom_node.dicomweb.media import ANY_SYNTAX, DICOM, Accepted, accepted, allows
from dicom_node.dicomweb.multipart import Part, content_type, length, write
from dicom_node.files.store import PIECE_BYTES, pieces
from dicom_node.index.locate import Located
from dicom_node.pixels.transcode import EXPLICIT_LITTLE, PLAIN, TARGETS, convertible, transcoded
from fhir_server.outcome import NotAcceptable, Unprocessable

ZIP = "application/zip"


def instances(archive: Archive, accept: str | None, found: Sequence[Located], *, single: bool) -> Body:
    """Return instances as files. `single` allows one file without a multipart around it."""
    ranges = accepted(accept)
    for wanted in ranges:
        if wanted.media == ZIP and not wanted.multipart:
            return _zipped(archive, found)
        if not allows(wanted.media, DICOM):
            continue
        syntaxes = [target(wanted, one) for one in found]
        if None in syntaxes:
            continue
        plan = [(one, syntax or "") for one, syntax in zip(found, syntaxes, strict=True)]
        if wanted.media == DICOM and not wanted.multipart and single:
            try:
                return file(archive, *plan[0])
            except Unprocessable:
                if wanted.transfer_syntax:
                    raise
                return file(archive, found[0], found[0].transfer_syntax)
        return _multipart(archive, plan, lenient=not wanted.transfer_syntax)
    raise NotAcceptable(_offer(found, single=single))


def target(wanted: Accepted, instance: Located) -> str | None:
    """Return the transfer syntax in which an instance is to be given, or None when it cannot be.

    An instance without pixels can be had uncoded wherever a coding of pixels is asked for.
    """
    kept = instance.transfer_syntax
    asked = wanted.transfer_syntax
    if asked in (ANY_SYNTAX, kept):
        return kept
    if not asked:
        return EXPLICIT_LITTLE if convertible(kept, EXPLICIT_LITTLE) else kept
    if not convertible(kept, asked):
        return None
    return asked if instance.has_pixels or asked in PLAIN else EXPLICIT_LITTLE


def file(archive: Archive, instance: Located, syntax: str) -> Body:
    """Return one instance as a file in `syntax`, as it is kept or transcoded. Raises Unprocessable."""
    path = archive.file(instance)
    media = f"{DICOM}; transfer-syntax={syntax}"
    headers = {"Content-Location": archive.address_of(instance)}
    if syntax == instance.transfer_syntax:
        return Body(
            media,
            pieces(path, piece_bytes=_piece_bytes(instance)),
            instance.size_bytes,
            headers,
            f'"{instance.digest}"',
            lambda start, stop: pieces(path, start, stop - start),
        )
    return Body(
        media, transcoded(path, syntax, archive.turn), None, headers, f'"{_boundary([(instance, syntax)])}"'
    )


def _multipart(archive: Archive, plan: Sequence[tuple[Located, str]], *, lenient: bool) -> Body:
    # the boundary comes of the content, so the same instances are the same bytes and can be told by a tag
    boundary = _boundary(plan)
    headers = {"Vary": "Accept"}
    if all(one.transfer_syntax == syntax for one, syntax in plan):
        # every file is looked for before the first byte goes out; what is opened is one at a time
        parts = [_kept(archive, one) for one, _ in plan]
        size = length(parts, boundary)
        return Body(content_type(DICOM, boundary), write(parts, boundary), size, headers, f'"{boundary}"')
    for one, _ in plan:
        archive.file(one)
    made = (_part(archive, one, syntax, lenient=lenient) for one, syntax in plan)
    first = list(itertools.islice(made, 1))  # what is wrong with it shows before the answer begins
    pieces_of_all = write(itertools.chain(first, made), boundary)
    return Body(content_type(DICOM, boundary), pieces_of_all, None, headers, f'"{boundary}"')


def _part(archive: Archive, instance: Located, syntax: str, *, lenient: bool) -> Part:
    if syntax == instance.transfer_syntax:
        return _kept(archive, instance)
    try:
        body = file(archive, instance, syntax)
    except Unprocessable:
        if not lenient:
            raise
        return _kept(archive, instance)
    return Part(body.content_type, body.pieces, archive.address_of(instance))


def _kept(archive: Archive, instance: Located) -> Part:
    return Part(
        f"{DICOM}; transfer-syntax={instance.transfer_syntax}",
        pieces(archive.file(instance), piece_bytes=_piece_bytes(instance)),
        archive.address_of(instance),
        instance.size_bytes,
    )


def _piece_bytes(instance: Located) -> int:
    """Return in how large pieces a file is read: a small one, which is sent as a whole, as a whole."""
    return instance.size_bytes + 1 if instance.size_bytes <= SMALL_BYTES else PIECE_BYTES


def _boundary(plan: Iterable[tuple[Located, str]]) -> str:
    """Return a boundary that no part contains but by an accident of 2**-128, the same for the same plan."""
    seen = blake3()
    for instance, syntax in plan:
        seen.update(f"{instance.digest} {syntax} {instance.sop_uid} ".encode())
    return str(seen.hexdigest(16))


def _offer(found: Sequence[Located], *, single: bool) -> str:
    kept = sorted({one.transfer_syntax for one in found})
    possible = [one for one in TARGETS if all(convertible(syntax, one) for syntax in kept)]
    alone = f", {DICOM} for a single instance" if single else ""
    return (
        f'instances are given as multipart/related; type="{DICOM}"{alone} or {ZIP}; kept here in'
        f" {', '.join(kept)}, which transfer-syntax=* gives; to be had besides:"
        f" {', '.join(possible) or 'none'}. Nothing is compressed with loss here"
    )


def _zipped(archive: Archive, found: Sequence[Located]) -> Body:
    """Return instances as they are kept in one ZIP file, a folder a series."""
    for one in found:
        archive.file(one)
    headers = {"Content-Disposition": 'attachment; filename="instances.zip"', "Vary": "Accept"}
    return Body(ZIP, _zip(archive, found), headers=headers)


def _zip(archive: Archive, found: Sequence[Located]) -> Iterator[bytes]:
    out = _Pieces()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:  # type: ignore[call-overload]
        for one in found:
            name = zipfile.ZipInfo(f"{one.series_uid}/{one.sop_uid}.dcm", (1980, 1, 1, 0, 0, 0))
            with packed.open(name, "w", force_zip64=True) as entry:
                for piece in pieces(archive.file(one)):
                    entry.write(piece)
                    yield out.taken()
    yield out.taken()


class _Pieces:
    """A file that can be written to only, and from which what was written is taken away."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._written = b"".join(self._written), []
        return taken
