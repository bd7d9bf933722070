"""`cds value-sets`: the codes that the decision services read, as FHIR ValueSets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cds_hooks.facts.as_value_sets import resources
from fhir_server.cli.command import add_json, answer
from fhir_server.config import Config


def add_value_sets(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `value-sets`."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="write them as NDJSON, a ValueSet a line")
    add_json(parser)


def value_sets(arguments: argparse.Namespace, _config: Config) -> int:
    """List the value sets, or write them; no server has to run."""
    found = list(resources())
    if arguments.out is not None:
        lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found)
        arguments.out.write_text(lines, encoding="utf-8")
    document = {"value_sets": found, "file": None if arguments.out is None else str(arguments.out)}
    answer(arguments, document, "\n".join(map(_line, found)))
    return 0


def _line(found: dict[str, Any]) -> str:
    counted = [
        f"{len(each['concept'])} of {each['system']}"
        if "concept" in each
        else f"a filter of {each['system']}"
        for each in found["compose"]["include"]
    ]
    return f"{found['url']}: {found['title']} ({', '.join(counted)})"
