"""Stretches of dates: what fulfils a search is in exactly one of them, whatever its length."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import psycopg2
import pytest
from psycopg2.extras import execute_values

from fhir_server.schema.names import MADE
from fhir_server.search import moments, spans
from fhir_server.search.moments import DateValue

START = datetime(2020, 1, 1, tzinfo=UTC)
LENGTHS = ("1 second", "24 hours", "25 hours", "25 hours 1 second", "31 days", "32 days", "33 days",
           "366 days", "1100 days", "1101 days", "40 years")  # fmt: skip
PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")


def drawn(random: Random) -> DateValue:
    """Return a written date near the stored ones."""
    day = START + timedelta(days=random.randint(-1500, 1500), hours=random.randint(0, 23))
    text = random.choice((f"{day:%Y}", f"{day:%Y-%m}", f"{day:%Y-%m-%d}", f"{day:%Y-%m-%dT%H:%M:%SZ}"))
    return moments.read(random.choice(PREFIXES) + text, now=START)


INSERT = (
    "insert into idx_date (pk, param, low, high, span) "
    f"select n, 1, low, high, {MADE['idx_date']['span']} from"
)


@pytest.fixture
def rows(fresh_database_url: str) -> psycopg2.extensions.cursor:
    """Intervals of all lengths, with and without ends."""
    random = Random(7)
    connection = psycopg2.connect(fresh_database_url)
    cursor = connection.cursor()
    cursor.execute("set timezone to 'Europe/Berlin'")
    begins = [START + timedelta(hours=random.randint(-40_000, 40_000)) for _ in range(400)]
    execute_values(
        cursor,
        f"{INSERT} (select n, low, low + length as high from (values %s) v (n, low, length)) r",
        [(n, low, random.choice(LENGTHS)) for n, low in enumerate(begins)],
        template="(%s, %s, %s::interval)",
    )
    for first, low, high in (
        (1000, "at", "timestamptz 'infinity'"),
        (2000, "timestamptz '-infinity'", "at"),
        (3000, "timestamptz '-infinity'", "timestamptz 'infinity'"),
    ):
        ends = f"select n + {first} as n, {low} as low, {high} as high from (values %s) v (n, at)"
        execute_values(cursor, f"{INSERT} ({ends}) r", list(enumerate(begins[:40])))
    return cursor


def test_each_match_is_in_one_stretch(rows: psycopg2.extensions.cursor) -> None:
    random = Random(11)
    cut = 0
    for _ in range(300):
        clauses = [
            [drawn(random) for _ in range(random.choice((1, 1, 1, 2)))]
            for _ in range(random.choice((1, 2, 2, 3)))
        ]
        parts, parameters = [], []
        for values in clauses:
            compared = [moments.compare(value, "low", "high") for value in values]
            parts.append("(" + " or ".join(sql for sql, _ in compared) + ")")
            parameters += [each for _, values_ in compared for each in values_]
        whole = "select pk, low from idx_date where param = 1 and " + " and ".join(parts)
        rows.execute(whole, parameters)
        expected = sorted(rows.fetchall())
        found, long, short = [], [], []
        stretches = spans.of_dates(clauses) or [spans.Stretch("true", ())]
        cut += len(stretches) > 1
        for stretch in stretches:
            rows.execute(f"{whole} and {stretch.sql}", [*parameters, *stretch.parameters])
            hits = rows.fetchall()
            found += hits
            (long if stretch.long else short).extend(low for _, low in hits)
        assert sorted(found) == expected, clauses
        assert not long or not short or max(long) < min(short), clauses
    assert cut > 50


def test_the_column_says_how_long(rows: psycopg2.extensions.cursor) -> None:
    rows.execute("select span, low, high from idx_date where isfinite(low) and isfinite(high)")
    for span, low, high in rows.fetchall():
        limits = [spans.DAY, *spans.LENGTHS[:2]]
        assert span == sum(high - low > limit for limit in limits if limit is not None), high - low
    rows.execute("select distinct span from idx_date where high = 'infinity'")
    assert rows.fetchall() == [(4,)]
    rows.execute("select distinct span from idx_date where low = '-infinity' and high < 'infinity'")
    assert rows.fetchall() == [(3,)]
