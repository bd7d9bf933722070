"""The body of a call that somebody makes from the console: what a hook wants beside the patient. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from cds_hooks.hooks.hook import Hook
from fhir_server.model import json_format
from fhir_server.outcome import Invalid

Resource = Mapping[str, Any]

USER = "Practitioner/console"
_ORDERS = ("MedicationRequest", "ServiceRequest", "NutritionOrder", "VisionPrescription", "DeviceRequest")
_WANTED: Mapping[str, tuple[str, ...]] = {
    "order-select": _ORDERS,
    "order-sign": _ORDERS,
    "order-dispatch": _ORDERS,
    "medication-refill": ("MedicationRequest",),
    "appointment-book": ("Appointment",),
    "allergyintolerance-create": ("AllergyIntolerance",),
    "problem-list-item-create": ("Condition",),
}
_NOT_DRAFTED = ("order-dispatch", "allergyintolerance-create", "problem-list-item-create", "appointment-book")
_PERFORMER = "Organization/console"


def wanted(hook: Hook) -> tuple[str, ...]:
    """Return the types of what a call of a hook is about beside the patient; empty for none.

    >>> from cds_hooks.hooks.table import HOOKS
    >>> wanted(HOOKS["medication-refill"]), wanted(HOOKS["patient-view"])
    (('MedicationRequest',), ())
    """
    return _WANTED.get(hook.name, ())


def proposal(resource: Resource, hook: Hook) -> dict[str, Any]:
    """Return a stored resource as what is drafted from it: under an id of its own, as a draft."""
    made = {name: value for name, value in resource.items() if name not in ("meta", "text")}
    made["id"] = "draft-1"
    if hook.name not in _NOT_DRAFTED and "status" in made:
        made["status"] = "draft"
    return made


def example(hook: Hook, patient_id: str) -> dict[str, Any]:
    """Return what may be drafted where nothing is stored that it could be made from.

    >>> from cds_hooks.hooks.table import HOOKS
    >>> example(HOOKS["order-sign"], "7")["status"]
    'draft'
    """
    patient = {"reference": f"Patient/{patient_id}"}
    drug = {
        "coding": [
            {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "1191", "display": "aspirin"}
        ]
    }
    kind = (wanted(hook) or _ORDERS)[0]
    made: dict[str, Any] = {"resourceType": kind, "id": "draft-1"}
    if kind == "AllergyIntolerance":
        return made | {"patient": patient, "code": drug}
    if kind == "Condition":
        return made | {"subject": patient, "code": {"text": ""}}
    if kind == "Appointment":
        accepted = {"actor": patient, "status": "accepted"}
        return made | {"status": "proposed", "participant": [accepted]}
    dose = {"text": "300 mg once daily"}
    return made | {
        "status": "draft", "intent": "order", "medicationCodeableConcept": drug, "subject": patient,
        "dosageInstruction": [dose],
    }  # fmt: skip


def drafts(text: str, hook: Hook) -> list[dict[str, Any]]:
    """Return what somebody wrote into the form: one resource, or several in a list.

    Raises Invalid (400) for what is no JSON, or none that the hook takes.
    """
    found = json_format.parse_value(text.encode()) if text.strip() else []
    listed = found if isinstance(found, list) else [found]
    kinds = wanted(hook)
    for resource in listed:
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if kind not in kinds:
            raise Invalid(f"{hook.name} takes {' or '.join(kinds)}, not {kind or 'this'}", expression="draft")
    if not listed:
        raise Invalid(f"{hook.name} is about {' or '.join(kinds)}: fill in the draft", expression="draft")
    return listed


def body(
    hook: Hook, patient_id: str, encounter_id: str, drafted: Sequence[Resource], fhir_server: str
) -> dict[str, Any]:
    """Return a call as an EHR sends it whose FHIR server we are; nothing is prefetched."""
    context: dict[str, Any] = {"userId": USER} if "userId" in hook.tokens else {}
    context["patientId"] = patient_id
    if encounter_id and "encounterId" in hook.tokens:
        context["encounterId"] = encounter_id
    references = [f"{each['resourceType']}/{each.get('id')}" for each in drafted]
    for name in hook.bundles:
        entries = [{"resource": each} for each in drafted]
        context[name] = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    if hook.name == "order-select":
        context["selections"] = references
    elif hook.name == "order-dispatch":
        context |= {"dispatchedOrders": references, "performer": _PERFORMER}
    elif hook.name == "allergyintolerance-create":
        context["allergyIntolerance"] = drafted[0]
    return {"hook": hook.name, "hookInstance": str(uuid4()), "fhirServer": fhir_server, "context": context}
