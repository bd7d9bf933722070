"""The Alembic environment: runs the migrations on the connection that `database.migrating` hands over."""

from __future__ import annotations

from alembic import context


def run() -> None:
    """Run the pending migrations, each in a transaction of its own."""
    context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


run()
