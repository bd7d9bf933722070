"""`migrate`: brings the database schema up to date, or says whether it is.

With --check the exit code tells: 0 up to date, 1 not.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.installation import database, has_database
from fhir_server.config import Config

if TYPE_CHECKING:
    from fhir_server.database.migrating import SchemaState

EXAMPLES = """\
  xinglin migrate
  xinglin migrate --check --json
  xinglin migrate --database-url postgresql://xinglin@db.example.org/xinglin
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--check", action="store_true", help="change nothing, only say where the schema stands"
    )
    add_json(parser)
    add_settings(parser, "database_url", "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Migrate or check."""
    from fhir_server.database import migrating  # SQLAlchemy and Alembic: 0.3 s that --help need not pay

    if arguments.check and not has_database(config):
        answer(
            arguments,
            {"current": None, "up_to_date": False},
            "there is no database yet; run `xinglin migrate`",
        )
        return 1
    with database(config) as url:
        state = migrating.schema_state(url) if arguments.check else _upgrade(url)
    document = {**asdict(state), "up_to_date": state.up_to_date}
    if state.up_to_date:
        answer(arguments, document, f"the schema is up to date ({state.current or 'no migrations yet'})")
        return 0
    stands = f"at {state.current}" if state.current else "empty"
    answer(
        arguments, document, f"the schema is {stands}, the newest is {state.newest}; run `xinglin migrate`"
    )
    return 1


def _upgrade(url: str) -> SchemaState:
    """Migrate; then let the change feed notice when this database was restored from elsewhere."""
    from sqlalchemy.exc import SQLAlchemyError

    from fhir_server.database import feed, migrating
    from fhir_server.database.engine import Engine
    from fhir_server.database.unit_of_work import run_write

    try:
        state = migrating.upgrade(url)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise Refused(f"a migration failed and was rolled back: {reason}") from None
    engine = Engine(url, size=1)
    run_write(engine, (), feed.adopt)
    engine.close()
    return state
