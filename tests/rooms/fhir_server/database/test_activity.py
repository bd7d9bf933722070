"""Whether anybody commits anything, told by one cheap question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from fhir_server.database.activity import Activity
from fhir_server.database.engine import Engine, Mode
from tests.support.server import wait_for


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=3)
    yield engine
    engine.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def asleep(activity: Activity, clock: Clock) -> None:
    """Wait until nothing happens in the cluster, which other tests share."""

    def quiet() -> bool:
        activity.look()
        clock.now += 100
        activity.look()
        return not activity.awake()

    wait_for(quiet)


def test_a_commit_wakes_however_long_it_was_on_its_way(engine: Engine) -> None:
    clock = Clock()
    activity = Activity(engine, awake_s=30.0, clock=clock)
    assert activity.awake(), "until it is known better"
    asleep(activity, clock)
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO job (id, subject, kind, asked_at, request) VALUES ('x', 's', 'bundle', now(), '{}')"
        )
        asleep(activity, clock)
        connection.commit()
    activity.look()
    assert activity.awake(), "committed"
    clock.now += 29
    assert activity.awake()
    clock.now += 2
    assert not activity.awake()


def test_who_reads_wakes_nobody(engine: Engine) -> None:
    clock = Clock()
    activity = Activity(engine, clock=clock)

    def unnoticed() -> bool:
        asleep(activity, clock)
        with engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM resource")
        activity.look()
        return not activity.awake()

    wait_for(unnoticed)


def test_a_database_that_is_away_counts_as_changed(engine: Engine, monkeypatch: Any) -> None:
    clock = Clock()
    activity = Activity(engine, clock=clock)
    asleep(activity, clock)
    engine.close()

    def refused(*_: Any, **__: Any) -> None:
        raise psycopg2.OperationalError("refused")

    monkeypatch.setattr(psycopg2, "connect", refused)
    clock.now += 100
    activity.look()
    assert activity.awake()
