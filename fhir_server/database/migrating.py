"""Brings the schema up to date: Alembic, driven from here without a file in the working folder."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import OperationalError

from fhir_server.outcome import Unavailable

LOCK_TIMEOUT_MS = 5_000
"""A DDL statement that waits for its lock blocks everybody behind it: rather give up and try again."""

STATEMENT_TIMEOUT_MS = 3_600_000
TRIES = 5
_ONE_AT_A_TIME = 0x58_49_4E_47  # advisory lock: two servers that start together migrate once


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a database stands: its revision (None: empty) and the newest one that we know."""

    current: str | None
    newest: str | None

    @property
    def up_to_date(self) -> bool:
        """Tell whether nothing is left to do."""
        return self.current == self.newest


def schema_state(url: str) -> SchemaState:
    """Return the state of the schema at `url`. Raises Unavailable when the database is not there."""
    with _connection(url) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return SchemaState(current, _script().get_current_head())


def upgrade(url: str, revision: str = "head") -> SchemaState:
    """Bring the schema at `url` up to `revision` and return the state that it then has.

    A migration that cannot get its lock in LOCK_TIMEOUT_MS is rolled back and tried again, a
    few times; then the error of Postgres (LockNotAvailable) comes out.
    """
    for attempt in range(1, TRIES + 1):
        try:
            with _connection(url) as connection:
                connection.exec_driver_sql(f"SELECT pg_advisory_lock({_ONE_AT_A_TIME})")
                connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
                connection.exec_driver_sql(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}")
                connection.commit()
                command.upgrade(_config(connection), revision)
                connection.commit()
        except OperationalError as error:
            if attempt == TRIES or not isinstance(error.orig, psycopg2.errors.LockNotAvailable):
                raise
            time.sleep(attempt)
        else:
            break
    return schema_state(url)


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """Give a SQLAlchemy connection; `url` is anything that libpq understands."""
    engine = sqlalchemy.create_engine(
        make_url("postgresql+psycopg2://"),
        creator=lambda: psycopg2.connect(url, application_name="xinglin migrate", connect_timeout=10),
        poolclass=sqlalchemy.NullPool,
    )
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise Unavailable(f"the database cannot be reached: {str(error.orig).strip()}") from error
    with connection:
        yield connection


def script_folder() -> Path:
    """Return the folder of the package `migrations`."""
    found = importlib.util.find_spec("migrations")
    if found is None or found.origin is None:
        raise RuntimeError("the package migrations is not installed")
    return Path(found.origin).parent


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
