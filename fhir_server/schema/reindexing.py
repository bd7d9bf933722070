"""search_parameter, reindex and their like: what is indexed beside R4's parameters, and how far.

    CREATE TABLE search_parameter (
        pk integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant smallint NOT NULL DEFAULT 0,
        type smallint NOT NULL, state text NOT NULL, code text COLLATE "C" NOT NULL,
        url text COLLATE "C" NOT NULL, definition text NOT NULL);
    CREATE UNIQUE INDEX search_parameter_code ON search_parameter (tenant, type, code) WHERE state <> 'gone';

    CREATE TABLE reindex (
        pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant smallint NOT NULL DEFAULT 0,
        id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE, state text NOT NULL DEFAULT 'waiting',
        reason text NOT NULL, asked_by text NOT NULL, asked_at timestamptz(3) NOT NULL,
        ended_at timestamptz(3), dry_run boolean NOT NULL DEFAULT false, rate integer,
        batch integer NOT NULL, not_before timestamptz NOT NULL DEFAULT now(), earlier text[]);

    CREATE TABLE reindex_type (
        job bigint NOT NULL REFERENCES reindex (pk) ON DELETE CASCADE, type smallint NOT NULL,
        whole boolean NOT NULL, parameters integer[] NOT NULL, done boolean NOT NULL DEFAULT false,
        position bigint NOT NULL DEFAULT 0, last bigint, total bigint, seen bigint NOT NULL DEFAULT 0,
        changed bigint NOT NULL DEFAULT 0, overtaken bigint NOT NULL DEFAULT 0,
        failed bigint NOT NULL DEFAULT 0, PRIMARY KEY (job, type));

    CREATE TABLE unindexed (
        pk bigint NOT NULL, job bigint, parameter integer NOT NULL, tenant smallint NOT NULL DEFAULT 0,
        type smallint NOT NULL, reason text NOT NULL, PRIMARY KEY (tenant, type, pk, parameter));

    CREATE TABLE index_form (
        tenant smallint NOT NULL DEFAULT 0, type smallint NOT NULL, form integer NOT NULL,
        PRIMARY KEY (tenant, type));

A parameter is `indexing` until every stored resource has its rows, then `ready`; `gone` are those whose
rows wait to be cleared away. `installation.parameters_generation` grows by one with every change of it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, UUID

from fhir_server.schema.metadata import METADATA, tenant


def _type(*, key: bool = False) -> Column[int]:
    return Column("type", SmallInteger, nullable=False, primary_key=key, autoincrement=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


search_parameter = Table(
    "search_parameter",
    METADATA,
    Column("pk", Integer, Identity(always=True), primary_key=True),
    tenant(),
    _type(),
    Column("state", Text, nullable=False),
    Column("code", Text(collation="C"), nullable=False),
    Column("url", Text(collation="C"), nullable=False),
    Column("definition", Text, nullable=False),
)
Index(
    "search_parameter_code",
    search_parameter.c.tenant,
    search_parameter.c.type,
    search_parameter.c.code,
    unique=True,
    postgresql_where=text("state <> 'gone'"),
)

reindex = Table(
    "reindex",
    METADATA,
    Column("pk", BigInteger, Identity(always=True), primary_key=True),
    tenant(),
    Column("id", UUID, nullable=False, server_default=text("gen_random_uuid()"), unique=True),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("reason", Text, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("asked_at", TIMESTAMP(timezone=True, precision=3), nullable=False),
    Column("ended_at", TIMESTAMP(timezone=True, precision=3)),
    _flag("dry_run"),
    Column("rate", Integer),
    Column("batch", Integer, nullable=False),
    Column("not_before", TIMESTAMP(timezone=True), nullable=False, server_default=text("now()")),
    Column("earlier", ARRAY(Text)),
)
Index("reindex_open", reindex.c.pk, postgresql_where=text("state IN ('waiting', 'running')"))

reindex_type = Table(
    "reindex_type",
    METADATA,
    Column("job", BigInteger, ForeignKey("reindex.pk", ondelete="CASCADE"), primary_key=True),
    _type(key=True),
    Column("whole", Boolean, nullable=False),
    Column("parameters", ARRAY(Integer), nullable=False),
    _flag("done"),
    _count("position"),
    Column("last", BigInteger),
    Column("total", BigInteger),
    _count("seen"),
    _count("changed"),
    _count("overtaken"),
    _count("failed"),
)

unindexed = Table(
    "unindexed",
    METADATA,
    Column("pk", BigInteger, primary_key=True, autoincrement=False),
    Column("job", BigInteger),
    Column("parameter", Integer, primary_key=True, autoincrement=False),
    tenant(key=True),
    _type(key=True),
    Column("reason", Text, nullable=False),
)
Index("unindexed_parameter", unindexed.c.parameter)
Index("unindexed_job", unindexed.c.job, postgresql_where=text("job IS NOT NULL"))

index_form = Table(
    "index_form",
    METADATA,
    tenant(key=True),
    _type(key=True),
    Column("form", Integer, nullable=False),
)
