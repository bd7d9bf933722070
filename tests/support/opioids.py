"""Orders of opioids for tests: requests, statements, timings, a call of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from cds_hooks.facts.chart import Chart
from cds_hooks.service import Decision, Facts
from cds_hooks.services import opioid_mme

Resource = dict[str, Any]

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
UCUM = "http://unitsofmeasure.org"
SNOMED = "http://snomed.info/sct"
GTS = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"

HYDROCODONE_5 = "857002"
OXYCODONE_10 = "1049683"
OXYCODONE_ER_10 = "1049502"
OXYCODONE_ER_30 = "1049574"
FENTANYL_25 = "245134"
METHADONE_10 = "864706"
MORPHINE_LIQUID = "892589"
MORPHINE_INJECTION = "1731993"
BUPRENORPHINE = "1010600"
DIAZEPAM_5 = "197591"
NALOXONE_SPRAY = "1725059"
"""RxNorm products of the tables, by what they hold."""

PATIENT: Resource = {"resourceType": "Patient", "id": "opioid-patient", "birthDate": "1961-05-04"}
SUBJECT = {"reference": "Patient/opioid-patient"}


def concept(code: str, system: str = RXNORM, text: str = "") -> Resource:
    """Return a CodeableConcept of one code."""
    found: Resource = {"coding": [{"system": system, "code": code}]}
    return found | ({"text": text} if text else {})


def quantity(value: Any, code: str, system: str = UCUM) -> Resource:
    """Return a Quantity with a coded unit."""
    return {"value": value, "system": system, "code": code}


def times(frequency: float, period: float = 1, unit: str = "d", **more: Any) -> Resource:
    """Return a Timing of so many times in a period."""
    return {"repeat": {"frequency": frequency, "period": period, "periodUnit": unit, **more}}


def dosage(dose: Resource | None, timing: Resource | None, **more: Any) -> Resource:
    """Return a Dosage of one dose at a timing."""
    found: Resource = dict(more)
    if dose is not None:
        found["doseAndRate"] = [{"doseQuantity": dose}]
    if timing is not None:
        found["timing"] = timing
    return found


def order(
    identifier: str,
    drug: str | Resource,
    dosages: Resource | Sequence[Resource],
    status: str = "active",
    /,
    **more: Any,
) -> Resource:
    """Return a MedicationRequest."""
    return {
        "resourceType": "MedicationRequest",
        "id": identifier,
        "status": status,
        "intent": "order",
        "subject": SUBJECT,
        "authoredOn": "2026-02-20T08:00:00Z",
        "medicationCodeableConcept": concept(drug) if isinstance(drug, str) else drug,
        "dosageInstruction": [dosages] if isinstance(dosages, dict) else list(dosages),
        **more,
    }


def tablets(
    identifier: str, drug: str, number: float, a_day: float, status: str = "active", /, **more: Any
) -> Resource:
    """Return an order of so many tablets so many times a day."""
    return order(identifier, drug, dosage(quantity(number, "{tablet}"), times(a_day)), status, **more)


def patch(identifier: str, drug: str, status: str = "active", /, **more: Any) -> Resource:
    """Return an order of a patch every three days."""
    return order(identifier, drug, dosage(quantity(1, "{patch}"), times(1, 3)), status, **more)


def statement(identifier: str, drug: str | Resource, dosages: Resource, status: str = "active") -> Resource:
    """Return a MedicationStatement."""
    return {
        "resourceType": "MedicationStatement",
        "id": identifier,
        "status": status,
        "subject": SUBJECT,
        "medicationCodeableConcept": concept(drug) if isinstance(drug, str) else drug,
        "dosage": [dosages],
        "dateAsserted": "2026-02-01",
    }


def bundle(entries: Sequence[Resource]) -> Resource:
    """Return a Bundle of resources."""
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": entry} for entry in entries],
    }


def call(
    stored: Sequence[Resource],
    drafts: Sequence[Resource] = (),
    *,
    hook: str = "order-sign",
    patient: Resource | None = PATIENT,
    now: datetime = NOW,
    refills: Sequence[Resource] = (),
) -> Decision:
    """Return what the service decides on stored resources and drafts."""
    context: dict[str, Any] = {"userId": "Practitioner/1", "patientId": PATIENT["id"], "encounterId": "e1"}
    if drafts:
        context["draftOrders"] = bundle(drafts)
    if refills:
        context["medications"] = bundle(refills)
    resources: list[Mapping[str, Any]] = [*([patient] if patient else []), *stored, *drafts, *refills]
    chart = Chart.of(str(PATIENT["id"]), now, resources)
    return opioid_mme.decide(Facts(UUID(int=7), hook, context, chart))


def total(*drafts: Resource, stored: Sequence[Resource] = ()) -> float:
    """Return the MME a day of a call."""
    return float(call(stored, drafts).output["mme_per_day"])
