"""The change feed: complete up to the oldest open transaction, and across restores."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import psycopg2
import pytest

from fhir_server.database import feed
from fhir_server.database.engine import Engine
from fhir_server.database.unit_of_work import run_read, run_write


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url)
    yield engine
    engine.close()


HEAD = "INSERT INTO resource (pk, last_updated, rid, version, type, id) VALUES (%s, now(), %s, 1, 1, %s)"
VERSION = (
    "INSERT INTO resource_version (pk, stamp, last_updated, version, type, method) "
    "VALUES (%s, feed_stamp(), now(), 1, 1, 'C')"
)


def write(connection, pk: int) -> None:
    connection.cursor().execute(HEAD, (pk, str(uuid.uuid4()), f"r{pk}"))
    connection.cursor().execute(VERSION, (pk,))


def seen(engine: Engine, after: feed.Position) -> list[feed.Entry]:
    return run_read(engine, lambda unit: feed.read(unit, after, 100))


def arrived(engine: Engine, after: feed.Position, count: int) -> list[feed.Entry]:
    """Wait for `count` entries: transactions of other tests in the same cluster hold the feed back too."""
    deadline = time.monotonic() + 60
    while len(entries := seen(engine, after)) < count and time.monotonic() < deadline:
        pass
    return entries


def test_a_late_commit_is_neither_skipped_nor_overtaken(engine: Engine) -> None:
    early, late = psycopg2.connect(engine.url), psycopg2.connect(engine.url)
    write(late, 1)  # takes its transaction id first …
    write(early, 2)
    early.commit()  # … but commits last
    assert seen(engine, feed.START) == []
    late.commit()
    entries = arrived(engine, feed.START, 2)
    assert [entry.pk for entry in entries] == [1, 2]
    assert seen(engine, entries[-1].position) == []
    early.close()
    late.close()


def test_after_a_restore_every_later_change_is_seen(engine: Engine) -> None:
    connection = psycopg2.connect(engine.url)
    write(connection, 1)
    connection.commit()
    before = arrived(engine, feed.START, 1)[-1].position
    # what a dump looks like elsewhere: another cluster, whose transaction ids are far behind
    connection.cursor().execute("UPDATE feed_epoch SET cluster = 1")
    connection.cursor().execute("UPDATE resource_version SET stamp = stamp + 1000000")
    connection.commit()
    assert run_write(engine, (), feed.adopt)
    assert not run_write(engine, (), feed.adopt), "an epoch is opened once"
    write(connection, 2)
    connection.commit()
    connection.close()
    ahead = feed.Position(1, before.stamp + 2_000_000, 5)  # saw what the backup does not contain
    assert [entry.pk for entry in arrived(engine, ahead, 1)] == [2]
    assert [entry.pk for entry in arrived(engine, before, 2)] == [1, 2]
    assert seen(engine, seen(engine, before)[-1].position) == []
