"""Query → Statement: SQL text and parameters for psycopg2 (R4/search.html).

Four statements: a page (`compile`), the ids of the matches (`compile_ids`), their number
(`compile_count`); includes are in include.py. A page finds and orders whole rows first and turns
JSON into text only for the rows that it answers with: jsonb → text before a sort would be paid for
every match. Ask for one row more than the page has to know whether there is a next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir_server.search.ast import Query
from fhir_server.search.conditions import RESOURCE, Conditions, Sql, Visible
from fhir_server.search.order import Key, Position, Walk, beyond, key, order_by, walk

COLUMNS = (
    "r.pk, r.type, r.id, r.version, "
    "to_char(r.last_updated at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), "
    "r.method::text, r.meta::text, r.content::text"
)
"""What every answer selects, as storage.version reads it; the texts of the sort keys come behind."""
WIDTH = 8
RAW = "r.pk, r.type, r.id, r.version, r.last_updated, r.method, r.meta, r.content"


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
    where = Conditions(visible).rows("r", query.type_name, query.clauses)
    page = _Page(where, limit, position, bool(query.sort) and query.sort[0].descending)
    found = [key(sort, number) for number, sort in enumerate(query.sort, start=1)]
    first = walk(query.sort[0]) if query.sort else None
    inner = _one_walk(page, found) if first is None else _two_walks(page, first, found[1:])
    texts = "".join(f", r.k{number}::text" for number in range(1, len(found) + 1))
    return Statement(f"select {COLUMNS}{texts} from ({inner.text}) r", list(inner.parameters), page.backward)


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


@dataclass(frozen=True, slots=True)
class _Page:
    """What the branches of a page share: the matches, their number, where it begins and which way."""

    where: Sql
    limit: int
    position: Position | None
    descending_pk: bool

    @property
    def backward(self) -> bool:
        return self.position is not None and self.position.backward


def _branch(
    page: _Page, source: str, where: Sql, shown: list[Key], keys: list[Key], behind: Sql | None
) -> Sql:
    """Return one ordered and limited selection, of what comes `behind` the position if anything."""
    joins = [each.join for each in keys if each.join.text]
    columns = "".join(f", {each.expression} as k{number}" for number, each in enumerate(shown, start=1))
    conditions = where.text if behind is None else f"{where.text} and ({behind.text})"
    return Sql(
        f"select {RAW}{columns} from {source}{''.join(join.text for join in joins)} where {conditions} "
        f"order by {order_by(keys, page.descending_pk, page.backward)} limit %s",
        (
            *(value for join in joins for value in join.parameters),
            *where.parameters,
            *(() if behind is None else behind.parameters),
            page.limit,
        ),
    )


def _one_walk(page: _Page, keys: list[Key]) -> Sql:
    """Return the resources by keys that are looked up for each."""
    behind = None
    if page.position is not None:
        behind = beyond(keys, page.position, page.position.keys, page.descending_pk)
    return _branch(page, f"{RESOURCE} r", page.where, keys, keys, behind)


def _two_walks(page: _Page, first: Walk, rest: list[Key]) -> Sql:
    """Return the resources with a first key in its order, then those without one."""
    keys = [first.key, *rest]
    nothing = Key(f"null::{first.key.sql_type}", first.key.sql_type, False, True)
    ordered = Sql(f"{first.condition} and {page.where.text}", page.where.parameters)
    missing = Sql(f"{page.where.text} and {first.absent}", page.where.parameters)
    position, backward = page.position, page.backward
    within = position is not None and position.keys[0] is not None  # the position is in the first walk
    branches = []
    if position is None or within or backward:
        behind = beyond(keys, position, position.keys, page.descending_pk) if position and within else None
        branches.append(_branch(page, first.source, ordered, keys, keys, behind))
    if position is None or not within or not backward:
        behind = None
        if position is not None and not within:
            behind = beyond(rest, position, position.keys[1:], page.descending_pk)
        branches.append(_branch(page, f"{RESOURCE} r", missing, [nothing, *rest], rest, behind))
    if len(branches) == 1:
        return branches[0]
    if backward:
        branches.reverse()
    return Sql(
        " union all ".join(f"({branch.text})" for branch in branches) + " limit %s",
        (*(value for branch in branches for value in branch.parameters), page.limit),
    )
