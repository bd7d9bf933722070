"""Query → Statement: SQL text and parameters for psycopg2 (R4/search.html).

Three statements: a page (`compile`), the ids of the matches (`compile_ids`), their number
(`compile_count`); includes are in include.py. A page finds and orders whole rows first (plans.py) and
looks up bodies only for the rows that it answers with: a join before the page is cut would be paid
for every match. Ask for one row more than the page has to know whether there is a next one.

A page over several types is the first rows of one page a type, each by its own plan: `pk` is one
order over all types, so one position serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir_server.definitions.structures import type_code
from fhir_server.schema.names import PAGE_CONTENT, RESOURCE, VERSION
from fhir_server.search import score
from fhir_server.search.ast import Query
from fhir_server.search.conditions import TENANT, Conditions, Sql, Visible
from fhir_server.search.frequency import Frequencies, Judge
from fhir_server.search.order import Position, in_order
from fhir_server.search.plans import STRETCH, Page, is_settled, plan
from fhir_server.search.types import words
from fhir_server.search.word_rows import words_source

COLUMNS = (
    "r.pk, r.type, r.id, r.version, r.last_updated::text, "
    f"(select {PAGE_CONTENT} from {VERSION} v "
    f"where v.tenant = {TENANT} and v.pk = r.pk and v.version = r.version)"
)
"""What every answer selects, as storage.apart completes it; of a page the score (score.py), then the texts
of the sort keys come behind."""
SCORE = 6
WIDTH = 7


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL in psycopg2's %s style. With `backward` the rows come in the reverse of their order.

    `settled` says that the best plan is the same whatever the parameters are, so that it may be kept.
    Where it is not, `first` may be a settled one that gives the page if there is little to look at; its last
    row has no pk if there is more.
    """

    sql: str
    parameters: list[Any]
    backward: bool = False
    settled: bool = False
    first: Statement | None = None


def compile(
    query: Query,
    limit: int,
    position: Position | None = None,
    visible: Visible | None = None,
    frequencies: Frequencies | None = None,
) -> Statement:
    """Return the statement of one page: at most `limit` rows behind `position`.

    `frequencies` help to choose how; what is found does not depend on them.

    Rows are COLUMNS, the score and then one text for each key of `_sort`; `position_of` makes the next
    position from a row.
    """
    if query.parts is not None:
        return _several(query, query.parts, limit, position, visible, frequencies)
    if visible is None:
        query = in_order(query, position)
    page = Page(query, Conditions(visible), limit, position, judge=Judge(frequencies, limit / STRETCH))
    plan(page)
    of_page = score.of(query)
    select = Sql(f"select {COLUMNS}, {of_page.text}{_texts(page)}", of_page.parameters)
    found, few = page.found(select), page.found_if_few(select)
    first = None
    if few is not None:
        first = Statement(few.text, list(few.parameters), page.backward, settled=True)
    return Statement(found.text, list(found.parameters), page.backward, is_settled(page), first)


def _texts(page: Page) -> str:
    return "".join(f", r.k{number}::text" for number in range(1, len(page.keys) + 1))


def _several(
    query: Query,
    parts: tuple[Query, ...],
    limit: int,
    position: Position | None,
    visible: Visible | None,
    frequencies: Frequencies | None,
) -> Statement:
    """Return the first rows of the pages of all parts, merged in their order."""
    backward = position is not None and position.backward
    found: list[Sql] = []
    for part in parts:
        judge = Judge(frequencies, limit * len(parts) / STRETCH)
        page = Page(part, Conditions(visible), limit, position, len(parts), judge)
        plan(page)
        of_part = score.of(part)
        found.append(page.found(Sql(f"select r.*, {of_part.text} as score", of_part.parameters)))
    if not found:
        return Statement(f"select r.pk from {RESOURCE} r where false", [], backward)
    order = []
    for number, key in enumerate(page.keys, start=1):
        turned = " desc" if key.descending != backward else ""
        collated = ' collate "C"' if key.sql_type == "text" else ""
        order.append(f"k{number}{collated}{turned} nulls {'first' if backward else 'last'}")
    order.append("pk desc" if page.descending_pk != backward else "pk")
    united = " union all ".join(f"({each.text})" for each in found)
    sql = (
        f"select {COLUMNS}, r.score{_texts(page)} from (select * from ({united}) u "
        f"order by {', '.join(order)} limit %s) r"
    )
    return Statement(sql, [*(value for each in found for value in each.parameters), limit], backward)


def position_of(row: tuple[Any, ...], backward: bool = False) -> Position:
    """Return the place of a row of a page; go on from its last row, or back from its first."""
    return Position(row[0], tuple(row[WIDTH:]), backward)


def compile_ids(query: Query, limit: int, visible: Visible | None = None) -> Statement:
    """Return the statement that gives the ids of at most `limit` matches, in any order."""
    where = Conditions(visible).rows("r", query.type_name, query.clauses)
    return Statement(f"select r.id from {RESOURCE} r where {where.text} limit %s", [*where.parameters, limit])


def compile_count(query: Query, visible: Visible | None = None) -> Statement:
    """Return the statement that counts the matches."""
    if query.parts is not None:
        counted = [compile_count(part, visible) for part in query.parts]
        united = " union all ".join(count.sql for count in counted) or "select 0"
        sql = f"select coalesce(sum(count), 0)::bigint from ({united}) c(count)"
        return Statement(sql, [value for count in counted for value in count.parameters])
    if visible is None and not query.clauses:
        return _count_of_type(query.type_name)
    conditions = Conditions(visible)
    worded = words.asked(query.clauses)
    if visible is None and len(worded) == len(query.clauses) > 0:
        # Words say the type themselves, and what is deleted has none.
        source = words_source(worded)
        return Statement(f"select count(*) from ({source.text}) r", list(source.parameters))
    if Judge().of(query.clauses) == "few":
        found = [conditions.rows("r", query.type_name, query.clauses)]
    else:
        found = conditions.disjoint("r", query.type_name, query.clauses)
    counts = [f"select count(*) from {RESOURCE} r where {where.text}" for where in found]
    sql = counts[0] if len(counts) == 1 else f"select {' + '.join(f'({count})' for count in counts)}"
    return Statement(sql, [value for where in found for value in where.parameters])


def _count_of_type(type_name: str) -> Statement:
    """Return the statement that counts a type: all heads by the primary key, less what is deleted.

    The primary key alone is read where VACUUM has been, a sixth of what it costs to look at the heads; and
    a deletion is a head without keys, which GIN finds.
    """
    heads = f"select count(*) from {RESOURCE} r where r.tenant = {TENANT} and r.type = {type_code(type_name)}"
    return Statement(f"select ({heads}) - ({heads} and r.deleted and r.keys = '{{}}')", [])


def compile_estimate(query: Query, visible: Visible | None = None) -> Statement:
    """Return the statement that gives the plan of the matches, as JSON; it is not carried out.

    Its `Plan Rows` are how many matches Postgres expects.
    """
    selects = []
    for part in (query,) if query.parts is None else query.parts:
        where = Conditions(visible).rows("r", part.type_name, part.clauses)
        selects.append(Sql(f"select r.pk from {RESOURCE} r where {where.text}", where.parameters))
    united = " union all ".join(each.text for each in selects) or f"select r.pk from {RESOURCE} r where false"
    sql = f"explain (format json) {united}"
    return Statement(sql, [value for each in selects for value in each.parameters])


def compile_types(table: str = RESOURCE) -> Statement:
    """Return the statement that gives the codes of the types of which there are resources.

    One step of the primary key a type, whatever the number of resources.
    """
    first = f"select r.type from {table} r where r.tenant = {TENANT}"
    return Statement(
        f"with recursive t(type) as (({first} order by r.type limit 1) union all "
        f"select ({first} and r.type > t.type order by r.type limit 1) from t where t.type is not null) "
        "select type from t where type is not null",
        [],
    )
