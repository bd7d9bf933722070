"""The ordered index tables: what a key cannot answer because it is more than equality.

One row a value; `param` is search.keys.column_hash, which already says the resource type.

    CREATE TABLE idx_string (
        pk bigint NOT NULL, param integer NOT NULL, tenant smallint NOT NULL DEFAULT 0,
        value text COLLATE "C" NOT NULL,  -- folded, the first 200 signs
        long text COLLATE "C");           -- the whole folded text, where it is longer
    CREATE INDEX idx_string_value ON idx_string (tenant, param, value, pk);
    CREATE INDEX idx_string_pk ON idx_string (tenant, pk);

    CREATE TABLE idx_date (  -- [low, high)
        pk bigint NOT NULL, low timestamptz NOT NULL, high timestamptz NOT NULL,
        param integer NOT NULL, tenant smallint NOT NULL DEFAULT 0,
        span smallint NOT NULL);  -- how long it is (search/spans.py), said by the INSERT
    CREATE INDEX idx_date_low ON idx_date (tenant, param, low, pk) INCLUDE (high);
    CREATE INDEX idx_date_span ON idx_date (tenant, param, span, low, pk) INCLUDE (high) WHERE span > 0;
    CREATE INDEX idx_date_pk ON idx_date (tenant, pk);

    CREATE TABLE idx_number (  -- [low, high]
        pk bigint NOT NULL, param integer NOT NULL, tenant smallint NOT NULL DEFAULT 0,
        low numeric NOT NULL, high numeric NOT NULL);
    CREATE INDEX idx_number_low ON idx_number (tenant, param, low, pk) INCLUDE (high);
    CREATE INDEX idx_number_span ON idx_number (tenant, param, high, pk) WHERE sign(high - low) = 1;
    CREATE INDEX idx_number_pk ON idx_number (tenant, pk);

    CREATE TABLE idx_quantity (
        pk bigint NOT NULL, unit uuid,  -- search.keys.unit of system and code
        param integer NOT NULL, tenant smallint NOT NULL DEFAULT 0,
        low numeric NOT NULL, high numeric NOT NULL,
        unit_code text, unit_text text);  -- unit_text where it is not the code
    CREATE INDEX idx_quantity_low ON idx_quantity (tenant, param, low, pk);
    CREATE INDEX idx_quantity_value ON idx_quantity (tenant, param, unit, low, high, pk);
    CREATE INDEX idx_quantity_span ON idx_quantity (tenant, param, high, pk) WHERE sign(high - low) = 1;
    CREATE INDEX idx_quantity_pk ON idx_quantity (tenant, pk);

    CREATE TABLE idx_composite (
        pk bigint NOT NULL, param integer NOT NULL, tenant smallint NOT NULL DEFAULT 0,
        code text COLLATE "C", system text,  -- the coded component
        value text COLLATE "C", long text COLLATE "C", date_low timestamptz, date_high timestamptz,
        low numeric, high numeric, low2 numeric, high2 numeric, unit uuid, unit_code text, unit_text text);
    CREATE INDEX idx_composite_number ON idx_composite (tenant, param, code, low, high, pk)
        WHERE low IS NOT NULL;
    CREATE INDEX idx_composite_span ON idx_composite (tenant, param, code, high, pk)
        WHERE sign(high - low) = 1;
    CREATE INDEX idx_composite_value ON idx_composite (tenant, param, code, value, pk)
        WHERE value IS NOT NULL;
    CREATE INDEX idx_composite_date ON idx_composite (tenant, param, code, date_low, date_high, pk)
        WHERE date_low IS NOT NULL;
    CREATE INDEX idx_composite_pk ON idx_composite (tenant, pk);

    CREATE TABLE idx_position (
        pk bigint NOT NULL, at point NOT NULL,  -- (longitude, latitude), WGS84
        param integer NOT NULL, tenant smallint NOT NULL DEFAULT 0);
    CREATE INDEX idx_position_at ON idx_position USING gist (at);
    CREATE INDEX idx_position_pk ON idx_position (tenant, pk);

    CREATE TABLE idx_text (
        pk bigint NOT NULL, tenant smallint NOT NULL DEFAULT 0, cut boolean NOT NULL,
        words tsvector NOT NULL,  -- search/readable.py
        PRIMARY KEY (tenant, pk));
    CREATE INDEX idx_text_words ON idx_text USING gin (words) WITH (fastupdate = off);
    CREATE INDEX idx_text_cut ON idx_text (tenant, pk) WHERE cut;

    CREATE TABLE text_missing (  -- types of which some resources may lack their words
        tenant smallint NOT NULL DEFAULT 0, type smallint NOT NULL, PRIMARY KEY (tenant, type));

    CREATE TABLE contained (  -- what resources contain; pk is their own, for the rows above
        pk bigint NOT NULL, container bigint NOT NULL, rid uuid NOT NULL,  -- of Type/id#id
        tenant smallint NOT NULL DEFAULT 0, type smallint NOT NULL, container_type smallint NOT NULL,
        id text COLLATE "C" NOT NULL, keys uuid[] NOT NULL, PRIMARY KEY (tenant, type, pk));
    CREATE INDEX contained_container ON contained (tenant, container);
    CREATE INDEX contained_rid ON contained (tenant, rid);
    CREATE INDEX contained_keys ON contained USING gin (keys) WITH (fastupdate = off);

idx_composite has one row for each group of component values from one element, and is null but for
the components that the parameter has. A quantity has one row whatever is asked of its unit; where no
unit is asked for, Postgres 18 skips through the units of the index, and an older one reads its parameter.
The statistics of idx_text.words are turned off: a plan is made by what is asked, not by how often a word is.
The rows of a resource are few and stand together, so `param` is looked at in the row: an index by `pk`
alone is half as large. Most numbers are points (low = high): those that are not have a small index by their
high end.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, TSVECTOR, UUID
from sqlalchemy.types import UserDefinedType

from fhir_server.schema.metadata import METADATA, tenant


def _pk() -> Column[int]:
    return Column("pk", BigInteger, nullable=False)


def _param() -> tuple[Column[int], Column[int]]:
    return (
        Column("param", Integer, nullable=False),
        tenant(),
    )


def _moment(name: str, nullable: bool = False) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=nullable)


def _number(name: str, nullable: bool = False) -> Column[object]:
    return Column(name, Numeric, nullable=nullable)


def _text(name: str, nullable: bool = True) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=nullable)


idx_string = Table("idx_string", METADATA, _pk(), *_param(), _text("value", nullable=False), _text("long"))
idx_date = Table(
    "idx_date",
    METADATA,
    _pk(),
    _moment("low"),
    _moment("high"),
    *_param(),
    Column("span", SmallInteger, nullable=False),
)
idx_number = Table("idx_number", METADATA, _pk(), *_param(), _number("low"), _number("high"))
idx_quantity = Table(
    "idx_quantity",
    METADATA,
    _pk(),
    Column("unit", UUID),
    *_param(),
    _number("low"),
    _number("high"),
    Column("unit_code", Text),
    Column("unit_text", Text),
)
idx_composite = Table(
    "idx_composite",
    METADATA,
    _pk(),
    *_param(),
    _text("code"),
    Column("system", Text),
    _text("value"),
    _text("long"),
    _moment("date_low", nullable=True),
    _moment("date_high", nullable=True),
    _number("low", nullable=True),
    _number("high", nullable=True),
    _number("low2", nullable=True),
    _number("high2", nullable=True),
    Column("unit", UUID),
    Column("unit_code", Text),
    Column("unit_text", Text),
)


class Point(UserDefinedType[str]):
    """Postgres' point."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in DDL."""
        return "point"


idx_position = Table("idx_position", METADATA, _pk(), Column("at", Point, nullable=False), *_param())
Index("idx_position_at", idx_position.c["at"], postgresql_using="gist")


idx_text = Table(
    "idx_text",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    tenant(),
    Column("cut", Boolean, nullable=False),
    Column("words", TSVECTOR, nullable=False),
    PrimaryKeyConstraint("tenant", "pk"),
)
Index("idx_text_words", idx_text.c["words"], postgresql_using="gin", postgresql_with={"fastupdate": "off"})
Index("idx_text_cut", idx_text.c.tenant, idx_text.c.pk, postgresql_where=text("cut"))

text_missing = Table(
    "text_missing",
    METADATA,
    tenant(),
    Column("type", SmallInteger, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("tenant", "type"),
)

contained = Table(
    "contained",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("container", BigInteger, nullable=False),
    Column("rid", UUID, nullable=False),
    tenant(),
    Column("type", SmallInteger, nullable=False, autoincrement=False),
    Column("container_type", SmallInteger, nullable=False),
    _text("id", nullable=False),
    Column("keys", ARRAY(UUID), nullable=False),
    PrimaryKeyConstraint("tenant", "type", "pk"),
)
Index("contained_container", contained.c.tenant, contained.c.container)
Index("contained_rid", contained.c.tenant, contained.c.rid)
Index("contained_keys", contained.c["keys"], postgresql_using="gin", postgresql_with={"fastupdate": "off"})


def _index(
    table: Table, name: str, *columns: str, where: str | None = None, also: Sequence[str] = ()
) -> None:
    Index(
        f"{table.name}_{name}",
        *(table.c[column] for column in columns),
        postgresql_where=None if where is None else text(where),
        postgresql_include=list(also),
    )


_index(idx_string, "value", "tenant", "param", "value", "pk")
_index(idx_date, "low", "tenant", "param", "low", "pk", also=["high"])
_index(idx_date, "span", "tenant", "param", "span", "low", "pk", where="span > 0", also=["high"])
_index(idx_number, "low", "tenant", "param", "low", "pk", also=["high"])
_index(idx_number, "span", "tenant", "param", "high", "pk", where="sign(high - low) = 1")
_index(idx_quantity, "low", "tenant", "param", "low", "pk")
_index(idx_quantity, "value", "tenant", "param", "unit", "low", "high", "pk")
_index(idx_quantity, "span", "tenant", "param", "high", "pk", where="sign(high - low) = 1")
_index(idx_composite, "number", "tenant", "param", "code", "low", "high", "pk", where="low IS NOT NULL")
_index(idx_composite, "span", "tenant", "param", "code", "high", "pk", where="sign(high - low) = 1")
_index(idx_composite, "value", "tenant", "param", "code", "value", "pk", where="value IS NOT NULL")
_index(
    idx_composite,
    "date",
    "tenant",
    "param",
    "code",
    "date_low",
    "date_high",
    "pk",
    where="date_low IS NOT NULL",
)
for _table in (idx_string, idx_date, idx_number, idx_quantity, idx_composite, idx_position):
    _index(_table, "pk", "tenant", "pk")
