"""Which tokens were used, in Postgres: one statement decides, whichever worker asks."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg2

from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import FhirError

log = logging.getLogger(__name__)
SWEEP_S = 60.0

# Only who inserts the row gets it back: of any number of workers at the same time, one.
_NOTE = "INSERT INTO jwt_used (digest, expires_at) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING true"
_SWEEP = "DELETE FROM jwt_used WHERE expires_at < %s"


class StoredTokens:
    """The table jwt_used. Of a token only a digest of issuer and jti is kept, until it has expired."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sweep_s: float = SWEEP_S,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._sweep_s = sweep_s
        self._lock = threading.Lock()
        self._swept_at = time.monotonic()

    def first(self, issuer: str, token_id: str, until: datetime) -> bool:
        """Note a token until a time; say whether it is used for the first time.

        Raises Unavailable (503) when the database is not there: then nothing can be said.
        """
        digest = hashlib.sha256(f"{issuer}\0{token_id}".encode()).digest()
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(_NOTE, (digest, until))
            first = cursor.fetchone() is not None
        self._sweep()
        return first

    def _sweep(self) -> None:
        """Forget what has expired, now and then; that it fails harms nobody."""
        with self._lock:
            if time.monotonic() - self._swept_at < self._sweep_s:
                return
            self._swept_at = time.monotonic()
        try:
            with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
                cursor.execute(_SWEEP, (self._clock(),))
        except (FhirError, psycopg2.Error) as error:
            log.warning("used tokens: not swept, %s", type(error).__name__)
