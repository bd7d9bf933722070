"""The journal of a receiving process: what is durable and may not stand in the index yet.

One folder a process, `incoming/<process>/`. It holds

    lock                                         locked by the process as long as it lives
    7.part                                       being received
    <hash>~7~<when received>~<calling AE>        kept: durable and acknowledged, its index row is to come

so the record of a kept file is its name, and one fsync of the folder makes the records of all who wait
for it durable (PS3.4 B.2.1: what was answered with success is not lost). The record goes when the index
row is committed; until then the same file is linked into the store.

The name is given before file and folder are synced, both at once: the file system then commits them
together, which takes half the time of one after the other. A power failure in between leaves a name whose
hash the content does not have; nobody was told of it, and `adopt` finds out.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

from blake3 import blake3

from dicom_node.files.group_sync import GroupSync
from dicom_node.files.store import FileStore, Incoming, sync_folder

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LONGEST_AE = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept file whose index row is to come."""

    path: Path
    digest: str
    calling_ae: str
    received_at: datetime


class Journal:
    """The journal of this process; thread-safe."""

    def __init__(self, files: FileStore) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        prepared = files.incoming / f".{name}"  # adopt() must never see a folder that nobody holds yet
        prepared.mkdir()
        self._lock = os.open(prepared / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, _boot())
        self.folder = files.incoming / name
        prepared.rename(self.folder)
        sync_folder(files.incoming)
        self._blocks = files.blocks
        self._sync = GroupSync(self.folder)
        self._numbers = itertools.count(1)

    def incoming(self) -> Incoming:
        """Begin a file in the folder of this process."""
        return Incoming(self.folder / f"{next(self._numbers)}.part", self._blocks)

    def keep(self, incoming: Incoming, digest: str, calling_ae: str, received_at: datetime) -> Entry:
        """Make a received file and its record durable."""
        title = quote(calling_ae[:_LONGEST_AE], safe="")
        path = self.folder / f"{digest}~{incoming.path.stem}~{received_at.isoformat()}~{title}"
        incoming.flush()  # from the rename on, a process that follows believes the name
        os.rename(incoming.path, path)
        try:
            self._sync.together(incoming.sync)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        incoming.close()
        return Entry(path, digest, calling_ae, received_at)

    def close(self) -> None:
        """Give the folder up; it disappears when no entry is in it."""
        self._sync.close()
        if not entries(self.folder):
            _remove(self.folder)
        os.close(self._lock)


def entries(folder: Path) -> list[Entry]:
    """Return the kept files of a folder in the order in which they came."""
    found = []
    with os.scandir(folder) as listed:
        for each in listed:
            digest, _, rest = each.name.partition("~")
            number, _, rest = rest.partition("~")
            at, _, title = rest.partition("~")
            if at and number.isdigit():
                entry = Entry(Path(each.path), digest, unquote(title), datetime.fromisoformat(at))
                found.append((int(number), entry))
    found.sort(key=lambda pair: pair[0])
    return [entry for _, entry in found]


def open_digests(files: FileStore) -> set[str]:
    """Return the files that some process, alive or dead, is putting into the index at this moment."""
    found: set[str] = set()
    for folder in files.incoming.glob("[!.]*"):
        try:
            found.update(entry.digest for entry in entries(folder))
        except (FileNotFoundError, NotADirectoryError):  # given up at this moment: nothing in it was open
            continue
    return found


def orphans(files: FileStore) -> Iterator[Path]:
    """Yield the folders of processes that are gone; each is held for as long as the caller has it.

    What was only partly received is removed from it: nobody was told that it came.
    """
    for folder in sorted(files.incoming.glob("[!.]*")):
        with _held(folder) as held:
            if held:
                for path in folder.glob("*.part"):
                    path.unlink()
                yield folder


def torn(folder: Path, entry: Entry) -> bool:
    """Whether a file of a dead process is not what its name says, because the machine went down with it."""
    try:
        survived = (folder / "lock").read_bytes() == _boot() != b""
    except FileNotFoundError:
        survived = False
    if survived:  # the kernel lives that was given these bytes
        return False
    whole = blake3(max_threads=1)
    with open(entry.path, "rb", buffering=0) as file:
        while piece := file.read(1024 * 1024):
            whole.update(piece)
    return bool(whole.hexdigest() != entry.digest)


def give_up(folder: Path) -> None:
    """Remove the folder of a dead process in which no entry is left."""
    if not entries(folder):
        _remove(folder)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder for the block; false when a living process has it."""
    descriptor = -1
    for name in ("lock", "journal"):  # "journal": as releases before this one called it
        try:
            descriptor = os.open(folder / name, os.O_RDWR)
            break
        except (FileNotFoundError, NotADirectoryError):
            continue
    if descriptor < 0:  # being removed at this moment, or no folder of ours
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = folder.exists()  # somebody may have held it, and removed it, between the open and the lock
    except BlockingIOError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


def _boot() -> bytes:
    try:
        return _BOOT.read_bytes()
    except OSError:
        return b""


def _remove(folder: Path) -> None:
    last = {"lock", "journal"}
    for path in folder.iterdir():
        if path.name not in last:
            path.unlink()
    for name in last:
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
