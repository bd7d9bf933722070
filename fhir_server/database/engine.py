"""Connections to Postgres: a small pool, and what every session has set.

Hot statements run as text on the psycopg2 connection (SQLAlchemy adds 140 to 360 µs a
statement); SQLAlchemy itself is only for migrations, see `migrating.py`.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import psycopg2
from psycopg2.extensions import (
    ISOLATION_LEVEL_DEFAULT,
    ISOLATION_LEVEL_READ_COMMITTED,
    ISOLATION_LEVEL_REPEATABLE_READ,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_UNKNOWN,
)

from fhir_server.database import prepared
from fhir_server.database.keys import KeyBlocks
from fhir_server.outcome import Unavailable

Connection = Any  # psycopg2 ships no types


class Mode(Enum):
    """What kind of transaction a connection is taken for."""

    WRITE = (ISOLATION_LEVEL_READ_COMMITTED, None, False)
    SNAPSHOT = (ISOLATION_LEVEL_REPEATABLE_READ, True, False)
    SINGLE = (ISOLATION_LEVEL_DEFAULT, None, True)
    """Every statement is a transaction of its own: saves BEGIN and ROLLBACK, two round trips."""


class Engine:
    """A blocking pool of at most `size` connections, the last returned handed out first.

    Opens nothing until the first connection is asked for. A connection that broke is thrown
    away; one that the server closed while it lay idle is noticed without a round trip, so a
    restarted Postgres needs nobody's help. `wait_s` bounds the wait for a free connection.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int = 4,
        statement_timeout_ms: int = 30_000,
        application_name: str = "xinglin",
        wait_s: float = 10.0,
    ) -> None:
        self.url = url
        self.size = size
        self.wait_s = wait_s
        self.cursor_factory: Any = None
        """A cursor class for every connection handed out; tests count statements with it."""
        self._options: dict[str, Any] = {
            "application_name": application_name,
            "client_encoding": "UTF8",
            "connect_timeout": 10,
            "connection_factory": prepared.Connection,
            "options": _options(
                timezone="UTC",
                datestyle="ISO",
                statement_timeout=statement_timeout_ms,
                # who waits for another's lock is told so; a statement that is slow itself ends otherwise
                lock_timeout=statement_timeout_ms * 2 // 3,
                idle_in_transaction_session_timeout=max(60_000, 2 * statement_timeout_ms),
                jit="off",
                # a plan that merely might gather costs a page of twenty rows milliseconds
                max_parallel_workers_per_gather=0,
                enable_memoize="off",  # of what is looked up in a page, each comes once
                plan_cache_mode="force_generic_plan",  # of what is prepared at all: prepared.py
            ),
        }
        self.keys = KeyBlocks()
        """Primary keys that this pool has taken from the sequence and not used yet."""
        self._free = threading.BoundedSemaphore(size)
        self._idle: list[Connection] = []

    @contextmanager
    def connection(self, mode: Mode = Mode.WRITE) -> Iterator[Connection]:
        """Give a connection for the block; what is not committed at its end is rolled back.

        Raises Unavailable (503) when the database is not there, goes away in the middle, or
        has no connection left for `wait_s`.
        """
        if not self._free.acquire(timeout=self.wait_s):
            raise Unavailable(
                f"all {self.size} database connections were busy for {self.wait_s:g} s; try again"
            )
        try:
            connection = self._take()
            try:
                self._prepare(connection, mode)
                yield connection
            except psycopg2.Error as error:
                if connection.closed:
                    raise Unavailable("the database went away; try again") from error
                raise
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the idle connections; the engine can be used again afterwards."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if not _has_news(connection):
                return connection
            connection.close()
        try:
            return psycopg2.connect(self.url, **self._options)
        except psycopg2.OperationalError as error:
            raise Unavailable("the database cannot be reached right now; try again") from error

    def _prepare(self, connection: Connection, mode: Mode) -> None:
        isolation_level, readonly, autocommit = mode.value
        if connection.autocommit != autocommit:
            connection.autocommit = autocommit
        if connection.isolation_level != isolation_level:
            connection.isolation_level = isolation_level
        if connection.readonly != readonly:
            connection.readonly = readonly
        if connection.cursor_factory is not self.cursor_factory:
            connection.cursor_factory = self.cursor_factory

    def _give_back(self, connection: Connection) -> None:
        try:
            if not connection.closed:
                connection.rollback()  # no round trip when no transaction is open
                status = connection.info.transaction_status
                if status == TRANSACTION_STATUS_IDLE:
                    self._idle.append(connection)
                    return
                if status != TRANSACTION_STATUS_UNKNOWN:
                    connection.cancel()
        except psycopg2.Error:
            pass  # it is thrown away below
        connection.close()


def _has_news(connection: Connection) -> bool:
    """Tell whether the server sent something on an idle connection: that it is closing it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _options(**settings: object) -> str:
    return " ".join(f"-c {name}={value}" for name, value in settings.items())
