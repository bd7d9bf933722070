"""A unit of work: one transaction, its locks first, its listeners last, re-run as a whole.

Writing units run READ COMMITTED: every statement sees what was committed before it began, so
a search that follows a granted advisory lock sees what the former holder wrote (under
REPEATABLE READ the snapshot is older than the lock, and identical conditional creates
multiply). Reading units run each statement by itself, or several in one REPEATABLE READ READ
ONLY transaction when the answer is made of several (`snapshot`).

A unit that Postgres ends for a reason that passes (serialization failure, deadlock, a key
inserted by somebody else meanwhile) is run again from its first statement, a bounded number
of times; then the caller gets a 409 with Retry-After. Nothing is answered before COMMIT has returned.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import psycopg2
from psycopg2 import errors

from fhir_server.database import prepared
from fhir_server.database.changes import Change
from fhir_server.database.engine import Engine, Mode
from fhir_server.database.keys import KeyBlocks
from fhir_server.outcome import Contended, FhirError, Unavailable

T = TypeVar("T")

Parameters = Sequence[Any] | Mapping[str, Any] | None

ATTEMPTS = 8
"""Runs of one unit before its caller is told to come back later."""

PASSING = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
"""What Postgres ends a unit for although its re-run may well succeed. A unique key is violated only by
a writer that took the same id between our look and our insert: the re-run finds its row."""


class Listener(Protocol):
    """Told of the changes of a unit of work while its transaction is still open."""

    def __call__(self, unit: UnitOfWork, changes: list[Change]) -> None:
        """React to `changes`; what is written through `unit` shares their fate."""


class RunAgain(BaseException):
    """Raised inside a unit that saw a state which is no longer true; the unit starts over.

    No Exception, as rules that look something up are run where every Exception is caught.
    """


class Through(BaseException):
    """Carries an error of a lookup through what catches every Exception, to whoever opened the unit."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextmanager
def looking_up() -> Iterator[None]:
    """Let nobody but the opener of the unit catch what goes wrong with the database in the block."""
    try:
        yield
    except PASSING as error:
        raise RunAgain from error
    except (psycopg2.Error, FhirError) as error:
        raise Through(error) from error


class UnitOfWork:
    """One connection for the length of one unit; statements go as text through `execute`.

    Statements whose answer nobody needs are deferred and travel in front of the next one, so
    that BEGIN, three INSERTs and COMMIT cost one round trip. `changes` collects what was
    written; `run_write` hands it to the listeners. `keys` gives out primary keys. `attempt` counts
    the runs that came to nothing before this one. `definitions` is the state of the definitions by
    which the whole unit judges, once somebody asked for it; `parameters` what it indexes and searches by.
    """

    __slots__ = (
        "_deferred",
        "_in_snapshot",
        "_preparing",
        "attempt",
        "changes",
        "connection",
        "cursor",
        "definitions",
        "keys",
        "parameters",
        "writing",
    )

    def __init__(self, connection: Any, keys: KeyBlocks, *, writing: bool, attempt: int = 0) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.keys = keys
        self.writing = writing
        self.attempt = attempt
        self.definitions: Any = None
        self.parameters: Any = None
        self.changes: list[Change] = []
        self._deferred: list[bytes] = []
        self._preparing: dict[str, str] = {}
        self._in_snapshot = False

    def execute(self, sql: str | bytes, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Run what was deferred and then this statement; return its rows (none where it gives none)."""
        cursor = self.cursor
        if self._deferred:
            self.defer(sql, parameters)
            sql, parameters = b";".join(self._deferred), None
            self._deferred = []
        try:
            cursor.execute(sql, parameters)
        except prepared.Unknown as error:
            prepared.forget(self.connection)
            raise RunAgain from error
        if self._preparing:
            self.connection.kept.update(self._preparing)
            self._preparing = {}
        return cursor.fetchall() if cursor.description is not None else []

    def execute_prepared(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement whose plan does not depend on its values, planned once if it comes often."""
        if self.writing:
            return self.execute(sql, parameters)
        cursor = self.cursor
        try:
            cursor.execute(*prepared.run(cursor, sql, parameters))
        except prepared.Unknown as error:
            prepared.forget(self.connection)
            raise RunAgain from error
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def defer(self, sql: str | bytes, parameters: Parameters = None) -> None:
        """Run the statement with the next one, at the latest with COMMIT."""
        if parameters is None:
            self._deferred.append(sql if isinstance(sql, bytes) else sql.encode())
        else:
            self._deferred.append(self.cursor.mogrify(sql, parameters))

    def defer_prepared(self, sql: str, parameters: Sequence[Any]) -> None:
        """Defer one of the few statements that every write has, parsed and planned once a connection."""
        execute = self._preparing.get(sql)
        if execute is None:
            execute, before = prepared.kept(self.connection, sql)
            if before:
                self.defer(before)
                self._preparing[sql] = execute
        self.defer(execute, parameters)

    def snapshot(self) -> None:
        """From here on, all statements of a reading unit see the same state."""
        if not self.writing and not self._in_snapshot:
            self.cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._in_snapshot = True

    def end(self) -> None:
        """Close the snapshot, if there is one."""
        if self._in_snapshot:
            self.cursor.execute("COMMIT")
            self._in_snapshot = False

    def lock(self, names: Iterable[str]) -> None:
        """Take the advisory locks of `names` until the transaction ends, sorted.

        All locks of a unit are taken by one call before its first search; sorted, so that
        two units never wait for each other in a ring. A unit with very many of them takes the lock of
        all others together: Postgres has room for some thousand locks, those of all its clients.
        """
        numbers = sorted({lock_number(name) for name in names})
        if len(numbers) > MOST_LOCKS:
            self.execute("SELECT pg_advisory_xact_lock(%s)", (ALL_LOCKS,))
        elif numbers:
            self.defer("SELECT pg_advisory_xact_lock_shared(%s)", (ALL_LOCKS,))
            self.execute(
                "SELECT count(pg_advisory_xact_lock(n)) FROM (SELECT unnest(%s) AS n ORDER BY 1) AS sorted",
                (numbers,),
            )


MOST_LOCKS = 1000
"""Locks by name that one unit takes one by one."""


def lock_number(name: str) -> int:
    """Return the 64-bit number of an advisory lock.

    Two names that share a number only wait for each other without need.

    >>> lock_number("Patient?identifier=a|1") == lock_number("Patient?identifier=a|1")
    True
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


ALL_LOCKS = lock_number("all locks by name")
"""Shared by whoever holds a lock by name, held alone by a unit with more than MOST_LOCKS of them."""


def run_read(engine: Engine, work: Callable[[UnitOfWork], T]) -> T:
    """Run `work` on a reading unit and return its answer.

    Raises Contended (409) when it saw `ATTEMPTS` times a state that was no longer true (RunAgain).
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            _pause(attempt)
        with engine.connection(Mode.SINGLE) as connection:
            unit = UnitOfWork(connection, engine.keys, writing=False, attempt=attempt)
            try:
                return work(unit)
            except RunAgain:
                continue
            finally:
                if not connection.closed:
                    _end_quietly(unit)
    raise Contended(f"what was to be read changed during {ATTEMPTS} attempts; send the request again")


def run_write(engine: Engine, listeners: Sequence[Listener], work: Callable[[UnitOfWork], T]) -> T:
    """Run `work` in one transaction and return its answer once that is committed.

    Raises Contended (409) when the unit was ended `ATTEMPTS` times by others, Unavailable (503) when
    the database went away.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            _pause(attempt)
        # SINGLE: BEGIN and COMMIT are ours, so that they can travel with other statements
        with engine.connection(Mode.SINGLE) as connection:
            unit = UnitOfWork(connection, engine.keys, writing=True, attempt=attempt)
            try:
                unit.defer(b"BEGIN")
                answer = work(unit)
                if unit.changes:
                    for listener in listeners:
                        listener(unit, unit.changes)
                _commit(unit)
            except (RunAgain, *PASSING):
                _roll_back(unit)
            except BaseException:
                _roll_back(unit)
                raise
            else:
                return answer
    raise Contended(
        f"others changed the same resources during {ATTEMPTS} attempts and nothing was written; "
        "send the request again"
    )


def _commit(unit: UnitOfWork) -> None:
    """Commit; where the connection is lost over it, say that nobody knows what became of the write."""
    try:
        unit.execute(b"COMMIT")
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        if unit.connection.closed:
            raise Unavailable(
                "the database went away while the write was being committed; it is stored whole or "
                "not at all. Look before you send it again, or send it under a condition (If-None-Exist)"
            ) from error
        raise


def _pause(attempt: int) -> None:
    # full jitter: units that collided once must not come back in step
    time.sleep(random.uniform(0, 0.002 * 2**attempt))


def _roll_back(unit: UnitOfWork) -> None:
    """Give the transaction up; a connection that died has given it up already."""
    if not unit.connection.closed:
        try:
            unit.cursor.execute("ROLLBACK")
        except psycopg2.Error:
            unit.connection.close()


def _end_quietly(unit: UnitOfWork) -> None:
    """End a snapshot whose reader may have failed; READ ONLY, so nothing can be lost."""
    try:
        unit.end()
    except psycopg2.Error:
        unit.connection.close()
