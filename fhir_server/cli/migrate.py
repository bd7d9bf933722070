"""`migrate`: brings the database schema up to date, or says whether it is.

With --check the exit code tells: 0 up to date, 1 not.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from fhir_server.cli.command import add_json, add_settings, answer
from fhir_server.cli.installation import database
from fhir_server.config import Config

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

    with database(config) as url:
        state = migrating.schema_state(url) if arguments.check else migrating.upgrade(url)
    document = {**asdict(state), "up_to_date": state.up_to_date}
    if state.up_to_date:
        answer(arguments, document, f"the schema is up to date ({state.current or 'no migrations yet'})")
        return 0
    stands = f"at {state.current}" if state.current else "empty"
    answer(
        arguments, document, f"the schema is {stands}, the newest is {state.newest}; run `xinglin migrate`"
    )
    return 1
