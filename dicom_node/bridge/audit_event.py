"""A row of dicom_audit → an AuditEvent (R4/auditevent.html, PS3.15 A.5.2 and A.5.3). Pure.

The event identifiers, roles and kinds of participants keep their DCM codes, so a reader of PS3.15
messages finds every field; entities name the study by its UID and the patient by reference where one
is known, else by the identifier that the study stated.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dicom_node.bridge.codes import clean
from dicom_node.bridge.imaging_study import UID_SYSTEM, study_identifier
from dicom_node.coding_schemes import DCM
from fhir_server.audit import event as fhir

Resource = dict[str, Any]

AE_TITLE = "urn:xinglin:ae-title"

PROCEDURE_RECORD = "110111"  # it is of a step, which has no images of its own
KINDS = {
    "110100": "Application Activity",
    "110102": "Begin Transferring DICOM Instances",
    "110103": "DICOM Instances Accessed",
    "110104": "DICOM Instances Transferred",
    "110105": "DICOM Study Deleted",
    "110106": "Export",
    "110107": "Import",
    PROCEDURE_RECORD: "Procedure Record",
    "110112": "Query",
    "110113": "Security Alert",
    "110114": "User Authentication",
}
SUBTYPES = {
    "110120": "Application Start",
    "110121": "Application Stop",
    "110122": "Login",
    "110123": "Logout",
    "110126": "Node Authentication",
    "110127": "Emergency Override Started",
    "110128": "Network Configuration",
    "110129": "Security Configuration",
    "110132": "Use of Restricted Function",
    "110135": "Object Security Attributes Changed",
    "110136": "Security Roles Changed",
    "110137": "User Security Attributes Changed",
}
_ROLES = {
    "source": ("110153", "Source Role ID"),
    "destination": ("110152", "Destination Role ID"),
    "": ("110150", "Application"),
}


def gathered(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one event for several that differ only in their moment and in what they count.

    >>> one = {"kind": "110104", "at": "2026-01-02T00:00:00", "study": {"uid": "1.2", "instances": 2}}
    >>> other = {**one, "at": "2026-01-02T00:00:09"}
    >>> gathered([one, other])["study"]["instances"], gathered([one, other])["since"]
    (4, '2026-01-02T00:00:00')
    """
    if len(events) == 1:
        return dict(events[0])
    made = dict(max(events, key=lambda event: str(event["at"])))
    made["since"] = min(str(event["at"]) for event in events)
    if study := made.get("study"):
        counts: Counter[str] = Counter()
        for event in events:
            counts.update(event["study"].get("sop_classes", {}))
        instances = sum(event["study"].get("instances", 0) for event in events)
        made["study"] = {**study, "instances": instances, "sop_classes": dict(counts)}
    made["queries"] = list(dict.fromkeys(event["query"] for event in events if event.get("query")))
    reasons = dict.fromkeys(event["reason"] for event in events if event.get("reason"))
    if reasons:
        made["reason"] = "; ".join(list(reasons)[:5])
    return made


def audit_event(id_: str, event: Mapping[str, Any], subject: Resource | None, ae_title: str) -> Resource:
    """Return the AuditEvent of a row (`audit.document_of`).

    `subject` is the Reference to whose study it is, None where nobody is named; `ae_title` that of
    this node, which observed the event.
    """
    resource: Resource = {
        "resourceType": "AuditEvent",
        "id": id_,
        "type": _coding(event["kind"], KINDS),
        "action": event["action"],
        "recorded": event["at"],
        "outcome": event["outcome"],
        "agent": _agents(event, ae_title),
        "source": fhir.source(_entity_of(ae_title)),
    }
    if since := event.get("since"):
        resource["period"] = {"start": since, "end": event["at"]}
    if subtype := event.get("subtype"):
        resource["subtype"] = [_coding(subtype, SUBTYPES)]
    if reason := clean(event.get("reason", "")):
        resource["outcomeDesc"] = reason
    if entities := _entities(event, subject):
        resource["entity"] = entities
    return resource


def _coding(code: str, names: Mapping[str, str]) -> Resource:
    return fhir.coding(DCM, code, names.get(code, ""))


def _agents(event: Mapping[str, Any], ae_title: str) -> list[Resource]:
    sides = [(name, event[name]) for name in ("source", "destination") if event.get(name)]
    return [_agent(party, role) for role, party in sides or [("", {"ae": ae_title, "requestor": True})]]


def _agent(party: Mapping[str, Any], role: str) -> Resource:
    code, display = _ROLES[role]
    agent: Resource = {
        "type": {"coding": [{"system": DCM, "code": code, "display": display}]},
        "requestor": bool(party.get("requestor")),
    }
    title, user, address = (clean(party.get(name, "")) for name in ("ae", "user", "address"))
    if title:
        agent["who"], agent["altId"] = _entity_of(title), title
    if user:
        agent["name"] = user
    if address:
        agent["network"] = fhir.network(address)
    return agent


def _entity_of(title: str) -> Resource:
    return fhir.identified(AE_TITLE, title, title)


def _entities(event: Mapping[str, Any], subject: Resource | None) -> list[Resource]:
    found: list[Resource] = []
    study = event.get("study", {})
    if uid := study.get("uid"):
        details: list[Resource] = []
        if event["kind"] != PROCEDURE_RECORD:
            details.append({"type": "NumberOfInstances", "valueString": str(study.get("instances", 0))})
        details += [
            {"type": f"SOPClass {name}", "valueString": str(count)}
            for name, count in sorted(study.get("sop_classes", {}).items())
        ]
        if accession := clean(study.get("accession", "")):
            details.append({"type": "AccessionNumber", "valueString": accession})
        what = {
            "type": "ImagingStudy",
            "identifier": {"system": UID_SYSTEM, "value": study_identifier(uid)},
        }
        found.append(
            {"what": what, "type": fhir.object_type("2"), "role": fhir.object_role("3"), "detail": details}
        )
    if subject is not None:
        found.append(fhir.patient_entity(subject))
    asked_of = clean(event.get("sop_class", ""))
    for query in event.get("queries") or filter(None, [event.get("query")]):
        entity: Resource = {
            "type": fhir.object_type("2"),
            "role": fhir.object_role("24"),
            "query": base64.b64encode(query.encode()).decode(),
        }
        if asked_of:
            entity["what"] = {"identifier": {"system": "urn:ietf:rfc3986", "value": _uri(asked_of)}}
        found.append(entity)
    return found


def _uri(name: str) -> str:
    return f"urn:oid:{name}" if name.replace(".", "").isdigit() else name
