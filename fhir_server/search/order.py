"""`_sort` and the keyset it pages by (R4/search.html#sort).

A page goes on behind a Position: the sort keys of its last resource, and its pk, which decides
between equals, so a position is one place in a total order. Resources without a value come last
in either direction. A repeating value counts by its least where ascending, its greatest where
descending.

Where the first key has ordered rows, a page is two walks under one limit: the rows of the index in
their order, joined to the resources that match, then the matching resources without a row. The
second is not begun while the first fills the page. Further keys are looked up for each candidate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fhir_server.schema.names import VERSION
from fhir_server.search import elements, paths
from fhir_server.search.ast import Clause, Query, Sort
from fhir_server.search.conditions import (
    TENANT,
    Sql,
    param,
)
from fhir_server.search.elements import is_bound
from fhir_server.search.types.table import TYPES


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order: the sort keys as texts (None: no value), the pk, and which way to go."""

    pk: int
    keys: tuple[str | None, ...] = ()
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """One sort key in SQL: `expression` over r and its joins, NULL where the resource has no value.

    With `unique` no two resources of a type have the same.
    """

    expression: str
    sql_type: str
    descending: bool
    nullable: bool
    join: Sql = Sql("")
    unique: bool = False


def in_order(query: Query, position: Position | None = None) -> Query:
    """Return a search that asks for dates alone and for no order in the order of these dates, newest first.

    One index then gives the page and nothing is sorted, however many there are.
    """
    dates = {each.parameter for each in query.clauses if isinstance(each, Clause) and is_bound(each)}
    parameter = next(iter(dates), None)
    if query.sort or len(dates) != 1 or parameter is None or parameter.kind != "date":
        return query
    if not all(isinstance(each, Clause) and is_bound(each) for each in query.clauses):
        return query
    if position is not None and not position.keys:
        return query  # a page link that was made without
    return replace(query, sort=(Sort(parameter, descending=True),))


@lru_cache(maxsize=1024)
def key(sort: Sort, number: int) -> Key:
    """Return a sort key that is looked up for each candidate."""
    parameter = sort.parameter
    if parameter.code == "_id":
        return Key("r.id", "text", sort.descending, False, unique=True)
    if parameter.code == "_lastUpdated":
        return Key("r.last_updated", "timestamptz", sort.descending, False)
    least = "max" if sort.descending else "min"
    name = f"s{number}"
    order = TYPES[parameter.kind].order
    if order is not None:
        column, sql_type = order
        join = Sql(
            f" left join lateral (select {least}({column}) as v from {TYPES[parameter.kind].table} i "
            f"where i.tenant = {TENANT} and i.pk = r.pk and i.{param(parameter)}) {name} on true"
        )
        return Key(f"{name}.v", sql_type, sort.descending, True, join)
    found = paths.json_paths(parameter)
    queries = " union all ".join("select jsonb_path_query(b.content, %s::jsonpath)" for _ in found)
    join = Sql(
        f" left join lateral (select {least}((j.v #>> '{{}}') collate \"C\") as v from (select "
        f"v.content::jsonb from {VERSION} v where v.tenant = {TENANT} and v.pk = r.pk "
        f"and v.version = r.version offset 0) b cross join lateral ({queries}) j(v)) {name} on true",
        found,
    )
    return Key(f"{name}.v", "text", sort.descending, True, join)


@dataclass(frozen=True, slots=True)
class Walk:
    """The first sort key as a walk over its index table `d`: no other row of the resource comes before.

    `single` says that a resource has no other row.
    """

    key: Key
    table: str
    condition: str
    absent: str
    single: bool


@lru_cache(maxsize=1024)
def walk(sort: Sort) -> Walk | None:
    """Return how to walk the index of the first sort key, None where it has no ordered rows."""
    kind = TYPES[sort.parameter.kind]
    if kind.order is None or kind.table is None:
        return None
    column, sql_type = kind.order
    wanted = param(sort.parameter)
    condition = f"d.tenant = {TENANT} and d.{wanted}"
    facts = elements.facts(sort.parameter)
    single = not facts.many and not facts.types & {"HumanName", "Address"}  # which have several texts each
    if not single:
        sign = ">" if sort.descending else "<"
        # ctid decides between equal values, so that a resource is met once. Said by a case, because
        # of a join the planner believes that hardly any row is left, and sorts them all.
        condition += (
            f" and case when exists (select from {kind.table} e where e.tenant = {TENANT} and e.pk = d.pk "
            f"and e.{wanted} and (e.{column}, e.ctid) {sign} (d.{column}, d.ctid)) then false else true end"
        )
    absent = (
        f"not exists (select from {kind.table} d where d.tenant = {TENANT} and d.pk = r.pk and d.{wanted})"
    )
    return Walk(Key(f"d.{column}", sql_type, sort.descending, False), kind.table, condition, absent, single)


def order_by(keys: list[Key], descending_pk: bool, backward: bool, pk: str = "r.pk") -> str:
    """Return the ORDER BY list, turned round for a page backward."""
    parts = []
    for each in keys:
        turned = each.descending != backward
        nulls = "" if not each.nullable else " nulls first" if backward else " nulls last"
        parts.append(f"{each.expression}{' desc' if turned else ''}{nulls}")
        if each.unique:
            return ", ".join(parts)
    parts.append(f"{pk}{' desc' if descending_pk != backward else ''}")
    return ", ".join(parts)


def beyond(keys: list[Key], position: Position, values: tuple[str | None, ...], descending_pk: bool) -> Sql:
    """Return that a row comes behind the position (before it, where the page goes backward).

    `values` are the position's texts of exactly these keys.
    """
    backward = position.backward
    sign = "<" if descending_pk != backward else ">"
    condition = Sql(f"r.pk {sign} %s", (position.pk,))
    for each, value in reversed(list(zip(keys, values, strict=True))):
        condition = _beyond(each, value, backward, condition)
    if keys and values[0] is not None and not keys[0].nullable:
        # Said once more without OR, for the index to begin its walk there.
        sign = "<=" if keys[0].descending != backward else ">="
        bound: tuple[Any, ...] = (values[0], *condition.parameters)
        return Sql(f"{keys[0].expression} {sign} %s::{keys[0].sql_type} and {condition.text}", bound)
    return condition


def _beyond(each: Key, value: str | None, backward: bool, rest: Sql) -> Sql:
    if value is None:
        same = f"({each.expression} is null and {rest.text})"
        if backward:
            return Sql(f"({each.expression} is not null or {same})", rest.parameters)
        return Sql(same, rest.parameters)
    sign = "<" if each.descending != backward else ">"
    further = f"{each.expression} {sign} %s::{each.sql_type}"
    if each.nullable and not backward:
        further += f" or {each.expression} is null"
    same = f"({each.expression} = %s::{each.sql_type} and {rest.text})"
    return Sql(f"({further} or {same})", (value, value, *rest.parameters))
