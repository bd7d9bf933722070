"""`ae`: application entities that may call us or be sent to (PS3.8 9.3.2).

As long as none is listed, every calling title is accepted and the listener stays on loopback.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime

from dicom_node.dimse import peers
from fhir_server.cli.command import add_json, add_settings, answer
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.engine import Engine

EXAMPLES = """\
  xinglin ae add CT1 10.0.0.7 104
  xinglin ae add WORKSTATION '*'
  xinglin ae list --json
  xinglin ae remove CT1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add an entity, or give a known one a new host and port")
    add.add_argument("title", metavar="TITLE", help="AE title, 1 to 16 characters")
    add.add_argument("host", metavar="HOST", help="where it calls from and is sent to; * for anywhere")
    add.add_argument(
        "port", metavar="PORT", type=int, nargs="?", help="where it listens; none: it is not sent to"
    )
    listing = actions.add_parser("list", help="list all entities")
    remove = actions.add_parser("remove", help="remove an entity")
    remove.add_argument("title", metavar="TITLE")
    for action in (add, listing, remove):
        add_json(action)
        add_settings(action, "database_url", "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked and say what stands."""
    with database(config) as url:
        engine = Engine(url, size=1)
        if arguments.action == "add":
            peer = peers.Peer(arguments.title, arguments.host, arguments.port)
            peers.add(engine, peer, lambda: datetime.now(UTC))
        elif arguments.action == "remove":
            peers.remove(engine, arguments.title)
        known = peers.peers(engine)
        engine.close()
    lines = [f"{peer.title:<16} {peer.host} {peer.port or ''}".rstrip() for peer in known]
    answer(
        arguments, {"entities": [asdict(peer) for peer in known]}, "\n".join(lines) or "no entity is listed"
    )
    return 0
