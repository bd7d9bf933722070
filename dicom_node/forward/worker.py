"""The background worker's part: rules look at what has come, and each destination gets senders of its own.

A destination that cannot be reached rests, ever longer, and costs nobody else anything: its senders
are its own threads, and there are none while it rests. Killed at any moment, nothing is lost: what
stands in the queue has not arrived.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.requestor import Remote
from dicom_node.dimse.send import Fate, Outlet, Result
from dicom_node.failures import UNREACHED, Failures
from dicom_node.files.store import FileStore
from dicom_node.forward import overview, queue, verification
from dicom_node.forward.hours import opening
from dicom_node.forward.queue import Job
from dicom_node.index.locate import Located
from dicom_node.sending.record import record
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine, Mode
from fhir_server.observability import events
from fhir_server.outcome import FhirError

GRANT: Final = Grant.system("dicom-forward")
INSTANCES_AN_ASSOCIATION: Final = 1000
NOTED_TOGETHER: Final = 50
NOTED_AFTER_S: Final = 1.0
ASKED_TOGETHER: Final = 500
FIRST_REST_S: Final = 5.0
MEASURED_EVERY_S: Final = 30.0
VERIFIED_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """What the installation decides about forwarding."""

    ae_title: str
    connections: int = 2
    threads: int = 16
    tries: int = 10
    max_age_hours: float = 168.0
    longest_rest_s: float = 600.0
    zone: ZoneInfo = ZoneInfo("UTC")


class Forwarder:
    """The queue at work in one process; several processes may work at one queue."""

    def __init__(
        self,
        engine: Engine,
        files: FileStore,
        destinations: Destinations,
        settings: ForwardSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._outlet = Outlet(files, "forward")
        self._destinations = destinations
        self._settings = settings
        self._clock = clock
        self._failures = Failures(engine, clock)
        self._senders: dict[str, list[threading.Thread]] = {}
        self._measured = -MEASURED_EVERY_S
        self._known: set[str] = set()
        self._verified = -VERIFIED_EVERY_S

    def drain(self) -> int:
        """Sort what has come, and see that every destination with work has senders; how many were sorted."""
        now = self._clock()
        with self._engine.connection() as connection:
            sorted_ = queue.sort(connection, now, self._settings.zone)
        self._verify(now)
        with self._engine.connection(Mode.SINGLE) as connection:
            waiting = queue.due(connection, now)
        self._senders = {
            title: alive
            for title, senders in self._senders.items()
            if (alive := [each for each in senders if each.is_alive()])
        }
        room = self._settings.threads - sum(map(len, self._senders.values()))
        for title, (jobs, failures) in waiting.items():
            running = self._senders.setdefault(title, [])
            wanted = 1 if failures else min(jobs, self._settings.connections)  # one to see whether it is back
            for _ in range(min(wanted - len(running), room)):
                room -= 1
                sender = threading.Thread(
                    target=self._send_all, args=(title,), name=f"forward-{title}", daemon=True
                )
                sender.start()
                running.append(sender)
        self._measure()
        return sorted_

    def _verify(self, now: datetime) -> None:
        """Look now and then what destinations have committed; what they have not is sent again."""
        if time.monotonic() < self._verified + VERIFIED_EVERY_S:
            return
        self._verified = time.monotonic()
        for doubted in verification.settle(self._engine, now):
            with self._engine.connection(Mode.SINGLE) as connection:
                self._try_again(connection, doubted.job, doubted.reason, for_good=doubted.for_good)

    def _measure(self) -> None:
        """Tell metrics now and then how long the queue is."""
        if time.monotonic() < self._measured + MEASURED_EVERY_S:
            return
        self._measured = time.monotonic()
        with self._engine.connection(Mode.SINGLE) as connection:
            places = overview.destinations(connection)
        for place in places:
            emit, title = events.emit, place.title
            emit(events.Measured("xinglin_forward_waiting_instances", title, place.instances))
            emit(events.Measured("xinglin_forward_failed_studies", title, place.failed))
        for title in self._known - {place.title for place in places}:
            events.emit(events.Measured("xinglin_forward_waiting_instances", title, 0))
        self._known |= {place.title for place in places}

    def _send_all(self, title: str) -> None:
        """Work at the jobs of a destination until there is none, or it is not reached."""
        try:
            permit(GRANT, "read", "ImagingStudy")
            with self._engine.connection(Mode.SINGLE) as connection:
                reached = True
                while reached and (job := self._claim(connection, title)) is not None:
                    try:
                        reached = self._work(connection, job)
                    finally:
                        queue.release(connection, job)
        except Exception as error:  # a thread of ours: nobody else would tell
            events.emit(events.crashed(error))

    def _claim(self, connection: Any, title: str) -> Job | None:
        return queue.claim(connection, title, self._clock(), self._settings.zone)

    def _work(self, connection: Any, job: Job) -> bool:
        """Send a job; false when its destination was not reached."""
        try:
            remote = self._destinations.find(job.destination)
        except FhirError:
            return False
        if remote is None:
            self._rest(connection, job, "no such application entity, or no port for it")
            return False
        sent = _Sent(self._engine, connection, job, self._clock)
        after = 0
        try:
            while found := queue.items(connection, job, after, INSTANCES_AN_ASSOCIATION):
                after = found[-1][0]
                keys = {(each.study_uid, each.series_uid, each.sop_uid): pk for pk, each in found}
                results = self._outlet.send(
                    [each for _, each in found],
                    remote,
                    self._settings.ae_title,
                    tls=self._destinations.tls,
                )
                for result in results:
                    each = result.instance
                    sent.note(keys[each.study_uid, each.series_uid, each.sop_uid], result)
                if sent.unreached:
                    break
        finally:
            sent.flush()
            self._record(remote, sent)
        if sent.unreached:
            self._rest(connection, job, sent.unreached)
            return False
        if not sent.refused:
            if not queue.finish(connection, job) and job.commits:
                verification.wait(connection, job)
            return True
        self._try_again(connection, job, f"{sent.refused} instances: {sent.reason}")
        return True

    def _try_again(self, connection: Any, job: Job, reason: str, *, for_good: bool = False) -> None:
        """Put a job off of which something has not arrived, or give it up."""
        now, settings = self._clock(), self._settings
        old = job.queued_at <= now - timedelta(hours=settings.max_age_hours)
        if for_good or old or job.tries + 1 >= settings.tries:
            queue.fail(connection, job, reason)
            events.emit(events.ForwardFailed(job.destination, 1))
            return
        later = now + timedelta(seconds=_rest_s(job.tries + 1, settings.longest_rest_s))
        queue.postpone(connection, job, opening(job.hours, later, settings.zone), reason)

    def _rest(self, connection: Any, job: Job, reason: str) -> None:
        now, settings = self._clock(), self._settings
        cursor = connection.cursor()
        cursor.execute("SELECT failures FROM dicom_forward_destination WHERE title = %s", (job.destination,))
        row = cursor.fetchone()
        seconds = _rest_s(1 + (row[0] if row else 0), settings.longest_rest_s)
        queue.rest(connection, job.destination, now + timedelta(seconds=seconds), reason)
        before = now - timedelta(hours=settings.max_age_hours)
        if count := queue.expire(connection, job.destination, before, now, reason):
            events.emit(events.ForwardFailed(job.destination, count))
        self._failures.note(UNREACHED, job.destination, "", reason)
        events.emit(events.DestinationUnreached(job.destination, seconds))

    def _record(self, remote: Remote, sent: _Sent) -> None:
        ours = self._settings.ae_title
        record(self._engine, self._clock(), ours, remote.title, remote.host, sent.studies, sent.refused, ours)


class _Sent:
    """What has been sent of a job, noted in the database a few at a time."""

    def __init__(self, engine: Engine, connection: Any, job: Job, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._connection, self._job, self._clock = connection, job, clock
        self._arrived: list[tuple[int, Located]] = []
        self._refusals: list[tuple[int, int, str]] = []
        self._noted = time.monotonic()
        self.refused = 0
        self.reason = ""
        self.unreached = ""
        self.studies: dict[str, int] = {}

    def note(self, pk: int, result: Result) -> None:
        """Take a result into account; it is in the database after `flush` at the latest."""
        if result.arrived:
            self._arrived.append((pk, result.instance))
            study = result.instance.study_uid
            self.studies[study] = self.studies.get(study, 0) + 1
        elif result.fate is Fate.UNREACHED:
            self.unreached = result.reason or result.fate.value
        else:
            self.refused += 1
            self.reason = self.reason or result.reason
            self._refusals.append((pk, result.status, result.reason))
        waiting = len(self._arrived) + len(self._refusals)
        if self._job.commits:  # each flush is a request for commitment: a few large ones
            if waiting >= ASKED_TOGETHER:
                self.flush()
        elif waiting >= NOTED_TOGETHER or time.monotonic() - self._noted > NOTED_AFTER_S:
            self.flush()

    def flush(self) -> None:
        """Write down what is not yet."""
        self._noted = time.monotonic()
        if self._arrived and self._job.commits:
            verification.ask(self._engine, self._job, self._arrived, self._clock())
            self._arrived = []
        elif self._arrived:
            pks = [pk for pk, _ in self._arrived]
            queue.arrived(self._connection, self._job, pks, self._clock())
            self._arrived = []
        if self._refusals:
            queue.refused(self._connection, self._job, self._refusals)
            self._refusals = []


def _rest_s(failures: int, longest_s: float) -> float:
    """Return how long to rest after so many failures in a row.

    >>> [_rest_s(failures, 600.0) for failures in (1, 2, 3, 20)]
    [5.0, 10.0, 20.0, 600.0]
    """
    return float(min(longest_s, FIRST_REST_S * 2 ** min(failures - 1, 16)))
