"""The journal of a receiving process: what was kept on disk and may not stand in the index yet.

One folder a process, `incoming/<process>/`, with the files it is receiving and the file `journal`,
which it holds locked. A line is written when a file is durable and about to be moved to the store, and
another when its index row is committed. When a process dies, the next one finds the lock free:
it finishes the moves, indexes what is missing, and removes what was never received completely
(nobody was told that it was).

The lines themselves are not synced: they must outlive the process. After a power failure a
file may lie in the store without a line and without a row; nobody was told of it either.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_node.files.store import FileStore

ROTATE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A file on its way from `incoming` through the store into the index."""

    name: str  # within the folder of the process
    digest: str
    calling_ae: str
    received_at: str  # ISO 8601, UTC


class Journal:
    """The journal of this process; thread-safe."""

    def __init__(self, files: FileStore) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        prepared = files.incoming / f".{name}"  # recover() must never see a journal that nobody holds yet
        prepared.mkdir()
        self._descriptor = _open(prepared / "journal")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.folder = files.incoming / name
        prepared.rename(self.folder)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open_entries = 0
        self._size_bytes = 0

    def new_path(self) -> Path:
        """Return a name in the folder of this process that no other file has."""
        return self.folder / f"{next(self._numbers)}.part"

    def begin(self, entry: Entry) -> None:
        """Note that a durable file is about to be moved."""
        with self._lock:
            self._open_entries += 1
            self._append(asdict(entry))

    def end(self, digest: str) -> None:
        """Note that the file is in the index."""
        with self._lock:
            self._open_entries -= 1
            self._append({"indexed": digest})
            if not self._open_entries and self._size_bytes > ROTATE_BYTES:
                os.ftruncate(self._descriptor, 0)
                self._size_bytes = 0

    def close(self) -> None:
        """Give the journal up; it disappears when nothing in it is open."""
        with self._lock:
            if not self._open_entries:
                _remove(self.folder)
            os.close(self._descriptor)

    def _append(self, line: dict[str, str]) -> None:
        raw = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        os.write(self._descriptor, raw)
        self._size_bytes += len(raw)


def recover(files: FileStore, index: Callable[[Path, Entry], None]) -> int:
    """Finish what dead processes left behind; return how many files were given to `index`.

    `index` must do nothing for a file that has its row already. When it raises, the folder stays
    for the next time.
    """
    count = 0
    for folder in sorted(files.incoming.glob("[!.]*")):
        try:
            descriptor = os.open(folder / "journal", os.O_RDWR)
        except (FileNotFoundError, NotADirectoryError):  # being removed at this moment, or no folder of ours
            continue
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for entry in _unfinished(folder / "journal"):
                kept = files.path(entry.digest)
                if (folder / entry.name).exists() and not kept.exists():
                    files.keep(folder / entry.name, entry.digest)
                if kept.exists():
                    index(kept, entry)
                    count += 1
            _remove(folder)
        finally:
            os.close(descriptor)
    return count


def open_digests(files: FileStore) -> set[str]:
    """Return the files that some process, alive or dead, is putting into the index at this moment."""
    found: set[str] = set()
    for folder in files.incoming.glob("[!.]*"):
        try:
            found.update(entry.digest for entry in _unfinished(folder / "journal"))
        except (FileNotFoundError, NotADirectoryError):  # given up at this moment: nothing in it was open
            continue
    return found


def _unfinished(journal: Path) -> Iterator[Entry]:
    """Yield the entries without an end; a half-written last line is passed over."""
    entries: dict[str, Entry] = {}
    for line in journal.read_bytes().splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if "indexed" in fields:
            entries.pop(fields["indexed"], None)
        else:
            entries[fields["digest"]] = Entry(**fields)
    yield from entries.values()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "journal":
            path.unlink()
    (folder / "journal").unlink()
    folder.rmdir()
