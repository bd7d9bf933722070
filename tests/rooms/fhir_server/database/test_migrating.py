"""The migration harness, on a folder of migrations of its own."""

from __future__ import annotations

import threading

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from fhir_server.database import migrating
from fhir_server.outcome import Unavailable

FIRST = """
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.execute("CREATE TABLE one (a int); "
        "INSERT INTO one SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
"""
SECOND = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("ALTER TABLE one ADD COLUMN b text")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A script folder with the project's env.py and no migrations yet."""
    place = tmp_path / "100% mine"
    (place / "versions").mkdir(parents=True)
    source = migrating.script_folder()
    (place / "env.py").write_text((source / "env.py").read_text())
    monkeypatch.setattr(migrating, "script_folder", lambda: place)
    return place / "versions"


@pytest.fixture
def empty_url(blank_database_url):
    return blank_database_url


def _execute(url, sql):
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def test_an_empty_database_is_brought_up_step_by_step(folder, empty_url):
    (folder / "m0001.py").write_text(FIRST)
    assert migrating.schema_state(empty_url) == migrating.SchemaState(None, "0001")
    assert migrating.upgrade(empty_url).up_to_date
    (folder / "m0002.py").write_text(SECOND)
    state = migrating.schema_state(empty_url)
    assert (state.current, state.newest, state.up_to_date) == ("0001", "0002", False)
    assert migrating.upgrade(empty_url).current == "0002"
    assert _execute(empty_url, "SELECT a, b FROM one") == [(1, None)]


def test_the_project_s_own_migrations_run_from_empty(empty_url):
    state = migrating.upgrade(empty_url)
    assert state.up_to_date


def test_two_that_start_together_migrate_once(folder, empty_url):
    (folder / "m0001.py").write_text(FIRST)
    states = []
    threads = [
        threading.Thread(target=lambda: states.append(migrating.upgrade(empty_url)), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [state.current for state in states] == ["0001"] * 4


def test_a_lock_that_is_held_stops_nobody_for_long(folder, empty_url, monkeypatch):
    (folder / "m0001.py").write_text(FIRST)
    migrating.upgrade(empty_url)
    (folder / "m0002.py").write_text(SECOND)
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(migrating, "TRIES", 1)
    reader = psycopg2.connect(empty_url)
    reader.cursor().execute("SELECT * FROM one")
    with pytest.raises(OperationalError) as caught:
        migrating.upgrade(empty_url)
    assert isinstance(caught.value.orig, psycopg2.errors.LockNotAvailable)
    assert migrating.schema_state(empty_url).current == "0001"
    reader.close()
    assert migrating.upgrade(empty_url).current == "0002"


def test_no_database_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="cannot be reached"):
        migrating.schema_state(f"postgresql:///x?host={tmp_path}")
