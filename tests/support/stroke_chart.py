"""Charts of the stroke patient, changed one thing at a time."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

from conformance.samples import stroke
from tests.support.cds import NOW

Resource = dict[str, Any]
SUBJECT = {"reference": f"Patient/{stroke.PATIENT_ID}"}
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


def sample(**changes: Any) -> list[Resource]:
    """The stroke patient with members of single resources changed, by the end of their id; None removes."""
    found = copy.deepcopy(stroke.resources(NOW))
    names = {resource["id"].split("-")[-1]: resource for resource in found}
    names["demo"] = found[0]
    for name, change in changes.items():
        resource = names[name]
        if change is None:
            found.remove(resource)
        else:
            resource.update(change)
    return found


def concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def resource(kind: str, **members: Any) -> Resource:
    return {"resourceType": kind, "id": "more", "subject": SUBJECT, **members}


def drug(kind: str, code: Any, status: str = "active", **members: Any) -> Resource:
    named = code if isinstance(code, dict) else concept(RXNORM, code)
    return resource(kind, status=status, medicationCodeableConcept=named, **members)


AGO = {hours: (NOW - timedelta(hours=hours)).isoformat() for hours in (1, 3, 20, 60, 400)}


def deficits(count: int) -> list[Resource]:
    codes = ["deficit-face", "deficit-arm", "deficit-leg", "deficit-language", "deficit-visual-field"]
    return [
        {
            **resource("Observation", status="final", effectiveDateTime=AGO[3]),
            "id": code,
            "code": concept(stroke.OWN, code),
            "valueCodeableConcept": concept(stroke.SNOMED, "373066001"),
        }
        for code in codes[:count]
    ]
