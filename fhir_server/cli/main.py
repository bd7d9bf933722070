"""`xinglin`: the table of sub-commands.

A sub-command is one module here with `EXAMPLES`, `add_arguments(parser)` and
`run(arguments, config) -> exit code`, and one line in COMMANDS. Only the one that is asked
for is imported.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from fhir_server import __version__
from fhir_server.cli.command import Refused, say
from fhir_server.cli.installation import default_data_dir
from fhir_server.config import Config, ConfigError
from fhir_server.database.account import EmbeddedError
from fhir_server.outcome import FhirError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("fhir_server.cli.demo", "see it run: sample patients, a CT study, a treatment suggestion"),
    "serve": ("fhir_server.cli.serve", "run the server: HTTP, DIMSE, background worker, database"),
    "worker": ("fhir_server.cli.worker", "drain jobs and DICOM-to-FHIR events, apart from serve"),
    "load": ("fhir_server.cli.load", "load files of resources"),
    "reindex": ("fhir_server.cli.reindex", "make the search index anew, or see how far a job is"),
    "package": ("fhir_server.cli.package", "FHIR packages (profiles, value sets): install, list, remove"),
    "ae": ("fhir_server.cli.ae", "application entities that may call us or be sent to: add, list, remove"),
    "study": ("fhir_server.cli.study", "DICOM studies: delete, restore, correct, hold, retention"),
    "forward": ("fhir_server.cli.forward", "send instances on to other AEs: rules, queue, retry"),
    "backup": ("fhir_server.cli.backup", "database and DICOM files into a folder, verified"),
    "restore": ("fhir_server.cli.restore", "a backup back into an empty installation, verified"),
    "doctor": ("fhir_server.cli.doctor", "check the installation and say what to mend"),
    "cds": ("fhir_server.cli.cds", "decision services: who may call; on, off or in shadow"),
    "model": ("fhir_server.cli.model", "train, evaluate and list the models of the decision services"),
    "migrate": ("fhir_server.cli.migrate", "bring the database schema up to date, or check it"),
}
"""Name → (module, what it does), in the order of the help page."""


def main(arguments: list[str] | None = None) -> int:
    """Run one sub-command and return its exit code: 0 done, 1 refused or failed, 2 wrong usage."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name not in COMMANDS:
        _parser().parse_args([name])  # --help, --version, or a mistake: exits
        return 2
    module = importlib.import_module(COMMANDS[name][0])
    own = _command_parser(name, module)
    given = own.parse_args(rest)
    file = given.config or os.environ.get("XINGLIN_CONFIG")
    try:
        config = Config.read(file=Path(file) if file else None, flags=_settings(given))
        if config.data_dir == Config().data_dir:
            config = replace(config, data_dir=default_data_dir())
        given = _with_defaults(own, name, given, Path(file) if file else None, rest)
    except ConfigError as error:
        own.print_usage(sys.stderr)
        say(f"xinglin: {error}")
        return 2
    try:
        return int(module.run(given, config))
    except (Refused, FhirError, EmbeddedError, ConfigError) as error:
        return _refuse(given, str(error))
    except KeyboardInterrupt:
        return _refuse(given, "interrupted")
    except BrokenPipeError:
        return 1


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    known = {setting.name for setting in fields(Config)}
    return {name: value for name, value in vars(given).items() if name in known}


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {words}" for name, (_, words) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="xinglin",
        usage="xinglin COMMAND [options]",
        description="An interoperability server for hospitals: FHIR R4, DICOM, terminology and CDS Hooks.",
        epilog=f"commands:\n{listing}\n\n`xinglin COMMAND --help` shows its options and examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("--version", action="version", version=f"xinglin {__version__}")
    parser.add_argument("-h", "--help", action="help", help="show this page")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _command_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    caption = (module.__doc__ or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(
        prog=f"xinglin {name}",
        description=caption,
        epilog=f"examples:\n{module.EXAMPLES.rstrip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings [XINGLIN_CONFIG]")
    return parser


def _with_defaults(
    parser: argparse.ArgumentParser, name: str, given: argparse.Namespace, file: Path | None, rest: list[str]
) -> argparse.Namespace:
    """Fill in a command's own flags from XINGLIN_<COMMAND>_<FLAG> and from its table in the file.

    `XINGLIN_LOAD_JOBS=4` and `[load] jobs = 4` are `xinglin load --jobs 4`.
    """
    table: dict[str, Any] = {}
    if file is not None:
        tables = {
            key: value for key, value in tomllib.loads(file.read_text()).items() if isinstance(value, dict)
        }
        if unknown := sorted(tables.keys() - {command.replace("-", "_") for command in COMMANDS}):
            raise ConfigError(f"{file}: there is no command {unknown[0]!r} for the table [{unknown[0]}]")
        table = tables.get(name.replace("-", "_"), {})
    flags: list[str] = []
    for action in parser._actions:
        if not action.option_strings or action.dest in {"help", "config", *_settings(given)}:
            continue
        value: Any = table.pop(action.dest, None)
        value = os.environ.get(f"XINGLIN_{name}_{action.dest}".upper().replace("-", "_"), value)
        if value is None:
            continue
        if action.nargs == 0:
            flags += [action.option_strings[0]] if str(value).lower() in ("1", "true", "yes", "on") else []
        else:
            several = value if isinstance(value, list) else [value]
            flags += [part for each in several for part in (action.option_strings[0], str(each))]
    if table:
        raise ConfigError(f"{file}: [{name}] has no flag {sorted(table)[0]!r}")
    return parser.parse_args([*flags, *rest]) if flags else given


def _refuse(given: argparse.Namespace, reason: str) -> int:
    line = " ".join(reason.split())
    if getattr(given, "json", False):
        print(json.dumps({"error": line}), flush=True)
    say(f"xinglin: {line}")
    return 1
