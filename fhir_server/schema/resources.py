"""resource and resource_version: the current rows, and the superseded versions, append-only.

    CREATE TABLE resource (
        pk bigint NOT NULL, stamp bigint NOT NULL, last_updated timestamptz(3) NOT NULL,
        rid uuid NOT NULL, version integer NOT NULL, tenant smallint NOT NULL DEFAULT 0,
        type smallint NOT NULL, method "char" NOT NULL, deleted boolean NOT NULL DEFAULT false,
        id text COLLATE "C" NOT NULL, chart uuid, chart_date timestamptz,
        meta jsonb, keys uuid[], content jsonb,
        PRIMARY KEY (tenant, type, pk), UNIQUE (tenant, rid));
    CREATE INDEX resource_keys ON resource USING gin (keys) WITH (fastupdate = off);
    CREATE INDEX resource_updated ON resource (tenant, type, last_updated, pk);
    CREATE INDEX resource_stamp ON resource (tenant, stamp, pk);
    CREATE INDEX resource_id ON resource (tenant, type, id);
    CREATE INDEX resource_chart ON resource (tenant, type, chart, chart_date DESC NULLS LAST, pk DESC)
        WHERE chart IS NOT NULL;

`content` is the resource without resourceType, id and meta; `meta` is meta without versionId and
lastUpdated, null if nothing is left. A deleted resource stays as a row without content and keys.
The order of columns saves padding: eight-byte ones first.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, UUID
from sqlalchemy.types import UserDefinedType

from fhir_server.schema.metadata import METADATA


class SmallChar(UserDefinedType[str]):
    """Postgres' internal "char": one byte."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in DDL."""
        return '"char"'


def _tenant() -> Column[int]:
    return Column("tenant", SmallInteger, nullable=False, server_default=text("0"))


resource = Table(
    "resource",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("stamp", BigInteger, nullable=False),
    Column("last_updated", TIMESTAMP(timezone=True, precision=3), nullable=False),
    Column("rid", UUID, nullable=False),
    Column("version", Integer, nullable=False),
    _tenant(),
    Column("type", SmallInteger, nullable=False, autoincrement=False),
    Column("method", SmallChar, nullable=False),
    Column("deleted", Boolean, nullable=False, server_default=text("false")),
    Column("id", Text(collation="C"), nullable=False),
    Column("chart", UUID),
    Column("chart_date", TIMESTAMP(timezone=True)),
    Column("meta", JSONB),
    Column("keys", ARRAY(UUID)),
    Column("content", JSONB),
    PrimaryKeyConstraint("tenant", "type", "pk"),
    UniqueConstraint("tenant", "rid"),
)
Index("resource_keys", resource.c["keys"], postgresql_using="gin", postgresql_with={"fastupdate": "off"})
Index("resource_updated", resource.c.tenant, resource.c.type, resource.c.last_updated, resource.c.pk)
Index(
    "resource_chart",
    resource.c.tenant,
    resource.c.type,
    resource.c.chart,
    resource.c.chart_date.desc().nulls_last(),
    resource.c.pk.desc(),
    postgresql_where=text("chart IS NOT NULL"),
)
Index("resource_id", resource.c.tenant, resource.c.type, resource.c.id)
Index("resource_stamp", resource.c.tenant, resource.c.stamp, resource.c.pk)

resource_version = Table(
    "resource_version",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("stamp", BigInteger, nullable=False),
    Column("last_updated", TIMESTAMP(timezone=True, precision=3), nullable=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    _tenant(),
    Column("type", SmallInteger, nullable=False, autoincrement=False),
    Column("method", SmallChar, nullable=False),
    Column("deleted", Boolean, nullable=False, server_default=text("false")),
    Column("id", Text(collation="C"), nullable=False),
    Column("meta", JSONB),
    Column("content", JSONB),
    PrimaryKeyConstraint("tenant", "type", "pk", "version"),
)
Index(
    "resource_version_updated",
    resource_version.c.tenant,
    resource_version.c.type,
    resource_version.c.last_updated,
    resource_version.c.pk,
)
Index("resource_version_stamp", resource_version.c.tenant, resource_version.c.stamp, resource_version.c.pk)
