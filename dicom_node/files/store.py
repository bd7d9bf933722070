"""Instance files on disk: written aside, made durable, then moved to the place that their hash names.

    incoming/<process>/…       being received, or received and not yet in the index: see journal.py
    store/abc/abcdef….dcm      kept; the name is the BLAKE3 of the whole file, so `b3sum` verifies it
    removed/                   on its way out: taken from the store, not yet destroyed (lifecycle/purge.py)
    quarantine/                see quarantine.py

One file system with hard links holds them all. What is linked into `store` has been synced before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from dicom_node.files.direct import BLOCK_BYTES, Blocks, blocks_for

PIECE_BYTES = 256 * 1024


class FileStore:
    """The folder of instance files; `root` is created where it does not exist.

    With `direct`, what is received goes past the page cache where the disk allows it.
    """

    def __init__(self, root: Path, *, direct: bool = True) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.kept = root / "store"
        self._store = str(self.kept)
        self.quarantine = root / "quarantine"
        self.removed = root / "removed"
        for folder in (self.incoming, self.kept, self.quarantine, self.removed):
            folder.mkdir(parents=True, exist_ok=True)
        self.blocks = blocks_for(self.incoming) if direct else None
        """What is written with past the page cache; None: through it."""
        sync_folder(root)
        sync_folder(root.parent)

    def path(self, digest: str) -> Path:
        """Return where a file of this hash is or would be kept.

        >>> FileStore(Path(getfixture("tmp_path"))).path("abcdef").parts[-2:]
        ('abc', 'abcdef.dcm')
        """
        return Path(self._place(digest))

    def _place(self, digest: str) -> str:
        return f"{self._store}/{digest[:3]}/{digest}.dcm"

    def holds(self, digest: str, size_bytes: int) -> bool:
        """Whether a file of this hash is kept in its full length."""
        try:
            return os.stat(self._place(digest)).st_size == size_bytes
        except FileNotFoundError:
            return False

    def admit(self, path: Path, digest: str) -> None:
        """Link a durable file into its place, so that it is there before its index row is.

        The other name stays until the row is committed (files/journal.py); should the machine go down
        before this link is durable, the file is found by that name.
        """
        target = self._place(digest)
        try:
            os.link(path, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.link(path, target)
        except FileExistsError:
            if os.stat(target).st_size != os.stat(path).st_size:  # damaged: the hash says what belongs here
                spare = f"{path}.part"
                os.link(path, spare)
                os.replace(spare, target)

    def keep(self, path: Path, digest: str) -> Path:
        """Move a file that is already durable to its place, and make the move durable."""
        target = self.path(digest)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            sync_folder(self.kept)
        os.rename(path, target)
        sync_folder(target.parent)
        return target

    def set_aside(self, digest: str) -> bool:
        """Take a file out of the store, where nobody finds it any more; false when it was not there."""
        try:
            os.rename(self.path(digest), self.removed / f"{digest}.dcm")
        except FileNotFoundError:
            return False
        return True

    def bring_back(self, digest: str) -> None:
        """Put a file that was set aside back, unless the store has it again."""
        aside = self.removed / f"{digest}.dcm"
        if self.path(digest).exists():
            aside.unlink(missing_ok=True)
        elif aside.exists():
            self.keep(aside, digest)

    def destroy(self, digest: str) -> None:
        """Remove a file that was set aside for good."""
        (self.removed / f"{digest}.dcm").unlink(missing_ok=True)


class Incoming:
    """A file being received; its hash grows with it.

    With `blocks` its bytes are on their way to the disk when a block is full, else as they come; `flush`
    writes what is left.
    """

    def __init__(self, path: Path, blocks: Blocks | None = None) -> None:
        self.path = path
        self.size_bytes = 0
        self._hash = blake3()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._blocks = blocks
        self._block: memoryview | None = None
        self._filled = 0

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece."""
        self._hash.update(piece)
        size_bytes = len(piece)
        self.size_bytes += size_bytes
        if self._blocks is not None:
            self._gather(self._blocks, piece)
            return
        written = os.write(self._file, piece)
        if written < size_bytes:  # a disk that is nearly full takes a part, and says so at the next call
            view = memoryview(piece)
            while written < size_bytes:
                written += os.write(self._file, view[written:])

    def _gather(self, blocks: Blocks, piece: bytes | memoryview) -> None:
        block = self._block
        if block is None:
            block = self._block = blocks.take()
        at, size = self._filled, len(piece)
        if size <= BLOCK_BYTES - at:
            block[at : at + size] = piece
            self._filled = at + size
            return
        view = memoryview(piece)
        while len(view):
            take = min(len(view), BLOCK_BYTES - self._filled)
            block[self._filled : self._filled + take] = view[:take]
            self._filled += take
            view = view[take:]
            if self._filled == BLOCK_BYTES and len(view):
                blocks.write(self._file, block, last=False)
                self._filled = 0

    def flush(self) -> None:
        """Give the system all that was written so far; no more may be written then."""
        block, self._block = self._block, None
        if block is not None and self._blocks is not None:
            try:
                self._blocks.write(self._file, block[: self._filled], last=True)
            finally:
                self._blocks.give_back(block)

    def digest(self) -> str:
        """Return the BLAKE3 of what was written so far, in hexadecimal."""
        return str(self._hash.hexdigest())

    def sync(self) -> None:
        """Make the content durable."""
        self.flush()
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file; it stays where it is."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
        block, self._block = self._block, None
        if block is not None and self._blocks is not None:
            self._blocks.give_back(block)

    def drop(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable: what was created, renamed or removed in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pieces(
    path: Path, start: int = 0, length: int | None = None, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """Yield a file, or a part of it, in pieces of 256 KiB or so many bytes."""
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while length is None or length > 0:
            piece = file.read(piece_bytes if length is None else min(length, piece_bytes))
            if not piece:
                return
            if length is not None:
                length -= len(piece)
            yield piece
