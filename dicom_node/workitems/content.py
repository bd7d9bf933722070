"""What a workitem may hold when it is created and when it is updated (PS3.4 CC.2.5, table CC.2.5-3). Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from dicom_node.attributes import DEEPEST, Attributes
from dicom_node.dictionary import hex_of, keyword_of, tag_of, vr_of
from dicom_node.instance import first
from dicom_node.workitems.refusals import Unfit

SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"
UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"

SOP_CLASS, SOP_INSTANCE, TRANSACTION = "00080016", "00080018", "00081195"
STATE, PRIORITY, LABEL, WORKLIST_LABEL = "00741000", "00741200", "00741204", "00741202"
STARTS, READINESS, MODIFIED = "00404005", "00404041", "00404010"
PATIENT_ID, PROGRESS, PERFORMED = "00100020", "00741002", "00741216"

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_CHOICES: Final = {
    PRIORITY: ("HIGH", "MEDIUM", "LOW"),
    READINESS: ("READY", "UNAVAILABLE", "INCOMPLETE"),
    STATE: (SCHEDULED,),
}


def _tags(names: str) -> tuple[str, ...]:
    return tuple(hex_of(tag) for name in names.split() if (tag := tag_of(name)) is not None)


_NEEDED: Final = (STATE, PRIORITY, LABEL, STARTS, READINESS)
_MAY_BE_EMPTY: Final = _tags(
    """ScheduledProcessingParametersSequence ScheduledStationNameCodeSequence
    ScheduledStationClassCodeSequence ScheduledStationGeographicLocationCodeSequence
    ScheduledWorkitemCodeSequence InputInformationSequence PatientName PatientID IssuerOfPatientID
    PatientBirthDate PatientSex AdmissionID IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription
    AdmittingDiagnosesCodeSequence ReferencedRequestSequence ProcedureStepProgressInformationSequence
    UnifiedProcedureStepPerformedProcedureSequence"""
)
_FIXED: Final = frozenset(
    _tags(
        """SOPClassUID SOPInstanceUID TransactionUID ProcedureStepState PatientName PatientID
        IssuerOfPatientID IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence PatientBirthDate
        PatientSex ReferencedPatientPhotoSequence StudyInstanceUID AdmissionID
        IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence
        ReferencedRequestSequence ReplacedProcedureStepSequence"""
    )
)
"""Not allowed in an update: who it is about and what asked for it stays; the state has its own request."""


def checked(document: Any, depth: int = 0) -> Attributes:
    """Return a data set of the JSON model with its tags in upper case. Raises Unfit."""
    if isinstance(document, list) and len(document) == 1 and not depth:
        document = document[0]
    if not isinstance(document, dict):
        raise Unfit("the body is no data set; send one as an object of the DICOM JSON model (PS3.18 Annex F)")
    if depth > DEEPEST:
        raise Unfit(f"more than {DEEPEST} sequences stand within each other")
    found: Attributes = {}
    for name, element in document.items():
        values = element.get("Value", []) if isinstance(element, dict) else None
        if not _TAG.fullmatch(name) or not isinstance(values, list):
            raise Unfit(f"{name[:20]!r} is no element of the DICOM JSON model; tags have eight digits")
        if "BulkDataURI" in element:
            raise Unfit(f"{name} is given by address; a workitem holds its values itself")
        vr = element.get("vr")
        vr = vr if isinstance(vr, str) and len(vr) == 2 else vr_of(int(name, 16))
        if vr == "SQ":
            items = [{} if item is None else checked(item, depth + 1) for item in values]
            element = {"vr": vr, "Value": items} if items else {"vr": vr}
        elif any(isinstance(value, list) or (isinstance(value, dict) and vr != "PN") for value in values):
            raise Unfit(f"a value of {name} is none of VR {vr}")
        else:
            element = {**element, "vr": vr}
        found[name.upper()] = element
    return found


def created(found: Attributes, uid: str, now: datetime) -> tuple[Attributes, bool]:
    """Return a new workitem, and whether something had to be added or changed. Raises Unfit.

    What must have a value must come with it; what may be empty is made empty where it is missing.
    """
    lacking = [name for name in _NEEDED if text(found, name) == ""]
    if lacking:
        raise Unfit(f"a new workitem needs {_named(lacking)} (PS3.4 table CC.2.5-3)")
    for name, choices in _CHOICES.items():
        if text(found, name) not in choices:
            raise Unfit(f"{_named([name])} is {' or '.join(choices)} in a new workitem")
    if text(found, TRANSACTION):
        raise Unfit("a new workitem has no Transaction UID: whoever claims it makes one")
    for name in (PROGRESS, PERFORMED):
        if found.get(name, {}).get("Value"):
            raise Unfit(f"{_named([name])} is empty in a new workitem: nothing is performed yet")
    made = {name: element for name, element in found.items() if name[:4] not in ("0000", "0002")}
    made.pop(TRANSACTION, None)
    for name in _MAY_BE_EMPTY:
        made.setdefault(name, {"vr": vr_of(int(name, 16))})
    if not text(made, WORKLIST_LABEL):
        made[WORKLIST_LABEL] = {"vr": "LO", "Value": ["DEFAULT"]}
    made[SOP_CLASS] = {"vr": "UI", "Value": [UPS_PUSH]}
    made[SOP_INSTANCE] = {"vr": "UI", "Value": [uid]}
    made[MODIFIED] = {"vr": "DT", "Value": [moment(now)]}
    quiet = {SOP_CLASS, SOP_INSTANCE, MODIFIED}
    modified = {name for name in made if made[name] != found.get(name)} - quiet
    return dict(sorted(made.items())), bool(modified)


def updated(present: Attributes, changes: Attributes, now: datetime) -> Attributes:
    """Return a workitem with some of its attributes replaced. Raises Unfit for what may not be changed."""
    if fixed := sorted(_FIXED & changes.keys() - {TRANSACTION}):
        differing = [name for name in fixed if changes[name] != present.get(name)]
        if differing:
            raise Unfit(
                f"{_named(differing)} cannot be updated (PS3.4 table CC.2.5-3)"
                + ("; a state is changed by PUT to …/state" if STATE in differing else "")
            )
    for name in (PRIORITY, READINESS):
        if name in changes and text(changes, name) not in _CHOICES[name]:
            raise Unfit(f"{_named([name])} is {' or '.join(_CHOICES[name])}")
    if emptied := [name for name in _NEEDED if name in changes and not text(changes, name)]:
        raise Unfit(f"{_named(emptied)} cannot be emptied")
    made = {**present, **{name: value for name, value in changes.items() if name not in _FIXED}}
    made[MODIFIED] = {"vr": "DT", "Value": [moment(now)]}
    return dict(sorted(made.items()))


def text(found: Attributes, name: str) -> str:
    """Return the first value as text, empty where there is none."""
    value = first(found, name)
    return value if isinstance(value, str) else "" if value is None else str(value)


def moment(at: datetime) -> str:
    """Return a moment as DT with its zone (PS3.5 6.2).

    >>> from datetime import UTC
    >>> moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '20260102030405+0000'
    """
    return at.strftime("%Y%m%d%H%M%S%z")


def _named(tags: list[str]) -> str:
    return ", ".join(f"{keyword_of(int(tag, 16)) or 'the attribute'} ({tag})" for tag in tags)
