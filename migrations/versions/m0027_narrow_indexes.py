"""Indexes with what they are asked for and nothing else.

The rows of a resource are few and stand together, so they are found by `pk` and told apart by `param` in the
row; the history of a type is walked by its time, and versions of one moment, which are those of one
transaction, are sorted. An entry of sixteen bytes is the widest that Postgres packs densely where keys rise
in several places at once, and equal ones share an entry. Deletions of old have no keys at all where new ones have
none of them: now all are found by that.

Revision ID: m0027
Revises: m0026
"""

from alembic import op

revision = "m0027"
down_revision = "m0026"
branch_labels = None
depends_on = None

TABLES = ("idx_string", "idx_date", "idx_number", "idx_quantity", "idx_composite", "idx_position")


def upgrade() -> None:
    """Make the indexes anew, in less room."""
    for table in TABLES:
        op.execute(f"DROP INDEX {table}_pk; CREATE INDEX {table}_pk ON {table} (tenant, pk)")
    op.execute(
        "DROP INDEX resource_version_updated; "
        "CREATE INDEX resource_version_updated ON resource_version (tenant, type, last_updated)"
    )
    op.execute("UPDATE resource SET keys = '{}' WHERE keys IS NULL")


def downgrade() -> None:
    """Bring the former ones back."""
    for table in TABLES:
        op.execute(f"DROP INDEX {table}_pk; CREATE INDEX {table}_pk ON {table} (tenant, pk, param)")
    op.execute(
        "DROP INDEX resource_version_updated; "
        "CREATE INDEX resource_version_updated ON resource_version (tenant, type, last_updated, pk)"
    )
