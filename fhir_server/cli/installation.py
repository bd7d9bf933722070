"""The installation that a command works on: its database, and who holds its data folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fhir_server.cli.command import Refused, say
from fhir_server.config import Config
from fhir_server.database.account import account
from fhir_server.database.embedded import running


def default_data_dir() -> Path:
    """Return the data folder of a command that was given none: `data` where it stands.

    Not so for root in a folder that nobody else may enter (Postgres refuses to run as root):
    then the place that the system has for a service's data.
    """
    here = Path.cwd()
    if os.geteuid() == 0 and account("", here).blocked_by(here) is not None:
        return Path("/var/lib/xinglin")
    return Path("data")


@contextmanager
def database(config: Config) -> Iterator[str]:
    """Give the URL of the database: the outside one, or the embedded one, started if nobody runs it."""
    if config.database_url:
        yield config.database_url
        return
    with running(config.data_dir, user=config.postgres_user, waiting=say) as url:
        yield url


def has_database(config: Config) -> bool:
    """Tell whether there is a database at all: an outside one, or a cluster under the data folder."""
    return bool(config.database_url) or (config.data_dir / "postgres" / "PG_VERSION").exists()


@contextmanager
def held(data_dir: Path) -> Iterator[bool]:
    """Hold the data folder as its one server; Refused when another one does.

    Gives whether the last one was killed: then its processes may still be ending.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / "serve.lock"
    with open(path, "a+", opener=lambda name, flags: os.open(name, flags, 0o600)) as lock:
        lock.seek(0)
        holder = lock.read().strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{data_dir} is already served by process {holder}; stop it first") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield bool(holder)
        lock.truncate(0)
