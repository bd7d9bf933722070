"""The one way in for an instance: bytes, transfer syntax, calling AE → kept, indexed, a status.

C-STORE comes here, and whatever else brings instances. PS3.4 B.2.3 (statuses), PS3.7 9.1.1.
The data set is never decoded and never changed: what lies behind our file meta information is
byte for byte what came. The order is: write, fdatasync, rename, fsync of the directory, index
row committed, and only then the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from dicom_node import quarantine
from dicom_node.files.journal import Entry, Journal, recover
from dicom_node.files.store import FileStore
from dicom_node.index.writer import IndexWriter, KeptFile, NotIndexable
from dicom_node.instance import Instance
from dicom_node.reception import Reception, instance_in
from dicom_node.verdict import Outcome as Outcome
from dicom_node.verdict import Verdict as Verdict
from fhir_server.database.engine import Engine
from fhir_server.outcome import Unavailable


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

    def adopt(self, digest: str, calling_ae: str, received_at: datetime) -> None:
        """Put a file of the store into the index, as if it had just come: it is restored."""
        self._reindex(self.files.path(digest), Entry("", digest, calling_ae, received_at.isoformat()))

    def congested(self) -> str:
        """Say why no more should be sent right now, or nothing: the reason of a transient rejection."""
        return "this node is stopping" if self._closed else ""

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
            self._journal.new_path,
            self._keep,
            self._ended,
            transfer_syntax,
            calling_ae,
            (sop_class, sop_uid),
            self._clock(),
        )
        with self._turn:
            self._running += 1
            closed = self._closed
        if closed:
            reception.refuse(Outcome(Verdict.UNAVAILABLE, "this node is stopping"))
        return reception

    def _ended(self) -> None:
        with self._turn:
            self._running -= 1
            self._turn.notify_all()

    def _keep(self, reception: Reception) -> Outcome:
        incoming, instance = reception.incoming, reception.read()
        assert incoming is not None
        calling_ae, received_at = reception.calling_ae, reception.received_at
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
        held = self.files.holds(digest, size_bytes)
        if not held:
            incoming.sync()
        self._journal.begin(entry)
        if held:  # sent again, or kept by somebody who died before the index knew
            try:
                self.files.settle(digest)
            except FileNotFoundError:  # it was removed, and purged between the two looks
                incoming.sync()
                held = False
        if not held:
            self.files.keep(incoming.path, digest)
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
        if written.removed:
            return Outcome(Verdict.REMOVED, "", instance, size_bytes)
        reason = instance.problem or _contradiction(reception.stated, instance)
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
        instance = instance_in(path)
        at = datetime.fromisoformat(entry.received_at)
        file = KeptFile(entry.digest, path.stat().st_size, entry.calling_ae, at)
        try:
            self._index.write(instance, file)
        except NotIndexable as error:
            self._quarantine(path, Verdict.NOT_UNDERSTOOD, str(error), instance, entry.calling_ae, at)


def _contradiction(stated: tuple[str, str], instance: Instance) -> str:
    """Say where the data set is not what its command announced (PS3.4 B.2.3, B007)."""
    sop_class, sop_uid = stated
    if sop_class and sop_class != instance.sop_class:
        return "the SOP Class of the data set is not that of the command"
    if sop_uid and sop_uid != instance.sop_uid:
        return "the SOP Instance UID of the data set is not that of the command"
    return ""
