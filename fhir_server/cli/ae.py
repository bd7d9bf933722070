"""`ae`: application entities that may call us or be sent to, and what each may do (PS3.8 9.3.2).

As long as none is listed, every calling title is accepted and the listener stays on loopback.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.dimse import peers
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.identity import password_hash
from dicom_node.dimse.secure import as_client
from dicom_node.dimse.verify import verify
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.engine import Engine

EXAMPLES = """\
  xinglin ae add CT1 10.0.0.7 104
  xinglin ae add WORKSTATION '*' --right find --right move --right get
  xinglin ae add PACS pacs.example.org 2762 --tls --certificate CN=pacs.example.org
  xinglin ae add MOBILE '*' --user ward7 --password-file ward7.txt --most 2
  xinglin ae echo PACS
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
    add.add_argument(
        "--right", action="append", choices=(*peers.RIGHTS, peers.ALL), metavar="SERVICE",
        help=f"a service that it may ask of us, repeatable: {', '.join(peers.RIGHTS)}; none: all of them",
    )  # fmt: skip
    add.add_argument("--tls", action="store_true", help="it must call over TLS, and is called over TLS")
    add.add_argument(
        "--certificate", default="", metavar="NAME",
        help="its certificate must have this name: the subject, CN=..., a DNS name or sha256:FINGERPRINT",
    )  # fmt: skip
    add.add_argument("--called", default="", metavar="TITLE", help="another title it may call us by")
    add.add_argument("--user", default="", metavar="NAME", help="user identity that it must give")
    add.add_argument(
        "--password-file", metavar="FILE", help="file with the passcode of that user; - reads it"
    )
    add.add_argument("--most", type=int, default=0, metavar="N", help="most associations at once")
    add.add_argument(
        "--character-set", default="", metavar="TERM", help="Specific Character Set of our answers to it"
    )
    listing = actions.add_parser("list", help="list all entities")
    remove = actions.add_parser("remove", help="remove an entity")
    remove.add_argument("title", metavar="TITLE")
    echo = actions.add_parser("echo", help="C-ECHO an entity: whether it answers, and in how many ms")
    echo.add_argument("title", metavar="TITLE")
    add_settings(echo, "ae_title", "dimse_tls_cert", "dimse_tls_key", "dimse_tls_ca")
    for action in (add, listing, remove, echo):
        add_json(action)
        add_settings(action, "database_url", "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked and say what stands."""
    if arguments.action == "echo":
        return _echo(arguments, config)
    with database(config) as url:
        engine = Engine(url, size=1)
        if arguments.action == "add":
            peers.add(engine, _peer(arguments), lambda: datetime.now(UTC))
        elif arguments.action == "remove":
            peers.remove(engine, arguments.title)
        known = peers.peers(engine)
        engine.close()
    answer(
        arguments,
        {"entities": [_shown(peer) for peer in known]},
        "\n".join(map(_line, known)) or "no entity is listed",
    )
    return 0


def _echo(arguments: argparse.Namespace, config: Config) -> int:
    """Ask an entity whether it is there; 1 when it is not."""
    with database(config) as url:
        engine = Engine(url, size=1)
        remote = Destinations(engine).find(arguments.title)
        engine.close()
    if remote is None:
        raise Refused(f"no entity {arguments.title!r} with a host and a port; `xinglin ae list` shows all")
    found = verify(remote, config.ae_title.strip(), as_client(config))
    words = "answers" if found.answered else f"does not answer: {found.words}"
    answer(arguments, {"title": remote.title, **asdict(found)}, f"{remote.title} {words} ({found.ms:.0f} ms)")
    return 0 if found.answered else 1


def _peer(arguments: argparse.Namespace) -> peers.Peer:
    if arguments.password_file and not arguments.user:
        raise Refused("--password-file goes with --user")
    if arguments.certificate and not arguments.tls:
        raise Refused("--certificate goes with --tls: without, nothing shows a certificate")
    return peers.Peer(
        arguments.title,
        arguments.host,
        arguments.port,
        rights=frozenset(arguments.right or (peers.ALL,)),
        called_title=arguments.called.strip(),
        tls=arguments.tls,
        certificate=arguments.certificate,
        user_name=arguments.user,
        password_hash=password_hash(_passcode(arguments.password_file)) if arguments.password_file else "",
        max_associations=arguments.most,
        character_set=arguments.character_set,
    )


def _passcode(file: str) -> str:
    """Return the first line of a file; on the command line everybody on this machine could read it."""
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text()
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    if not (found := text.partition("\n")[0].rstrip("\r")):
        raise Refused(f"{file} has no passcode in its first line")
    return found


def _shown(peer: peers.Peer) -> dict[str, Any]:
    """Return an entry for --json; of its passcode only whether it has one."""
    fields = asdict(peer)
    fields["password"] = bool(fields.pop("password_hash"))
    return {**fields, "rights": sorted(peer.rights)}


def _line(peer: peers.Peer) -> str:
    """Return an entry as people read it.

    >>> _line(peers.Peer("CT1", "10.0.0.7", 104, rights=frozenset({"store"}), tls=True))
    'CT1              10.0.0.7 104 store tls'
    """
    parts = [
        f"{peer.title:<16} {peer.host}",
        str(peer.port or ""),
        ",".join(sorted(peer.rights - {peers.ALL})),
    ]
    parts += [
        "tls" if peer.tls else "",
        f"certificate={peer.certificate}" if peer.certificate else "",
        f"called={peer.called_title}" if peer.called_title else "",
        f"user={peer.user_name}" if peer.user_name else "",
        f"most={peer.max_associations}" if peer.max_associations else "",
        f"character-set={peer.character_set}" if peer.character_set else "",
    ]
    return " ".join(filter(None, parts))
