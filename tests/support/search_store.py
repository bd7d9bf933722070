"""Puts resources and their index rows into a database without the rooms above search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2.extras import execute_values

from fhir_server.definitions.structures import type_code
from fhir_server.model import json_format
from fhir_server.schema.names import ROWS
from fhir_server.search import keys
from fhir_server.search.index import Indexer
from fhir_server.storage import index_rows

Resource = dict[str, Any]
HEAD = "pk, last_updated, rid, version, type, id, chart, chart_date, keys"
VERSION = "pk, stamp, last_updated, version, type, method, content"


def store(
    connection: Any,
    resources: Sequence[Resource],
    indexer: Indexer,
    *,
    first_pk: int = 1,
    settle: bool = True,
) -> None:
    """Write `resources` (with id and meta.lastUpdated) as new rows.

    `settle` commits and brings the statistics up to date.
    """
    heads: list[tuple[Any, ...]] = []
    versions: list[tuple[Any, ...]] = []
    inside: list[tuple[Any, ...]] = []
    inner_pk = 1_000_000_000 + first_pk * 100
    index: dict[str, list[tuple[Any, ...]]] = {table: [] for table in ROWS}
    for pk, resource in enumerate(resources, start=first_pk):
        kind, id_ = resource["resourceType"], resource["id"]
        found = indexer.index(kind, resource)
        updated = resource["meta"]["lastUpdated"]
        meta = {name: value for name, value in resource["meta"].items() if name != "lastUpdated"}
        content = {k: v for k, v in resource.items() if k not in ("resourceType", "id", "meta")}
        text = json_format.encode({"meta": meta, **content} if meta else content).decode()
        own_keys = "{" + ",".join(found.keys) + "}"
        heads.append(
            (
                pk,
                updated,
                keys.rid(kind, id_),
                1,
                type_code(kind),
                id_,
                found.chart,
                found.chart_date,
                own_keys,
            )
        )
        versions.append((pk, pk, updated, 1, type_code(kind), "C", text))
        for table in ROWS:
            index[table] += [(pk, *row) for row in found.of(table)]
        for inner in found.contained:
            inner_pk += 1
            codes = (type_code(inner.type_name), type_code(kind))
            inside.append((inner_pk, pk, inner.rid, *codes, inner.id, "{" + ",".join(inner.rows.keys) + "}"))
            for table in ROWS:
                index[table] += [(inner_pk, *row) for row in inner.rows.of(table)]
    with connection.cursor() as cursor:
        execute_values(cursor, f"insert into resource ({HEAD}) values %s", heads, page_size=500)
        execute_values(cursor, f"insert into resource_version ({VERSION}) values %s", versions, page_size=500)
        if inside:
            kept = "pk, container, rid, type, container_type, id, keys"
            execute_values(cursor, f"insert into contained ({kept}) values %s", inside)
        for table in ROWS:
            for start in range(0, len(index[table]), 1000):
                columns = zip(*index[table][start : start + 1000], strict=True)
                cursor.execute(index_rows.statement(table), [index_rows.array(each) for each in columns])
        if settle:
            cursor.execute("analyze")
            connection.commit()
