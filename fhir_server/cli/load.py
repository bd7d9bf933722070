"""Load files of resources: NDJSON, JSON and XML, Bundles, folders of them, compressed or not."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

from fhir_server.app import create_entry
from fhir_server.cli.command import Refused, add_json, add_settings, answer, say
from fhir_server.cli.installation import database
from fhir_server.cli.loading.run import Fate, Report, load, work
from fhir_server.cli.loading.sources import Document, files
from fhir_server.config import Config
from fhir_server.database.engine import Engine, Mode
from fhir_server.database.migrating import upgrade
from fhir_server.interactions.entry import Entry
from fhir_server.schema.names import CONTAINED, RESOURCE, ROWS, VERSION

EXAMPLES = """\
  xinglin load patients.ndjson
  xinglin load synthea/ --jobs 2
  xinglin load export.tar.gz --unpack --rejected rejected.tsv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `load`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that store (default 1)")
    parser.add_argument(
        "--unpack",
        action="store_true",
        help="store the entries of a Bundle that is neither batch nor transaction, not the Bundle",
    )
    parser.add_argument(
        "--rejected",
        type=Path,
        default=Path("rejected.tsv"),
        metavar="FILE",
        help="where to write what was rejected and why (default rejected.tsv; made only if needed)",
    )
    add_json(parser)
    add_settings(
        parser, "database_url", "data_dir", "base_url", "time_zone", "referential_integrity", "full_text"
    )


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Load the paths; 0 when everything is stored, 1 when something was rejected."""
    if arguments.jobs < 1:
        raise Refused(f"--jobs is {arguments.jobs}; it must be 1 or more")
    try:
        found = files(arguments.paths)
    except FileNotFoundError as error:
        raise Refused(str(error)) from error
    if not found:
        raise Refused(f"there is no file with resources under {', '.join(map(str, arguments.paths))}")
    started = time.monotonic()
    with database(config) as url:
        upgrade(url)
        report = _load(found, config, url, arguments.jobs, arguments.unpack)
        _settle(url)
    _tell(arguments, report, time.monotonic() - started)
    return 1 if report.fate.rejected else 0


def _load(found: list[Path], config: Config, url: str, jobs: int, unpack: bool) -> Report:
    """Store here, or in `jobs` processes of their own."""
    progress = _Progress(found)
    if jobs == 1:
        entry = create_entry(config, url, connections=1)

        def submit_here(kind: str, documents: list[Document]) -> Future[Fate]:
            future: Future[Fate] = Future()
            future.set_result(work(entry, kind, documents, unpack))
            return future

        return load(found, submit_here, unpack=unpack, in_flight=1, progress=progress.show)
    with ProcessPoolExecutor(jobs, initializer=_open, initargs=(config, url)) as pool:

        def submit(kind: str, documents: list[Document]) -> Future[Fate]:
            return pool.submit(_work, kind, documents, unpack)

        return load(found, submit, unpack=unpack, in_flight=2 * jobs, progress=progress.show)


def _settle(url: str) -> None:
    """Tell the planner what was loaded; until it knows, a search may take the longest way."""
    engine = Engine(url, size=1, statement_timeout_ms=0)
    with engine.connection(Mode.SINGLE) as connection:
        connection.cursor().execute(f"ANALYZE {', '.join((RESOURCE, VERSION, CONTAINED, *ROWS))}")
    engine.close()


_opened: list[Callable[[str, list[Document], bool], Fate]] = []  # of a process of the pool, for its life


def _open(config: Config, url: str) -> None:
    entry: Entry = create_entry(config, url, connections=1)
    _opened.append(partial(work, entry))


def _work(kind: str, documents: list[Document], unpack: bool) -> Fate:
    return _opened[0](kind, documents, unpack)


class _Progress:
    """A bar on standard error, where that is a terminal; it goes by bytes of files."""

    def __init__(self, found: list[Path]) -> None:
        self._total = sum(path.stat().st_size for path in found) or 1
        self._done = 0
        self._shown = sys.stderr.isatty()

    def show(self, path: Path, documents: int) -> None:
        """Say that `path` is read."""
        self._done += path.stat().st_size
        if self._shown:
            part = self._done / self._total
            bar = "█" * int(part * 30)
            end = "\n" if self._done >= self._total else ""
            sys.stderr.write(f"\r{bar:<30} {part:4.0%}  {documents} documents read{end}")
            sys.stderr.flush()


def _tell(arguments: argparse.Namespace, report: Report, took_s: float) -> None:
    fate = report.fate
    if fate.rejected:
        lines = (f"{place}\t{reason}\n" for place, reason in fate.rejected)
        arguments.rejected.write_text("".join(lines), encoding="utf-8")
    for line in report.overwritten[:20]:
        say(f"a later file won: {line}")
    if len(report.overwritten) > 20:
        say(f"… and {len(report.overwritten) - 20} more")
    stored = fate.created + fate.updated + fate.unchanged
    document = {
        "documents": report.documents,
        "created": fate.created,
        "updated": fate.updated,
        "unchanged": fate.unchanged,
        "rejected": len(fate.rejected),
        "rejected_file": str(arguments.rejected) if fate.rejected else None,
        "overwritten": len(report.overwritten),
        "seconds": round(took_s, 2),
    }
    text = (
        f"{report.documents} documents, {stored} resources in {took_s:.1f} s: {fate.created} created, "
        f"{fate.updated} updated, {fate.unchanged} unchanged, {len(fate.rejected)} rejected"
    )
    if fate.rejected:
        text += f"; reasons in {arguments.rejected}"
    answer(arguments, document, text)
