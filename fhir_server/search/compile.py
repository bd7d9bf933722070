"""Query → Statement: SQL text and parameters for psycopg2 (R4/search.html).

Four statements: a page (`compile`), the ids of the matches (`compile_ids`), their number
(`compile_count`); includes are in include.py. A page finds and orders whole rows first and turns
JSON into text only for the rows that it answers with: jsonb → text before a sort would be paid for
every match. Ask for one row more than the page has to know whether there is a next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.schema.names import RESOURCE
from fhir_server.search import chart
from fhir_server.search.ast import Clause, Criterion, Query
from fhir_server.search.conditions import (
    Conditions,
    Sql,
    Visible,
    is_bound,
    is_on_rows,
    row_condition,
    row_source,
)
from fhir_server.search.order import Key, Position, Walk, beyond, key, order_by, walk
from fhir_server.search.types.table import TYPES

COLUMNS = (
    "r.pk, r.type, r.id, r.version, "
    "to_char(r.last_updated at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), "
    "r.method::text, r.meta::text, r.content::text"
)
"""What every answer selects, as storage.version reads it; the texts of the sort keys come behind."""
WIDTH = 8
FEW = 1000
"""So many rows are fetched and sorted in some milliseconds; see `probed`."""
PROBED = ("idx_composite", "idx_string", "idx_quantity", "idx_number", "idx_date")
"""Where most is told first."""
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
    keys = [key(sort, number) for number, sort in enumerate(query.sort, start=1)]
    conditions = Conditions(visible)
    if (charted := chart.asked(query)) is not None:
        return _by_chart(query, conditions, charted, [chart.KEY, *keys[1:]], limit, position)
    first = walk(query.sort[0]) if query.sort else None
    bounds, others = _bounds(query, first)

    def matches(criteria: Sequence[Criterion]) -> Sql:
        return conditions.rows("r", query.type_name, criteria)

    page = _Page(matches(others), limit, position, bool(query.sort) and query.sort[0].descending)
    probe = [] if bounds else probed(query.clauses)
    texts = "".join(f", r.k{number}::text" for number in range(1, len(keys) + 1))
    head = f"select {COLUMNS}{texts} from "
    if not probe:
        inner = _whole(page, first, keys, bounds)
        return Statement(f"{head}({inner.text}) r", list(inner.parameters), page.backward)
    source = row_source(probe, FEW + 1)
    rest = [each for each in query.clauses if each not in probe]
    few = _also(matches(rest), f"r.pk = any(array(select pk from p)) and (select count(*) <= {FEW} from p)")
    many = _also(page.where, f"(select count(*) > {FEW} from p)")
    sparse = _one_walk(replace(page, where=few), keys)
    dense = _whole(replace(page, where=many), first, keys, bounds)
    sql = f"with p as materialized ({source.text}) {head}(({sparse.text}) union all ({dense.text})) r"
    parameters = [*source.parameters, *sparse.parameters, *dense.parameters]
    return Statement(sql, parameters, page.backward)


def _by_chart(
    query: Query,
    conditions: Conditions,
    charted: tuple[Clause, str],
    keys: list[Key],
    limit: int,
    position: Position | None,
) -> Statement:
    """Return a page of one patient's resources, newest first.

    With further keys the patient's is among them too: the GIN index then finds the few that have
    all of them. Without, only a walk of the chart is left, which ends with the page.
    """
    clause, patient = charted
    others = [each for each in query.clauses if each is not clause]
    where = conditions.rows("r", query.type_name, query.clauses if others else [])
    own = Sql(f"{where.text} and r.chart = %s::uuid", (*where.parameters, patient))
    inner = _one_walk(_Page(own, limit, position, descending_pk=True), keys)
    texts = "".join(f", r.k{number}::text" for number in range(1, len(keys) + 1))
    backward = position is not None and position.backward
    return Statement(f"select {COLUMNS}{texts} from ({inner.text}) r", list(inner.parameters), backward)


def probed(clauses: Sequence[Criterion]) -> list[Clause]:
    """Return the clauses whose number of rows shall decide how a page is found; mostly none.

    A condition on ordered rows alone has two plans: fetch the rows and then their resources, right
    where they are few; walk the resources in the order of the page and look at the rows of each,
    right where they are many. Postgres would choose by statistics that know nothing of how code,
    unit, value and date hang together. So up to FEW + 1 rows are read first, and what they show
    opens one of two branches; the other is not begun. Where a key is asked for as well, the GIN
    index has an answer that is estimated well, and nothing is probed.
    """
    found: list[Clause] = []
    for each in clauses:
        if not isinstance(each, Clause) or not is_on_rows(each):
            if isinstance(each, Clause) and (each.modifier == "not" or each.alternatives == (True,)):
                continue
            return []
        found.append(each)
    if not found:
        return []
    best = min(found, key=lambda clause: PROBED.index(TYPES[clause.parameter.kind].table or ""))
    if not is_bound(best):
        return [best]
    return [each for each in found if each.parameter == best.parameter]


def _bounds(query: Query, first: Walk | None) -> tuple[list[Clause], list[Criterion]]:
    """Return the clauses that are conditions on the rows walked for the first sort key, and the others.

    `date=ge2024&_sort=-date` then is one range of one index, begun at its end.
    """
    if first is None or not first.single:
        return [], list(query.clauses)
    parameter = query.sort[0].parameter
    bounds = [
        each
        for each in query.clauses
        if isinstance(each, Clause) and each.parameter == parameter and is_bound(each)
    ]
    return bounds, [each for each in query.clauses if each not in bounds]


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


def _also(condition: Sql, text: str) -> Sql:
    return Sql(f"{condition.text} and {text}", condition.parameters)


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


def _whole(page: _Page, first: Walk | None, keys: list[Key], bounds: Sequence[Clause]) -> Sql:
    """Return a page of all matches: by a walk of the first key's index where there is one."""
    return _one_walk(page, keys) if first is None else _two_walks(page, first, keys[1:], bounds)


def _two_walks(page: _Page, first: Walk, rest: list[Key], bounds: Sequence[Clause]) -> Sql:
    """Return the resources with a first key in its order, then those without one.

    `bounds` are further conditions on the rows that are walked; then none is without one.
    """
    keys = [first.key, *rest]
    nothing = Key(f"null::{first.key.sql_type}", first.key.sql_type, False, True)
    bound = row_condition(bounds) if bounds else Sql("true")
    ordered = Sql(
        f"{first.condition} and {bound.text} and {page.where.text}",
        (*bound.parameters, *page.where.parameters),
    )
    missing = Sql(f"{page.where.text} and {first.absent}", page.where.parameters)
    position, backward = page.position, page.backward
    within = position is not None and position.keys[0] is not None  # the position is in the first walk
    branches = []
    if position is None or within or backward:
        behind = beyond(keys, position, position.keys, page.descending_pk) if position and within else None
        branches.append(_branch(page, first.source, ordered, keys, keys, behind))
    if not bounds and (position is None or not within or not backward):
        behind = None
        if position is not None and not within:
            behind = beyond(rest, position, position.keys[1:], page.descending_pk)
        branches.append(_branch(page, f"{RESOURCE} r", missing, [nothing, *rest], rest, behind))
    if not branches:  # bounds, and a position behind all that have a value
        return _branch(page, first.source, _also(ordered, "false"), keys, keys, None)
    if len(branches) == 1:
        return branches[0]
    if backward:
        branches.reverse()
    return Sql(
        " union all ".join(f"({branch.text})" for branch in branches) + " limit %s",
        (*(value for branch in branches for value in branch.parameters), page.limit),
    )
