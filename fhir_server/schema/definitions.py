"""package, definition and validation_outcome: what is installed, and what stored versions fall short of.

    CREATE TABLE package (
        pk integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant smallint NOT NULL DEFAULT 0, name text COLLATE "C" NOT NULL, version text COLLATE "C" NOT NULL,
        digest bytea NOT NULL, installed_at timestamptz(3) NOT NULL, installed_by text NOT NULL,
        counts jsonb NOT NULL, dependencies jsonb NOT NULL, UNIQUE (tenant, name, version));

    CREATE TABLE definition (
        pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant smallint NOT NULL DEFAULT 0,
        package integer NOT NULL REFERENCES package (pk) ON DELETE CASCADE, type smallint NOT NULL,
        profile_of smallint, url text COLLATE "C" NOT NULL, version text COLLATE "C" NOT NULL,
        name text NOT NULL, content text NOT NULL);
    CREATE INDEX definition_url ON definition (tenant, type, url);
    CREATE INDEX definition_package ON definition (package);

    CREATE TABLE validation_outcome (
        pk bigint NOT NULL, version integer NOT NULL, errors integer NOT NULL, warnings integer NOT NULL,
        tenant smallint NOT NULL DEFAULT 0, type smallint NOT NULL, issues jsonb NOT NULL,
        PRIMARY KEY (tenant, type, pk, version));

A row of `definition` never changes: a package that is installed again with other bytes gets new rows.
`installation.definitions_generation` grows by one with every change of what can be looked up;
`definitions_changed()` ends a transaction with a serialization failure. A trigger on
`resource_version` takes the outcome of a version away with its row.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from fhir_server.schema.metadata import METADATA, tenant


def _text(name: str) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=False)


package = Table(
    "package",
    METADATA,
    Column("pk", Integer, Identity(always=True), primary_key=True),
    tenant(),
    _text("name"),
    _text("version"),
    Column("digest", LargeBinary, nullable=False),
    Column("installed_at", TIMESTAMP(timezone=True, precision=3), nullable=False),
    Column("installed_by", Text, nullable=False),
    Column("counts", JSONB, nullable=False),
    Column("dependencies", JSONB, nullable=False),
    UniqueConstraint("tenant", "name", "version"),
)

definition = Table(
    "definition",
    METADATA,
    Column("pk", BigInteger, Identity(always=True), primary_key=True),
    tenant(),
    Column("package", Integer, ForeignKey("package.pk", ondelete="CASCADE"), nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("profile_of", SmallInteger),
    _text("url"),
    _text("version"),
    Column("name", Text, nullable=False),
    Column("content", Text, nullable=False),
)
Index("definition_url", definition.c.tenant, definition.c.type, definition.c.url)
Index("definition_package", definition.c.package)

validation_outcome = Table(
    "validation_outcome",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    Column("errors", Integer, nullable=False),
    Column("warnings", Integer, nullable=False),
    tenant(),
    Column("type", SmallInteger, nullable=False, autoincrement=False),
    Column("issues", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant", "type", "pk", "version"),
)
