"""job, job_file, content, content_piece and binary_content: what is answered later, and large contents.

    CREATE TABLE content (pk, tenant, begun_at, size_bytes, sha256);
    CREATE TABLE content_piece (content, number, data, PRIMARY KEY (content, number));
    CREATE TABLE job (pk, tenant, id UNIQUE, subject, state, kind, attempt, asked_at, begun_at, ended_at,
        expires_at, progress, units, request, body, kept);
    CREATE TABLE job_file (job, name, role, type, count, content, PRIMARY KEY (job, name));
    CREATE TABLE binary_content (pk, version, tenant, content, PRIMARY KEY (tenant, pk, version));

A content is written in pieces of 1 MiB, each in a transaction of its own; it counts from the moment that a
row of another table points at it, and one that nobody points at is swept away after a day.
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
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from fhir_server.schema.metadata import METADATA, tenant


def _moment(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True, precision=3), nullable=nullable)


content = Table(
    "content",
    METADATA,
    Column("pk", BigInteger, Identity(always=True), primary_key=True),
    tenant(),
    Column("begun_at", TIMESTAMP(timezone=True, precision=3), nullable=False, server_default=text("now()")),
    Column("size_bytes", BigInteger),
    Column("sha256", LargeBinary),
)
Index("content_begun", content.c.begun_at)

content_piece = Table(
    "content_piece",
    METADATA,
    Column("content", BigInteger, ForeignKey("content.pk", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("content", "number"),
)

job = Table(
    "job",
    METADATA,
    Column("pk", BigInteger, Identity(always=True), primary_key=True),
    tenant(),
    Column("id", Text(collation="C"), nullable=False, unique=True),
    Column("subject", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("kind", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    _moment("asked_at", nullable=False),
    _moment("begun_at"),
    _moment("ended_at"),
    _moment("expires_at"),
    Column("progress", Text, nullable=False, server_default=text("''")),
    Column("units", Integer, nullable=False, server_default=text("0")),
    Column("request", JSONB, nullable=False),
    Column("body", BigInteger, ForeignKey("content.pk")),
    Column("kept", Text),
)
Index("job_open", job.c.tenant, job.c.pk, postgresql_where=job.c.state.in_(("waiting", "running")))
Index("job_body", job.c.body, postgresql_where=job.c.body.is_not(None))
Index("job_ended", job.c.expires_at, postgresql_where=job.c.expires_at.is_not(None))

job_file = Table(
    "job_file",
    METADATA,
    Column("job", BigInteger, ForeignKey("job.pk", ondelete="CASCADE"), nullable=False),
    Column("name", Text(collation="C"), nullable=False),
    Column("role", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("content", BigInteger, ForeignKey("content.pk"), nullable=False),
    PrimaryKeyConstraint("job", "name"),
)
Index("job_file_content", job_file.c.content)

binary_content = Table(
    "binary_content",
    METADATA,
    Column("pk", BigInteger, nullable=False, autoincrement=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    tenant(),
    Column("content", BigInteger, ForeignKey("content.pk"), nullable=False),
    PrimaryKeyConstraint("tenant", "pk", "version"),
)
Index("binary_content_content", binary_content.c.content)
