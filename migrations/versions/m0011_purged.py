"""What was purged, for those who follow the change feed.

Revision ID: m0011
Revises: m0010
"""

from alembic import op

revision = "m0011"
down_revision = "m0010"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE resource_purged (
    pk bigint NOT NULL,
    stamp bigint NOT NULL,
    version integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    PRIMARY KEY (tenant, stamp, pk)
);
COMMENT ON TABLE resource_purged IS 'Resources that were removed with all their versions ($expunge); nothing of them is left';
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop what only those need who follow the feed."""
    op.execute("DROP TABLE resource_purged")
