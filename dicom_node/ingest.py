"""The one way in for an instance: bytes, transfer syntax, calling AE → kept, indexed, a status.

C-STORE comes here, and whatever else brings instances. PS3.4 B.2.3 (statuses), PS3.7 9.1.1.
The data set is never decoded and never changed: what lies behind our file meta information is
byte for byte what came. The order is: write, fdatasync, rename, fsync of the directory, index
row committed, and only then the answer.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from dicom_node import quarantine
from dicom_node.files.journal import Entry, Journal, recover
from dicom_node.files.part10 import meta_information, read_meta
from dicom_node.files.store import FileStore, Incoming
from dicom_node.index.writer import IndexWriter, KeptFile, NotIndexable
from dicom_node.instance import Instance, read_instance
from fhir_server.database.engine import Engine
from fhir_server.outcome import Unavailable

HEAD_BYTES = 128 * 1024
"""How much of a data set is looked at before its file is begun; its SOP UIDs stand at the very front."""

MAX_HEAD_BYTES = 4 * 1024 * 1024


class Verdict(Enum):
    """What became of an instance. `dimse/status.py` knows the number of each."""

    STORED = "stored"
    DUPLICATE = "the same bytes were here already"
    NEW_VERSION = "other bytes under the same UID: both are kept, the newer is served"
    STORED_DOUBTFUL = "stored, but its data set contradicts its command or breaks off"
    NOT_UNDERSTOOD = "in quarantine: the data set cannot be understood"
    NOT_IDENTIFIED = "in quarantine: the data set does not say which instance it is"
    DISK_FULL = "refused: no room on disk"
    UNAVAILABLE = "refused for now: the index cannot be reached"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one instance; `instance` is None where nothing could be read."""

    verdict: Verdict
    reason: str = ""
    instance: Instance | None = None
    size_bytes: int = 0


class Ingest:
    """Receives instances for one process; thread-safe. Close it to give its folder up."""

    def __init__(self, files: FileStore, engine: Engine, clock: Callable[[], datetime]) -> None:
        self.files = files
        self._index = IndexWriter(engine)
        self._clock = clock
        self._journal = Journal(files)
        self.folder = self._journal.folder
        """A folder for bytes on their way in; emptied when this process is gone."""
        self._running = 0
        self._closed = False
        self._turn = threading.Condition()

    def recover(self) -> int:
        """Index what processes that died had kept and not indexed; return how many files."""
        return recover(self.files, self._reindex)

    def finish(self, grace_s: float) -> bool:
        """Refuse what comes from now on and wait for what is being stored; whether all of it was."""
        with self._turn:
            self._closed = True
            return self._turn.wait_for(lambda: not self._running, grace_s)

    def close(self) -> None:
        """Give the folder of this process up, unless something is still being stored into it."""
        if self.finish(0):
            self._journal.close()

    def store(
        self,
        data_set: Iterable[bytes | memoryview],
        transfer_syntax: str,
        calling_ae: str,
        *,
        sop_class: str = "",
        sop_uid: str = "",
    ) -> Outcome:
        """Keep one instance and return what became of it.

        `data_set` gives the encoded data set in pieces; `sop_class` and `sop_uid` are what the
        command or the file meta information said, if anything. When the answer is a stored one,
        file and index row are durable. Does not raise for what the data holds, for a full disk
        or for an absent database; an exception out of `data_set` comes through, and nothing stays.
        """
        with self._turn:
            if self._closed:
                return Outcome(Verdict.UNAVAILABLE, "this node is stopping")
            self._running += 1
        try:
            return self._store(data_set, transfer_syntax, calling_ae, sop_class, sop_uid)
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify_all()

    def _store(
        self,
        data_set: Iterable[bytes | memoryview],
        transfer_syntax: str,
        calling_ae: str,
        sop_class: str,
        sop_uid: str,
    ) -> Outcome:
        pieces = iter(data_set)
        received_at = self._clock()
        try:
            head, instance = _head(pieces, transfer_syntax, stated=bool(sop_class and sop_uid))
            incoming = Incoming(self._journal.new_path())
        except OSError as error:
            return _refusal(error)
        try:
            said = instance or read_instance(b"".join(head), transfer_syntax, whole=False)[0]
            uids = (said.sop_class or sop_class, said.sop_uid or sop_uid)
            incoming.write(meta_information(transfer_syntax, *uids))
            for piece in itertools.chain(head, pieces):
                incoming.write(piece)
            instance = (instance or _read(incoming.path)).completed(*uids)
            return self._keep(incoming, instance, calling_ae, received_at, (sop_class, sop_uid))
        except OSError as error:
            return _refusal(error)
        finally:
            incoming.drop()

    def _keep(
        self,
        incoming: Incoming,
        instance: Instance,
        calling_ae: str,
        received_at: datetime,
        stated: tuple[str, str],
    ) -> Outcome:
        size_bytes = incoming.size_bytes
        if missing := instance.missing():
            verdict = Verdict.NOT_UNDERSTOOD if instance.problem else Verdict.NOT_IDENTIFIED
            reason = "; ".join(filter(None, [f"no usable {', '.join(missing)}", instance.problem]))
            incoming.sync()
            self._quarantine(incoming.path, verdict, reason, instance, calling_ae, received_at)
            return Outcome(verdict, reason, instance, size_bytes)
        digest = incoming.digest()
        file = KeptFile(digest, size_bytes, calling_ae, received_at)
        entry = Entry(incoming.path.name, digest, calling_ae, received_at.isoformat())
        if not self.files.holds(digest, size_bytes):
            incoming.sync()
            self._journal.begin(entry)
            self.files.keep(incoming.path, digest)
        else:  # sent again, or kept by somebody who died before the index knew
            self._journal.begin(entry)
            self.files.settle(digest)
        try:
            written = self._index.write(instance, file)
        except Unavailable as error:
            # the journal keeps the entry open: the file is indexed when the next process starts
            return Outcome(Verdict.UNAVAILABLE, str(error), instance, size_bytes)
        except NotIndexable as error:
            self._quarantine(
                self.files.path(digest), Verdict.NOT_UNDERSTOOD, str(error), instance, calling_ae, received_at
            )
            self._journal.end(digest)
            return Outcome(Verdict.NOT_UNDERSTOOD, str(error), instance, size_bytes)
        self._journal.end(digest)
        reason = instance.problem or _contradiction(stated, instance)
        if reason:
            return Outcome(Verdict.STORED_DOUBTFUL, reason, instance, size_bytes)
        verdict = Verdict.NEW_VERSION if written.version > 1 else Verdict.STORED
        return Outcome(verdict if written.new else Verdict.DUPLICATE, "", instance, size_bytes)

    def _quarantine(
        self, path: Path, verdict: Verdict, reason: str, instance: Instance, calling_ae: str, at: datetime
    ) -> None:
        note = quarantine.Refused(
            quarantine.new_id(at), reason, verdict.name, calling_ae, instance.transfer_syntax, at.isoformat()
        )
        quarantine.put(self.files, path, note)

    def _reindex(self, path: Path, entry: Entry) -> None:
        instance = _read(path)
        at = datetime.fromisoformat(entry.received_at)
        file = KeptFile(entry.digest, path.stat().st_size, entry.calling_ae, at)
        try:
            self._index.write(instance, file)
        except NotIndexable as error:
            self._quarantine(path, Verdict.NOT_UNDERSTOOD, str(error), instance, entry.calling_ae, at)


def _head(
    pieces: Iterator[bytes | memoryview], transfer_syntax: str, *, stated: bool
) -> tuple[list[bytes], Instance | None]:
    """Take pieces until they show which instance it is.

    Gives them, and the instance if nothing that the index wants can come behind them.
    """
    head: list[bytes] = []
    size = 0
    wanted = HEAD_BYTES
    while True:
        ended = True
        for piece in pieces:
            head.append(bytes(piece))
            size += len(piece)
            if size >= wanted:
                ended = False
                break
        instance, complete = read_instance(b"".join(head), transfer_syntax, whole=ended)
        if complete:
            return head, instance
        if ended or stated or (instance.sop_uid and instance.sop_class) or size >= MAX_HEAD_BYTES:
            return head, None
        wanted = size * 4


def _read(path: Path) -> Instance:
    """Return the instance in a file of ours; a UID that its data set lacks comes from the file meta."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        meta = read_meta(data)
        with memoryview(data) as whole, whole[meta.data_set_at :] as data_set:
            instance, _ = read_instance(data_set, meta.transfer_syntax)
    return instance.completed(meta.sop_class, meta.sop_uid)


def _contradiction(stated: tuple[str, str], instance: Instance) -> str:
    """Say where the data set is not what its command announced (PS3.4 B.2.3, B007)."""
    sop_class, sop_uid = stated
    if sop_class and sop_class != instance.sop_class:
        return "the SOP Class of the data set is not that of the command"
    if sop_uid and sop_uid != instance.sop_uid:
        return "the SOP Instance UID of the data set is not that of the command"
    return ""


def _refusal(error: OSError) -> Outcome:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Outcome(Verdict.DISK_FULL, "no room on disk")
    raise error
