"""The pool of connections."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import psycopg2
import pytest

from fhir_server.database import prepared
from fhir_server.database.engine import Engine, Mode
from fhir_server.database.unit_of_work import run_read, run_write
from fhir_server.outcome import Unavailable


def _one(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_a_session_has_utc_a_time_limit_and_no_jit(database_url):
    engine = Engine(database_url, statement_timeout_ms=1234, application_name="xinglin test")
    with engine.connection() as connection:
        shown = [
            _one(connection, f"SHOW {name}")
            for name in ("TimeZone", "statement_timeout", "jit", "application_name")
        ]
    engine.close()
    assert shown == ["UTC", "1234ms", "off", "xinglin test"]


ASKED = "select setting || %s from pg_settings where name = any(%s) limit %s"


def _asked(unit, *more):
    return unit.execute_prepared(ASKED, more or ("!", ["jit"], 1))


def _prepared(unit):
    return unit.execute("select statement from pg_prepared_statements order by name")


def test_what_comes_again_is_prepared_with_its_limit(engine):
    def work(unit):
        answers = [_asked(unit) for _ in range(4)]
        assert answers == [[("off!",)]] * 4
        [(statement,)] = _prepared(unit)
        assert statement.endswith("setting || $1 from pg_settings where name = any($2) limit 1")
        assert _asked(unit, "?", ["jit", "none"], 1) == [("off?",)]
        assert [_asked(unit, "!", [], 2) for _ in range(4)] == [[]] * 4
        assert len(_prepared(unit)) == 2

    run_read(engine, work)


def test_a_plan_is_made_anew_and_what_is_not_asked_is_forgotten(engine, monkeypatch):
    def names(unit):
        return {name for (name,) in unit.execute("select name from pg_prepared_statements")}

    def work(unit):
        for _ in range(3):
            _asked(unit)
        first = names(unit)
        monkeypatch.setattr(prepared, "REPLAN_AFTER_S", -1.0)
        _asked(unit)
        assert len(first) == 1
        assert len(names(unit)) == 1
        assert names(unit) != first
        monkeypatch.setattr(prepared, "MOST", 1)
        assert unit.execute_prepared("select %s::int as asked_here_alone", (1,)) == [(1,)]
        assert names(unit) == set()

    run_read(engine, work)


def test_a_session_that_lost_its_statements_is_asked_again(engine):
    runs = []

    def work(unit):
        runs.append(unit.attempt)
        for _ in range(3):
            _asked(unit)
        if unit.attempt == 0:
            unit.execute("DISCARD ALL")
        return _asked(unit)

    assert run_read(engine, work) == [("off!",)]
    assert runs == [0, 1]


WRITTEN = "INSERT INTO written_here (key) SELECT unnest(%s::text[])"


@pytest.fixture
def kept(engine):
    """Write by a statement that is prepared for the life of a connection.

    Returns what is there then, how many statements are prepared, and the attempts that it took.
    """
    run_write(engine, (), lambda unit: unit.execute("CREATE TABLE written_here (key text)"))

    def write(*keys, before=None, fails=False):
        runs = []

        def work(unit):
            runs.append(unit.attempt)
            if before is not None and unit.attempt == 0:
                unit.execute(before)
            for key in keys:
                unit.defer_prepared(WRITTEN, [f"{{{key}}}"])
            if fails:
                unit.execute("SELECT 1")
                raise ZeroDivisionError

        if fails:
            with pytest.raises(ZeroDivisionError):
                run_write(engine, (), work)
        else:
            run_write(engine, (), work)
        rows = run_read(engine, lambda unit: unit.execute("TABLE written_here ORDER BY 1"))
        names = run_read(engine, lambda unit: unit.execute("SELECT name FROM pg_prepared_statements"))
        return [key for (key,) in rows], len(names), runs

    yield write
    run_write(engine, (), lambda unit: unit.execute("DROP TABLE written_here"))


def test_what_is_written_again_and_again_is_prepared_once(kept):
    assert kept("a", "b") == (["a", "b"], 1, [0])
    assert kept("c") == (["a", "b", "c"], 1, [0])


def test_what_was_prepared_outlives_a_unit_that_failed(kept):
    assert kept("a", fails=True) == ([], 1, [0])
    assert kept("a") == (["a"], 1, [0])


def test_a_session_that_lost_its_statements_writes_all_the_same_and_once(kept):
    assert kept("a") == (["a"], 1, [0])
    assert kept("b", before="DEALLOCATE ALL") == (["a", "b"], 0, [0, 1])
    assert kept("c", before="DEALLOCATE ALL") == (["a", "b", "c"], 0, [0])


def test_what_is_not_committed_is_rolled_back(engine):
    with engine.connection() as connection:
        _one(connection, "CREATE TABLE ops_rolled_back (a int); SELECT 1")
    with engine.connection() as connection:
        assert _one(connection, "SELECT to_regclass('ops_rolled_back')") is None


def test_the_last_connection_returned_is_the_first_handed_out(engine):
    with engine.connection() as one, engine.connection() as two:
        pass  # two goes back first, then one
    with engine.connection() as again:
        assert again is one
        assert again is not two


@pytest.mark.parametrize(
    ("mode", "isolation", "read_only"),
    [
        (Mode.WRITE, "read committed", "off"),
        (Mode.SNAPSHOT, "repeatable read", "on"),
        (Mode.SINGLE, "read committed", "off"),
    ],
)
def test_a_mode_leaves_nothing_behind(engine, mode, isolation, read_only):
    for wanted in (Mode.SNAPSHOT, mode):
        with engine.connection(wanted) as connection:
            assert connection.autocommit == (wanted is Mode.SINGLE)
            found = (
                _one(connection, "SHOW transaction_isolation"),
                _one(connection, "SHOW transaction_read_only"),
            )
    assert found == (isolation, read_only)


def test_a_waiting_thread_gets_the_connection_that_comes_back(database_url):
    engine = Engine(database_url, size=1)
    got = []

    def ask():
        with engine.connection() as connection:
            got.append(connection)

    with engine.connection() as held:
        thread = threading.Thread(target=ask)
        thread.start()
    thread.join(10)
    engine.close()
    assert got == [held]


def test_all_connections_busy_is_unavailable(database_url):
    engine = Engine(database_url, size=2, wait_s=0.05)
    with ExitStack() as stack:
        stack.enter_context(engine.connection())
        stack.enter_context(engine.connection())
        with pytest.raises(Unavailable, match="all 2 database connections were busy"), engine.connection():
            pass
    with engine.connection() as connection:
        assert _one(connection, "SELECT 1") == 1
    engine.close()


def _terminate(engine, connection):
    pid = connection.info.backend_pid
    with engine.connection() as other:
        _one(other, f"SELECT pg_terminate_backend({pid}, 5000)")


def test_a_connection_that_breaks_in_use_is_unavailable_and_thrown_away(engine):
    with pytest.raises(Unavailable), engine.connection() as connection:
        _terminate(engine, connection)
        _one(connection, "SELECT 1")
    with engine.connection() as connection:
        assert _one(connection, "SELECT 1") == 1


def test_a_connection_closed_while_idle_is_never_seen(engine):
    with engine.connection() as victim:
        pass
    killer = Engine(engine.url)
    _terminate(killer, victim)
    killer.close()
    with engine.connection() as connection:
        assert connection is not victim
        assert _one(connection, "SELECT 1") == 1


def test_no_database_is_unavailable(tmp_path):
    engine = Engine(f"postgresql:///xinglin?host={tmp_path}")
    with pytest.raises(Unavailable, match="cannot be reached"), engine.connection():
        pass


def test_other_errors_come_out_as_they_are(engine):
    with pytest.raises(psycopg2.errors.UndefinedTable), engine.connection() as connection:
        _one(connection, "SELECT * FROM no_such_table")


def test_statements_are_counted(engine, query_recorder):
    with query_recorder(at_most=2) as statements, engine.connection() as connection:
        _one(connection, "SELECT 1")
        _one(connection, "SELECT 2")
    assert statements == ["SELECT 1", "SELECT 2"]
    with pytest.raises(AssertionError, match="2 statements"), query_recorder(at_most=1):  # noqa: SIM117
        with engine.connection() as connection:
            _one(connection, "SELECT 1")
            _one(connection, "SELECT 2")
