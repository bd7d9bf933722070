"""How each layout asks: the building blocks of the statements that the questions put together.

Three tricks keep a plan what it should be, whatever the statistics say:
`k = any(keys)` is never served by GIN, so it is the filter of an ordered walk; `order by pk + 0` is never served by
the primary key, so it makes GIN come first; and a page is cut in a subquery, so that only its rows become text.
"""

from __future__ import annotations

import json
from typing import Any

from conformance.benchmarks.bakeoff.extraction import TYPE_CODE, key, key64, param_int

ARRAYS = ("a64", "a128", "split")


def literal(layout: str, keys: list[str]) -> str:
    if layout == "a64":
        return "array[" + ",".join(str(key64(k)) for k in keys) + "]::bigint[]"
    return "'{" + ",".join(keys) + "}'::uuid[]"


def one(layout: str, k: str) -> str:
    return f"({key64(k)})::bigint" if layout == "a64" else f"'{k}'::uuid"


def gin(layout: str, *keys: str) -> str:
    """All keys, by the index."""
    return f"r.keys @> {literal(layout, list(keys))}"


def walk(layout: str, *keys: str) -> str:
    """All keys, as a filter that no index serves."""
    return " and ".join(f"{one(layout, k)} = any(r.keys)" for k in keys)


def reference_keys(source: str, type_name: str, code: str) -> str:
    """The key of a reference to the row `source`, made in SQL from its rid."""
    prefix = key(type_name, code, "")[:8]
    return f"('{prefix}' || substr({source}.rid::text, 9))::uuid"


def body(layout: str) -> str:
    """The body of row s as text: a scalar subquery keeps the order of the page and is cheap to plan."""
    table, version = ("split_body", " and b.version = s.version") if layout == "split" else (layout, "")
    return (
        f"(select b.meta::text || E'\\n' || b.content::text from {table} b "
        f"where b.tenant = 0 and b.type = s.type and b.pk = s.pk{version})"
    )


def page(
    layout: str, where: str, order: str, *, limit: int = 20, tables: str = "", type_name: str = ""
) -> str:
    """A page of bodies: `order` names columns of r (or of `tables`), cut first, turned to text afterwards."""
    typed = f" and r.type = {TYPE_CODE[type_name]}" if type_name else ""
    columns = (
        "r.type, r.pk, r.version"
        if layout == "split"
        else "r.pk, r.version, r.last_updated, r.meta, r.content"
    )
    text = body(layout) if layout == "split" else "s.last_updated, s.meta::text || E'\\n' || s.content::text"
    return (
        f"select s.pk, s.version, {text} from (select {columns} from {tables}{layout} r "
        f"where r.tenant = 0{typed} and {where} order by {order} limit {limit}) s"
    )


def adaptive(
    layout: str,
    keys: tuple[str, ...],
    type_name: str,
    *,
    limit: int = 20,
    width: int = 2000,
    newest: bool = False,
) -> str:
    """Walk a bounded stretch first; when it does not fill the page, let GIN answer instead. One statement.

    `keys` are dense, each by itself; whether they meet often is found out, not guessed.
    """
    test = walk(layout, *keys)
    if newest:
        stretch = (f"select r.type, r.pk, r.version, d.low as at from (select d.low, d.pk from idx_date d where "
                   f"{date_param(type_name, 'date')} order by d.low desc, d.pk desc limit {width}) d join {layout} r "
                   f"on r.tenant = 0 and r.type = {TYPE_CODE[type_name]} and r.pk = d.pk where {test} "
                   f"order by d.low desc, d.pk desc limit {limit}")  # fmt: skip
        order = "at desc, pk desc"
    else:
        stretch = (f"select r.type, r.pk, r.version, r.clinical as at from (select * from {layout} r where r.tenant = 0 and "
                   f"r.type = {TYPE_CODE[type_name]} order by r.pk limit {width}) r where {test} limit {limit}")  # fmt: skip
        order = "pk + 0"
    return (
        f"with walk as materialized ({stretch}), hits as (select * from walk where (select count(*) from walk) >= {limit} "
        f"union all (select r.type, r.pk, r.version, r.clinical as at from {layout} r where (select count(*) from walk) < {limit} "
        f"and r.tenant = 0 and {gin(layout, *keys)} order by {order} limit {limit})) "
        f"select s.pk, s.version, {body(layout)} from hits s order by {order}"
    )


def by_keys(type_name: str, order: str, *keys: str, limit: int = 20, where: str = "") -> str:
    """Layout b: the key rows joined on pk, then the resource row."""
    joins = "".join(
        f" join b_key k{i} on k{i}.tenant = 0 and k{i}.key = '{k}' and k{i}.pk = k0.pk"
        for i, k in enumerate(keys)
        if i
    )
    return (
        "select s.pk, s.version, s.last_updated, s.meta::text, s.content::text from "
        f"(select r.pk, r.version, r.last_updated, r.meta, r.content from b_key k0{joins} "
        f"join b r on r.tenant = 0 and r.type = {TYPE_CODE[type_name]} and r.pk = k0.pk "
        f"where k0.tenant = 0 and k0.key = '{keys[0]}'{where} order by {order} limit {limit}) s"
    )


def contains(type_name: str, order: str, *parts: dict[str, Any], limit: int = 20, where: str = "") -> str:
    """Layout c: containment of the body."""
    conditions = "".join(f" and r.content @> '{json.dumps(part)}'" for part in parts)
    return page("c", f"true{conditions}{where}", order, limit=limit, type_name=type_name)


def date_param(type_name: str, code: str) -> str:
    return f"d.tenant = 0 and d.param = {param_int(type_name, code)}"
