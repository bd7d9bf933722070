"""The metadata of whole series, written once and kept compressed: what a viewer asks for first of all.

    metadata/000/17-5b0c….part        of series 17, in the state that the second half of the name says

A part is the inside of a JSON array, deflated, and ends on a byte: parts of several series are joined
to one gzip stream without being touched (RFC 1951 3.2.4, RFC 1952). The name is made of the current
instances of the series and of our address, so a late instance, a new version or a deletion leads to
another name, and an old part is never read again. A part can always be written anew; losing all of them
loses nothing.
"""

from __future__ import annotations

import os
import secrets
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from dicom_node.files.store import PIECE_BYTES, FileStore
from dicom_node.index.locate import SeriesState

FORMAT = 1
"""Raised when the JSON of a data set changes, so that what was written before is written anew."""

_HEAD = struct.Struct("<4sIIQQ")
_MAGIC = b"XMP1"
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """A part on disk: its place, the sizes of its JSON and of its deflated form, and the sum of the JSON.

    `shift` is what the sum of something before it is multiplied by when this is put behind it.
    """

    path: Path
    crc: int
    shift: int
    raw_bytes: int
    packed_bytes: int


class MetadataParts:
    """The folder of the parts of one installation; safe to use from several processes."""

    def __init__(self, files: FileStore, address: str) -> None:
        self.folder = files.root / "metadata"
        self.address = address

    def name(self, state: SeriesState) -> str:
        """Return the name of the part of a series in this state."""
        key = f"{FORMAT} {self.address} {state.count} {state.pk_sum} {state.pk_max}"
        return f"{state.pk}-{blake3(key.encode()).hexdigest(12)}.part"

    def find(self, state: SeriesState) -> SeriesPart | None:
        """Return the part of a series in this state, if it was written."""
        path = self._path(state)
        try:
            with open(path, "rb") as file:
                magic, crc, shift, raw_bytes, packed_bytes = _HEAD.unpack(file.read(_HEAD.size))
                whole = os.fstat(file.fileno()).st_size == _HEAD.size + packed_bytes
        except (OSError, struct.error):  # not written, or broken: made anew
            return None
        return SeriesPart(path, crc, shift, raw_bytes, packed_bytes) if magic == _MAGIC and whole else None

    def write(self, state: SeriesState, objects: Iterable[bytes]) -> SeriesPart:
        """Write the part of a series; `objects` are the JSON texts of its instances. Raises OSError."""
        path = self._path(state)
        path.parent.mkdir(parents=True, exist_ok=True)
        making = path.with_name(f".{secrets.token_hex(8)}")
        try:
            with open(making, "xb") as file:
                file.write(bytes(_HEAD.size))
                crc, raw_bytes, packed_bytes = _deflate(file, objects)
                shift = _shift(raw_bytes)
                file.seek(0)
                file.write(_HEAD.pack(_MAGIC, crc, shift, raw_bytes, packed_bytes))
                file.flush()
                os.fdatasync(file.fileno())
            os.rename(making, path)
        finally:
            making.unlink(missing_ok=True)
        self._forget(state.pk, but=path)
        return SeriesPart(path, crc, shift, raw_bytes, packed_bytes)

    def _forget(self, series_pk: int, but: Path) -> None:
        for path in self._folder(series_pk).glob(f"{series_pk}-*.part"):
            if path != but:
                path.unlink(missing_ok=True)

    def _path(self, state: SeriesState) -> Path:
        return self._folder(state.pk) / self.name(state)

    def _folder(self, series_pk: int) -> Path:
        return self.folder / f"{series_pk // 1000:03}"


def gzipped(parts: Sequence[SeriesPart]) -> Iterator[bytes]:
    """Yield the JSON array of all parts as one gzip stream; nothing is compressed or decompressed."""
    crc, size = zlib.crc32(b"["), 1
    yield _GZIP_HEAD + _stored(b"[")
    for number, part in enumerate(parts):
        if number:
            crc, size = zlib.crc32(b",", crc), size + 1
            yield _stored(b",")
        yield from _packed(part)
        crc, size = _multiply(part.shift, crc) ^ part.crc, size + part.raw_bytes
    crc, size = zlib.crc32(b"]", crc), size + 1
    yield _stored(b"]", last=True) + struct.pack("<II", crc, size & 0xFFFFFFFF)


def plain(parts: Sequence[SeriesPart]) -> Iterator[bytes]:
    """Yield the JSON array of all parts as text."""
    yield b"["
    for number, part in enumerate(parts):
        if number:
            yield b","
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        for piece in _packed(part):
            while piece:
                yield stream.decompress(piece, PIECE_BYTES)
                piece = stream.unconsumed_tail
    yield b"]"


def lengths(parts: Sequence[SeriesPart]) -> tuple[int, int]:
    """Return how many bytes `gzipped` and `plain` will give."""
    joints = max(0, len(parts) - 1)
    packed = len(_GZIP_HEAD) + 8 + (2 + joints) * len(_stored(b"["))
    return packed + sum(part.packed_bytes for part in parts), 2 + joints + sum(
        part.raw_bytes for part in parts
    )


def _packed(part: SeriesPart) -> Iterator[bytes]:
    with open(part.path, "rb", buffering=0) as file:
        file.seek(_HEAD.size)
        while piece := file.read(PIECE_BYTES):
            yield piece


def _deflate(file: BinaryIO, objects: Iterable[bytes]) -> tuple[int, int, int]:
    """Write the objects with commas between them; return sum, size and deflated size."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc = raw_bytes = packed_bytes = 0
    joint = b""
    for text in objects:
        raw = joint + text
        crc, raw_bytes, joint = zlib.crc32(raw, crc), raw_bytes + len(raw), b","
        packed_bytes += file.write(stream.compress(raw))
    packed_bytes += file.write(stream.flush(zlib.Z_FULL_FLUSH))
    return crc, raw_bytes, packed_bytes


def _stored(text: bytes, *, last: bool = False) -> bytes:
    """Return a block of deflate that is not compressed (RFC 1951 3.2.4)."""
    return struct.pack("<BHH", last, len(text), len(text) ^ 0xFFFF) + text


def _multiply(a: int, b: int) -> int:
    """Return the product of two polynomials over GF(2) modulo that of CRC-32, bits reversed."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
            if not a & ((1 << bit) - 1):
                break
        b = b >> 1 ^ 0xEDB88320 if b & 1 else b >> 1
    return product


def _shift(size: int) -> int:
    """Return x to the power of the bits of `size` bytes, the factor that joins two sums.

    >>> _multiply(_shift(3), zlib.crc32(b"ab")) ^ zlib.crc32(b"cde") == zlib.crc32(b"abcde")
    True
    """
    power, square = 1 << 31, 1 << 30
    for _ in range(3):
        square = _multiply(square, square)
    while size:
        if size & 1:
            power = _multiply(square, power)
        square = _multiply(square, square)
        size >>= 1
    return power
