"""The index follows behind: kept files → rows, in batches, by one thread of a receiving process.

A batch is begun when enough instances wait, when the oldest has waited long enough, or when somebody is
in a hurry. Nothing that waits is lost when the process or the database goes: the record of a kept file
stays in the journal until its row is committed. While the database is away the queue grows (beyond
IN_MEMORY only names are held, and the headers are read again), and what is tried is tried again by itself.
The same thread looks now and then for what processes that died have left behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dicom_node.files import journal
from dicom_node.files.journal import Entry
from dicom_node.files.store import FileStore
from dicom_node.index.batch import Arrival, IndexWriter, KeptFile, NotIndexable, Written
from dicom_node.instance import Instance
from dicom_node.reception import instance_in
from dicom_node.second_reader import START_S, SecondReader
from fhir_server.outcome import Unavailable

BATCH = 200
IN_MEMORY = 2_000
ADOPT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

log = logging.getLogger("dicom_node")

Spoil = Callable[[Path, Entry, Instance | None, str], None]
"""Puts a file into quarantine whose row the database will never take: file, entry, instance, reason."""


@dataclass(slots=True)
class Kept:
    """A durable file on its way into the index; `done` is set for whoever waits for its row."""

    entry: Entry
    size_bytes: int
    instance: Instance | None
    done: threading.Event | None = None
    written: Written | None = None
    error: Exception | None = None
    """Why there is no row: a NotIndexable is final, anything else says that it takes longer."""
    since: float = field(default_factory=time.monotonic)


class Indexer:
    """The queue and its thread, which starts with the first use: build it after the last fork."""

    def __init__(
        self, files: FileStore, writer: IndexWriter, reader: SecondReader, spoil: Spoil, delay_s: float
    ) -> None:
        self._files = files
        self._writer = writer
        self._reader = reader
        self._spoil = spoil
        self._delay_s = delay_s
        self._queue: deque[Kept] = deque()
        self._turn = threading.Condition()
        self._in_hand = 0
        self._put = 0  # how many ever came; they get their rows in this order
        self._in_memory = 0
        self._hurry = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self.problem = ""
        """Why the index cannot be written at this moment, or nothing."""

    @property
    def backlog(self) -> int:
        """How many durable instances have no row yet."""
        return len(self._queue) + self._in_hand

    def start(self) -> None:
        """Start the thread, if it does not run."""
        with self._turn:
            self._start()

    def put(self, kept: Kept) -> None:
        """Let a kept file be indexed; never blocks."""
        with self._turn:
            if self._in_memory >= IN_MEMORY and kept.done is None:
                kept.instance = None
            else:
                self._in_memory += 1
            self._queue.append(kept)
            self._put += 1
            self._start()
            if kept.done is not None or len(self._queue) in (1, BATCH):
                self._turn.notify_all()

    def hurry(self) -> None:
        """Index what waits without waiting for more, and write the audit of it: a sender has ended."""
        with self._turn:
            if self._thread is not None:
                self._hurry = True
                self._turn.notify_all()

    def room(self, limit: int, wait_s: float) -> bool:
        """Wait until less than `limit` instances have no row; whether that came to be."""
        with self._turn:
            return self._turn.wait_for(lambda: self.backlog < limit or bool(self.problem), wait_s)

    def reach(self, wait_s: float) -> bool:
        """Wait until what was put before has its row, whatever others put meanwhile; whether that came to be.

        Does not wait for a database that is away.
        """
        self.hurry()
        with self._turn:
            goal = self._put
            self._turn.wait_for(lambda: self._put - self.backlog >= goal or bool(self.problem), wait_s)
            return self._put - self.backlog >= goal

    def settle(self, wait_s: float) -> bool:
        """Wait until everything that was put has its row; whether that came to be."""
        self.hurry()
        with self._turn:
            return self._turn.wait_for(lambda: not self.backlog, wait_s)

    def close(self, wait_s: float) -> bool:
        """Index what waits, as far as that is possible, and end the thread; whether nothing is left."""
        self.hurry()
        with self._turn:
            self._turn.wait_for(lambda: not self.backlog or bool(self.problem), wait_s)
        with self._turn:
            self._closing = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(wait_s + 1)
        return not self.backlog

    def recover(self) -> int:
        """Index what dead processes have left behind; return how many files. Raises Unavailable."""
        return sum(self._adopt(folder, everything=True) for folder in journal.orphans(self._files))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dicom-indexer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        adopt_at = time.monotonic() + ADOPT_S
        while True:
            batch = self._next(adopt_at)
            if batch is None:
                return
            try:
                if batch:
                    self._index(batch)
                    self._forget(batch)
                self._calm()
                if time.monotonic() > adopt_at + (ADOPT_S if batch else 0):
                    for folder in journal.orphans(self._files):
                        self._adopt(folder, everything=False)
                    adopt_at = time.monotonic() + ADOPT_S
                pause_s = _FIRST_PAUSE_S
                self._working("")
            except Exception as error:
                if not isinstance(error, (Unavailable, OSError)):
                    log.exception("instances cannot be indexed; they are tried again")
                self._back(batch, error)
                self._working(str(error) if isinstance(error, Unavailable) else type(error).__name__)
                with self._turn:
                    self._hurry = False
                    self._turn.wait_for(lambda: self._closing, pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                adopt_at = time.monotonic() + ADOPT_S

    def _calm(self) -> None:
        """End the hurry once nothing waits."""
        with self._turn:
            if not self._queue:
                self._hurry = False

    def _next(self, adopt_at: float) -> list[Kept] | None:
        """Wait for a batch; an empty one when it is time to look around, None at the end."""
        with self._turn:
            while not self._queue:
                left_s = adopt_at - time.monotonic()
                if self._hurry or left_s <= 0:
                    return []
                if self._closing:
                    return None
                self._turn.wait(left_s)
            if self._closing and self.problem:
                return None
            due = self._queue[0].since + self._delay_s
            while len(self._queue) < BATCH and not (self._hurry or self._closing or self._queue[0].done):
                left_s = due - time.monotonic()
                if left_s <= 0:
                    break
                self._turn.wait(left_s)
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._in_hand = len(batch)
            self._in_memory -= sum(1 for each in batch if each.instance is not None)
            return batch

    def _index(self, batch: Sequence[Kept]) -> None:
        """Give a batch its rows; what the database refuses goes to quarantine, the rest is written."""
        refused = self._write(batch)
        final = all(isinstance(kept.error, NotIndexable) for kept in refused)
        if len(refused) == len(batch) > 1 and not final:
            # not the data of one of them: something is wrong with all, and may be mended
            error = refused[0].error
            for kept in refused:
                kept.error = None
            assert error is not None
            raise error
        for kept in refused:
            if not isinstance(kept.error, NotIndexable):
                log.error("an instance cannot be indexed", exc_info=kept.error)
                kept.error = NotIndexable(f"it cannot be indexed ({type(kept.error).__name__})")
            self._files.path(kept.entry.digest).unlink(missing_ok=True)
            self._spoil(kept.entry.path, kept.entry, kept.instance, str(kept.error))

    def _write(self, batch: Sequence[Kept]) -> list[Kept]:
        """Write the rows of a batch; return what cannot be written, found by halving."""
        try:
            arrivals = [self._arrival(kept) for kept in batch]
            written = self._writer.write(arrivals)
        except (Unavailable, OSError):
            raise
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return [batch[0]]
            half = len(batch) // 2
            return self._write(batch[:half]) + self._write(batch[half:])
        for kept, became in zip(batch, written, strict=True):
            kept.written = became
            kept.entry.path.unlink(missing_ok=True)
        return []

    def _arrival(self, kept: Kept) -> Arrival:
        entry = kept.entry
        if kept.instance is None:
            kept.instance = self._reader.helped(instance_in(entry.path), entry.path, START_S)
            if missing := kept.instance.missing():
                raise NotIndexable(f"no usable {', '.join(missing)}")
        self._files.admit(entry.path, entry.digest)
        return Arrival(
            kept.instance, KeptFile(entry.digest, kept.size_bytes, entry.calling_ae, entry.received_at)
        )

    def _adopt(self, folder: Path, *, everything: bool) -> int:
        """Index what lies in the folder of a dead process; return how many files.

        Not `everything`: what this process has received itself goes first.
        """
        left = journal.entries(folder)
        count = 0
        while left:
            batch, left = left[:BATCH], left[BATCH:]
            whole = [entry for entry in batch if not self._torn(folder, entry)]
            self._index([Kept(entry, entry.path.stat().st_size, None) for entry in whole])
            count += len(whole)
            if not everything and self._queue:
                break
        journal.give_up(folder)
        return count

    def _torn(self, folder: Path, entry: Entry) -> bool:
        if not journal.torn(folder, entry):
            return False
        if entry.path.stat().st_size:
            self._spoil(entry.path, entry, None, "the machine went down before all of it was on disk")
        else:
            entry.path.unlink()
        return True

    def _forget(self, batch: Iterable[Kept]) -> None:
        with self._turn:
            self._in_hand = 0
            for kept in batch:
                if kept.done is not None:
                    kept.done.set()
            self._turn.notify_all()

    def _back(self, batch: Sequence[Kept], error: Exception) -> None:
        """Put back what has no row yet, and tell those who wait for it that it takes longer."""
        with self._turn:
            self._in_hand = 0
            for kept in reversed(batch):
                if kept.written is None and kept.error is None:
                    self._queue.appendleft(replace(kept, done=None))
                    self._in_memory += kept.instance is not None
                    kept.error = error
                if kept.done is not None:
                    kept.done.set()
            self._turn.notify_all()

    def _working(self, problem: str) -> None:
        if problem and not self.problem:
            log.warning("the index cannot be written (%s); what comes in is kept and indexed later", problem)
        elif self.problem and not problem:
            log.info("the index can be written again; %d instances wait for it", self.backlog)
        with self._turn:
            self.problem = problem
            self._turn.notify_all()
