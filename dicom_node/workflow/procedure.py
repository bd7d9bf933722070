"""A performed procedure step → a Procedure (R4/procedure.html). Pure: attributes in, a resource out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from dicom_node.attributes import Attributes
from dicom_node.coding_schemes import DCM, SNOMED
from dicom_node.workflow.codes import coding_of
from dicom_node.workflow.elements import items, value, values
from dicom_node.workflow.moments import fhir_instant, moment
from dicom_node.workflow.performed import COMPLETED, IN_PROGRESS
from dicom_node.workflow.requested import UID_SYSTEM

WRONG_ENTRY: Final = (DCM, "110514")
"""Incorrect worklist entry selected (PS3.16 CID 9300): the step was another one's."""

_DIAGNOSTIC: Final = {"system": SNOMED, "code": "103693007", "display": "Diagnostic procedure"}

Resource = dict[str, Any]


def discontinuation(given: Attributes) -> Resource:
    """Return why a step was discontinued as a CodeableConcept; empty when nobody said."""
    sequence = items(given, "PerformedProcedureStepDiscontinuationReasonCodeSequence")
    codings = [coding for item in sequence if (coding := coding_of(item))]
    return {"coding": codings} if codings else {}


def was_wrong_entry(given: Attributes) -> bool:
    """Whether a step was begun for the wrong line of the worklist."""
    codings = discontinuation(given).get("coding", ())
    return WRONG_ENTRY in {(coding.get("system"), coding.get("code")) for coding in codings}


def status_of(given: Attributes) -> str:
    """Return Procedure.status: what was begun and given up is stopped, what never got a series is not done.

    >>> from dicom_node.workflow.elements import attributes
    >>> status_of(attributes(PerformedProcedureStepStatus="DISCONTINUED"))
    'not-done'
    """
    state = value(given, "PerformedProcedureStepStatus")
    if state == IN_PROGRESS:
        return "in-progress"
    if state == COMPLETED:
        return "completed"
    if was_wrong_entry(given):
        return "entered-in-error"
    return "stopped" if items(given, "PerformedSeriesSequence") else "not-done"


def period(given: Attributes, zone: ZoneInfo) -> Resource:
    """Return when it was begun and ended."""
    said = value(given, "TimezoneOffsetFromUTC")
    ends = {
        "start": ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
        "end": ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime"),
    }
    found = {
        name: when
        for name, (day, at) in ends.items()
        if (when := fhir_instant(value(given, day), value(given, at), zone, said))
    }
    begun, over = (moment(found.get(name, ""), zone) for name in ("start", "end"))
    if begun and over and over < begun:
        del found["end"]  # a clock that was set back; FHIR takes no such period
    return found


def procedure_of(
    sop_uid: str, given: Attributes, subject: str, orders: Sequence[Resource], station: str, zone: ZoneInfo
) -> Resource:
    """Return what a performed step says as a Procedure.

    `orders` are the ServiceRequests that it carries out, `station` the Device that it ran on (empty: not
    known here, then its AE title stands as text).
    """
    codes = [*items(given, "ProcedureCodeSequence"), *items(given, "PerformedProtocolCodeSequence")]
    codings = [coding for item in codes if (coding := coding_of(item))]
    text = value(given, "PerformedProcedureStepDescription") or value(
        given, "PerformedProcedureTypeDescription"
    )
    code = {"coding": codings, "text": text}
    if not codings and not text:
        code = next((order["code"] for order in orders if order.get("code")), {})
    reason = discontinuation(given)
    ids: list[Resource] = [
        {"system": UID_SYSTEM, "value": f"urn:oid:{sop_uid}"},
        {
            "type": {"text": "Performed Procedure Step ID"},
            "value": value(given, "PerformedProcedureStepID"),
        },
    ]
    title = value(given, "PerformedStationAETitle")
    actors: list[Resource] = [{"actor": {"reference": station} if station else {"display": title}}]
    for keyword in ("PerformingPhysicianName", "OperatorsName"):
        actors += [{"actor": {"display": name}} for name in _names(given, keyword)]
    resource: Resource = {
        "resourceType": "Procedure",
        "identifier": [one for one in ids if one["value"]],
        "basedOn": [{"reference": f"ServiceRequest/{order['id']}"} for order in orders],
        "status": status_of(given),
        "statusReason": reason if value(given, "PerformedProcedureStepStatus") != COMPLETED else {},
        "category": {"coding": [_DIAGNOSTIC]},
        "code": {name: one for name, one in code.items() if one},
        "subject": {"reference": subject},
        "encounter": next((order["encounter"] for order in orders if order.get("encounter")), {}),
        "performedPeriod": period(given, zone),
        "performer": actors,
        "location": {"display": place} if (place := value(given, "PerformedLocation")) else {},
    }
    comment = value(given, "CommentsOnThePerformedProcedureStep")
    if comment:
        resource["note"] = [{"text": comment}]
    return {name: one for name, one in resource.items() if one not in ({}, [], "")}


def _names(given: Attributes, keyword: str) -> list[str]:
    """Return the people whom the series of a step name, each once, as they are written for reading."""
    found: dict[str, None] = {}
    for series in items(given, "PerformedSeriesSequence"):
        for name in values(series, keyword):
            parts = str(name.get("Alphabetic", "") if isinstance(name, dict) else name).split("^")
            family, given_name, middle, prefix, suffix = [*parts, "", "", "", "", ""][:5]
            text = " ".join(" ".join((prefix, given_name, middle, family, suffix)).split())
            if text:
                found[text] = None
    return list(found)
