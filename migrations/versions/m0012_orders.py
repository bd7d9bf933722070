"""Indexes that pages sorted by an id, a number or a quantity are walks of.

The indexes on numbers that are no points say so in a form that the planner takes for rare, as it is.

Revision ID: m0012
Revises: m0011
"""

from alembic import op

revision = "m0012"
down_revision = "m0011"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE INDEX resource_id ON resource (tenant, type, id);
CREATE INDEX idx_number_low ON idx_number (tenant, param, low, pk) INCLUDE (high);
DROP INDEX idx_number_value;
CREATE INDEX idx_quantity_low ON idx_quantity (tenant, param, low, pk);
DROP INDEX idx_number_span, idx_quantity_span, idx_composite_span;
CREATE INDEX idx_number_span ON idx_number (tenant, param, high, pk) WHERE sign(high - low) = 1;
CREATE INDEX idx_quantity_span ON idx_quantity (tenant, param, high, pk) WHERE sign(high - low) = 1;
CREATE INDEX idx_composite_span ON idx_composite (tenant, param, code, high, pk) WHERE sign(high - low) = 1;
"""

DOWNGRADE = """
DROP INDEX idx_number_span, idx_quantity_span, idx_composite_span;
CREATE INDEX idx_number_span ON idx_number (tenant, param, high, pk) WHERE low <> high;
CREATE INDEX idx_quantity_span ON idx_quantity (tenant, param, high, pk) WHERE low <> high;
CREATE INDEX idx_composite_span ON idx_composite (tenant, param, code, high, pk) WHERE low <> high;
DROP INDEX idx_quantity_low;
CREATE INDEX idx_number_value ON idx_number (tenant, param, low, high, pk);
DROP INDEX idx_number_low;
DROP INDEX resource_id;
"""


def upgrade() -> None:
    """Create the indexes; that of numbers takes the place of one in another order."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them and bring the former one back."""
    op.execute(DOWNGRADE)
