"""How long the date intervals of the index are, so that a search has a bound on both of their ends.

Nearly all are no longer than a day: what reaches beyond a moment began at most a day before it. The
others are found by their length. This takes the place of the index by `high`, which gave one bound.

Revision ID: m0006
Revises: m0005
"""

from alembic import op

revision = "m0006"
down_revision = "m0005"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE idx_date ADD COLUMN span smallint NOT NULL GENERATED ALWAYS AS (CASE
    WHEN high AT TIME ZONE 'UTC' <= (low AT TIME ZONE 'UTC') + interval '25 hours' THEN 0
    WHEN NOT isfinite(high) THEN 4
    WHEN high AT TIME ZONE 'UTC' <= (low AT TIME ZONE 'UTC') + interval '768 hours' THEN 1
    WHEN high AT TIME ZONE 'UTC' <= (low AT TIME ZONE 'UTC') + interval '26400 hours' THEN 2
    ELSE 3 END) STORED;
COMMENT ON COLUMN idx_date.span IS '0 up to a day of 25 hours, 1 up to 32 days, 2 up to 1100 days, 3 longer, 4 without end';
CREATE INDEX idx_date_span ON idx_date (tenant, param, span, low, pk) INCLUDE (high) WHERE span > 0;
DROP INDEX idx_date_high;
"""

DOWNGRADE = """
CREATE INDEX idx_date_high ON idx_date (tenant, param, high, pk) INCLUDE (low);
ALTER TABLE idx_date DROP COLUMN span;
"""


def upgrade() -> None:
    """Add the column, which writes the table anew, and the index on what is longer than a day."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Take both away and bring the index by `high` back."""
    op.execute(DOWNGRADE)
