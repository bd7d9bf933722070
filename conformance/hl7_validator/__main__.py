"""`python -m conformance.hl7_validator`: mutate, ask, compare (see the package)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance.hl7_validator import __doc__ as readme
from conformance.hl7_validator.ask import answers
from conformance.hl7_validator.compare import compare
from conformance.hl7_validator.mutants import examples, mutants, write


def main() -> int:
    """Run one of the commands; `compare` returns 1 while errors of one side are not settled."""
    arguments = _arguments()
    if arguments.command == "mutate":
        made = mutants(examples(arguments.examples), arguments.seed, arguments.count)
        print(write(made, arguments.into), "mutants in", arguments.into)
        return 0
    if arguments.command == "ask":
        with arguments.list.open(encoding="utf-8") as lines:
            for answer in answers(arguments.base, lines):
                print(answer)
        return 0
    found = compare(arguments.hl7, arguments.ours, elements=arguments.elements, known=arguments.known)
    print(found.text())
    return 1 if found.alone else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.hl7_validator",
        description=readme,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    mutate = commands.add_parser("mutate", help="write examples with one change each")
    mutate.add_argument("--seed", type=int, default=1)
    mutate.add_argument("--count", type=int, default=1000)
    mutate.add_argument("--into", type=Path, required=True, help="a folder")
    mutate.add_argument("examples", type=Path, nargs="+", help="JSON files, folders or tar archives")
    ask = commands.add_parser("ask", help="write what our side says")
    ask.add_argument("base", help="a FHIR base address, such as http://127.0.0.1:8000/fhir")
    ask.add_argument("list", type=Path)
    both = commands.add_parser("compare", help="tell where the sides differ")
    both.add_argument("--elements", action="store_true", help="also in files that both refuse")
    both.add_argument("--known", action="store_true", help="count settled differences, too")
    both.add_argument("hl7", type=Path)
    both.add_argument("ours", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
