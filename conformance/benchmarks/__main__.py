"""`python -m conformance.benchmarks`: our server beside the floor, in one run, in alternation."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.benchmarks import load, plans, targets
from conformance.benchmarks.data import Facts, read_facts, stream, write_ndjson
from conformance.benchmarks.journeys import Journey, Sent, Sizes, hospitals, reading, writing
from conformance.benchmarks.processes import Tree, postmaster_under
from conformance.benchmarks.report import Report, disk_of
from conformance.benchmarks.rounds import Differ, Outcome, measure
from conformance.benchmarks.targets import Target

_HELLO_READS = 500


def main() -> int:
    """Run the benchmark; 1 when the floor is too high or the sides answer differently."""
    arguments = _arguments()
    sizes = Sizes(300, 3) if arguments.quick else Sizes(1000, 7)
    if arguments.rounds:
        sizes = Sizes(sizes.requests, arguments.rounds)
    report = Report("ours", "floor" if arguments.peer is None else "peer", {
        "resources": arguments.resources, "seed": arguments.seed, "rounds": sizes.rounds,
        "workers": arguments.workers, "threads": arguments.threads, "growth": arguments.growth or "-",
    })  # fmt: skip
    try:
        with _folder(arguments.keep) as folder:
            _run(arguments, folder, sizes, report)
    except Differ as error:
        print(f"the two sides cannot be compared: {error}", file=sys.stderr)
        return 1
    finally:
        if report.outcomes or report.growth:
            print(report.text())
            if arguments.json:
                arguments.json.write_text(json.dumps(report.document(), indent=1, default=str) + "\n")
    return 1 if report.floor_is_too_high() else 0


def _run(arguments: argparse.Namespace, folder: Path, sizes: Sizes, report: Report) -> None:
    running: list[Target] = []

    def up(target: Target) -> Target:
        running.append(target)
        return target

    try:
        _measure(arguments, folder, sizes, report, up)
    finally:
        for target in reversed(running):
            target.stop()


def _measure(
    arguments: argparse.Namespace, folder: Path, sizes: Sizes, report: Report, up: Callable[[Target], Target]
) -> None:
    seed, count = arguments.seed, arguments.resources
    size = {"workers": arguments.workers, "threads": arguments.threads}
    path = folder / f"resources-{seed}-{count}.ndjson"
    facts = read_facts(path) if path.exists() else write_ndjson(seed, count, path)
    if arguments.server is None:
        ours = up(targets.start_ours(folder / f"ours-{seed}-{count}", "ours", **size))
    else:
        ours = up(Target("ours", arguments.server))
    other_folder = folder / f"floor-{seed}-{count}"
    if arguments.peer is None:
        other = up(targets.start_floor(other_folder, ours, **size))
    else:
        pid = arguments.peer_pid
        tree = Tree(pid, arguments.peer_database_pid or (postmaster_under(pid) if pid else None))
        other = up(Target("peer", arguments.peer, tree=tree))
    if ours.database is not None:
        report.machine["postgres"] = ours.database.value("SHOW server_version")
    _load_both(seed, path, facts, folder, (ours, other), report)
    if ours.database is not None:
        report.settings["database settings"] = "the same" if arguments.peer is None else "unknown"
    if arguments.peer is None:
        hello = up(targets.start_hello(other_folder, **size))
        report.hello = _hello(facts, other, hello, sizes)
    synthea = _shared("data/synthea")
    chosen = [
        *reading(facts, sizes, seed),
        *writing(facts, sizes, seed, synthea),
    ]
    if synthea is not None:
        for body in hospitals(synthea):
            for side in (ours, other) if arguments.peer else (ours,):
                load.ask(side.address, load.request("POST", side.prefix or "/", body, host=side.host))
    for journey in chosen:
        if arguments.only and not any(word in journey.name for word in arguments.only):
            continue
        _say(journey.name)
        report.outcomes.append(measure(journey, (ours, other), rounds=sizes.rounds))
    report.memory = {side.name: side.tree.memory() for side in (ours, other) if side.tree.server_pid}
    if arguments.growth:
        _grow(arguments, folder, facts, sizes, report, ours, up)


def _load_both(
    seed: int, path: Path, facts: Facts, folder: Path, sides: tuple[Target, Target], report: Report
) -> None:
    for side in sides:
        if side.database is None:
            _say(f"loading {side.name} over HTTP")
            report.loads[side.name] = targets.load_over_http(side, stream(seed, facts.count))
            continue
        mark = folder / f"{side.name}-{seed}-{facts.count}" / "loaded.json"
        if mark.exists():
            side.empty_bytes = json.loads(mark.read_text())
        else:
            _say(f"loading {side.name}")
            if side.name == "floor":
                report.loads[side.name] = targets.load_floor(side, stream(seed, facts.count), facts.count)
            else:
                report.loads[side.name] = targets.load_ours(side, mark.parent, path, facts.count)
            mark.write_text(json.dumps(side.empty_bytes))
        side.database.tidy()
        if side.name in report.loads:
            report.disk[side.name] = disk_of(side, facts.count, facts.json_bytes)


def _hello(facts: Facts, floor: Target, hello: Target, sizes: Sizes) -> Outcome:
    """Measure a read on the floor beside a bare hello."""
    sent: list[Sent] = [("GET", f"/Observation/{one}", b"", ()) for one in facts.observations[:_HELLO_READS]]
    _say("the floor beside a bare hello")
    return measure(
        Journey("hello", sent, count=sizes.requests * 2), (floor, hello), rounds=min(5, sizes.rounds)
    )


def _grow(
    arguments: argparse.Namespace,
    folder: Path,
    facts: Facts,
    sizes: Sizes,
    report: Report,
    small: Target,
    up: Callable[[Target], Target],
) -> None:
    """Start a second installation with more resources and ask both the same patient searches."""
    seed, count = arguments.seed, arguments.growth
    path = folder / f"resources-{seed}-{count}.ndjson"
    grown = read_facts(path) if path.exists() else write_ndjson(seed, count, path)
    size = {"workers": arguments.workers, "threads": arguments.threads}
    large = up(targets.start_ours(folder / f"large-{seed}-{count}", "large", **size))
    mark = folder / f"large-{seed}-{count}" / "loaded.json"
    assert large.database is not None
    if not mark.exists():
        _say(f"loading {count} resources")
        report.loads["large"] = targets.load_ours(large, mark.parent, path, count)
        mark.write_text(json.dumps(large.empty_bytes))
        large.database.tidy()
        report.disk["large"] = disk_of(large, count, grown.json_bytes)
    _say("growth")
    searches = [one for one in reading(facts, sizes, seed) if "search" in one.name]
    report.growth = plans.growth(searches, small, large, rounds=max(7, sizes.rounds))


def _shared(part: str) -> Path | None:
    here = Path(os.environ.get("XINGLIN_SHARED", Path.cwd().parent / "shared")) / part
    return here if here.exists() else None


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


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance.benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    parser.add_argument("--quick", action="store_true", help="fewer requests and rounds: a look, not a proof")
    parser.add_argument(
        "--resources", type=int, default=50_000, metavar="N", help="resources to load (50000)"
    )
    parser.add_argument("--growth", type=int, default=0, metavar="N",
                        help="load N resources into a second installation, compare searches")  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, default=0, metavar="N", help="rounds of each journey (7, quick 3)"
    )
    parser.add_argument(
        "--only", action="append", metavar="WORD", help="only journeys whose name has this word"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the data and the choice of questions (1)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of either side (2)")
    parser.add_argument("--threads", type=int, default=4, help="threads of a worker (4)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the data here and use it again")
    parser.add_argument("--server", metavar="URL", help="a running server in the place of ours")
    parser.add_argument("--peer", metavar="URL", help="another FHIR base in the place of the floor")
    parser.add_argument("--peer-pid", type=int, metavar="PID", help="its first process, to count its CPU")
    parser.add_argument("--peer-database-pid", type=int, metavar="PID", help="that of its database server")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
