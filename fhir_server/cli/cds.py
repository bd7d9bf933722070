"""`cds`: run the decision services: switch them, and look after who calls them and what they answered.

Each action is one line in ACTIONS: what it does, its flags, and the function that carries it out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fhir_server.cli import cds_switch
from fhir_server.config import Config

EXAMPLES = """\
  xinglin cds switch stroke-early-aspirin off --by 'Dr Lin' --reason 'CT codes are wrong since the upgrade'
  xinglin cds switch stroke-early-aspirin shadow --by 'Dr Lin' --reason 'watched for a week'
  xinglin cds switches --json
  xinglin cds verify
  xinglin cds verify --head 1204:0f3a…
  xinglin cds replay 6f0c1c1e-0f0f-4c51-b9a8-3b1d6a3f5d0e
  xinglin cds replay --last 100 --json
"""


@dataclass(frozen=True, slots=True)
class Action:
    """One word behind `xinglin cds`."""

    words: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Config], int]


ACTIONS: dict[str, Action] = {
    "switch": Action("turn a service on, off or to shadow", cds_switch.add_switch, cds_switch.switch),
    "switches": Action(
        "how each service is switched, and since when", cds_switch.add_list, cds_switch.listing
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and the flags of each."""
    actions: Any = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        action.add_arguments(actions.add_parser(name, help=action.words, description=action.words))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked."""
    return ACTIONS[arguments.action].run(arguments, config)
