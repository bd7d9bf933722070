"""What every sub-command shares: flags that are settings, refusals, and the answer it prints."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from typing import Any

from fhir_server.config import Config, variable

_HELP = {setting.name: setting.metadata["reason"] for setting in fields(Config)}
_KIND = {setting.name: str(setting.type) for setting in fields(Config)}


class Refused(Exception):
    """The command cannot do what it was asked; the message is the reason, in one line. Exit code 1."""


def add_settings(parser: argparse.ArgumentParser, *names: str) -> None:
    """Give `parser` a flag for each named field of Config: --port, --base-url (repeatable), --no-dimse.

    The default stays None, so that variable and file are asked when the flag is not given.
    """
    group = parser.add_argument_group("settings (each also a variable XINGLIN_… and a key of --config)")
    for name in names:
        flag = name.replace("_", "-")
        words = f"{_HELP[name]} [{variable(name)}]".replace("%", "%%")
        if _KIND[name] == "bool":
            group.add_argument(f"--no-{flag}", dest=name, action="store_false", default=None, help=words)
            group.add_argument(f"--{flag}", dest=name, action="store_true", help=argparse.SUPPRESS)
        elif _KIND[name].startswith("tuple"):
            group.add_argument(
                f"--{flag}", dest=name, action="append", metavar=_metavar(name), default=None, help=words
            )
        else:
            group.add_argument(f"--{flag}", dest=name, metavar=_metavar(name), default=None, help=words)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the flag --json of commands that report."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def say(text: str = "") -> None:
    """Print a line for people, on standard error."""
    print(text, file=sys.stderr, flush=True)


def answer(arguments: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    """Print what the command found: the document on standard output with --json, else the text."""
    if getattr(arguments, "json", False):
        print(json.dumps(document, default=str), flush=True)
    elif text:
        print(text, flush=True)


def _metavar(name: str) -> str:
    return "DIR" if name.endswith("_dir") else name.rsplit("_", 1)[-1].upper()
