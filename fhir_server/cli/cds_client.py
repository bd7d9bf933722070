"""`cds client`: the EHRs that may call the decision services: add, list, remove.

Workers follow within a second, without a restart.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cds_hooks.client_trust import checked
from cds_hooks.records.clients import Client, Clients
from fhir_server.authorization.jwks import Key, KeySetError, read
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.engine import Engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and the flags of each."""
    actions: Any = parser.add_subparsers(dest="client_action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="register an EHR, or give a known name all of this anew")
    add.add_argument("name", metavar="NAME", help="what you call it: letters, digits, . _ -")
    add.add_argument("--issuer", required=True, metavar="ISS", help="the iss of its tokens, letter by letter")
    add.add_argument("--jwks-url", default="", metavar="URL", help="where its public keys are")
    add.add_argument("--keys", metavar="FILE", help="its public keys as a JWK Set or one JWK; - reads them")
    add.add_argument(
        "--fhir-server", action="append", default=[], metavar="URL",
        help="FHIR base that missing data may be fetched from with the token of a call, repeatable; without"
        " a path every base of that server",
    )  # fmt: skip
    add.add_argument(
        "--own-store", action="append", default=[], metavar="URL",
        help="FHIR base of it whose patients are in our own store under the same ids, repeatable",
    )  # fmt: skip
    add.add_argument(
        "--origin", action="append", default=[], metavar="URL",
        help="browser origin that its pages call from, repeatable",
    )  # fmt: skip
    add.add_argument(
        "--tenant", action="append", default=[], metavar="NAME",
        help="value of the claim tenant that is let in, repeatable; none: all",
    )  # fmt: skip
    listing = actions.add_parser("list", help="list the registered EHRs")
    remove = actions.add_parser("remove", help="forget an EHR; its tokens are refused within a second")
    remove.add_argument("name", metavar="NAME")
    for action in (add, listing, remove):
        add_json(action)
        add_settings(action, "database_url", "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked and say what stands."""
    client = _client(arguments) if arguments.client_action == "add" else None
    with database(config) as url:
        engine = Engine(url, size=1)
        clients = Clients(engine)
        if client is not None:
            clients.add(client, datetime.now(UTC))
        elif arguments.client_action == "remove":
            clients.remove(arguments.name)
        known = clients.all()
        engine.close()
    answer(
        arguments,
        {"clients": [_shown(each) for each in known]},
        "\n".join(map(_line, known)) or "no client is registered",
    )
    return 0


def _client(arguments: argparse.Namespace) -> Client:
    return checked(
        Client(
            arguments.name,
            arguments.issuer,
            arguments.jwks_url,
            _keys(arguments.keys) if arguments.keys else (),
            tuple(arguments.tenant),
            tuple(arguments.fhir_server),
            tuple(arguments.own_store),
            tuple(arguments.origin),
        )
    )


def _keys(file: str) -> tuple[Key, ...]:
    try:
        found = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{file} is no JSON; a JWK Set is needed") from error
    try:
        return read({"keys": [found]} if isinstance(found, dict) and "kty" in found else found)
    except KeySetError as error:
        raise Refused(f"{file}: {error}") from error


def _shown(client: Client) -> dict[str, Any]:
    """Return a client for --json; of its keys the kids."""
    return {**asdict(client), "keys": [key.get("kid") for key in client.keys]}


def _line(client: Client) -> str:
    """Return a client as people read it.

    >>> _line(Client("north", "https://ehr.example", keys=({"kid": "a"},), origins=("https://ehr.example",)))
    'north            https://ehr.example keys=a origin=https://ehr.example'
    """
    parts = [f"{client.name:<16} {client.issuer}", f"jwks={client.jwks_url}" if client.jwks_url else ""]
    parts += [f"keys={','.join(str(key.get('kid')) for key in client.keys)}" if client.keys else ""]
    parts += [f"tenant={name}" for name in client.tenants]
    parts += [f"fhir-server={url}" for url in client.fhir_servers]
    parts += [f"own-store={url}" for url in client.own_store]
    parts += [f"origin={url}" for url in client.origins]
    return " ".join(filter(None, parts))
