"""The parts of an AuditEvent (R4/auditevent.html) that every writer needs, with their codes. Pure.

Who writes one decides what happened and who took part; the resource goes through the front door of
FHIR like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from ipaddress import ip_address
from typing import Any

Resource = dict[str, Any]

EVENT_TYPE = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ENTITY_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE_TYPE = "http://terminology.hl7.org/CodeSystem/security-source-type"
_TYPES = {"1": "Person", "2": "System Object"}
_ROLES = {"1": "Patient", "3": "Report", "20": "Job", "24": "Query"}


class Outcome(Enum):
    """How it went: AuditEvent.outcome (R4), EventOutcomeIndicator of PS3.15 A.5.1."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"
    MAJOR_FAILURE = "12"


def coding(system: str, code: str, display: str = "") -> Resource:
    """Return a Coding.

    >>> coding("urn:a", "b")
    {'system': 'urn:a', 'code': 'b'}
    """
    found = {"system": system, "code": code}
    return {**found, "display": display} if display else found


def object_type(code: str) -> Resource:
    """Return what kind of thing an entity is: 1 a person, 2 a system object."""
    return coding(_ENTITY_TYPE, code, _TYPES[code])


def object_role(code: str) -> Resource:
    """Return the part of an entity in the event: 1 patient, 3 report, 20 job, 24 query."""
    return coding(_ENTITY_ROLE, code, _ROLES[code])


def identified(system: str, value: str, display: str = "") -> Resource:
    """Return a Reference to something that is no resource here, by its identifier."""
    found: Resource = {"identifier": {"system": system, "value": value}}
    return {**found, "display": display} if display else found


def source(observer: Resource) -> Resource:
    """Return AuditEvent.source of a server that reports what it did itself."""
    return {"observer": observer, "type": [coding(_SOURCE_TYPE, "4", "Application Server")]}


def patient_entity(reference: Resource) -> Resource:
    """Return the entity for the patient that an event is about."""
    return {"what": reference, "type": object_type("1"), "role": object_role("1")}


def details(pairs: Sequence[tuple[str, object]]) -> list[Resource]:
    """Return AuditEvent.entity.detail; what is None or empty is left out.

    >>> details([("hook", "patient-view"), ("model", None)])
    [{'type': 'hook', 'valueString': 'patient-view'}]
    """
    return [{"type": name, "valueString": str(value)} for name, value in pairs if value not in (None, "")]


def network(address: str) -> Resource:
    """Return where an agent is: an IP address (2) or the name of a machine (1).

    >>> network("10.0.0.7")["type"], network("ct1.example.org")["type"]
    ('2', '1')
    """
    return {"address": address, "type": "2" if _is_address(address) else "1"}


def instant(at: datetime) -> str:
    """Return AuditEvent.recorded."""
    return at.isoformat(timespec="milliseconds")


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
