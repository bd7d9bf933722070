"""Contents too large for a row, in pieces of 1 MiB: written and read with the memory of one piece.

Files in a folder would be read faster, but a backup would have to be taken of both at one moment, and a
commit could not cover them. A piece is written in a transaction of its own, so that no slow sender keeps
one open; a content is there for others once a row that points at it is committed. What nobody points at
(a sender that went away, a killed process) is swept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from fhir_server.database.engine import Engine, Mode
from fhir_server.database.unit_of_work import UnitOfWork

PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """A whole content: its key, how many bytes it has, and their SHA-256 in hex."""

    pk: int
    size_bytes: int
    sha256: str


class Writer:
    """Takes bytes as they come and writes them piece by piece; `close` gives the Content."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        self._pk: int | None = None
        self._number = self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Take some more bytes."""
        self._hash.update(data)
        self.size_bytes += len(data)
        self._waiting += data
        while len(self._waiting) >= PIECE_BYTES:
            self._store(bytes(self._waiting[:PIECE_BYTES]))
            del self._waiting[:PIECE_BYTES]

    def close(self) -> Content:
        """Write what is left and return the content; from here on it never changes."""
        if self._waiting or self._pk is None:
            self._store(bytes(self._waiting))
            self._waiting.clear()
        digest = self._hash.digest()
        self._run(
            "UPDATE content SET size_bytes = %s, sha256 = %s WHERE pk = %s",
            (self.size_bytes, digest, self._pk),
        )
        return Content(self._pk or 0, self.size_bytes, digest.hex())

    def discard(self) -> None:
        """Take away what was written: it is not wanted any more."""
        if self._pk is not None:
            self._run("DELETE FROM content WHERE pk = %s", (self._pk,))
            self._pk = None

    def _store(self, piece: bytes) -> None:
        if self._pk is None:
            self._pk = self._run("INSERT INTO content DEFAULT VALUES RETURNING pk", ())
        if piece:
            self._run(
                "INSERT INTO content_piece (content, number, data) VALUES (%s, %s, %s)",
                (self._pk, self._number, piece),
            )
            self._number += 1

    def _run(self, sql: str, parameters: tuple[object, ...]) -> int | None:
        with self._engine.connection(Mode.SINGLE) as connection:
            cursor = connection.cursor()
            cursor.execute(sql, parameters)
            return int(cursor.fetchone()[0]) if cursor.description is not None else None


def find(unit: UnitOfWork, pk: int) -> Content | None:
    """Return a content that is whole, or None."""
    rows = unit.execute(
        "SELECT size_bytes, encode(sha256, 'hex') FROM content WHERE pk = %s AND size_bytes IS NOT NULL",
        (pk,),
    )
    return Content(pk, *rows[0]) if rows else None


def read(engine: Engine, pk: int, start: int, stop: int) -> Iterator[bytes]:
    """Give the bytes from `start` up to `stop`, a piece at a time.

    A connection is held for a piece and not while its reader takes it. Ends early where the content was
    deleted meanwhile: the reader knows by the length that it was told.
    """
    while start < stop:
        number, skipped = divmod(start, PIECE_BYTES)
        wanted = min(stop - start, PIECE_BYTES - skipped)
        with engine.connection(Mode.SINGLE) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT substr(data, %s, %s) FROM content_piece WHERE content = %s AND number = %s",
                (skipped + 1, wanted, pk, number),
            )
            row = cursor.fetchone()
        if row is None:
            return
        yield bytes(row[0])
        if len(row[0]) < wanted:
            return
        start += wanted


SWEPT_AFTER = "1 day"
"""Nobody takes so long to send a body."""

_UNUSED = (
    "NOT EXISTS (SELECT FROM job WHERE job.body = c.pk) "
    "AND NOT EXISTS (SELECT FROM job_file AS f WHERE f.content = c.pk) "
    "AND NOT EXISTS (SELECT FROM binary_content AS b WHERE b.content = c.pk)"
)


def discard_unused(engine: Engine, pk: int) -> None:
    """Delete a content at once if nobody points at it: what it was written for was refused."""
    with engine.connection(Mode.SINGLE) as connection:
        connection.cursor().execute(f"DELETE FROM content AS c WHERE c.pk = %s AND {_UNUSED}", (pk,))


def sweep(engine: Engine, after: str = SWEPT_AFTER) -> int:
    """Delete contents that nobody points at and that were begun some time ago; return how many."""
    with engine.connection(Mode.SINGLE) as connection:
        cursor = connection.cursor()
        cursor.execute(
            f"DELETE FROM content AS c WHERE c.begun_at < now() - %s::interval AND {_UNUSED}", (after,)
        )
        return int(cursor.rowcount)
