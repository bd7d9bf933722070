"""The one way in for an instance: bytes, transfer syntax, calling AE → kept, indexed, a status.

C-STORE comes here, and whatever else brings instances. PS3.4 B.2.3 (statuses), PS3.7 9.1.1.
The data set is never decoded and never changed: what lies behind our file meta information is
byte for byte what came. The order is: write, a name in the journal that is the hash of the content,
file and journal made durable, and only then the answer. The row of the index follows within a
fraction of a second (`Durability.JOURNAL`), or comes before the answer (`Durability.INDEX`).
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from pathlib import Path

from dicom_node import quarantine
from dicom_node.files.journal import Entry, Journal
from dicom_node.files.store import FileStore
from dicom_node.index.batch import Arrival, IndexWriter, KeptFile, NotIndexable
from dicom_node.index.ledger import Ledger
from dicom_node.indexer import Indexer, Kept
from dicom_node.instance import Instance
from dicom_node.reception import Reception, instance_in
from dicom_node.second_reader import START_S, SecondReader
from dicom_node.verdict import Outcome as Outcome
from dicom_node.verdict import Verdict as Verdict
from fhir_server.database.engine import Engine

DELAY_S = 0.1
"""How long an instance waits for others before its batch is indexed."""

BACKLOG = 20_000
CROWDED = 1_000
"""With so many rows to come, and a database that takes them, answers wait for it: the sender slows down."""

CROWDED_WAIT_S = 1.0
COMMIT_WAIT_S = 10.0
LEAST_FREE_BYTES = 64 * 1024 * 1024
_LOOK_AT_DISK_S = 1.0


class Durability(Enum):
    """What must have happened before a sender is told that an instance is stored."""

    JOURNAL = "journal"  # file and record are on disk; the index row follows
    INDEX = "index"  # the index row is committed too


class Ingest:
    """Receives instances for one process; thread-safe. Close it to give its folder up.

    `backlog` bounds the instances that are acknowledged and have no row yet, which grow in number
    while the database is away. With `title`, ours, what comes is written down for the audit here;
    without, the caller sees to it. Build it after the last fork.
    """

    def __init__(
        self,
        files: FileStore,
        engine: Engine,
        clock: Callable[[], datetime],
        durability: Durability = Durability.INDEX,
        backlog: int = BACKLOG,
        title: str = "",
    ) -> None:
        self.files = files
        self._clock = clock
        self._durability = durability
        self._backlog = backlog
        self._journal = Journal(files)
        self.folder = self._journal.folder
        """A folder for bytes on their way in; emptied when this process is gone."""
        self._index = IndexWriter(engine, Ledger(title, clock) if title else None)
        self._reader = SecondReader()
        self._indexer = Indexer(
            files,
            self._index,
            self._reader,
            self._spoil,
            DELAY_S if durability is Durability.JOURNAL else 0.0,
        )
        self._running = 0
        self._closed = False
        self._turn = threading.Condition()
        self._disk = (0.0, "")

    def recover(self) -> int:
        """Index what processes that died had kept and not indexed; return how many files.

        From then on it is looked for now and then. Raises Unavailable without a database.
        """
        count = self._indexer.recover()
        self._indexer.start()
        return count

    def adopt(self, digest: str, calling_ae: str, received_at: datetime) -> None:
        """Put a file of the store into the index, as if it had just come: it is restored.

        Raises Unavailable, NotIndexable.
        """
        path = self.files.path(digest)
        file = KeptFile(digest, path.stat().st_size, calling_ae, received_at)
        instance = self._reader.helped(instance_in(path), path, START_S)
        self._index.write([Arrival(instance, file)])

    def congested(self) -> str:
        """Say why no more should be sent right now, or nothing: the reason of a transient rejection."""
        if self._closed:
            return "this node is stopping"
        if self._indexer.backlog >= self._backlog:
            return f"{self._indexer.backlog} instances wait for the index"
        return self._disk_full()

    def hurry(self) -> None:
        """Index at once what waits for more: an association has ended."""
        self._indexer.hurry()

    def reach(self, wait_s: float) -> bool:
        """Wait until what was acknowledged before has its row; false when the index cannot be written."""
        return self._indexer.reach(wait_s)

    def settle(self, wait_s: float) -> bool:
        """Wait until all that was acknowledged has its row; whether that came to be."""
        return self._indexer.settle(wait_s)

    def finish(self, grace_s: float) -> bool:
        """Refuse what comes from now on and wait for what is being stored; whether all of it was."""
        with self._turn:
            self._closed = True
            return self._turn.wait_for(lambda: not self._running, grace_s)

    def close(self) -> None:
        """Give the folder of this process up, unless something is still being stored into it."""
        finished = self.finish(0)
        self._indexer.close(COMMIT_WAIT_S)
        self._reader.close()
        if finished:
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
        """Keep one instance and return what became of it: `begin`, the pieces, `finish`.

        An exception out of `data_set` comes through, and nothing stays.
        """
        reception = self.begin(transfer_syntax, calling_ae, sop_class, sop_uid)
        try:
            for piece in data_set:
                reception.write(piece)
            return reception.finish()
        finally:
            reception.abandon()

    def begin(
        self, transfer_syntax: str, calling_ae: str, sop_class: str = "", sop_uid: str = ""
    ) -> Reception:
        """Begin to receive an instance; the caller writes its data set and ends it.

        `sop_class` and `sop_uid` are what the command or the file meta information said, if
        anything. When the outcome is a stored one, the file is durable.
        """
        reception = Reception(
            self._journal.incoming,
            self._keep,
            self._ended,
            transfer_syntax,
            calling_ae,
            (sop_class, sop_uid),
            self._clock(),
        )
        with self._turn:
            self._running += 1
        if self._closed or self._indexer.backlog >= self._backlog:
            reception.refuse(Outcome(Verdict.UNAVAILABLE, self.congested()))
        return reception

    def _ended(self) -> None:
        with self._turn:
            self._running -= 1
            if self._closed:
                self._turn.notify_all()

    def _keep(self, reception: Reception) -> Outcome:
        instance = reception.read()
        incoming = reception.incoming
        assert incoming is not None
        instance = self._reader.helped(instance, incoming.path)
        size_bytes = incoming.size_bytes
        if missing := instance.missing():
            verdict = Verdict.NOT_UNDERSTOOD if instance.problem else Verdict.NOT_IDENTIFIED
            reason = "; ".join(filter(None, [f"no usable {', '.join(missing)}", instance.problem]))
            incoming.sync()
            self._quarantine(
                incoming.path, verdict, reason, instance, reception.calling_ae, reception.received_at
            )
            return Outcome(verdict, reason, instance, size_bytes)
        digest = incoming.digest()
        doubt = instance.problem or _contradiction(reception.stated, instance)
        if self.files.holds(digest, size_bytes) and self._index.holds(digest):
            verdict = Verdict.STORED_DOUBTFUL if doubt else Verdict.DUPLICATE
            return Outcome(verdict, doubt, instance, size_bytes)
        entry = self._journal.keep(incoming, digest, reception.calling_ae, reception.received_at)
        if self._durability is Durability.INDEX:
            return self._committed(Kept(entry, size_bytes, instance, threading.Event()), instance, doubt)
        self._indexer.put(Kept(entry, size_bytes, instance))
        if self._indexer.backlog >= min(CROWDED, self._backlog) and not self._indexer.problem:
            self._indexer.room(CROWDED, CROWDED_WAIT_S)
        return Outcome(Verdict.STORED_DOUBTFUL if doubt else Verdict.STORED, doubt, instance, size_bytes)

    def _committed(self, kept: Kept, instance: Instance, doubt: str) -> Outcome:
        """Wait for the row of an instance; what has none when the time is over gets it later all the same."""
        assert kept.done is not None
        self._indexer.put(kept)
        kept.done.wait(COMMIT_WAIT_S)
        if isinstance(kept.error, NotIndexable):
            return Outcome(Verdict.NOT_UNDERSTOOD, str(kept.error), instance, kept.size_bytes)
        written = kept.written
        if written is None:
            reason = "the index cannot be written right now; send the instance again"
            return Outcome(Verdict.UNAVAILABLE, reason, instance, kept.size_bytes)
        if written.removed:
            return Outcome(Verdict.REMOVED, "", instance, kept.size_bytes)
        if doubt:
            return Outcome(Verdict.STORED_DOUBTFUL, doubt, instance, kept.size_bytes)
        verdict = Verdict.NEW_VERSION if written.version > 1 else Verdict.STORED
        return Outcome(verdict if written.new else Verdict.DUPLICATE, "", instance, kept.size_bytes)

    def _spoil(self, path: Path, entry: Entry, instance: Instance | None, reason: str) -> None:
        self._quarantine(path, Verdict.NOT_UNDERSTOOD, reason, instance, entry.calling_ae, entry.received_at)

    def _quarantine(
        self,
        path: Path,
        verdict: Verdict,
        reason: str,
        instance: Instance | None,
        calling_ae: str,
        at: datetime,
    ) -> None:
        syntax = instance.transfer_syntax if instance is not None else ""
        note = quarantine.Refused(
            quarantine.new_id(at), reason, verdict.name, calling_ae, syntax, at.isoformat()
        )
        quarantine.put(self.files, path, note)

    def _disk_full(self) -> str:
        """Say that there is no room for another instance, or nothing; looks at most once a second."""
        looked_at, said = self._disk
        if (now := time.monotonic()) - looked_at > _LOOK_AT_DISK_S:
            free = shutil.disk_usage(self.files.root).free
            said = "" if free >= LEAST_FREE_BYTES else f"only {free // 2**20} MiB are free on disk"
            self._disk = (now, said)
        return said


def _contradiction(stated: tuple[str, str], instance: Instance) -> str:
    """Say where the data set is not what its command announced (PS3.4 B.2.3, B007)."""
    sop_class, sop_uid = stated
    if sop_class and sop_class != instance.sop_class:
        return "the SOP Class of the data set is not that of the command"
    if sop_uid and sop_uid != instance.sop_uid:
        return "the SOP Instance UID of the data set is not that of the command"
    return ""
