"""`forward`: rules that send instances on to other application entities, and the queue that they fill."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime

from dicom_node.dimse import peers
from dicom_node.forward import overview, queue, rules
from dicom_node.forward.rules import CRITERIA, Rule
from fhir_server.cli.command import Refused, add_json, add_settings, answer, say
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.engine import Engine

EXAMPLES = """\
  xinglin forward add ct-to-pacs PACS --modality CT,MR --source 'CT*'
  xinglin forward add night TELERAD --study '*stroke*' --quiet 60 --hours 19:00-06:00 --priority 5
  xinglin forward add vault ARCHIVE --commit
  xinglin forward list
  xinglin forward queue --json
  xinglin forward send 1.2.840.113619.2.55.3 PACS
  xinglin forward retry PACS
  xinglin forward remove night
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a rule; it sees what comes from now on")
    add.add_argument("name", metavar="NAME", help="name of the rule")
    add.add_argument(
        "destination", metavar="DESTINATION", help="AE title that `xinglin ae` lists with a port"
    )
    for name, words in CRITERIA.items():
        add.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="PATTERN",
            default="",
            help=f"only this {words}; patterns with * and ?, several between commas",
        )
    add.add_argument("--priority", metavar="N", type=int, default=0, help="a higher one is sent first [0]")
    add.add_argument(
        "--quiet",
        metavar="S",
        type=float,
        default=0.0,
        help="wait until nothing of the study has come for so many seconds [0]",
    )
    add.add_argument("--hours", metavar="HH:MM-HH:MM", default="", help="send only at this time of the day")
    add.add_argument(
        "--commit",
        action="store_true",
        help="sent counts as arrived only when the destination commits its storage (PS3.4 Annex J)",
    )
    listing = actions.add_parser("list", help="list all rules")
    remove = actions.add_parser("remove", help="remove a rule; what it has queued is sent all the same")
    remove.add_argument("name", metavar="NAME")
    waiting = actions.add_parser("queue", help="what waits, for whom, and what failed")
    retry = actions.add_parser("retry", help="try again what was given up, and destinations that rest")
    retry.add_argument("destination", metavar="DESTINATION", nargs="?", default="", help="only of this one")
    send = actions.add_parser("send", help="queue a study that is here already")
    send.add_argument("study", metavar="STUDY_UID")
    send.add_argument("destination", metavar="DESTINATION")
    for action in (add, listing, remove, waiting, retry, send):
        add_json(action)
        add_settings(action, "database_url", "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked and say what stands."""
    with database(config) as url:
        engine = Engine(url, size=1)
        try:
            {
                "add": _add, "list": _list, "remove": _remove, "queue": _queue, "retry": _retry,
                "send": _send,
            }[arguments.action](arguments, engine)  # fmt: skip
        finally:
            engine.close()
    return 0


def _add(arguments: argparse.Namespace, engine: Engine) -> None:
    criteria = {name: getattr(arguments, name) for name in CRITERIA if getattr(arguments, name)}
    rule = Rule(
        arguments.name,
        arguments.destination,
        criteria,
        arguments.priority,
        arguments.quiet,
        arguments.hours,
        arguments.commit,
    )
    rules.add(engine, rule, _now)
    _warn_unless_listed(engine, arguments.destination)
    _list(arguments, engine)


def _remove(arguments: argparse.Namespace, engine: Engine) -> None:
    rules.remove(engine, arguments.name)
    _list(arguments, engine)


def _list(arguments: argparse.Namespace, engine: Engine) -> None:
    with engine.connection() as connection:
        found = rules.rules(connection)
    answer(
        arguments,
        {"rules": [asdict(rule) for rule in found]},
        "\n".join(_line(rule) for rule in found) or "there is no rule",
    )


def _line(rule: Rule) -> str:
    """Return a rule as a person reads it.

    >>> _line(Rule("night", "TELERAD", {"modality": "CT"}, 5, 60, "19:00-06:00"))
    'night -> TELERAD: modality CT; priority 5; quiet 60 s; 19:00-06:00'
    """
    parts = [f"{name} {pattern}" for name, pattern in rule.criteria.items()] or ["everything"]
    words = [", ".join(parts)]
    if rule.priority:
        words.append(f"priority {rule.priority}")
    if rule.quiet_s:
        words.append(f"quiet {rule.quiet_s:g} s")
    if rule.hours:
        words.append(rule.hours)
    if rule.commits:
        words.append("committed")
    return f"{rule.name} -> {rule.destination}: {'; '.join(words)}"


def _queue(arguments: argparse.Namespace, engine: Engine) -> None:
    with engine.connection() as connection:
        places = overview.destinations(connection)
        failed = overview.failed(connection)
    lines = [
        f"{place.title:<16} {place.instances} instances of {place.studies} studies wait,"
        f" {place.failed} studies failed, {place.sent} sent"
        + (f"; rests until {place.rests_until:%H:%M:%S}: {place.reason}" if place.rests_until else "")
        for place in places
    ]
    lines += [f"failed: job {job.pk} to {job.destination} ({job.rule}): {job.reason}" for job in failed]
    document = {"destinations": [asdict(each) for each in places], "failed": [asdict(job) for job in failed]}
    answer(arguments, document, "\n".join(lines) or "nothing waits")


def _retry(arguments: argparse.Namespace, engine: Engine) -> None:
    with engine.connection() as connection:
        count = queue.retry(connection, _now(), arguments.destination)
    answer(arguments, {"retried": count}, f"{count} studies are tried again")


def _send(arguments: argparse.Namespace, engine: Engine) -> None:
    title = peers.checked_title(arguments.destination)
    with engine.connection() as connection:
        count = queue.send_study(connection, arguments.study, title, _now())
        if count is None:
            raise Refused("no study of this UID is kept here")
    _warn_unless_listed(engine, title)
    answer(arguments, {"queued": count}, f"{count} instances are queued for {title}")


def _warn_unless_listed(engine: Engine, title: str) -> None:
    peer = peers.find(engine, title)
    if peer is None or peer.port is None or peer.host == peers.ANY_HOST:
        say(f"{title} has no host and port yet, so nothing is sent to it: `xinglin ae add {title} HOST PORT`")


def _now() -> datetime:
    return datetime.now(UTC)
