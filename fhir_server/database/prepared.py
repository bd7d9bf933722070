"""Prepared statements: what is asked again and again is parsed and planned once a connection.

psycopg2 has none, so PREPARE and EXECUTE go as text. Planning is half of what a page of twenty costs
the database (docs/decisions/0001); so the sessions have `plan_cache_mode = force_generic_plan`, and only
statements whose plan does not depend on their values are asked this way. How many rows a page has
decides its plan: what stands behind LIMIT is part of the text.

A plan is of the sizes that the tables had. ANALYZE ends it, and so does REPLAN_AFTER_S: an import into
an empty database must not be searched by the plan of an empty table until autovacuum has been there.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg2.extensions
from psycopg2 import errors

REPLAN_AFTER_S = 10.0
AFTER_USES = 2
"""What is asked less often is not worth a journey of its own."""

MOST = 100
"""Statements that a connection remembers: some 50 kB each in its server process once they are prepared."""


class Connection(psycopg2.extensions.connection):  # type: ignore[misc]  # psycopg2 ships no types
    """A connection that knows what it has prepared: text → (name, number of uses, when)."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.prepared: dict[str, tuple[str, int, float]] = {}
        self.named = 0
        self.kept: dict[str, str] = {}
        """What is written again and again, by name, for the life of the connection: see `kept`."""
        self.shares = False
        """Whether it was seen to run on sessions that others use too, as behind a proxy."""
        self.mark = secrets.token_hex(6)
        """In every name: a proxy that shares its sessions must never run another one's statement for ours."""


def run(cursor: Any, sql: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the statement to execute in place of `sql`: the same one, or the EXECUTE of what was prepared.

    Prepares it on `cursor` when it is worth it.
    """
    text, values = _numbered(sql, parameters)
    known: dict[str, tuple[str, int, float]] = cursor.connection.prepared
    name, uses, since = known.pop(text, ("", 0, 0.0))
    now = time.monotonic()
    if name and now - since > REPLAN_AFTER_S:
        cursor.execute(f"DEALLOCATE {name}")
        name, uses = "", AFTER_USES
    if not name and uses >= AFTER_USES:
        cursor.connection.named += 1
        name, since = f"s{cursor.connection.mark}_{cursor.connection.named}", now
        cursor.execute(f"PREPARE {name} AS {text}")
    known[text] = (name, uses + 1, since)  # the last one used is the last one forgotten
    while len(known) > MOST:
        forgotten, _, _ = known.pop(next(iter(known)))
        if forgotten:
            cursor.execute(f"DEALLOCATE {forgotten}")
    if not name:
        return sql, list(parameters)
    listed = ", ".join(["%s"] * len(values))
    return f"EXECUTE {name}({listed})" if values else f"EXECUTE {name}", [_value(each) for each in values]


def ask(cursor: Any, sql: str, parameters: Sequence[Any]) -> None:
    """Execute a statement whose plan does not depend on its values, prepared when it is asked often.

    Raises Unknown within a transaction, which has failed then and can be tried again.
    """
    try:
        cursor.execute(*run(cursor, sql, parameters))
    except Unknown:  # a proxy shares its sessions, and this one is another
        forget(cursor.connection)
        if not cursor.connection.autocommit:
            raise
        cursor.execute(sql, parameters)


def forget(connection: Any) -> None:
    """Take note that the server knows none of the names, as behind a proxy that shares its sessions."""
    connection.prepared.clear()
    connection.kept.clear()
    connection.shares = True


def kept(connection: Any, sql: str) -> tuple[str, str]:
    """Return the EXECUTE of a statement that has one plan for ever, and what must run before it.

    That is empty where it ran already; whoever ran it says so by `connection.kept[sql] = execute`. Such
    are the INSERTs of a few tables: nothing about them is chosen. Behind a proxy it is the statement itself.
    """
    if connection.shares:
        return sql, ""
    if execute := connection.kept.get(sql):
        return execute, ""
    connection.named += 1
    name = f"k{connection.mark}_{connection.named}"
    first, *parts = sql.split("%s")
    text = first + "".join(f"${number}{part}" for number, part in enumerate(parts, start=1))
    return f"EXECUTE {name}({', '.join(['%s'] * len(parts))})", f"PREPARE {name} AS {text}"


Unknown = errors.InvalidSqlStatementName


def _numbered(sql: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the statement as PREPARE has it, its limits as part of the text, and what it is executed with.

    A moment that comes again is one parameter: a range of dates names its ends up to eight times, and each
    would be written and read again.

    >>> _numbered("select %s like '50%%' limit %s", ["a", 21])
    ("select $1 like '50%' limit 21", ['a'])
    >>> moment = datetime(2026, 1, 2)
    >>> _numbered("low < %s or low > %s or high > %s", [moment, "a", moment])[0]
    'low < $1 or low > $2 or high > $1'
    """
    first, *parts = sql.replace("%%", "%").split("%s")
    text, values = [first], []
    moments: dict[datetime, int] = {}
    for part, value in zip(parts, parameters, strict=True):
        if isinstance(value, int) and text[-1].endswith("limit "):
            text.append(f"{value}{part}")
        elif isinstance(value, datetime) and value in moments:
            text.append(f"${moments[value]}{part}")
        else:
            values.append(value)
            text.append(f"${len(values)}{part}")
            if isinstance(value, datetime):
                moments[value] = len(values)
    return "".join(text), values


def _value(value: Any) -> Any:
    """Return a list of texts as the text of an array, whose type the statement knows.

    >>> _value(["a b", "c"]), _value([1, 2])
    ('{"a b","c"}', [1, 2])
    """
    if isinstance(value, list) and value and isinstance(value[0], str):
        quoted = (each.replace("\\", "\\\\").replace('"', '\\"') for each in value)
        return "{" + ",".join(f'"{each}"' for each in quoted) + "}"
    return value
