"""Contained resources, for chains into them and for `_contained`.

Revision ID: m0013
Revises: m0012
"""

from alembic import op

revision = "m0013"
down_revision = "m0012"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE contained (
    pk bigint NOT NULL,
    container bigint NOT NULL,
    rid uuid NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    container_type smallint NOT NULL,
    id text COLLATE "C" NOT NULL,
    keys uuid[] NOT NULL,
    PRIMARY KEY (tenant, type, pk)
);
COMMENT ON TABLE contained IS 'The contained resources of the current versions: what they are found by';
COMMENT ON COLUMN contained.pk IS 'As that of a resource: index rows stand under it';
COMMENT ON COLUMN contained.rid IS 'Key of Type/id#id, the address below its container';
CREATE INDEX contained_container ON contained (tenant, container);
CREATE INDEX contained_rid ON contained (tenant, rid);
CREATE INDEX contained_keys ON contained USING gin (keys) WITH (fastupdate = off);
"""

DOWNGRADE = """
DROP TABLE contained;
"""


def upgrade() -> None:
    """Create the table. What is stored already is found by a chain into it after a reindex."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop what a reindex brings back."""
    op.execute(DOWNGRADE)
