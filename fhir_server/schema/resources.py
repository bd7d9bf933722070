"""resource and resource_version: heads, which are searched, and all versions with their bodies.

    CREATE TABLE resource (
        pk bigint NOT NULL, last_updated timestamptz(3) NOT NULL, rid uuid NOT NULL,
        version integer NOT NULL, tenant smallint NOT NULL DEFAULT 0, type smallint NOT NULL,
        deleted boolean NOT NULL DEFAULT false, id text COLLATE "C" NOT NULL,
        chart uuid, chart_date timestamptz, keys uuid[],
        PRIMARY KEY (tenant, type, pk), UNIQUE (tenant, rid));
    CREATE INDEX resource_keys ON resource USING gin (keys) WITH (fastupdate = off);
    CREATE INDEX resource_updated ON resource (tenant, type, last_updated, pk);
    CREATE INDEX resource_id ON resource (tenant, type, id);
    CREATE INDEX resource_chart ON resource (tenant, type, chart, chart_date DESC NULLS LAST, pk DESC)
        WHERE chart IS NOT NULL;

    CREATE TABLE resource_version (
        pk bigint NOT NULL, stamp bigint NOT NULL, last_updated timestamptz(3) NOT NULL,
        version integer NOT NULL, tenant smallint NOT NULL DEFAULT 0, type smallint NOT NULL,
        method "char" NOT NULL, content text,
        PRIMARY KEY (tenant, pk, version));
    CREATE INDEX resource_version_updated ON resource_version (tenant, type, last_updated);
    CREATE INDEX resource_version_stamp ON resource_version (tenant, stamp, pk);

    CREATE TABLE resource_type (code smallint PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE);

A head says which version is current; a deleted resource keeps one, without keys. Rows of
resource_version are written once. `content` is the text that is served without what stands in columns:
resourceType, id, meta.versionId and meta.lastUpdated; it begins with the rest of meta if there is any,
and is null where the version is a deletion. The views resource_json and resource_version_json show
whole resources as jsonb, for people. The order of columns saves padding: eight-byte ones first.
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
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, UUID
from sqlalchemy.types import UserDefinedType

from fhir_server.schema.metadata import METADATA, tenant


class SmallChar(UserDefinedType[str]):
    """Postgres' internal "char": one byte."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in DDL."""
        return '"char"'


resource = Table(
    "resource",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("last_updated", TIMESTAMP(timezone=True, precision=3), nullable=False),
    Column("rid", UUID, nullable=False),
    Column("version", Integer, nullable=False),
    tenant(),
    Column("type", SmallInteger, nullable=False, autoincrement=False),
    Column("deleted", Boolean, nullable=False, server_default=text("false")),
    Column("id", Text(collation="C"), nullable=False),
    Column("chart", UUID),
    Column("chart_date", TIMESTAMP(timezone=True)),
    Column("keys", ARRAY(UUID)),
    PrimaryKeyConstraint("tenant", "type", "pk"),
    UniqueConstraint("tenant", "rid"),
)
resource_purged = Table(
    "resource_purged",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("stamp", BigInteger, nullable=False, autoincrement=False),
    Column("version", Integer, nullable=False),
    tenant(),
    Column("type", SmallInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "stamp", "pk"),
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

resource_version = Table(
    "resource_version",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("stamp", BigInteger, nullable=False),
    Column("last_updated", TIMESTAMP(timezone=True, precision=3), nullable=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    tenant(),
    Column("type", SmallInteger, nullable=False, autoincrement=False),
    Column("method", SmallChar, nullable=False),
    Column("content", Text),
    PrimaryKeyConstraint("tenant", "pk", "version"),
)
Index(
    "resource_version_updated",
    resource_version.c.tenant,
    resource_version.c.type,
    resource_version.c.last_updated,
)
Index("resource_version_stamp", resource_version.c.tenant, resource_version.c.stamp, resource_version.c.pk)

resource_type = Table(
    "resource_type",
    METADATA,
    Column("code", SmallInteger, primary_key=True, autoincrement=False),
    Column("name", Text(collation="C"), nullable=False, unique=True),
)
