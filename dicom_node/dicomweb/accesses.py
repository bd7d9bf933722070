"""Who looked at which study over the web, for the audit: a row for a caller and study every five minutes.

A viewer asks a thousand times for what is one look; PS3.15 A.5.3.7 wants it written down once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

from dicom_node import audit
from fhir_server.database.engine import Engine

EVERY_S = 300.0
_REMEMBERED = 10_000
_STUDY = "SELECT patient_id, issuer, accession FROM dicom_study WHERE study_uid = %s"


class Accesses:
    """What one process has written down lately; thread-safe."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lately: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._lock = Lock()

    def note(self, user: str, address: str, study_uid: str) -> None:
        """Write down that somebody was given something of a study, unless it stands there already."""
        key = (user, address, study_uid)
        now = self._clock()
        with self._lock:
            if now - self._lately.get(key, -EVERY_S) < EVERY_S:
                return
            self._lately[key] = now
            self._lately.move_to_end(key)
            if len(self._lately) > _REMEMBERED:
                self._lately.popitem(last=False)
        with self._engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(_STUDY, (study_uid,))
            row = cursor.fetchone()
            if row is not None:
                event = audit.Event(
                    audit.Kind.TRANSFERRED,
                    datetime.now(UTC),
                    source=audit.Party("DICOMweb"),
                    destination=audit.Party("", address, user, requestor=True),
                    studies=[audit.Studied(study_uid, *row)],
                    action="R",
                )
                audit.note(cursor, event)
                connection.commit()
