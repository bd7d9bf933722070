"""Somebody decides whose study it is: the Task that asks, and what counts as the answer.

An answer is the Task completed with an output that refers to a Patient (or with `for` changed to one), or
the subject of the ImagingStudy changed by somebody else than us. It holds: later images, the same doubt,
even a PatientID that has become unambiguous do not undo it. A correction of the study's patient does.
"""

from __future__ import annotations

from typing import Any

from dicom_node.bridge.imaging_study import study_identifier
from dicom_node.bridge.patient import STUDY_PATIENT, Subject, survivor, token
from dicom_node.index.studies import Study
from fhir_server.interactions.context import Context
from fhir_server.interactions.create import create
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.update import update

RECONCILIATION = "urn:xinglin:reconciliation"
_ENDED = ("completed", "cancelled", "failed", "rejected", "entered-in-error")

Resource = dict[str, Any]


def decision(context: Context, study_uid: str, subject: Subject, present: Resource | None) -> Subject:
    """Return whose study it is when what people decided counts; remembers what they did."""
    rows = context.unit.execute("SELECT subject, decided FROM dicom_told WHERE study_uid = %s", (study_uid,))
    told, decided = rows[0] if rows else ("", "")
    standing = str(((present or {}).get("subject") or {}).get("reference") or "")
    task = _task(context, study_uid)
    answer = _answer(task)
    if answer and not _is_outdated(context, study_uid, task):
        decided = answer
    elif told and standing and standing != told and standing != survivor(context, told):
        decided = standing
    elif not told and not decided and subject.doubt and standing:
        decided = "" if _is_own_placeholder(context, standing, study_uid) else standing
    return Subject(survivor(context, decided)) if decided else subject


def remember(context: Context, study_uid: str, subject: Subject, decided: bool) -> None:
    """Note the subject that is written now, and whether people decided on it."""
    context.unit.execute(
        "INSERT INTO dicom_told (study_uid, subject, decided) VALUES (%s, %s, %s)"
        " ON CONFLICT (study_uid) DO UPDATE SET subject = excluded.subject, decided = excluded.decided",
        (study_uid, subject.reference, subject.reference if decided else ""),
    )


def ask(context: Context, found: Study, subject: Subject, imaging: str) -> None:
    """Make the Task that asks for a decision, once."""
    task = reconciliation(found, subject, imaging, context.now())
    present = _task(context, found.study_uid)
    if present is None:
        create(context, "Task", task, f"identifier={RECONCILIATION}|{study_identifier(found.study_uid)}")
    elif present.get("status") in ("cancelled", "completed"):  # the doubt had gone and is here again
        kept = {name: value for name, value in present.items() if name not in ("output", "statusReason")}
        update(context, "Task", present["id"], {**kept, **task, "authoredOn": present.get("authoredOn")})


def settle(context: Context, study_uid: str, subject: Subject, decided: bool) -> None:
    """Close the Task that nobody needs any more: completed by a decision, or cancelled without one."""
    task = _task(context, study_uid)
    if decided:
        _replace_placeholder(context, study_uid, subject.reference)
    if task is None or task.get("status") in (
        "completed",
        "cancelled",
        "failed",
        "rejected",
        "entered-in-error",
    ):
        return
    if decided:
        output = {"type": {"text": "Patient"}, "valueReference": {"reference": subject.reference}}
        update(context, "Task", task["id"], {**task, "status": "completed", "output": [output]})
    else:
        reason = {"text": "The study's patient is certain now"}
        update(context, "Task", task["id"], {**task, "status": "cancelled", "statusReason": reason})


def reconciliation(found: Study, subject: Subject, imaging: str, now: str) -> Resource:
    """Return the Task that asks somebody to decide whose study it is."""
    return {
        "resourceType": "Task",
        "identifier": [{"system": RECONCILIATION, "value": study_identifier(found.study_uid)}],
        "status": "requested",
        "intent": "order",
        "code": {
            "coding": [{"system": "urn:xinglin:task", "code": "reconcile-patient"}],
            "text": "Decide whose study this is",
        },
        "description": f"The study's patient is not certain: {subject.doubt}",
        "focus": {"reference": imaging},
        "for": {"reference": subject.reference},
        "authoredOn": now,
    }


def _task(context: Context, study_uid: str) -> Resource | None:
    value = token(RECONCILIATION, study_identifier(study_uid))
    found = resources(context, "Task", [("identifier", value)])
    return found[0] if found else None


def _answer(task: Resource | None) -> str:
    """Return the Patient that a completed Task names, "" for none."""
    if task is None or task.get("status") != "completed":
        return ""
    for output in task.get("output", []):
        reference = str((output.get("valueReference") or {}).get("reference") or "")
        if reference.startswith("Patient/"):
            return reference
    return ""


def _is_outdated(context: Context, study_uid: str, task: Resource | None) -> bool:
    """Whether a correction of the study's patient came after the answer."""
    rows = context.unit.execute(
        "SELECT FROM dicom_correction WHERE study_uid = %s AND superseded_at IS NULL"
        " AND ordered_at > %s::timestamptz",
        (study_uid, str((task or {}).get("meta", {}).get("lastUpdated") or "infinity")),
    )
    return bool(rows)


def _is_own_placeholder(context: Context, reference: str, study_uid: str) -> bool:
    own = _placeholders(context, study_uid)
    return any(reference == f"Patient/{one['id']}" for one in own)


def _placeholders(context: Context, study_uid: str) -> list[Resource]:
    value = token(STUDY_PATIENT, study_identifier(study_uid))
    return resources(context, "Patient", [("identifier", value)])


def _replace_placeholder(context: Context, study_uid: str, reference: str) -> None:
    """Link the placeholder Patient of a study to the one who was decided on."""
    for one in _placeholders(context, study_uid):
        if reference == f"Patient/{one['id']}":
            continue
        link = [{"other": {"reference": reference}, "type": "replaced-by"}]
        update(context, "Patient", one["id"], {**one, "active": False, "link": link})
