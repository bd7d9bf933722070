"""`cds switch` and `cds switches`: the kill switch and the shadow mode of each decision service.

Workers follow within a second, without a restart. Who did it and why is kept for good.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

from cds_hooks import registry
from cds_hooks.records.switches import MODES, Switch, Switches
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.engine import Engine


def add_switch(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `switch`."""
    parser.add_argument("service", metavar="SERVICE", help="id of the service")
    parser.add_argument("mode", choices=MODES, help="on; shadow: decide and record, show nothing; off")
    parser.add_argument(
        "--by", required=True, metavar="NAME", help="who decides this; kept as typed, not proven"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, without patient data")
    add_json(parser)
    add_settings(parser, "database_url", "data_dir")


def add_list(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `switches`."""
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="only this one, with all its turns")
    add_json(parser)
    add_settings(parser, "database_url", "data_dir")


def switch(arguments: argparse.Namespace, config: Config) -> int:
    """Turn a switch and say what stands."""
    known = registry.services([config.data_dir / "models"])
    if arguments.service not in known:
        raise Refused(f"there is no service {arguments.service!r}; known are {', '.join(known)}")
    with _switches(config) as switches:
        turn = Switch(arguments.service, arguments.mode, arguments.by, arguments.reason, datetime.now(UTC))
        switches.turn(turn)
    answer(arguments, _shown(turn), f"{turn.service} is {turn.mode} within a second, in every worker")
    return 0


def listing(arguments: argparse.Namespace, config: Config) -> int:
    """List the services with their modes, or all turns of one."""
    known = registry.services([config.data_dir / "models"])
    with _switches(config) as switches:
        if arguments.service:
            turns = switches.history(arguments.service, 1000)
        else:
            newest = {turn.service: turn for turn in reversed(switches.history(None, 100_000))}
            turns = [newest[name] for name in sorted(newest)]
    untouched = (
        [] if arguments.service else [name for name in known if name not in {t.service for t in turns}]
    )
    answer(
        arguments,
        {"switches": [_shown(turn) for turn in turns], "never_switched": untouched},
        "\n".join([*map(_line, turns), *(f"{name:28} on      never switched" for name in untouched)])
        or "never switched",
    )
    return 0


@contextmanager
def _switches(config: Config) -> Iterator[Switches]:
    with database(config) as url:
        engine = Engine(url, size=1)
        try:
            yield Switches(engine)
        finally:
            engine.close()


def _shown(turn: Switch) -> dict[str, str]:
    return {**asdict(turn), "at": turn.at.isoformat(timespec="milliseconds")}


def _line(turn: Switch) -> str:
    return f"{turn.service:28} {turn.mode:7} {turn.at:%Y-%m-%d %H:%M} by {turn.by}: {turn.reason}"
