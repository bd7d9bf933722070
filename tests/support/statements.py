"""Counts the statements that go to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2.extensions import cursor

from fhir_server.database.engine import Engine

Recorded = list[str]


@contextmanager
def recording(engine: Engine, at_most: int | None) -> Iterator[Recorded]:
    """Give the list of statements run through `engine` in the block; more than `at_most` fail it."""
    seen: Recorded = []

    class Recording(cursor):  # type: ignore[misc]
        def execute(self, query: Any, vars: Any = None) -> None:
            seen.append(query.decode() if isinstance(query, bytes) else str(query))
            super().execute(query, vars)

        def copy_expert(self, sql: Any, *rest: Any, **named: Any) -> None:
            seen.append(str(sql))
            super().copy_expert(sql, *rest, **named)

    engine.cursor_factory = Recording
    try:
        yield seen
    finally:
        engine.cursor_factory = None
    if at_most is not None and len(seen) > at_most:
        listing = "\n".join(statement[:200] for statement in seen)
        raise AssertionError(f"{len(seen)} statements, at most {at_most} were expected:\n{listing}")
