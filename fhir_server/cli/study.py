"""`study`: what becomes of DICOM studies: delete, restore, correct the patient, legal holds, retention.

Works while the server runs. What is deleted is out of every answer at once; its files are kept for
`deleted_grace_days`, and until then `study restore` brings it back.
"""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from dicom_node.lifecycle import correction, hold, removal, restore, retention
from dicom_node.lifecycle.drain import Lifecycle
from dicom_node.lifecycle.removal import Kind, Order, Removal, Target
from fhir_server.authorization.grant import Grant
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.installation import database
from fhir_server.config import Config
from fhir_server.database.engine import Engine

EXAMPLES = """\
  xinglin study delete 1.2.840.113619.2.55.3 --reason "sent to the wrong archive"
  xinglin study delete 1.2.840.113619.2.55.3 --series 1.2.840.113619.2.55.3.1 --reason "artefacts"
  xinglin study removals
  xinglin study restore 12
  xinglin study correct 1.2.840.113619.2.55.3 --set PatientID=4711 --set PatientName=Doe^Jane --reason mixup
  xinglin study hold --patient 4711 --reason "court order 12/26"
  xinglin study release 3
  xinglin study retention add --days 3650 --until-age 28
  xinglin study retention list --expired
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    delete = actions.add_parser("delete", help="delete a study, one of its series or an instance")
    delete.add_argument("study", metavar="UID", help="Study Instance UID")
    delete.add_argument("--series", metavar="UID", default="", help="only this series")
    delete.add_argument("--instance", metavar="UID", default="", help="only this instance of the series")
    listing = actions.add_parser("removals", help="list what was deleted, rejected or has expired")
    listing.add_argument("study", metavar="UID", nargs="?", default="", help="only of this study")
    again = actions.add_parser("restore", help="lift a removal and bring back what its files still hold")
    again.add_argument("removal", metavar="NUMBER", type=int, help="number of the removal")
    correct = actions.add_parser("correct", help="correct whose study it is")
    correct.add_argument("study", metavar="UID", help="Study Instance UID")
    correct.add_argument(
        "--set",
        dest="values",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help=f"{', '.join(correction.CORRECTABLE)}; an empty value clears it",
    )
    place = actions.add_parser("hold", help="place a legal hold, which blocks every deletion")
    place.add_argument("study", metavar="UID", nargs="?", default="", help="Study Instance UID")
    place.add_argument("--patient", metavar="ID", default="", help="all studies of this PatientID instead")
    release = actions.add_parser("release", help="end a legal hold")
    release.add_argument("hold", metavar="NUMBER", type=int, help="number of the hold")
    holds = actions.add_parser("holds", help="list the legal holds that stand")
    keep = actions.add_parser("retention", help="rules how long studies are kept: add, list, remove")
    keep.add_argument("what", metavar="add|list|remove", choices=("add", "list", "remove"))
    keep.add_argument("number", metavar="NUMBER", type=int, nargs="?", help="the rule that is removed")
    keep.add_argument("--days", type=int, default=None, help="how long, from the study's date")
    keep.add_argument("--modality", default="", help="only studies with this modality")
    keep.add_argument("--institution", default="", help="only studies of this institution")
    keep.add_argument("--until-age", type=int, default=None, help="and until the patient is that old")
    keep.add_argument("--expired", action="store_true", help="list studies whose time has run out instead")
    for action in (delete, correct, place):
        action.add_argument("--reason", required=True, help="why; kept with the order and in the audit")
    for action in (delete, listing, again, correct, place, release, holds, keep):
        add_json(action)
        add_settings(action, "database_url", "data_dir", "deleted_grace_days")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked and say what stands."""
    with _opened(config) as (engine, lifecycle):
        document, text = _ACTIONS[arguments.action](arguments, engine, lifecycle, config)
    answer(arguments, document, text)
    return 0


@contextmanager
def _opened(config: Config) -> Iterator[tuple[Engine, Lifecycle]]:
    from fhir_server.imaging import create_lifecycle

    with database(config) as url:
        engine = Engine(url, size=3, application_name="xinglin study")
        lifecycle = create_lifecycle(config, engine)
        try:
            yield engine, lifecycle
        finally:
            lifecycle.close()
            engine.close()


Said = tuple[dict[str, Any], str]


def _delete(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    if arguments.instance and not arguments.series:
        raise Refused("--instance needs --series: the same UID may stand in several")
    now = _now()
    target = Target(arguments.study, arguments.series, arguments.instance)
    grace = timedelta(days=config.deleted_grace_days)
    done = removal.remove(engine, Order(Kind.DELETED, [target], _grant(), arguments.reason, now, now + grace))
    said = (
        f"removal {done.pk}: {done.instances} instances are out; `xinglin study restore {done.pk}` brings"
        f" them back until {done.purge_at:%Y-%m-%d %H:%M} UTC"
    )
    return {"removal": asdict(done)}, said


def _removals(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    with engine.connection() as connection:
        found = removal.removals(connection, arguments.study)
    return {"removals": [asdict(one) for one in found]}, "\n".join(map(_line, found)) or "nothing was removed"


def _line(one: Removal) -> str:
    state = "restored" if one.lifted else "removed" if one.applied else "ordered"
    kept = f", files until {one.purge_at:%Y-%m-%d}" if one.purge_at and not one.lifted else ""
    studies = one.studies[0] if len(one.studies) == 1 else f"{len(one.studies)} studies"
    code = f" {one.code}" if one.code else ""
    return (
        f"{one.pk:>6} {one.ordered_at:%Y-%m-%d %H:%M} {one.kind.value}{code} {state}: {studies},"
        f" {one.instances} instances ({one.purged} purged{kept}); {one.actor}: {one.reason}"
    )


def _restore(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    restore.lift(engine, _grant(), arguments.removal, _now())
    count = lifecycle.restore(arguments.removal)
    said = f"removal {arguments.removal} is lifted, {count} instances are back"
    if not count:
        said += "; its files were purged: send the instances again, they are taken now"
    return {"removal": arguments.removal, "restored": count}, said


def _correct(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    wanted: dict[str, str] = {}
    for pair in arguments.values:
        name, sign, value = pair.partition("=")
        if not sign:
            raise Refused(f"--set {pair!r} is not NAME=VALUE")
        wanted[name.strip()] = value
    pk = correction.order(engine, _grant(), arguments.study, wanted, arguments.reason, _now())
    lifecycle.correct(arguments.study)
    said = f"correction {pk} is carried out; instances that come later are corrected as well"
    return {"correction": pk, "study": arguments.study}, said


def _hold(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    pk = hold.place(
        engine,
        _grant(),
        arguments.reason,
        _now(),
        study_uid=arguments.study,
        patient_id=arguments.patient,
    )
    return {"hold": pk}, f"hold {pk} stands; nothing under it is deleted until `xinglin study release {pk}`"


def _release(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    hold.release(engine, _grant(), arguments.hold, _now())
    return {"hold": arguments.hold}, f"hold {arguments.hold} is released"


def _holds(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    with engine.connection() as connection:
        found = hold.holds(connection)
    lines = [
        f"{one.pk:>6} {one.placed_at:%Y-%m-%d} {one.study_uid or f'PatientID {one.patient_id}'};"
        f" {one.actor}: {one.reason}"
        for one in found
    ]
    return {"holds": [asdict(one) for one in found]}, "\n".join(lines) or "no hold stands"


def _retention(arguments: argparse.Namespace, engine: Engine, lifecycle: Lifecycle, config: Config) -> Said:
    if arguments.what == "add":
        if arguments.days is None:
            raise Refused("a rule needs --days: how long studies are kept")
        rule = retention.Rule(arguments.days, arguments.modality, arguments.institution, arguments.until_age)
        retention.put(engine, _grant(), rule, _now())
    elif arguments.what == "remove":
        if arguments.number is None:
            raise Refused("which rule? `xinglin study retention list` shows their numbers")
        retention.drop(engine, _grant(), arguments.number)
    with engine.connection() as connection:
        if arguments.expired:
            found = retention.expired(connection, _now(), 1000)
            lines = [f"{one.study_uid} (kept for {one.keep_days} days)" for one in found]
            return {"expired": [asdict(one) for one in found]}, "\n".join(lines) or "nothing has run out"
        rules = retention.rules(connection)
    lines = [
        f"{one.pk:>6} {one.keep_days} days, {one.modality or 'every modality'},"
        f" {one.institution or 'every institution'}"
        + (f", until the patient is {one.until_age}" if one.until_age else "")
        for one in rules
    ]
    return {"rules": [asdict(one) for one in rules]}, "\n".join(lines) or "no rule: studies are kept for ever"


_ACTIONS: dict[str, Callable[[argparse.Namespace, Engine, Lifecycle, Config], Said]] = {
    "delete": _delete,
    "removals": _removals,
    "restore": _restore,
    "correct": _correct,
    "hold": _hold,
    "release": _release,
    "holds": _holds,
    "retention": _retention,
}


def _grant() -> Grant:
    """Return the grant of whoever runs the command, by the name of his account."""
    try:
        return Grant(f"command/{getpass.getuser()}")
    except (KeyError, OSError):  # an account without a name
        return Grant("command")


def _now() -> datetime:
    return datetime.now(UTC)
