"""An adult with laboratory values, orders, drugs and allergies, for the tests of prescribing services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from cds_hooks.facts.chart import Chart
from cds_hooks.facts.units import UCUM
from cds_hooks.hooks.table import HOOKS
from cds_hooks.service import Decision, Facts
from cds_hooks.services.renal_and_interaction import PREFETCH
from cds_hooks.services.renal_and_interaction import decide as decide_
from tests.support.cds import NOW

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"
SUBJECT = {"reference": "Patient/p"}
Resource = dict[str, Any]


def patient(**more: Any) -> Resource:
    """A man of 60 years."""
    return {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1966-01-15"} | more


def observation(
    loinc: str, value: Any, unit: str, *, days: float = 2, number: str = "", **more: Any
) -> Resource:
    return {
        "resourceType": "Observation",
        "id": f"{loinc}{number}",
        "status": "final",
        "subject": SUBJECT,
        "code": {"coding": [{"system": LOINC, "code": loinc}]},
        "effectiveDateTime": (NOW - timedelta(days=days)).isoformat(),
        "valueQuantity": {"value": value, "system": UCUM, "code": unit},
    } | more


def creatinine(value: Any, unit: str = "mg/dL", **more: Any) -> Resource:
    return observation("2160-0", value, unit, **more)


def weight(value: Any = 72, unit: str = "kg", **more: Any) -> Resource:
    return observation("29463-7", value, unit, **more)


def clearance(target: float) -> list[Resource]:
    """The patient, 72 kg, with the creatinine that makes a clearance: 80 mL/min at 1 mg/dL."""
    return [patient(), weight(), creatinine(Decimal(str(80 / target)))]


def filtration(target: float) -> list[Resource]:
    """The patient with the creatinine that makes an eGFR."""
    ratio = target / (142 * 0.9938**60)
    exponent = -1 / 1.200 if ratio < 1 else -1 / 0.302
    return [patient(), weight(), creatinine(Decimal(str(0.9 * ratio**exponent)))]


def concept(name: str, code: str = "") -> Resource:
    coding = [{"system": RXNORM, "code": code, "display": name}] if code else []
    return {"coding": coding, "text": name} if coding else {"text": name}


def order(name: str, code: str = "", number: str = "1", **more: Any) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": f"draft-{number}",
        "status": "draft",
        "intent": "order",
        "subject": SUBJECT,
        "medicationCodeableConcept": concept(name, code),
    } | more


def running(name: str, code: str = "", number: str = "1", **more: Any) -> Resource:
    return order(name, code) | {"id": f"running-{number}", "status": "active"} | more


def allergy(name: str, code: str = "", **more: Any) -> Resource:
    return {
        "resourceType": "AllergyIntolerance",
        "id": "allergy",
        "patient": SUBJECT,
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": concept(name, code),
    } | more


def context(hook: str, drafts: Sequence[Resource], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"userId": "Practitioner/1", "patientId": "p"}
    if hook == "allergyintolerance-create":
        return found | {"allergyIntolerance": drafts[0]} | more
    found["draftOrders"] = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": draft} for draft in drafts],
    }
    if hook == "order-select":
        found["selections"] = [f"{draft['resourceType']}/{draft['id']}" for draft in drafts]
    return found | more


def decide(
    chart: Sequence[Resource], drafts: Sequence[Resource], hook: str = "order-sign", **more: Any
) -> Decision:
    """Return what the service decides on drafts of a patient."""
    given: Mapping[str, Any] = context(hook, drafts, **more)
    resources = [*chart, *HOOKS[hook].carried(given)]
    return decide_(Facts(UUID(int=1), hook, given, Chart.of("p", NOW, resources)))


def call(chart: Sequence[Resource], drafts: Sequence[Resource], hook: str = "order-sign") -> Resource:
    """Return the body of a call with every prefetch key, filled by type and code."""
    prefetch: Resource = {}
    for key, template in PREFETCH.items():
        kind = template.partition("?")[0].partition("/")[0]
        found = [resource for resource in chart if resource["resourceType"] == kind]
        if kind == "Observation":
            found = [resource for resource in found if resource["code"]["coding"][0]["code"] in template]
        if "?" not in template:
            prefetch[key] = found[0] if found else None
        else:
            prefetch[key] = {
                "resourceType": "Bundle",
                "type": "searchset",
                "total": len(found),
                "entry": [{"resource": resource} for resource in found],
            }
    return {
        "hook": hook,
        "hookInstance": str(uuid4()),
        "context": context(hook, drafts),
        "prefetch": prefetch,
    }
