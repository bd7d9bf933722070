"""The candidates: DDL, and how one resource becomes COPY lines for each of them.

a64    bigint[] keys under GIN in the resource row
a128   uuid[] keys under GIN in the resource row
split  uuid[] keys under GIN in a narrow head row; bodies of all versions in an append-only table beside it
b      one B-tree row a key (key, pk); the resource row holds no keys
c      no index of ours: jsonb @> under jsonb_path_ops and one expression index
narrow the date, string and quantity tables that a64, a128, split and b share
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from conformance.benchmarks.bakeoff.extraction import Rows, key64

ROW = (
    "tenant smallint not null, type smallint not null, pk bigint not null, rid uuid not null, id text not null, "
    'version int not null, last_updated timestamptz(3) not null, stamp bigint not null, method "char", '
    "deleted boolean not null, meta jsonb, content jsonb, patient uuid, clinical timestamptz"
)
HEAD = (
    "tenant smallint not null, type smallint not null, pk bigint not null, rid uuid not null, id text not null, "
    "version int not null, last_updated timestamptz(3) not null, deleted boolean not null, "
    "patient uuid, clinical timestamptz, keys uuid[]"
)
BODY = (
    "tenant smallint not null, type smallint not null, pk bigint not null, version int not null, "
    'last_updated timestamptz(3) not null, stamp bigint not null, method "char", deleted boolean not null, '
    "meta jsonb, content jsonb"
)


def _row_ddl(name: str, extra: str = "") -> list[str]:
    return [
        f"create table {name} ({ROW}{extra}, primary key (tenant, type, pk), unique (tenant, rid))",
        f"create index {name}_updated on {name} (tenant, type, last_updated, pk)",
    ]


DDL: dict[str, list[str]] = {
    "a64": [*_row_ddl("a64", ", keys bigint[]"), "create index a64_keys on a64 using gin (keys) with (fastupdate = off)"],
    "a128": [*_row_ddl("a128", ", keys uuid[]"), "create index a128_keys on a128 using gin (keys) with (fastupdate = off)"],
    "split": [
        f"create table split ({HEAD}, primary key (tenant, type, pk), unique (tenant, rid))",
        "create index split_updated on split (tenant, type, last_updated, pk)",
        "create index split_keys on split using gin (keys) with (fastupdate = off)",
        f"create table split_body ({BODY}, primary key (tenant, type, pk, version))",
    ],
    "b": [
        *_row_ddl("b"),
        "create table b_key (tenant smallint not null, key uuid not null, pk bigint not null, type smallint not null, "
        "primary key (tenant, key, pk) include (type))",
    ],
    "c": [
        *_row_ddl("c"),
        "create index c_content on c using gin (content jsonb_path_ops) with (fastupdate = off)",
        "create index c_chart on c (tenant, type, (content->'subject'->>'reference'), clinical desc, pk desc)",
    ],
    "narrow": [
        "create table idx_date (tenant smallint not null, param int not null, low timestamptz not null, "
        "high timestamptz not null, pk bigint not null)",
        "create index idx_date_low on idx_date (tenant, param, low, pk) include (high)",
        "create index idx_date_long on idx_date (tenant, param, high, pk) where high - low > interval '1 day 1 hour'",
        "create index idx_date_pk on idx_date (tenant, pk, param)",
        'create table idx_string (tenant smallint not null, param int not null, value text collate "C" not null, '
        "pk bigint not null)",
        "create index idx_string_value on idx_string (tenant, param, value, pk)",
        "create index idx_string_pk on idx_string (tenant, pk, param)",
        "create table idx_quantity (tenant smallint not null, param int not null, unit uuid, low numeric not null, "
        "high numeric not null, pk bigint not null)",
        "create index idx_quantity_low on idx_quantity (tenant, param, unit, low, pk)",
        "create index idx_quantity_pk on idx_quantity (tenant, pk, param)",
    ],
}  # fmt: skip
TABLES = {
    "a64": ("a64",), "a128": ("a128",), "split": ("split", "split_body"), "b": ("b", "b_key"), "c": ("c",),
    "narrow": ("idx_date", "idx_string", "idx_quantity"),
}  # fmt: skip
NAMES = tuple(DDL)


class Stored(NamedTuple):
    """One resource ready to be written: its place, body and index rows."""

    type: int
    pk: int
    rid: str
    id: str
    updated: str
    meta: str
    content: str
    rows: Rows


@dataclass
class Lines:
    """COPY text for one table."""

    table: str
    text: str


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\")


def copies(layout: str, batch: Iterable[Stored]) -> list[Lines]:
    """The COPY statements of one transaction."""
    row: list[str] = []
    side: list[str] = []
    dates: list[str] = []
    for s in batch:
        patient, clinical = s.rows.patient or "\\N", s.rows.clinical or "\\N"
        head = f"0\t{s.type}\t{s.pk}\t{s.rid}\t{s.id}\t1\t{s.updated}"
        body = f"{s.pk}\tP\tf\t{_escaped(s.meta)}\t{_escaped(s.content)}"
        if layout == "a128":
            row.append(f"{head}\t{body}\t{patient}\t{clinical}\t{{{','.join(s.rows.keys)}}}")
        elif layout == "a64":
            keys = ",".join(str(key64(k)) for k in s.rows.keys)
            row.append(f"{head}\t{body}\t{patient}\t{clinical}\t{{{keys}}}")
        elif layout == "split":
            row.append(f"{head}\tf\t{patient}\t{clinical}\t{{{','.join(s.rows.keys)}}}")
            side.append(f"0\t{s.type}\t{s.pk}\t1\t{s.updated}\t{body}")
        elif layout == "b":
            row.append(f"{head}\t{body}\t{patient}\t{clinical}")
            side.extend(f"0\t{k}\t{s.pk}\t{s.type}" for k in s.rows.keys)
        elif layout == "c":
            row.append(f"{head}\t{body}\t{patient}\t{clinical}")
        else:
            dates.extend(f"0\t{p}\t{low}\t{high}\t{s.pk}" for p, low, high in s.rows.dates)
            row.extend(f"0\t{p}\t{value}\t{s.pk}" for p, value in s.rows.strings)
            side.extend(f"0\t{p}\t{u}\t{low}\t{high}\t{s.pk}" for p, u, low, high in s.rows.quantities)
    tables = ("idx_string", "idx_quantity") if layout == "narrow" else TABLES[layout]
    made = [
        Lines(table, "\n".join(lines) + "\n")
        for table, lines in zip(tables, (row, side), strict=False)
        if lines
    ]
    if dates:
        made.append(Lines("idx_date", "\n".join(dates) + "\n"))
    return made
