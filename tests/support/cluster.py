"""One embedded Postgres for a whole test run, whatever the number of pytest-xdist workers.

The pytest process that leads the run makes a folder and holds a lock in it; whoever needs a
database first starts this module as a process of its own, which ends, and clears the folder
away, when the lock becomes free: at the end of the run, however it ends.

    python -m tests.support.cluster FOLDER
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import psycopg2

from fhir_server.database.embedded import Embedded
from fhir_server.database.migrating import upgrade

GIVEN = "XINGLIN_TEST_DATABASE_URL"
SETTINGS = {"max_connections": "200", "autovacuum": "off", "logging_collector": "off"}


class Lead:
    """The leading process's part: the folder, and the lock that keeps the cluster up."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xinglin-test-"))
        self._lock: IO[str] = open(self.folder / "lead", "w")  # noqa: SIM115
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let the cluster go; without one, clear the folder away."""
        noted = self.folder / "url"
        given = os.environ.get(GIVEN)
        if given and noted.exists():
            make(given, f'DROP DATABASE "{template_name(self.folder)}"')
        self._lock.close()
        if given or not noted.exists():
            shutil.rmtree(self.folder, ignore_errors=True)


def template_name(folder: Path) -> str:
    """Return the name of the run's template database."""
    return folder.name.replace("-", "_").lower()


def template(folder: Path) -> tuple[str, str]:
    """Return (URL of a database from which others can be made, name of the migrated template).

    Starts the cluster if no XINGLIN_TEST_DATABASE_URL is given and nobody has yet.
    """
    name = template_name(folder)
    with open(folder / "making", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        noted = folder / "url"
        if not noted.exists():
            url = os.environ.get(GIVEN) or _start(folder)
            make(url, f'CREATE DATABASE "{name}"')
            upgrade(database(url, name))
            noted.write_text(url)
        return noted.read_text(), name


def make(url: str, statement: str) -> None:
    """Run a statement that stands outside of transactions: CREATE and DROP DATABASE."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()


def database(url: str, name: str) -> str:
    """Return the URL with another database.

    >>> database("postgresql:///xinglin?host=%2Fx&user=u", "t")
    "dbname='t' host='/x' user='u'"
    """
    parts = {**psycopg2.extensions.parse_dsn(url), "dbname": name}
    quoted = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in parts.items()}
    return " ".join(f"{key}='{value}'" for key, value in sorted(quoted.items()))


def _start(folder: Path) -> str:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.cluster", str(folder)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url:
        raise RuntimeError(f"the test cluster in {folder} did not start")
    return url


def main(folder: Path) -> None:
    """Run the cluster until the leading process is gone."""
    embedded = Embedded(folder, settings=SETTINGS, durable=False)
    print(embedded.start(), flush=True)
    os.close(1)
    with open(folder / "lead") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    embedded.stop(quick=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
