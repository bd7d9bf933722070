"""Where records go that the database does not take: a file, bounded, played back by the worker.

A call whose record is not committed in its time is answered with no cards, and its record is appended
here, as it was answered. The background worker moves the file aside and writes its lines into the
table: a call that is not there becomes a row; one that is there after all (the commit came after the
answer) gets a note that its cards were not sent. Playing a line twice changes nothing. The file holds
what the table holds, so it is readable for its owner alone.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from cds_hooks.records.entries import Call

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024 * 1024
LINES_AT_A_TIME = 100

_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(Call).decode


class Spool:
    """The spool of an installation; any number of processes append, one plays back."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self.path = folder / "calls.ndjson"
        self._playing = folder / "calls.playing.ndjson"
        self._refused = folder / "calls.refused.ndjson"

    def append(self, call: Call) -> bool:
        """Append a record; False when there is no room left or the disk refuses, then it is lost."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.path) as file:
                if file.tell() >= self._most_bytes:
                    return False
                file.write(b"" if _ends_well(file) else b"\n")
                file.write(_encode(call) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.error("cds spool: %s", type(error).__name__)
            return False
        return True

    def size_bytes(self) -> int:
        """Return how much waits."""
        return sum(path.stat().st_size for path in (self.path, self._playing) if path.exists())

    def play_back(self, keep: Callable[[list[Call]], None]) -> int:
        """Hand all that waits to `keep`, a hundred at a time; return how many that were.

        What `keep` raises comes out, and everything is there the next time. A line that cannot be
        read, of a process killed while it wrote, is put aside.
        """
        if not self._playing.exists():
            if not self.path.exists():
                return 0
            with _locked(self.path):
                self.path.rename(self._playing)
        count = 0
        with open(self._playing, "rb") as file:
            while lines := file.readlines(1 << 20):
                calls = [call for line in lines if (call := self._read(line)) is not None]
                for start in range(0, len(calls), LINES_AT_A_TIME):
                    keep(calls[start : start + LINES_AT_A_TIME])
                count += len(calls)
        self._playing.unlink()
        return count

    def refuse(self, call: Call) -> None:
        """Put a record aside that the database will never take."""
        log.error("cds spool: the record of call %s is refused and kept aside", call.call_id)
        with _locked(self._refused) as file:
            file.write(_encode(call) + b"\n")

    def _read(self, line: bytes) -> Call | None:
        try:
            return _decode(line)
        except msgspec.MsgspecError:
            with _locked(self._refused) as file:
                file.write(line if line.endswith(b"\n") else line + b"\n")
            log.error("cds spool: a line cannot be read and is kept aside")
            return None


def _ends_well(file: IO[bytes]) -> bool:
    """Say whether the last line is whole: the process that wrote it may have been killed."""
    if file.tell() == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Give a file opened for appending, locked, and not the one that was just moved aside."""
    while True:
        with open(path, "a+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                here = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            except FileNotFoundError:
                here = False
            if here:
                file.seek(0, os.SEEK_END)
                yield file
                return
