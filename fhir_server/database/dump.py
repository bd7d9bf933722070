"""A dump of the whole database with the sums to check a restore by, all of one snapshot.

pg_dump and pg_restore are those of the wheel; they also work on an outside database that is
not newer than they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from fhir_server.database.binaries import wheel
from fhir_server.database.engine import Connection
from fhir_server.outcome import Unavailable

_PLAIN = ("--no-owner", "--no-privileges")
_KNOWS_TRANSACTION_TIMEOUT = 17


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
        _run("pg_dump", url, f"--snapshot={snapshot}", "--format=custom", "--compress=1", *_PLAIN,
             f"--file={file}")  # fmt: skip
        return _sums(connection)
    finally:
        connection.close()


def restore(url: str, file: Path) -> None:
    """Fill the empty database at `url` from `file`, all of it or nothing."""
    if server_version(url) < _KNOWS_TRANSACTION_TIMEOUT:
        _restore_older(url, file)
    else:
        _run("pg_restore", url, "--single-transaction", "--exit-on-error", *_PLAIN, str(file))
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


def _restore_older(url: str, file: Path) -> None:
    """Restore as SQL text, without the one setting that a server before 17 does not know."""
    dsn, environment = _login(url)
    make = [wheel().program("pg_restore"), *_PLAIN, "--file=-", str(file)]
    run = [wheel().program("psql"), dsn, "--no-psqlrc", "--quiet", "--no-password", "--single-transaction",
           "--set=ON_ERROR_STOP=1", "--output=/dev/null"]  # fmt: skip
    with (
        subprocess.Popen(make, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as making,
        subprocess.Popen(run, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as running,
    ):
        assert making.stdout is not None
        assert running.stdin is not None
        assert running.stderr is not None
        try:
            while (line := making.stdout.readline()) and not line.startswith(b"CREATE "):
                if not line.startswith(b"SET transaction_timeout"):
                    running.stdin.write(line)
            running.stdin.write(line)
            shutil.copyfileobj(making.stdout, running.stdin)
            running.stdin.close()
        except BrokenPipeError:
            making.kill()  # psql gave up, and says why
        told = running.stderr.read().decode(errors="replace")
        running.wait()
    _raise_unless_done("psql", running.returncode, told)
    if making.returncode != 0:
        raise DumpError("pg_restore cannot read the dump to its end")


def _run(program: str, url: str, *arguments: str) -> None:
    dsn, environment = _login(url)
    command = [wheel().program(program), f"--dbname={dsn}", "--no-password", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    _raise_unless_done(program, done.returncode, done.stderr)


def _login(url: str) -> tuple[str, dict[str, str]]:
    """Return connection string and environment; the password in the latter, where nobody else sees it."""
    parts = parse_dsn(url)
    secret = {"PGPASSWORD": parts.pop("password")} if "password" in parts else {}
    return make_dsn(**parts), {**os.environ, **secret}


def _raise_unless_done(program: str, code: int, told: str) -> None:
    if code != 0:
        lines = [line for line in told.splitlines() if line.strip()]
        raise DumpError(f"{program} failed: {lines[0] if lines else code}")
