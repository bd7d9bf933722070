"""How fast a large index answers: `python -m tests.support.dicom_scale URL`.

URL names an empty database. Prints the milliseconds of each search, answers read and counted, and what
EXPLAIN (ANALYZE, BUFFERS) says of its longest statement.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, ClassVar

import psycopg2
import psycopg2.extensions

from dicom_node.dictionary import hex_of, tag_of
from dicom_node.index.query import Manner, Match, Question, find
from dicom_node.instance import Level
from fhir_server.database.engine import Engine, Mode
from fhir_server.database.migrating import upgrade
from tests.support.dicom_rows import FAMILY, GIVEN, UID, fill

Maker = Callable[[random.Random], Question]


class Watched(psycopg2.extensions.cursor):  # type: ignore[misc]  # psycopg2 ships no types
    """A cursor that remembers its statements with what they cost."""

    seen: ClassVar[list[tuple[float, str]]] = []

    def execute(self, sql: Any, parameters: Any = None) -> Any:
        begun = time.perf_counter()
        done = super().execute(sql, parameters)
        sql = self.query.decode()
        if not sql.startswith(("PREPARE", "DEALLOCATE", "EXPLAIN")):
            self.seen.append(((time.perf_counter() - begun) * 1000, sql))
        return done


def _of(level: Level, limit: int = 100, *, fuzzy: bool = False, offset: int = 0, **keys: str) -> Question:
    matches = tuple(Match((hex_of(tag_of(name) or 0),), value) for name, value in keys.items())
    return Question(level, matches, limit, offset, Manner(fuzzy=fuzzy))


def _month(chance: random.Random) -> str:
    first = date(2011, 1, 1) + timedelta(days=chance.randrange(5400))
    return f"{first:%Y%m%d}-{first + timedelta(days=30):%Y%m%d}"


def searches(studies: int) -> dict[str, Maker]:
    """Return what is asked, by name: each a maker of questions with values of its own."""

    def uid(chance: random.Random) -> str:
        return f"{UID}.{chance.randrange(1, studies)}"

    return {
        "exact Study Instance UID": lambda c: _of(Level.STUDY, StudyInstanceUID=uid(c)),
        "exact Patient ID": lambda c: _of(Level.STUDY, PatientID=f"P{c.randrange(1, studies // 2):07d}"),
        "exact Accession Number": lambda c: _of(
            Level.STUDY, AccessionNumber=f"A{c.randrange(1, studies):08d}"
        ),
        "exact SOP Instance UID": lambda c: _of(Level.INSTANCE, SOPInstanceUID=f"{uid(c)}.1.1"),
        "instances of a series": lambda c: _of(
            Level.INSTANCE, StudyInstanceUID=(one := uid(c)), SeriesInstanceUID=f"{one}.1"
        ),
        "a month, one modality, all of it": lambda c: _of(
            Level.STUDY, 5000, StudyDate=_month(c), ModalitiesInStudy=c.choice(["CT", "MR", "US", "CR"])
        ),
        "name beginning with": lambda c: _of(Level.STUDY, PatientName=f"{c.choice(FAMILY)[:5]}*"),
        "name containing": lambda c: _of(
            Level.STUDY, PatientName=f"*{c.choice(FAMILY)[1:6]}*{c.choice(GIVEN)[1:4]}*"
        ),
        "name fuzzy": lambda c: _of(
            Level.STUDY, PatientName=f"{c.choice(FAMILY)}^{c.choice(GIVEN)}", fuzzy=True
        ),
        "name that nobody has": lambda c: _of(Level.STUDY, PatientName="*qqqq*"),
        "newest hundred": lambda c: _of(Level.STUDY),
        "studies at offset 15,000": lambda c: _of(Level.STUDY, offset=15_000),
        "series by modality and day": lambda c: _of(Level.SERIES, Modality="MR", StudyDate=_month(c)[:8]),
        "instances of all, first page": lambda c: _of(Level.INSTANCE),
    }


def main() -> int:
    """Fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="URL of an empty database; with --keep, of one that was filled so")
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--keep", action="store_true", help="the rows are there already")
    parser.add_argument("--plans", action="store_true", help="print the plans too")
    arguments = parser.parse_args()
    if not arguments.keep:
        upgrade(arguments.url)
        begun = time.monotonic()
        connection = psycopg2.connect(arguments.url)
        fill(connection, arguments.studies, arguments.instances)
        connection.close()
        print(f"filled in {time.monotonic() - begun:.0f} s")
    engine = Engine(arguments.url)
    engine.cursor_factory = Watched
    print(f"load {os.getloadavg()[0]:.1f}\n{'search':36} {'rows':>6} {'p50 ms':>8} {'p95 ms':>8}")
    for name, make in searches(arguments.studies).items():
        _measure(engine, name, make, arguments.times, arguments.plans)
    engine.close()
    return 0


def _measure(engine: Engine, name: str, make: Maker, times: int, plans: bool) -> None:
    chance = random.Random(7)
    took, rows = [], []
    Watched.seen.clear()
    for _ in range(times + 2):
        question = make(chance)
        begun = time.perf_counter()
        with engine.connection(Mode.SINGLE) as connection:
            rows.append(len(find(connection, question)))
        took.append((time.perf_counter() - begun) * 1000)
    took = sorted(took[2:])
    p95 = took[min(len(took) - 1, int(len(took) * 0.95))]
    print(f"{name:36} {statistics.median(rows):6.0f} {statistics.median(took):8.2f} {p95:8.2f}")
    if plans:
        _, longest = max(Watched.seen)
        with engine.connection(Mode.SINGLE) as connection:
            cursor = connection.cursor()
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS) " + longest.replace("%", "%%"), ())
            print("\n".join(f"    {line}" for (line,) in cursor.fetchall()))


if __name__ == "__main__":
    raise SystemExit(main())
