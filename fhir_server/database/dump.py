"""A dump of the whole database with the sums to check a restore by, all of one snapshot.

pg_dump and pg_restore are those of the wheel; they also work on an outside database that is
not newer than they are.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from fhir_server.database.binaries import wheel
from fhir_server.database.engine import Connection
from fhir_server.outcome import Unavailable


class DumpError(RuntimeError):
    """pg_dump or pg_restore failed; the message is its last line."""


@dataclass(frozen=True, slots=True)
class TableSum:
    """How many rows a table has, and a sum over their contents that does not depend on their order."""

    rows: int
    content: str


def dump(url: str, file: Path) -> dict[str, TableSum]:
    """Write the database at `url` to `file` (pg_dump's custom format) and return its tables' sums."""
    connection = _connect(url)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor = connection.cursor()
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        _run("pg_dump", url, f"--snapshot={snapshot}", "--format=custom", "--compress=1",
             "--no-owner", "--no-privileges", f"--file={file}")  # fmt: skip
        return _sums(connection)
    finally:
        connection.close()


def restore(url: str, file: Path) -> None:
    """Fill the empty database at `url` from `file`, all of it or nothing."""
    _run(
        "pg_restore",
        url,
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        str(file),
    )
    connection = _connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute("ANALYZE")  # a dump carries no statistics
    finally:
        connection.close()


def sums(url: str) -> dict[str, TableSum]:
    """Return the sums of all tables of ours, by name."""
    connection = _connect(url)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        return _sums(connection)
    finally:
        connection.close()


def server_version(url: str) -> int:
    """Return the major version of the server at `url`."""
    connection = _connect(url)
    try:
        return int(connection.server_version) // 10_000
    finally:
        connection.close()


def _sums(connection: Connection) -> dict[str, TableSum]:
    cursor = connection.cursor()
    cursor.execute("SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1")
    cursor.execute(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence = 'p'"
        " AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    found = {}
    for (name,) in cursor.fetchall():
        cursor.execute(
            f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {name} t"
        )
        rows, content = cursor.fetchone()
        found[name] = TableSum(rows, str(content))
    return found


def _connect(url: str) -> Connection:
    try:
        return psycopg2.connect(url, application_name="xinglin backup", connect_timeout=10)
    except psycopg2.OperationalError as error:
        raise Unavailable(f"the database cannot be reached: {str(error).strip()}") from error


def _run(program: str, url: str, *arguments: str) -> None:
    parts = parse_dsn(url)
    # A password on the command line could be read by every user of the machine.
    secret = {"PGPASSWORD": parts.pop("password")} if "password" in parts else {}
    done = subprocess.run(
        [wheel().program(program), f"--dbname={make_dsn(**parts)}", "--no-password", *arguments],
        env={**os.environ, **secret}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DumpError(f"{program} failed: {lines[0] if lines else done.returncode}")
