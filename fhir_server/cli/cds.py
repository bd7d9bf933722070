"""`cds`: run the decision services: switch them, and look after who calls them and what they answered.

Each action is one line in ACTIONS: what it does, its flags, and the function that carries it out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fhir_server.cli import cds_client, cds_records, cds_report, cds_switch, cds_value_sets
from fhir_server.config import Config

EXAMPLES = """\
  xinglin cds switch stroke-early-aspirin off --by 'Dr Lin' --reason 'CT codes are wrong since the upgrade'
  xinglin cds switch stroke-early-aspirin shadow --by 'Dr Lin' --reason 'watched for a week'
  xinglin cds switches --json
  xinglin cds report --days 7
  xinglin cds replay 6f0c1c1e-0f0f-4c51-b9a8-3b1d6a3f5d0e
  xinglin cds replay --last 100 --json
  xinglin cds verify --head 1204:0f3a…
  xinglin cds client add north --issuer https://ehr.example --jwks-url https://ehr.example/jwks.json
  xinglin cds client list
  xinglin cds value-sets --out value-sets.ndjson
"""


@dataclass(frozen=True, slots=True)
class Action:
    """One word behind `xinglin cds`."""

    words: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Config], int]


ACTIONS: dict[str, Action] = {
    "client": Action("EHRs that may call: add, list, remove", cds_client.add_arguments, cds_client.run),
    "switch": Action("turn a service on, off or to shadow", cds_switch.add_switch, cds_switch.switch),
    "switches": Action(
        "how each service is switched, and since when", cds_switch.add_list, cds_switch.listing
    ),
    "report": Action(
        "how often each service was asked, and what became of its cards",
        cds_report.add_report,
        cds_report.report,
    ),
    "replay": Action(
        "decide recorded calls again and compare the cards, byte for byte",
        cds_records.add_replay,
        cds_records.replay,
    ),
    "verify": Action(
        "walk along the chain of records and name the first broken link",
        cds_records.add_verify,
        cds_records.verify,
    ),
    "value-sets": Action(
        "the codes that the services read, as FHIR ValueSets",
        cds_value_sets.add_value_sets,
        cds_value_sets.value_sets,
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
