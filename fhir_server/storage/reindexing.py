"""The index of rows that stand: read, compared, and put right without a new version.

Nothing is locked while rows are indexed. Rows whose index is another are locked then, in the order in
which every writer locks, and left alone when somebody has written them meanwhile: that write has brought
its index along.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import errors

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code
from fhir_server.model import json_format
from fhir_server.schema.names import ROWS
from fhir_server.search import keys
from fhir_server.search.index import IndexRows
from fhir_server.storage import contained, index_rows
from fhir_server.storage.version import BODY, COLUMNS, Version, from_row

REFUSED = (psycopg2.DataError, psycopg2.IntegrityError, errors.ProgramLimitExceeded)
"""What the database says of a row that it does not take; the others of the chunk it may."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A row as it was read: a version, and its keys as 32 hex digits."""

    version: Version
    keys: frozenset[str]


@dataclass(slots=True)
class Wanted:
    """What a row should have: its index, or why that is not known.

    `failed` is by keys of search_parameter, 0 for the whole.
    """

    standing: Standing
    rows: IndexRows | None
    failed: dict[int, str]


_COMPARED = {"at": "at::text"}
"""A point knows no equality that EXCEPT could go by."""


class Part:
    """The part of an index that a run is about: all of it, or what stands under some names."""

    def __init__(self, type_name: str, names: Collection[str] | None) -> None:
        self.type_name = type_name
        self.whole = names is None
        under = [each for name in names or () for each in (name, f"{name}:text")]
        self.columns = [keys.column_hash(type_name, each) for each in under]
        self._prefixes = tuple(keys.prefix(type_name, each) for each in under)

    def of(self, some: Collection[str]) -> set[str]:
        """Return those of the keys that belong to it."""
        return set(some) if self.whole else {key for key in some if key.startswith(self._prefixes)}

    def put(self, there: Sequence[str], own: Sequence[str]) -> list[str]:
        """Return keys with those of this part replaced."""
        if self.whole:
            return list(own)
        return [key for key in there if not key.startswith(self._prefixes)] + list(own)

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """The index tables that it is about: words are of no parameter."""
        return ROWS if self.whole else {name: each for name, each in ROWS.items() if name != "idx_text"}

    @property
    def condition(self) -> str:
        """Say in SQL which rows of an index table belong to it; takes `columns` where it is not whole."""
        return "" if self.whole else " AND param = ANY(%s::integer[])"

    @property
    def arguments(self) -> list[Any]:
        """The value of the condition."""
        return [] if self.whole else [self.columns]


def read(unit: UnitOfWork, type_name: str, after: int, last: int, most: int) -> list[Standing]:
    """Return the next resources of a type in the order of their keys."""
    rows = unit.execute(
        f"SELECT {COLUMNS}, r.keys::text FROM resource AS r JOIN {BODY} WHERE r.tenant = 0 AND r.type = %s "
        "AND r.pk > %s AND r.pk <= %s AND NOT r.deleted ORDER BY r.pk LIMIT %s",
        (type_code(type_name), after, last, most),
    )
    return [Standing(from_row(row), frozenset(_keys(row[-1]))) for row in rows]


def _keys(text: str | None) -> list[str]:
    return text.strip("{}").replace("-", "").split(",") if text and text != "{}" else []


def differing(unit: UnitOfWork, part: Part, wanted: Sequence[Wanted]) -> set[int]:
    """Return the pks of the rows whose index is not what it should be."""
    known = {each.standing.version.pk: each.rows for each in wanted if each.rows is not None}
    if not known:
        return set()
    found = {
        each.standing.version.pk
        for each in wanted
        if each.rows is not None and part.of(each.standing.keys) != set(each.rows.keys)
    }
    inner: dict[int, int] = {}  # pk of what is contained → pk of its container
    compared = dict(known)
    if part.whole:
        for pk, (container, index) in contained.standing(unit, known, found).items():
            inner[pk], compared[pk] = container, index
    pks = list(compared)
    selects: list[str] = []
    arguments: list[Any] = []
    for table, columns in part.tables.items():
        listed = ", ".join(("pk", *(_COMPARED.get(column, column) for column in columns)))
        here = f"SELECT {listed} FROM {table} WHERE tenant = 0 AND pk = ANY(%s::bigint[]){part.condition}"
        should = f"SELECT {listed} FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb)"
        rows = [
            dict(zip(("pk", *columns), (pk, *row), strict=True))
            for pk, index in compared.items()
            for row in index.of(table)
        ]
        text = json_format.encode(rows).decode()
        for one, other, values in (
            (here, should, [pks, *part.arguments, text]),
            (should, here, [text, pks, *part.arguments]),
        ):
            selects.append(f"SELECT pk FROM ({one} EXCEPT ALL {other}) AS d")
            arguments += values
    if part.whole:
        charts = [
            {"pk": pk, "chart": index.chart, "at": index.chart_date}
            for pk, index in known.items()
            if index is not None
        ]
        selects.append(
            "SELECT r.pk FROM resource AS r JOIN jsonb_to_recordset(%s::jsonb) "
            "AS w (pk bigint, chart uuid, at timestamptz) USING (pk) WHERE r.tenant = 0 AND r.type = %s "
            "AND (r.chart IS DISTINCT FROM w.chart OR r.chart_date IS DISTINCT FROM w.at)"
        )
        arguments += [json_format.encode(charts).decode(), type_code(part.type_name)]
    return found | {inner.get(pk, pk) for (pk,) in unit.execute(" UNION ALL ".join(selects), arguments)}


def noted(unit: UnitOfWork, type_name: str, pks: Sequence[int]) -> set[int]:
    """Return those rows of which something is written down as not indexed."""
    rows = unit.execute(
        "SELECT pk FROM unindexed WHERE tenant = 0 AND type = %s AND pk = ANY(%s::bigint[])",
        (type_code(type_name), list(pks)),
    )
    return {pk for (pk,) in rows}


def lock(unit: UnitOfWork, some: Sequence[Wanted]) -> dict[int, list[str]]:
    """Lock rows until the unit ends; return the keys of those that are still as they were read."""
    versions = {each.standing.version.pk: each.standing.version for each in some}
    rids = sorted(keys.rid(version.type_name, version.id) for version in versions.values())
    rows = unit.execute(
        "SELECT r.pk, r.version, r.keys::text FROM resource AS r WHERE r.tenant = 0 "
        "AND r.rid = ANY(%s::uuid[]) ORDER BY r.rid FOR UPDATE",
        (rids,),
    )
    return {pk: _keys(text) for pk, number, text in rows if versions[pk].version == number}


def write(
    unit: UnitOfWork, part: Part, job: int, some: Sequence[Wanted], locked: Mapping[int, list[str]]
) -> None:
    """Put the index of locked rows right, and note what is not indexed of them."""
    pks = [each.standing.version.pk for each in some]
    code = type_code(part.type_name)
    for each in some:
        pk = each.standing.version.pk
        unit.defer("DELETE FROM unindexed WHERE tenant = 0 AND type = %s AND pk = %s", (code, pk))
        for parameter, reason in each.failed.items():
            unit.defer(
                "INSERT INTO unindexed (pk, job, parameter, type, reason) VALUES (%s, %s, %s, %s, %s)",
                (pk, job, parameter, code, reason),
            )
    known = [(each.standing.version.pk, each.rows) for each in some if each.rows is not None]
    if not known:
        return
    pks = [pk for pk, _ in known]
    if part.whole:
        contained.remove(unit, pks)
        versions = {each.standing.version.pk: each.standing.version for each in some}
        contained.keep(unit, [(versions[pk], inner) for pk, index in known for inner in index.contained])
    for table in part.tables:
        unit.defer(
            f"DELETE FROM {table} WHERE tenant = 0 AND pk = ANY(%s::bigint[]){part.condition}",
            [pks, *part.arguments],
        )
        index_rows.insert(unit, table, [(pk, *row) for pk, index in known for row in index.of(table)])
    for pk, index in known:
        unit.defer(
            "UPDATE resource SET keys = %s::uuid[] WHERE tenant = 0 AND type = %s AND pk = %s",
            ("{" + ",".join(part.put(locked[pk], index.keys)) + "}", code, pk),
        )
        if part.whole:
            unit.defer(
                "UPDATE resource SET chart = %s::uuid, chart_date = %s::timestamptz WHERE tenant = 0 "
                "AND type = %s AND pk = %s AND (chart IS DISTINCT FROM %s::uuid "
                "OR chart_date IS DISTINCT FROM %s::timestamptz)",
                (index.chart, index.chart_date, code, pk, index.chart, index.chart_date),
            )


def write_each(
    unit: UnitOfWork, part: Part, job: int, some: Sequence[Wanted], locked: Mapping[int, list[str]]
) -> None:
    """Write rows together; where the database refuses, one after the other, and note what it refuses."""
    unit.execute("SAVEPOINT chunk")
    try:
        write(unit, part, job, some, locked)
        unit.execute("RELEASE SAVEPOINT chunk")
        return
    except REFUSED:
        unit.execute("ROLLBACK TO SAVEPOINT chunk")
    for each in some:
        unit.execute("SAVEPOINT one")
        try:
            write(unit, part, job, [each], locked)
            unit.execute("RELEASE SAVEPOINT one")
        except REFUSED as error:
            unit.execute("ROLLBACK TO SAVEPOINT one")
            each.rows = None
            each.failed[0] = f"the database does not take its index ({type(error).__name__})"
            write(unit, part, job, [each], locked)
