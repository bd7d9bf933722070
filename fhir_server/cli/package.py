"""Install, list and remove FHIR packages: profiles, value sets, questionnaires, search parameters."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.cli.command import Refused, add_json, add_settings, answer, say
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.migrating import upgrade
from fhir_server.definitions import package
from fhir_server.interactions import install
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.install import Installation
from fhir_server.outcome import FhirError

EXAMPLES = """\
  xinglin package install hl7.fhir.us.core-6.1.0.tgz
  xinglin package install *.tgz --lenient --json
  xinglin package list
  xinglin package remove hl7.fhir.us.core@6.1.0
"""

OPERATOR = Grant.system("package")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    adding = actions.add_parser("install", help="install packages, each whole or not at all")
    adding.add_argument("files", metavar="FILE", type=Path, nargs="+", help="a package (.tgz)")
    adding.add_argument(
        "--lenient", action="store_true", help="leave faulty definitions out instead of refusing the package"
    )
    listing = actions.add_parser("list", help="list the packages that are installed")
    removing = actions.add_parser("remove", help="remove packages, one version or all of a name")
    removing.add_argument("names", metavar="NAME[@VERSION]", nargs="+")
    for action in (adding, listing, removing):
        add_json(action)
        add_settings(action, "database_url", "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked; 0 when all of it is done, 1 when a package was refused."""
    with database(config) as url:
        upgrade(url)
        entry = create_entry(config, url, connections=1)
        try:
            if arguments.action == "install":
                return _install(arguments, entry)
            if arguments.action == "remove":
                return _remove(arguments, entry)
            return _list(arguments, entry)
        finally:
            entry.engine.close()


def _install(arguments: argparse.Namespace, entry: Entry) -> int:
    done: list[dict[str, Any]] = []
    lines: list[str] = []
    refused = 0
    for number, file in enumerate(arguments.files, 1):
        if len(arguments.files) > 1:
            say(f"{number} of {len(arguments.files)}: {file.name}")
        try:
            made = _one(entry, file, arguments.lenient)
        except FhirError as error:
            refused += 1
            reasons = [issue.diagnostics for issue in error.issues]
            done.append({"file": str(file), "status": "refused", "reasons": reasons})
            say("\n  ".join([f"xinglin: {file.name}: {reasons[0]}", *reasons[1:]]))
            continue
        done.append({"file": str(file), **made.as_json()})
        lines.append(f"{made.name} {made.version}: {made.status}{_counted(made.counts)}")
        for note in made.notes:
            say(f"! {made.name}: {note}")
    answer(arguments, {"packages": done, "refused": refused}, "\n".join(lines))
    return 1 if refused else 0


def _one(entry: Entry, file: Path, lenient: bool) -> Installation:
    try:
        with open(file, "rb") as stream:
            found = package.read(stream)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from None
    checked = install.check(found)
    return entry.write(OPERATOR, lambda context: install.install(context, checked, lenient=lenient))


def _remove(arguments: argparse.Namespace, entry: Entry) -> int:
    gone: list[dict[str, str]] = []
    for wanted in arguments.names:
        name, _, version = wanted.partition("@")

        def work(context: Any, name: str = name, version: str = version) -> list[Any]:
            return install.remove(context, name, version or None)

        gone += [{"name": each.name, "version": each.version} for each in entry.write(OPERATOR, work)]
    text = "\n".join(f"{each['name']} {each['version']}: removed" for each in gone)
    answer(arguments, {"removed": gone}, text)
    return 0


def _list(arguments: argparse.Namespace, entry: Entry) -> int:
    found = entry.read(OPERATOR, install.installed)
    document = [
        {
            "name": each.name,
            "version": each.version,
            "installed_at": each.installed_at,
            "installed_by": each.installed_by,
            "sha256": each.digest.hex(),
            "definitions": sum(each.counts.values()),
            "counts": each.counts,
            "dependencies": each.dependencies,
        }
        for each in found
    ]
    lines = [f"{each.name} {each.version}  {each.installed_at[:10]}{_counted(each.counts)}" for each in found]
    answer(arguments, {"packages": document}, "\n".join(lines) or "no package is installed")
    return 0


def _counted(counts: dict[str, int]) -> str:
    """Write counts for people.

    >>> _counted({"ValueSet": 36, "StructureDefinition": 59})
    '  59 StructureDefinition, 36 ValueSet'
    """
    parts = [f"{count} {name}" for name, count in sorted(counts.items())]
    return f"  {', '.join(parts)}" if parts else ""
