"""The chart of a patient whose cardiovascular risk is asked for, changed one thing at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from cds_hooks.facts.cardiovascular import US_CORE_RACE
from cds_hooks.facts.chart import Chart
from cds_hooks.service import Decision, Facts
from cds_hooks.services import cv_risk
from tests.support.cds import NOW

Resource = dict[str, Any]
PATIENT = "cv-demo"
SUBJECT = {"reference": f"Patient/{PATIENT}"}
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
AGO = {days: (NOW - timedelta(days=days)).isoformat() for days in (1, 30, 300, 1000, 3000)}


def concept(system: str, code: str, display: str = "") -> Resource:
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    return {"coding": [coding]}


def race_of(*codes: str) -> list[Resource]:
    parts = [{"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": c}}
             for c in codes]  # fmt: skip
    return [{"url": US_CORE_RACE, "extension": [*parts, {"url": "text", "valueString": "as told"}]}]


def measured(identifier: str, code: str, value: Any, unit: str, at: str = AGO[30]) -> Resource:
    return {
        "resourceType": "Observation", "id": identifier, "status": "final", "subject": SUBJECT,
        "code": concept(LOINC, code), "effectiveDateTime": at,
        "valueQuantity": {"value": value, "system": UCUM, "code": unit},
    }  # fmt: skip


def smokes(code: str = "266919005", at: str = AGO[300]) -> Resource:
    return {
        "resourceType": "Observation", "id": "smoking", "status": "final", "subject": SUBJECT,
        "code": concept(LOINC, "72166-2"), "effectiveDateTime": at,
        "valueCodeableConcept": concept(SNOMED, code),
    }  # fmt: skip


def condition(code: str, system: str = SNOMED, **more: Any) -> Resource:
    return {"resourceType": "Condition", "id": f"c-{code.replace('.', '-')}", "subject": SUBJECT,
            "code": concept(system, code), **more}  # fmt: skip


def drug(code: Any, status: str = "active", kind: str = "MedicationRequest", **more: Any) -> Resource:
    named = code if isinstance(code, dict) else concept(RXNORM, code, "a drug")
    return {"resourceType": kind, "id": "drug", "status": status, "intent": "order", "subject": SUBJECT,
            "medicationCodeableConcept": named, **more}  # fmt: skip


def chart(
    *more: Resource,
    years: int = 55,
    gender: str | None = "female",
    race: tuple[str, ...] = ("2106-3",),
    total: Any = 213,
    hdl: Any = 50,
    pressure: Any = 120,
    without: str = "",
    **changes: Any,
) -> list[Resource]:
    """The worked example of the guideline: 55 years, 213 and 50 mg/dL, 120 mmHg, untreated, no smoker."""
    patient: Resource = {
        "resourceType": "Patient", "id": PATIENT, "gender": gender,
        "birthDate": NOW.date().replace(year=NOW.year - years, month=1, day=15).isoformat(),
        "extension": race_of(*race), **changes,
    }  # fmt: skip
    found = [
        patient, measured("total", "2093-3", total, "mg/dL"), measured("hdl", "2085-9", hdl, "mg/dL"),
        measured("pressure", "8480-6", pressure, "mm[Hg]"), smokes(),
    ]  # fmt: skip
    return [*(entry for entry in found if entry["id"] != without), *more]


def decide(resources: list[Resource]) -> Decision:
    """Return what cv-risk decides on the chart."""
    context = {"userId": "Practitioner/1", "patientId": PATIENT}
    facts = Facts(UUID(int=3), "patient-view", context, Chart.of(PATIENT, NOW, resources))
    return cv_risk.service().decide(facts)
