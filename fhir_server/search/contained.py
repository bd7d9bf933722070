"""`_contained` and `_containedType`: a search in contained resources (R4/search.html#contained).

    _contained=true    only contained resources are matched; both: those that stand alone, too
    _containedType=container    the answer is what contains them, each once; contained: they themselves

Criteria mean the same as always: a contained resource has keys and index rows of its own, under a pk
of its own. Pages are in the order of those pks, or of the containers'. The table stands in the
place of `resource` here; what it has no column for is null.
"""

from __future__ import annotations

from typing import Any

from fhir_server.definitions.structures import type_code
from fhir_server.schema.names import RESOURCE
from fhir_server.search.ast import Query
from fhir_server.search.compile import COLUMNS, WIDTH, Statement
from fhir_server.search.conditions import ROWS_OF_CONTAINED, TENANT, Conditions, Visible
from fhir_server.search.order import Position
from fhir_server.search.sql import Sql


def compile_contained(
    query: Query, limit: int, position: Position | None = None, visible: Visible | None = None
) -> Statement:
    """Return the statement of one page; its rows are those of `compile`, of the containers.

    Behind COLUMNS come the place in the order and the id of the contained resource, null where the
    resource itself is the match.
    """
    backward = position is not None and position.backward
    direction, sign = (" desc", "<") if backward else ("", ">")
    found = _found(query, visible)
    behind = Sql("")
    if position is not None:
        behind = Sql(f" where k {sign} %s", (position.pk,))
    sql = (
        f"select {COLUMNS}, null::real, f.k::text, f.fragment from ("
        f"select * from ({found.text}) u{behind.text} order by k{direction} limit %s) f "
        f"join {RESOURCE} r on r.tenant = {TENANT} and r.type = f.type and r.pk = f.container "
        f"and not r.deleted order by f.k{direction}"
    )
    return Statement(sql, [*found.parameters, *behind.parameters, limit], backward)


def count_contained(query: Query, visible: Visible | None = None) -> Statement:
    """Return the statement that counts the entries of all pages."""
    found = _found(query, visible)
    return Statement(f"select count(*) from ({found.text}) u", list(found.parameters))


def estimate_contained(query: Query, visible: Visible | None = None) -> Statement:
    """Return the statement that gives the plan of the matches, as compile_estimate does."""
    found = _found(query, visible)
    return Statement(f"explain (format json) {found.text}", list(found.parameters))


def place_of(row: tuple[Any, ...], backward: bool = False) -> Position:
    """Return the place of a row of a page."""
    return Position(int(row[WIDTH]), (), backward)


def fragment_of(row: tuple[Any, ...]) -> str | None:
    """Return the id of the contained resource that a row is about."""
    fragment: str | None = row[WIDTH + 1]
    return fragment


def _found(query: Query, visible: Visible | None) -> Sql:
    """Select place, type and pk of the container, and fragment of all matches."""
    whole = query.contained_type == "container"
    inside = Conditions(visible, inside={"r"}).rows("r", query.type_name, query.clauses)
    columns = (
        "r.container, r.container_type, r.container, null"
        if whole
        else "r.pk, r.container_type, r.container, r.id"
    )
    parts = [Sql(f"select {columns} from {ROWS_OF_CONTAINED} r where {inside.text}", inside.parameters)]
    if query.contained == "both":
        own = Conditions(visible).rows("r", query.type_name, query.clauses)
        parts.append(
            Sql(
                f"select r.pk, {type_code(query.type_name)}, r.pk, null from {RESOURCE} r where {own.text}",
                own.parameters,
            )
        )
    united = f" union{'' if whole else ' all'} ".join(part.text for part in parts)
    if whole and len(parts) == 1:
        united = united.replace("select ", "select distinct ", 1)
    return Sql(
        f"select * from ({united}) m(k, type, container, fragment)",
        tuple(value for part in parts for value in part.parameters),
    )
