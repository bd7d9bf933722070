"""Query → Statement: SQL text and parameters for psycopg2 (R4/search.html).

Three statements: a page (`compile`), the ids of the matches (`compile_ids`), their number
(`compile_count`); includes are in include.py. A page finds and orders whole rows first (plans.py) and
turns JSON into text only for the rows that it answers with: jsonb → text before a sort would be paid
for every match. Ask for one row more than the page has to know whether there is a next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir_server.schema.names import RESOURCE
from fhir_server.search.ast import Query
from fhir_server.search.conditions import Conditions, Visible
from fhir_server.search.order import Position
from fhir_server.search.plans import Page, plan

COLUMNS = (
    "r.pk, r.type, r.id, r.version, "
    "to_char(r.last_updated at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), "
    "r.method::text, r.meta::text, r.content::text"
)
"""What every answer selects, as storage.version reads it; the texts of the sort keys come behind."""
WIDTH = 8


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL in psycopg2's %s style. With `backward` the rows come in the reverse of their order."""

    sql: str
    parameters: list[Any]
    backward: bool = False


def compile(
    query: Query, limit: int, position: Position | None = None, visible: Visible | None = None
) -> Statement:
    """Return the statement of one page: at most `limit` rows behind `position`.

    Rows are COLUMNS and then one text for each key of `_sort`; `position_of` makes the next
    position from a row.
    """
    page = Page(query, Conditions(visible), limit, position)
    plan(page)
    texts = "".join(f", r.k{number}::text" for number in range(1, len(page.keys) + 1))
    found = page.found(f"select {COLUMNS}{texts}")
    return Statement(found.text, list(found.parameters), page.backward)


def position_of(row: tuple[Any, ...], backward: bool = False) -> Position:
    """Return the place of a row of a page; go on from its last row, or back from its first."""
    return Position(row[0], tuple(row[WIDTH:]), backward)


def compile_ids(query: Query, limit: int, visible: Visible | None = None) -> Statement:
    """Return the statement that gives the ids of at most `limit` matches, in any order."""
    where = Conditions(visible).rows("r", query.type_name, query.clauses)
    return Statement(f"select r.id from {RESOURCE} r where {where.text} limit %s", [*where.parameters, limit])


def compile_count(query: Query, visible: Visible | None = None) -> Statement:
    """Return the statement that counts the matches."""
    where = Conditions(visible).rows("r", query.type_name, query.clauses)
    return Statement(f"select count(*) from {RESOURCE} r where {where.text}", list(where.parameters))
