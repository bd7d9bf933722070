"""What happens to Patients and reconciliation Tasks → studies that have to be told again.

Reads the change feed of FHIR from where it stopped: a Patient that was merged, found or changed concerns the
studies with his PatientID and those that were told to be his; a Task that was answered, and an
ImagingStudy whose subject somebody changed, concern their study. Studies are put into the outbox, the
rest is the bridge's usual way; what stays the same makes no version, so this comes to rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from dicom_node.bridge.patient import is_placeholder
from dicom_node.bridge.reconciliation import RECONCILIATION
from fhir_server.authorization.grant import Grant
from fhir_server.database import feed
from fhir_server.database.feed import Position
from fhir_server.definitions.structures import type_name
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources

GRANT = Grant.system("dicom-bridge")
NAME = "dicom-bridge"
ENTRIES_AT_A_TIME = 500
_ID_PREFIX = "urn:oid:"

Resource = dict[str, Any]


class Followed:
    """Follows the change feed; one for a worker."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def drain(self) -> int:
        """Look at the next changes and note the studies that they concern; return how many changes."""
        if not self._entry.read(GRANT, _has_news):  # a look takes no lock and no transaction id
            return 0
        now = self._entry.clock()
        return self._entry.write(GRANT, lambda context: _follow(context, now))


def _has_news(context: Context) -> bool:
    rows = context.unit.execute("SELECT position FROM dicom_feed WHERE name = %s", (NAME,))
    return not rows or bool(feed.read(context.unit, Position.parse(rows[0][0]), 1))


def _follow(context: Context, now: datetime) -> int:
    rows = context.unit.execute("SELECT position FROM dicom_feed WHERE name = %s FOR UPDATE", (NAME,))
    if not rows:
        _remember(context, _end(context))
        return 0
    position = Position.parse(rows[0][0])
    entries = feed.read(context.unit, position, ENTRIES_AT_A_TIME)
    if not entries:
        return 0
    changed: dict[str, set[str]] = {"Patient": set(), "Task": set(), "ImagingStudy": set()}
    for one in entries:
        name = type_name(one.type_code)
        if name in changed and one.id and one.method not in (feed.PURGED, "D"):
            changed[name].add(one.id)
    if any(changed.values()) and context.unit.execute("SELECT FROM dicom_study LIMIT 1"):
        _announce_patients(context, list(_read(context, "Patient", changed["Patient"])), now)
        uids = {uid for task in _read(context, "Task", changed["Task"]) for uid in _of_task(task)}
        for changed_study in _read(context, "ImagingStudy", changed["ImagingStudy"]):
            uids |= _of_imaging_study(context, changed_study)
        _announce(context, "study_uid = ANY(%s)", (sorted(uids),), now)
    _remember(context, str(entries[-1].position))
    return len(entries)


def _read(context: Context, type_name: str, ids: Iterable[str]) -> Iterable[Resource]:
    wanted = sorted(ids)
    for at in range(0, len(wanted), 50):
        some = ",".join(wanted[at : at + 50])
        yield from resources(context, type_name, [("_id", some), ("_count", "50")])


def _announce_patients(context: Context, patients: list[Resource], now: datetime) -> None:
    real = [one for one in patients if not is_placeholder(one) or one.get("link")]
    numbers = {str(each.get("value", "")) for one in real for each in one.get("identifier", [])} - {""}
    _announce(
        context,
        "patient_id = ANY(%s) OR study_uid IN (SELECT study_uid FROM dicom_told WHERE subject = ANY(%s))",
        (sorted(numbers), [f"Patient/{one['id']}" for one in real]),
        now,
    )


def _announce(context: Context, where: str, values: tuple[list[str], ...], now: datetime) -> None:
    if any(values):
        context.unit.execute(
            "INSERT INTO dicom_outbox (study_pk, written_at) SELECT pk, %s FROM dicom_study"
            f" WHERE {where} ORDER BY pk",
            (now, *values),
        )


def _of_task(task: Resource) -> set[str]:
    """Return the study that a reconciliation Task is about, once it has ended."""
    if task.get("status") != "completed":
        return set()
    return {
        str(one.get("value", "")).removeprefix(_ID_PREFIX)
        for one in task.get("identifier", [])
        if one.get("system") == RECONCILIATION
    }


def _of_imaging_study(context: Context, study: Resource) -> set[str]:
    """Return the study whose subject is not the one that we wrote."""
    for one in study.get("identifier", []):
        if one.get("system") == "urn:dicom:uid":
            uid = str(one.get("value", "")).removeprefix(_ID_PREFIX)
            subject = str(study.get("subject", {}).get("reference", ""))
            rows = context.unit.execute("SELECT subject FROM dicom_told WHERE study_uid = %s", (uid,))
            return {uid} if rows and rows[0][0] != subject else set()
    return set()


def _end(context: Context) -> str:
    """Return the end of the feed: an installation that is updated does not look at all it ever wrote."""
    rows = context.unit.execute(
        "SELECT epoch, stamp_base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1"
        " FROM feed_epoch ORDER BY epoch DESC LIMIT 1"
    )
    epoch, stamp = rows[0]
    return str(Position(epoch, stamp, 2**62))


def _remember(context: Context, position: str) -> None:
    context.unit.execute(
        "INSERT INTO dicom_feed (name, position) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        (NAME, position),
    )
