"""The search index as it stands in a database, by the ids of the resources: for comparing two of them."""

from __future__ import annotations

from typing import Any

from fhir_server.database.engine import Engine, Mode
from fhir_server.definitions.structures import type_code
from fhir_server.schema.names import ROWS


def dump(engine: Engine, *types: str) -> dict[str, list[Any]]:
    """Return keys, chart and the rows of all index tables of the resources of some types."""
    codes = tuple(type_code(name) for name in types or ("Patient", "Observation"))
    found: dict[str, list[Any]] = {}
    with engine.connection(Mode.SINGLE) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT r.type, r.id, r.chart::text, r.chart_date::text, "
            "ARRAY(SELECT unnest(r.keys)::text ORDER BY 1) FROM resource AS r "
            "WHERE r.type IN %s AND NOT r.deleted ORDER BY 1, 2",
            (codes,),
        )
        found["resource"] = cursor.fetchall()
        for table, columns in ROWS.items():
            cursor.execute(
                f"SELECT r.type, r.id, {', '.join(f'i.{column}::text' for column in columns)} "
                f"FROM {table} AS i JOIN resource AS r USING (pk) WHERE r.type IN %s",
                (codes,),
            )
            found[table] = sorted(cursor.fetchall(), key=repr)
        cursor.execute("SELECT r.type, r.id, u.parameter FROM unindexed AS u JOIN resource AS r USING (pk) "
                       "WHERE r.type IN %s ORDER BY 1, 2, 3", (codes,))  # fmt: skip
        found["unindexed"] = cursor.fetchall()
    return found
