"""Performed procedure steps as modalities tell them: the rules of the object, and its table (PS3.4 F.7).

An answer of success stands for a committed row. What FHIR makes of it comes later, see `procedures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg2.extras

from dicom_node.attributes import Attributes
from dicom_node.workflow.elements import is_uid, items, name_of, value, values

IN_PROGRESS: Final = "IN PROGRESS"
COMPLETED: Final = "COMPLETED"
DISCONTINUED: Final = "DISCONTINUED"

MAY_NOT_BE_UPDATED: Final = 0xA710
"""The error id of a step that has ended (table F.7.2-2)."""

_REQUIRED: Final = (
    "ScheduledStepAttributesSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
    "Modality",
)
"""Type 1 at N-CREATE (table F.7.2-1). A type 2 that is missing altogether is let pass: senders do that."""

_REQUIRED_AT_END: Final = ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime")
_FIXED = """
    ScheduledStepAttributesSequence PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex
    ReferencedPatientSequence PerformedProcedureStepID PerformedStationAETitle PerformedStationName
    PerformedLocation PerformedProcedureStepStartDate PerformedProcedureStepStartTime Modality StudyID"""
FIXED: Final = frozenset(name_of(keyword) for keyword in _FIXED.split())
"""Not allowed in N-SET (table F.7.2-1)."""

_STATUS: Final = name_of("PerformedProcedureStepStatus")


class Refused(Exception):
    """A request that breaks a rule: the status to answer, and a comment without patient data."""

    def __init__(self, status: int, comment: str, error_id: int = 0) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment
        self.error_id = error_id


DUPLICATE: Final = 0x0111
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_INSTANCE: Final = 0x0117
INVALID_VALUE: Final = 0x0106
PROCESSING_FAILURE: Final = 0x0110
MISSING: Final = 0x0120
MISSING_VALUE: Final = 0x0121


@dataclass(frozen=True, slots=True)
class Performed:
    """A step as it stands; `told` is the version that FHIR knows."""

    pk: int
    sop_uid: str
    status: str
    calling_ae: str
    version: int
    told: int
    attempts: int
    attributes: Attributes


def create(connection: Any, sop_uid: str, calling_ae: str, given: Attributes, now: datetime) -> None:
    """Keep a new step; the caller commits. Raises Refused."""
    if not is_uid(sop_uid):
        raise Refused(INVALID_INSTANCE, "the SOP Instance UID is no UID")
    check_new(given)
    cursor = connection.cursor()
    cursor.execute(
        "INSERT INTO performed_step (created_at, changed_at, sop_uid, status, calling_ae, study_uids,"
        " attributes) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (sop_uid) DO NOTHING",
        (now, now, sop_uid, IN_PROGRESS, calling_ae, study_uids(given), psycopg2.extras.Json(given)),
    )
    if not cursor.rowcount:
        raise Refused(DUPLICATE, "there is a step with this SOP Instance UID")


def check_new(given: Attributes) -> None:
    """Raise Refused unless a step may begin like this.

    >>> check_new({"00400252": {"vr": "CS", "Value": ["COMPLETED"]}})
    Traceback (most recent call last):
    dicom_node.workflow.performed.Refused: missing: ScheduledStepAttributesSequence, ...
    """
    _require(given, _REQUIRED)
    for item in items(given, "ScheduledStepAttributesSequence"):
        _require(item, ("StudyInstanceUID",))
        if not is_uid(value(item, "StudyInstanceUID")):
            raise Refused(INVALID_VALUE, "a StudyInstanceUID is no UID")
    if value(given, "PerformedProcedureStepStatus") != IN_PROGRESS:
        raise Refused(INVALID_VALUE, f"PerformedProcedureStepStatus of a new step is {IN_PROGRESS}")


def change(connection: Any, sop_uid: str, given: Attributes, now: datetime) -> tuple[Attributes, list[str]]:
    """Change a step; return it as it is now, and the tags that were left out as they may not be set any more.

    What is set replaces what was, sequences as a whole; the caller commits. Raises Refused; then nothing is
    changed.
    """
    cursor = connection.cursor()
    cursor.execute("SELECT status, attributes FROM performed_step WHERE sop_uid = %s FOR UPDATE", (sop_uid,))
    row = cursor.fetchone()
    if row is None:
        raise Refused(NO_SUCH_INSTANCE, "there is no step with this SOP Instance UID")
    if row[0] != IN_PROGRESS:
        raise Refused(
            PROCESSING_FAILURE, "Performed Procedure Step Object may no longer be updated", MAY_NOT_BE_UPDATED
        )
    before: Attributes = row[1]
    left_out = [name for name in given if name in FIXED and given[name] != before.get(name)]
    after = {**before, **{name: element for name, element in given.items() if name not in FIXED}}
    status = value(after, "PerformedProcedureStepStatus")
    if status not in (IN_PROGRESS, COMPLETED, DISCONTINUED):
        raise Refused(INVALID_VALUE, "PerformedProcedureStepStatus is IN PROGRESS, COMPLETED or DISCONTINUED")
    if status != IN_PROGRESS:
        check_end(after)
    cursor.execute(
        "UPDATE performed_step SET status = %s, attributes = %s, changed_at = %s, version = version + 1,"
        " due_at = '-infinity', attempts = 0 WHERE sop_uid = %s",
        (status, psycopg2.extras.Json(after), now, sop_uid),
    )
    return after, left_out


def check_end(given: Attributes) -> None:
    """Raise Refused unless a step may end like this.

    Whatever was completed has a series; who discontinues before the first image may have none.
    """
    _require(given, _REQUIRED_AT_END)
    series = items(given, "PerformedSeriesSequence")
    if not series and value(given, "PerformedProcedureStepStatus") == COMPLETED:
        raise Refused(MISSING_VALUE, "missing a value: PerformedSeriesSequence")
    for item in series:
        _require(item, ("SeriesInstanceUID",))


def _require(given: Attributes, keywords: tuple[str, ...]) -> None:
    absent = [keyword for keyword in keywords if name_of(keyword) not in given]
    if absent:
        raise Refused(MISSING, f"missing: {', '.join(absent)}")
    empty = [
        keyword
        for keyword in keywords
        if not any(one not in (None, "", {}) for one in values(given, keyword))
    ]
    if empty:
        raise Refused(MISSING_VALUE, f"missing a value: {', '.join(empty)}")


def study_uids(given: Attributes) -> list[str]:
    """Return the studies that a step belongs to."""
    steps = items(given, "ScheduledStepAttributesSequence")
    return list(dict.fromkeys(uid for item in steps if (uid := value(item, "StudyInstanceUID"))))


_READ = (
    "SELECT pk, sop_uid, status, calling_ae, version, told, attempts, attributes FROM performed_step WHERE "
)


def find(connection: Any, sop_uid: str) -> Performed | None:
    """Return a step by its UID, or None."""
    cursor = connection.cursor()
    cursor.execute(f"{_READ} sop_uid = %s", (sop_uid,))
    row = cursor.fetchone()
    return Performed(*row) if row else None


def find_by_pk(cursor: Any, pk: int) -> Performed | None:
    """Return a step by its key, locked until the caller's transaction ends; None when it is gone."""
    cursor.execute(f"{_READ} pk = %s FOR UPDATE", (pk,))
    row = cursor.fetchone()
    return Performed(*row) if row else None


def untold(connection: Any, now: datetime, limit: int) -> list[tuple[int, int]]:
    """Return (pk, attempts) of steps of which FHIR does not know the last version."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT pk, attempts FROM performed_step WHERE told < version AND due_at <= %s ORDER BY pk LIMIT %s",
        (now, limit),
    )
    return [(row[0], row[1]) for row in cursor.fetchall()]


def told(cursor: Any, pk: int, version: int) -> None:
    """Note that FHIR knows a version."""
    cursor.execute("UPDATE performed_step SET told = %s WHERE pk = %s", (version, pk))


def later(cursor: Any, pk: int, due_at: datetime) -> None:
    """Try again later."""
    cursor.execute(
        "UPDATE performed_step SET due_at = %s, attempts = attempts + 1 WHERE pk = %s", (due_at, pk)
    )
