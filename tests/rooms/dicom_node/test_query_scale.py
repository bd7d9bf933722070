"""What searches touch in a large index: pages of the database, which do not depend on who else is busy.

A hundred thousand instances; XINGLIN_SCALE=1000000 for a million. Milliseconds: tests/support/dicom_scale.py.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import psycopg2
import pytest

from dicom_node.index.query import Question, find
from fhir_server.database.engine import Engine, Mode
from tests.support import cluster, dicom_rows
from tests.support.dicom_scale import Watched, searches

INSTANCES = int(os.environ.get("XINGLIN_SCALE", "100000"))
STUDIES = INSTANCES // 50

MOST_PAGES = {
    "exact Study Instance UID": 100,
    "exact Patient ID": 200,
    "exact Accession Number": 100,
    "exact SOP Instance UID": 100,
    "instances of a series": 80,
    "a month, one modality, all of it": 4_000,
    "name that nobody has": 20,
    "newest hundred": 8_000,
    "instances of all, first page": 1_000,
}
"""8 kB each, all statements of the search together; what the dearer of two plans needs, between which the
sample of an ANALYZE decides (82 pages instead of 19 for an exact key)."""


@pytest.fixture(scope="module")
def engine(_template: tuple[str, str], worker_id: str) -> Iterator[Engine]:
    url, model = _template
    name = f"{model}_{worker_id}_scale"
    cluster.make(url, f'CREATE DATABASE "{name}" TEMPLATE "{model}"')
    database = cluster.database(url, name)
    connection = psycopg2.connect(database)
    dicom_rows.fill(connection, STUDIES, INSTANCES)
    connection.close()
    engine = Engine(database, size=1)
    engine.cursor_factory = Watched
    yield engine
    engine.close()
    cluster.make(url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _pages(engine: Engine, question: Question) -> int:
    """Return how many pages all statements of a search touch."""
    Watched.seen.clear()
    with engine.connection(Mode.SINGLE) as connection:
        find(connection, question)
        statements = [sql for _, sql in Watched.seen]
        cursor = connection.cursor()
        total = 0
        for sql in statements:
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql.replace("%", "%%"), ())
            (((plan,),)) = cursor.fetchall()
            top = plan[0]["Plan"]
            total += top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return total


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MOST_PAGES))
def test_a_search_touches_few_pages(engine: Engine, name: str) -> None:
    chance = random.Random(11)
    make = searches(STUDIES)[name]
    most = max(_pages(engine, make(chance)) for _ in range(5))
    assert most <= MOST_PAGES[name]
