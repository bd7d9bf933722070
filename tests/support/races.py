"""Many clients at once, all released at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg2

from fhir_server.authorization.grant import Grant
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources
from fhir_server.outcome import FhirError

RACERS = 64
ANYONE = Grant("test")

Answer = Result | FhirError


def race(entry: Entry, work: Callable[[Context, int], Result], racers: int = RACERS) -> list[Answer]:
    """Run `work` once per racer, each in a unit of its own, all released at the same moment."""
    return at_once(lambda number: entry.write(ANYONE, lambda context: work(context, number)), racers)


def at_once(work: Callable[[int], Result], racers: int = RACERS) -> list[Answer]:
    """Run `work` once per racer; return what each came to, its answer or its refusal."""
    gate = threading.Barrier(racers)

    def one(number: int) -> Answer:
        gate.wait()
        try:
            return work(number)
        except FhirError as error:
            return error

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(one, range(racers)))


def statuses(answers: list[Answer]) -> list[int]:
    """Return the statuses of all answers, sorted."""
    return sorted(answer.status for answer in answers)


def ids(answers: list[Answer]) -> set[str]:
    """Return the ids that the answers speak of."""
    return {answer.version.id for answer in answers if isinstance(answer, Result) and answer.version}


def holding(entry: Entry, value: str, type_name: str = "Patient") -> int:
    """Return how many resources carry an identifier with this value."""
    asked = [("identifier", value), ("_count", "1000")]
    return len(entry.read(ANYONE, lambda context: resources(context, type_name, asked)))


def chain(entry: Entry, id_: str) -> list[int]:
    """Return the numbers of all versions of a resource, ascending."""
    sql = "SELECT array_agg(version ORDER BY version) FROM resource_version_json WHERE id = %s"
    found: list[int] = entry.read(ANYONE, lambda context: context.unit.execute(sql, (id_,)))[0][0]
    return found


def deadlocks(url: str) -> int:
    """Return how many deadlocks the database has seen; sessions tell when they end."""
    connection = psycopg2.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
    finally:
        connection.close()


@contextmanager
def without_deadlocks(entry: Entry) -> Iterator[None]:
    """Hold that what runs in the block, on this engine, meets no deadlock."""
    entry.engine.close()
    before = deadlocks(entry.engine.url)
    yield
    entry.engine.close()
    assert deadlocks(entry.engine.url) == before
