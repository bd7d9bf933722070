"""The worker's turn: what was ordered and is not done yet, what has run out, what may be destroyed.

Everything here is begun by somebody else and finished here when he was killed, or is due by the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_node.files.store import FileStore
from dicom_node.ingest import Ingest
from dicom_node.lifecycle import correction, removal, restore
from dicom_node.lifecycle.purge import purge
from dicom_node.lifecycle.rejection import Rules
from dicom_node.lifecycle.retention import expire
from fhir_server.database.engine import Engine
from fhir_server.outcome import FhirError, Unavailable

RETENTION_EVERY = timedelta(minutes=10)

log = logging.getLogger("dicom_node")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the installation decides: how long files of deleted instances are kept, and what notes do."""

    grace: timedelta
    rejection: Rules


class Lifecycle:
    """Carries out orders of removal, restoring and correction, retention and purging."""

    def __init__(
        self,
        engine: Engine,
        files: FileStore,
        settings: Settings,
        clock: Callable[[], datetime],
        ingest: Callable[[], Ingest] | None = None,
    ) -> None:
        self._engine = engine
        self._files = files
        self.settings = settings
        self._clock = clock
        self._make = ingest or (lambda: Ingest(files, engine, clock))
        self._ingest: Ingest | None = None
        self._looked: datetime | None = None
        self._failed: dict[int, datetime] = {}

    def drain(self) -> int:
        """Do some of what is to be done; return how much it was. Raises Unavailable."""
        now = self._clock()
        count = self._removals(now) + self._corrections(now)
        if self._looked is None or now - self._looked >= RETENTION_EVERY:
            expired = expire(self._engine, self._clock, self.settings.grace)
            self._looked = None if expired else now
            count += expired
        return count + purge(self._engine, self._files, now)

    def close(self) -> None:
        """Give up what the corrections needed."""
        if self._ingest is not None:
            self._ingest.close()
            self._ingest = None

    def restore(self, pk: int) -> int:
        """Bring back what a removal, lifted before, had taken out; return how many instances."""
        return restore.bring_back(self._engine, self._files, pk, self._way_in().adopt)

    def correct(self, study_uid: str) -> int:
        """Carry out the correction of a study; return how many looks at instances that took."""
        total = 0
        while done := correction.apply(
            self._engine, self._files, self._way_in().store, study_uid, self._clock()
        ):
            total += done
        return total

    def _removals(self, now: datetime) -> int:
        with self._engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT pk, lifted_at IS NOT NULL FROM dicom_removal r WHERE applied_at IS NULL AND"
                " lifted_at IS NULL OR lifted_at IS NOT NULL AND EXISTS (SELECT FROM dicom_removed x"
                " WHERE x.removal_pk = r.pk AND x.purged_at IS NULL) ORDER BY pk LIMIT 20"
            )
            waiting = cursor.fetchall()
        for pk, lifted in waiting:
            if lifted:
                self.restore(pk)
            else:
                removal.apply(self._engine, pk, now)
        return len(waiting)

    def _corrections(self, now: datetime) -> int:
        with self._engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT pk, study_uid FROM dicom_correction"
                " WHERE applied_at IS NULL AND superseded_at IS NULL ORDER BY pk LIMIT 20"
            )
            waiting = cursor.fetchall()
        count = 0
        for pk, study_uid in waiting:
            if self._failed.get(pk, now) > now:
                continue
            try:
                count += self.correct(study_uid)
            except Unavailable:
                raise
            except FhirError as error:
                if pk not in self._failed:
                    log.warning("correction %d waits: %s", pk, type(error).__name__)
                self._failed[pk] = now + timedelta(minutes=5)
        return count

    def _way_in(self) -> Ingest:
        if self._ingest is None:
            self._ingest = self._make()
        return self._ingest
