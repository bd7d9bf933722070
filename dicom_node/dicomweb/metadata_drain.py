"""The background worker's part of metadata: series that have become quiet get theirs written.

It is only ever ahead of the requests, which write what they miss; so where it stands need not be kept.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from dicom_node.dicomweb.metadata import written
from dicom_node.dicomweb.metadata_parts import MetadataParts
from dicom_node.files.store import FileStore
from dicom_node.index.locate import SeriesState, states_of
from fhir_server.database.engine import Engine, Mode

QUIET_S = 2.0
SERIES_AT_A_TIME = 10
LOOK_BACK = 100_000
"""Instances that are looked at when the worker starts: some may have come while none was there."""

_LATE_S = 10.0  # a transaction that took its keys early may commit so much later
_REMEMBERED = 20_000
_SWEEP_S = 60.0
_RECENT = """
SELECT series_pk, max(pk), max(received_at) FROM dicom_instance WHERE pk > %s GROUP BY series_pk
"""

log = logging.getLogger("dicom_node")


class MetadataDrain:
    """What it remembers between turns: up to which instance it has looked, and which series wait."""

    def __init__(
        self,
        engine: Engine,
        files: FileStore,
        address: str,
        clock: Callable[[], datetime],
        quiet_s: float = QUIET_S,
    ) -> None:
        self._engine = engine
        self._files = files
        self._parts = MetadataParts(files, address)
        self._clock = clock
        self._quiet = timedelta(seconds=quiet_s)
        self._after: int | None = None
        self._seen: list[tuple[datetime, int]] = []
        self._waiting: dict[int, tuple[int, datetime]] = {}  # series → its newest instance, and when it came
        self._written: OrderedDict[int, int] = OrderedDict()  # series → its newest instance then
        self._swept_at = clock()
        self._folders: list[Path] = []

    def drain(self) -> int:
        """Write the metadata of the series that are due, a few at a time; return how many were written."""
        now = self._clock()
        self._look(now)
        due = [pk for pk, (_, at) in self._waiting.items() if at <= now - self._quiet][:SERIES_AT_A_TIME]
        count = 0
        if due:
            with self._engine.connection(Mode.SINGLE) as connection:
                states = {state.pk: state for state in states_of(connection, due)}
            for pk in due:
                newest, _ = self._waiting.pop(pk)
                self._written[pk] = newest
                if len(self._written) > _REMEMBERED:
                    self._written.popitem(last=False)
                count += pk in states and self._write(states[pk])
        if now - self._swept_at > timedelta(seconds=_SWEEP_S):
            self._swept_at = now
            self._sweep()
        return count

    def _look(self, now: datetime) -> None:
        """Note the series that got instances since the last look."""
        with self._engine.connection(Mode.SINGLE) as connection:
            cursor = connection.cursor()
            if self._after is None:
                cursor.execute("SELECT coalesce(max(pk), 0) FROM dicom_instance")
                self._after = max(0, cursor.fetchone()[0] - LOOK_BACK)
            cursor.execute(_RECENT, (self._after,))
            rows = cursor.fetchall()
        for series_pk, newest, at in rows:
            if newest > self._written.get(series_pk, 0):
                self._waiting[series_pk] = newest, at
        if rows:
            self._seen.append((now, max(newest for _, newest, _ in rows)))
        while self._seen and self._seen[0][0] <= now - timedelta(seconds=_LATE_S):
            self._after = max(self._after, self._seen.pop(0)[1])

    def _write(self, state: SeriesState) -> bool:
        if self._parts.find(state) is not None:
            return False
        try:
            return written(self._engine, self._files, self._parts, state) is not None
        except OSError as error:  # a request will meet the same and say so
            log.warning("the metadata of series %d cannot be written: %s", state.pk, error.strerror)
            return False

    def _sweep(self) -> None:
        """Remove from one folder the parts of series that are gone or are no more what they were."""
        if not self._folders:
            self._folders = sorted(self._parts.folder.glob("[0-9]*"))
        if not self._folders:
            return
        found = list(self._folders.pop().glob("*.part"))
        pks = sorted({int(path.name.partition("-")[0]) for path in found})
        with self._engine.connection(Mode.SINGLE) as connection:
            current = {self._parts.name(state) for state in states_of(connection, pks)}
        for path in found:
            if path.name not in current:
                path.unlink(missing_ok=True)
