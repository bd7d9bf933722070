"""A trial row as FHIR resources: the way back of the feature table.

The test of parity reads these resources with the serving code and has to find the very same
vector; training from FHIR will use it for the same purpose. What the trial did not know stays
unknown in FHIR's own words (an unconfirmed Condition, a statement with status `unknown`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from cds_hooks.facts.units import UCUM
from cds_hooks.facts.value_sets import LOINC, OWN, RXNORM, SNOMED
from cds_hooks.models.features import Value

_DEFICITS = {
    "RDEF1": "deficit-face",
    "RDEF2": "deficit-arm",
    "RDEF3": "deficit-leg",
    "RDEF4": "deficit-language",
    "RDEF5": "deficit-visual-field",
    "RDEF6": "deficit-visuospatial",
    "RDEF7": "deficit-brainstem",
    "RDEF8": "deficit-other",
}
_YES_NO = {
    "Y": {"system": SNOMED, "code": "373066001", "display": "Yes"},
    "N": {"system": SNOMED, "code": "373067005", "display": "No"},
    "C": {"system": OWN, "code": "cannot-assess"},
}


def sayable(row: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the row as FHIR can say it, and the variables that it cannot say, as they were.

    One row of the trial has an infarct seen on a CT that was not made.

    >>> sayable({"RCT": "N", "RVISINF": "Y"})
    ({'RCT': 'N', 'RVISINF': 'N'}, {'RVISINF': 'Y'})
    """
    if row["RCT"] == "N" and row["RVISINF"] == "Y":
        return {**row, "RVISINF": "N"}, {"RVISINF": "Y"}
    return dict(row), {}


def resources(row: Mapping[str, Value], patient_id: str, now: datetime) -> list[dict[str, Any]]:
    """Return the resources of one patient who is randomised at `now`.

    Raises ValueError for what cannot be said; `sayable` takes it out.
    """
    if row["RCT"] == "N" and row["RVISINF"] == "Y":
        raise ValueError("an infarct is visible on a CT that was not made")
    answer = list(_resources(row, now))
    for number, resource in enumerate(answer):
        resource["id"] = patient_id if resource["resourceType"] == "Patient" else f"{patient_id}-{number}"
        if resource["resourceType"] != "Patient":
            resource["subject"] = {"reference": f"Patient/{patient_id}"}
    return answer


def _resources(row: Mapping[str, Value], now: datetime) -> Iterator[dict[str, Any]]:
    at = now.isoformat()
    born = now.date().replace(year=now.year - int(_number(row["AGE"])))
    yield {
        "resourceType": "Patient",
        "gender": {"M": "male", "F": "female"}[str(row["SEX"])],
        "birthDate": born.isoformat(),
    }
    onset = now - timedelta(hours=_number(row["RDELAY"]))
    yield _condition("422504002", "confirmed", onsetDateTime=onset.isoformat())
    if row["RATRIAL"] != "N":
        yield _condition("49436004", "confirmed" if row["RATRIAL"] == "Y" else "unconfirmed")
    letter = {"F": "alert", "D": "drowsy", "U": "unconscious"}[str(row["RCONSC"])]
    yield _observation("consciousness", at, valueCodeableConcept=_concept(OWN, letter))
    yield _observation("noted-on-waking", at, valueBoolean=row["RSLEEP"] == "Y")
    yield _observation("syndrome", at, valueCodeableConcept=_concept(OWN, str(row["STYPE"]).lower()))
    for name, code in _DEFICITS.items():
        yield _observation(code, at, valueCodeableConcept={"coding": [_YES_NO[str(row[name])]]})
    pressure = {"value": _number(row["RSBP"]), "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}
    yield {
        "resourceType": "Observation",
        "status": "final",
        "code": _concept(LOINC, "8480-6"),
        "effectiveDateTime": at,
        "valueQuantity": pressure,
    }
    if row["RCT"] == "Y":
        finding = (SNOMED, "432504007") if row["RVISINF"] == "Y" else (OWN, "ct-no-haemorrhage")
        yield {
            "resourceType": "DiagnosticReport",
            "status": "final",
            "code": _concept(LOINC, "30799-1"),
            "effectiveDateTime": at,
            "conclusionCode": [_concept(*finding)],
        }
    for name, drug in (("RHEP24", "5224"), ("RASP3", "1191")):
        if row[name] == "Y":
            yield _drug("MedicationAdministration", drug, "completed", effectiveDateTime=at)
        elif row[name] is None:
            yield _drug("MedicationStatement", drug, "unknown")
    if row["RXHEP"] != "N":
        dose = 5000 if row["RXHEP"] == "L" else 12500
        quantity = {"value": dose, "system": UCUM, "code": "[iU]"}
        instruction = [{"doseAndRate": [{"doseQuantity": quantity}]}]
        yield _drug(
            "MedicationRequest",
            "5224",
            "active",
            intent="order",
            authoredOn=at,
            dosageInstruction=instruction,
        )


def _number(value: Value) -> float:
    if not isinstance(value, float):
        raise ValueError(f"{value!r} is no number")
    return value


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _condition(code: str, verified: str, **more: Any) -> dict[str, Any]:
    base = "http://terminology.hl7.org/CodeSystem/condition-"
    return {
        "resourceType": "Condition",
        "clinicalStatus": _concept(f"{base}clinical", "active"),
        "verificationStatus": _concept(f"{base}ver-status", verified),
        "code": _concept(SNOMED, code),
        **more,
    }


def _observation(code: str, at: str, **value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": _concept(OWN, code),
        "effectiveDateTime": at,
        **value,
    }


def _drug(type_name: str, code: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": type_name,
        "status": status,
        "medicationCodeableConcept": _concept(RXNORM, code),
        **more,
    }
