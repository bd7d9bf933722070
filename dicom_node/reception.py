"""One instance on its way in: fragments → a file with its hash, and what its header says.

Fragments are held only until they show which instance it is; from then on they go to the file as they
come, so an object of any size needs the memory of its first fragments. PS3.7 9.3.1 (a data set in
fragments), PS3.10 7 (what stands in front of it in a file).
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dicom_node.files.part10 import meta_information, read_meta
from dicom_node.files.store import Incoming
from dicom_node.instance import Instance, read_instance
from dicom_node.verdict import Outcome, Verdict

LOOKS_BYTES = (8 * 1024, 64 * 1024)
"""After so much of a data set its header is looked at; most headers are complete at the first look."""

MAX_HEAD_BYTES = 4 * 1024 * 1024
"""As much is held in memory of a data set that does not say which instance it is."""


class Reception:
    """One instance being received, by one thread; ends with `finish` or `abandon`.

    Neither what the data holds nor a full disk raises: `finish` tells of it. Other errors of the
    disk are an OSError.
    """

    def __init__(
        self,
        new_file: Callable[[], Incoming],
        keep: Callable[[Reception], Outcome],
        ended: Callable[[], None],
        transfer_syntax: str,
        calling_ae: str,
        stated: tuple[str, str],
        received_at: datetime,
    ) -> None:
        self.transfer_syntax = transfer_syntax
        self.calling_ae = calling_ae
        self.stated = stated
        """SOP Class and SOP Instance UID as the command gave them; empty where it did not."""
        self.received_at = received_at
        self.incoming: Incoming | None = None
        self.instance: Instance | None = None
        self._new_file = new_file
        self._keep = keep
        self._ended: Callable[[], None] | None = ended
        self._head: list[bytes] = []
        self._head_bytes = 0
        self._looks = 0
        self._look_at = LOOKS_BYTES[0]
        self._refused: Outcome | None = None

    def refuse(self, outcome: Outcome) -> None:
        """Take what still comes without keeping it; `finish` returns this outcome."""
        self._refused = outcome
        self._head.clear()
        if self.incoming is not None:
            self.incoming.drop()

    def write(self, piece: bytes | memoryview) -> None:
        """Take the next fragment; the caller may use its memory again afterwards."""
        if self._refused is not None:
            return
        try:
            if self.incoming is not None:
                self.incoming.write(piece)
                return
            self._head.append(bytes(piece))
            self._head_bytes += len(piece)
            if self._head_bytes >= self._look_at:
                self._look(ended=False)
        except OSError as error:
            self.refuse(refusal(error))

    def finish(self) -> Outcome:
        """Keep what was written and return what became of it."""
        try:
            if self._refused is None and self.incoming is None:
                self._look(ended=True)
            if self._refused is not None:
                return self._refused
            assert self.incoming is not None
            self.incoming.flush()
            return self._keep(self)
        except OSError as error:
            return refusal(error)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Forget what was written; nothing of it stays. After `finish` this does nothing."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        try:
            if self.incoming is not None:
                self.incoming.drop()
        finally:
            ended()

    def _look(self, *, ended: bool) -> None:
        """See which instance it is, and begin its file as soon as that is known."""
        head = b"".join(self._head)
        instance, complete = read_instance(head, self.transfer_syntax, whole=ended)
        if not complete:
            self._looks += 1
            if self._looks < len(LOOKS_BYTES):
                self._look_at = LOOKS_BYTES[self._looks]
                if self._head_bytes < self._look_at:
                    return
            known = all(self.stated) or (instance.sop_class and instance.sop_uid)
            if not known and self._head_bytes < MAX_HEAD_BYTES:
                self._look_at = self._head_bytes * 4
                return
        uids = (instance.sop_class or self.stated[0], instance.sop_uid or self.stated[1])
        self.incoming = self._new_file()
        self.incoming.write(meta_information(self.transfer_syntax, *uids) + head)
        self._head.clear()
        if complete:
            self.instance = instance.completed(*uids)

    @property
    def size_bytes(self) -> int:
        """How long the file is so far, its file meta information included."""
        return self.incoming.size_bytes if self.incoming is not None else 0

    def read(self) -> Instance:
        """Return the instance, from the whole file where its head did not tell all."""
        if self.instance is None:
            assert self.incoming is not None
            self.instance = instance_in(self.incoming.path)
        return self.instance


def instance_in(path: Path) -> Instance:
    """Return the instance in a file of ours; a UID that its data set lacks comes from the file meta."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        meta = read_meta(data)
        head = data[meta.data_set_at : meta.data_set_at + max(LOOKS_BYTES)]
        instance, complete = read_instance(head, meta.transfer_syntax, whole=False)
        if not complete:
            with memoryview(data) as whole, whole[meta.data_set_at :] as data_set:
                instance, _ = read_instance(data_set, meta.transfer_syntax)
    return instance.completed(meta.sop_class, meta.sop_uid)


def refusal(error: OSError) -> Outcome:
    """Return the outcome of a full disk; any other error of it is raised again."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Outcome(Verdict.DISK_FULL, "no room on disk")
    raise error
