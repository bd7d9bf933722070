"""Make the search index anew: all of it, some types, or what one search parameter leaves.

Works beside a running server and beside its worker; without --background this process does the work
too and shows how far it is. What is interrupted goes on where it was: by the same command, or by the
worker.
"""

from __future__ import annotations

import argparse
import time

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.cli.command import add_json, add_settings, answer, say
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.migrating import upgrade
from fhir_server.interactions import reindex
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.reindex import Asked, Reindexer
from fhir_server.storage.jobs import OPEN, Job

EXAMPLES = """\
  xinglin reindex --dry-run
  xinglin reindex --type Observation --type Patient --rate 500
  xinglin reindex --url http://example.org/fhir/SearchParameter/nickname
  xinglin reindex --status
  xinglin reindex --cancel 6f1c1f0e-8a3e-4c43-b7de-6a0c8d5e2b11
"""

OPERATOR = Grant.system("reindex")
PAUSE_S = 0.1
NEWS_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--type", action="append", default=[], help="a resource type; may be repeated")
    parser.add_argument("--url", action="append", default=[], help="a SearchParameter; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, count what would change")
    parser.add_argument("--rate", type=int, default=0, help="resources a second; 0, the default, is no limit")
    parser.add_argument("--batch", type=int, help="resources a transaction")
    parser.add_argument("--background", action="store_true", help="leave the work to the worker")
    parser.add_argument("--status", nargs="?", const="", metavar="JOB", help="show a job, or the last ones")
    parser.add_argument("--cancel", metavar="JOB", help="end a job")
    add_json(parser)
    # what a resource leaves in the index depends on the last three
    add_settings(
        parser, "database_url", "data_dir", "base_url", "time_zone", "referential_integrity", "full_text"
    )


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked; 1 when resources could not be indexed or the job was cancelled."""
    with database(config) as url:
        upgrade(url)
        entry = create_entry(config, url, connections=2)
        try:
            if arguments.status is not None:
                return _status(arguments, entry)
            if arguments.cancel:
                job = entry.write(OPERATOR, lambda context: reindex.cancel(context, arguments.cancel))
                return _answer(arguments, [job])
            asked = Asked(arguments.type, arguments.url, arguments.dry_run, arguments.rate, arguments.batch)
            job = entry.write(OPERATOR, lambda context: reindex.ask(context, asked, reason="xinglin reindex"))
            if not arguments.background:
                job = _work(entry, job)
            return _answer(arguments, [job])
        finally:
            entry.engine.close()
            entry.settings.registry.close()


def _work(entry: Entry, job: Job) -> Job:
    """Work until the job has ended, beside whoever else does."""
    reindexer = Reindexer(entry)
    told = time.monotonic()
    id_ = job.id
    while job.state in OPEN:
        if not reindexer.drain():
            time.sleep(PAUSE_S)
        job, _ = entry.read(OPERATOR, lambda context: reindex.status(context, id_))
        if time.monotonic() > told + NEWS_S:
            told = time.monotonic()
            say(reindex.said(job))
    return job


def _status(arguments: argparse.Namespace, entry: Entry) -> int:
    if not arguments.status:
        return _answer(arguments, entry.read(OPERATOR, reindex.latest))
    job, failures = entry.read(OPERATOR, lambda context: reindex.status(context, arguments.status))
    for name, id_, why in failures:
        say(f"! {name}/{id_}: {why}")
    return _answer(arguments, [job])


def _answer(arguments: argparse.Namespace, found: list[Job]) -> int:
    document = [
        {
            "job": job.id,
            "status": job.state,
            "reason": job.reason,
            "dry_run": job.dry_run,
            "says": reindex.said(job),
            "types": {
                each.type_name: {
                    "done": each.done,
                    "total": each.total,
                    "seen": each.seen,
                    "changed": each.changed,
                    "overtaken": each.overtaken,
                    "failed": each.failed,
                }
                for each in job.types
            },
        }
        for job in found
    ]
    lines = [f"{job.id}  {job.state}: {reindex.said(job)}  ({job.reason})" for job in found]
    answer(arguments, {"jobs": document}, "\n".join(lines) or "there is no job yet")
    alone = arguments.status is None and not arguments.cancel
    return 1 if alone and any(job.state in ("incomplete", "cancelled") for job in found) else 0
