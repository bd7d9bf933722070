"""`python -m conformance.benchmarks`: our server beside the floor, in one run, in alternation."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from conformance.benchmarks import stages
from conformance.benchmarks.page import page
from conformance.benchmarks.report import Report
from conformance.benchmarks.rounds import Differ
from conformance.benchmarks.stages import Options


def main() -> int:
    """Run the benchmark; 1 when the floor is too high or the sides cannot be compared."""
    arguments = _arguments()
    options = _options(arguments)
    report = Report("ours", "floor", {
        "resources": options.resources, "growth": options.growth or "-", "seed": options.seed,
        "rounds": options.rounds, "workers": options.workers, "threads": options.threads,
    })  # fmt: skip
    try:
        with _folder(arguments.keep) as folder:
            stages.run(options, folder, report)
    except Differ as error:
        print(f"the sides cannot be compared: {error}", file=sys.stderr)
        return 1
    finally:
        if not report.is_empty():
            print(report.text())
            if arguments.json:
                arguments.json.write_text(json.dumps(report.document(), indent=1, default=str) + "\n")
            if arguments.page:
                arguments.page.write_text(page(report))
            if arguments.worst:
                arguments.worst.write_text("\n".join(_worst(report)) + "\n")
    return 1 if report.floor_is_too_high() else 0


def _worst(report: Report) -> list[str]:
    return [
        line for part in report.thirty for pair in part.pairs for line in (f"# {pair[0]}", *part.worst(*pair))
    ]


def _options(arguments: argparse.Namespace) -> Options:
    found = stages.QUICK if arguments.quick else Options()
    given = {
        name: getattr(arguments, name)
        for name in ("resources", "growth", "rounds", "seed", "workers", "threads", "only", "parts", "server",
                     "peer", "peer_pid", "peer_database_pid")
        if getattr(arguments, name)
    }  # fmt: skip
    return replace(found, **given)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give the folder of the run: `keep`, or one that is removed again."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        keep.chmod(0o755)  # an unprivileged Postgres must find its way through
        yield keep.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="xinglin-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--json", type=Path, metavar="OUT", help="write all figures to this file")
    add("--page", type=Path, metavar="OUT", help="write a page in Markdown: machine, goals, questions")
    add("--worst", type=Path, metavar="OUT", help="write the questions, the dearest first, with their plans")
    add("--quick", action="store_true", help="20,000 resources, two short rounds: a look, not a proof")
    add("--resources", type=int, metavar="N", help="resources to load (100000)")
    add("--growth", type=int, metavar="N", help="ask the questions on N resources as well, in alternation")
    add("--rounds", type=int, metavar="N", help="rounds of everything (7, quick 2)")
    add("--part", action="append", dest="parts", choices=stages.PARTS, help="only this part")
    add("--only", action="append", metavar="WORD", help="only what has this word in its name")
    add("--seed", type=int, help="of the data and the choice of questions (1)")
    add("--workers", type=int, help="worker processes of either side (2)")
    add("--threads", type=int, help="threads of a worker (4)")
    add("--keep", type=Path, metavar="DIR", help="keep the data here and use it again")
    add("--server", metavar="URL", help="a running server in the place of ours")
    add(
        "--peer",
        metavar="URL",
        help="another FHIR base beside ours and the floor, loaded by its own REST API",
    )
    add("--peer-pid", type=int, metavar="PID", help="its first process, to count its CPU")
    add("--peer-database-pid", type=int, metavar="PID", help="that of its database server")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
