"""Rows of an index table as one statement, whose text is the same for one row and for five hundred.

The rows go column by column, each column as the text of one array: so the statement is parsed and planned
once a connection (database/prepared.py), and the values of many rows are not as many literals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.schema.names import COLUMNS, MADE

PAGE = 500
"""Rows of one INSERT statement: enough to spread its fixed cost, few enough to bound its text."""


def insert(unit: UnitOfWork, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Defer the rows of an index table, each beginning with the pk and then as `schema.names.ROWS` has it."""
    for start in range(0, len(rows), PAGE):
        columns = zip(*rows[start : start + PAGE], strict=True)
        unit.defer_prepared(statement(table), [array(column) for column in columns])


@cache
def statement(table: str) -> str:
    """Return the INSERT of columns; a column of which nothing is known may be NULL as a whole."""
    columns = {"pk": "bigint", **COLUMNS[table]}
    names = ", ".join(columns)
    values = ", ".join(f"unnest(%s::{kind}[]) AS {name}" for name, kind in columns.items())
    made = MADE.get(table)
    if made is None:
        return f"INSERT INTO {table} ({names}) SELECT {values}"
    also = f"{names}, {', '.join(made)}"
    return (
        f"INSERT INTO {table} ({also}) SELECT {names}, {', '.join(made.values())} FROM (SELECT {values}) AS v"
    )


def array(column: Sequence[Any]) -> str | None:
    """Return values as the text of a Postgres array, None where there is none among them.

    >>> array((7, None, 'say "a"')), array((None, None))
    ('{"7",NULL,"say \\\\"a\\\\""}', None)
    """
    if not any(value is not None for value in column):
        return None
    return "{" + ",".join(map(_element, column)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = str(value)
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
