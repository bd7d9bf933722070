"""Current lists: what Lists name that say what they are for (R4/lifecycle.html#current)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.spec.r4_search.conftest import Search
from tests.support.builders import patient
from tests.support.clause import clause
from tests.support.http import FhirClient

USES = "http://terminology.hl7.org/CodeSystem/list-example-use-codes"
CLINICAL = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
LOINC = "http://loinc.org"


def listing(id: str, system: str, code: str, *references: str, status: str = "current") -> dict[str, Any]:
    return {
        "resourceType": "List",
        "id": id,
        "status": status,
        "mode": "working",
        "code": {"coding": [{"system": system, "code": code}]},
        "entry": [{"item": {"reference": each}} for each in references],
    }


def allergy(id: str, subject: str, *category: str) -> dict[str, Any]:
    return {
        "resourceType": "AllergyIntolerance",
        "id": id,
        "patient": {"reference": f"Patient/{subject}"},
        "category": list(category),
        "clinicalStatus": {"coding": [{"system": CLINICAL, "code": "active"}]},
    }


RECORDS = (
    allergy("nuts", "a", "food"),
    allergy("penicillin", "a", "medication"),
    allergy("both", "b", "food", "medication"),
    allergy("past", "a", "medication"),
    allergy("unlisted", "a", "medication"),
    {"resourceType": "Condition", "id": "asthma", "subject": {"reference": "Patient/a"}},
    {"resourceType": "Condition", "id": "flu", "subject": {"reference": "Patient/a"}},
    {"resourceType": "MedicationRequest", "id": "pills", "subject": {"reference": "Patient/a"}},
    {"resourceType": "MedicationStatement", "id": "drops", "subject": {"reference": "Patient/a"}},
    listing("l1", USES, "allergies", "AllergyIntolerance/nuts", "AllergyIntolerance/penicillin"),
    listing("l2", LOINC, "52472-8", "AllergyIntolerance/both", "AllergyIntolerance/nuts"),
    listing("l3", USES, "allergies", "AllergyIntolerance/past", status="retired"),
    listing("l4", USES, "plans", "AllergyIntolerance/unlisted", "Condition/flu"),
    listing("l5", USES, "problems", "Condition/asthma", "AllergyIntolerance/past"),
    listing("l6", LOINC, "57828-6", "MedicationRequest/pills"),
    listing("l7", LOINC, "10160-0", "MedicationStatement/drops"),
    listing("l8", "urn:other", "problems", "Condition/flu"),
)


@clause("R4/search.html#list", "current lists: what is named by Lists that are current and coded so, no more")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("AllergyIntolerance?_list=$current-allergies", ["nuts", "penicillin", "both"]),
        (r"AllergyIntolerance?_list=\$current-allergies", ["nuts", "penicillin", "both"]),
        ("AllergyIntolerance?_list=$current-allergies&patient=a", ["nuts", "penicillin"]),
        ("AllergyIntolerance?_list=$current-drug-allergies", ["penicillin", "both"]),
        ("AllergyIntolerance?_list=$current-drug-allergies&patient=Patient/a", ["penicillin"]),
        ("AllergyIntolerance?_list=$current-problems", ["past"]),
        ("AllergyIntolerance?_list=l4,$current-problems", ["past", "unlisted"]),
        ("AllergyIntolerance?_list=l4,$current-drug-allergies", ["penicillin", "both", "unlisted"]),
        ("AllergyIntolerance?_list=l2&_list=$current-drug-allergies", ["both"]),
        ("Condition?_list=$current-problems", ["asthma"]),
        ("Condition?_list=$current-allergies", []),
        ("MedicationRequest?_list=$current-medications", ["pills"]),
        ("MedicationStatement?_list=$current-medications,$current-problems", ["drops"]),
    ],
)
def test_current_lists(search: Search, query: str, ids: list[str]) -> None:
    assert search(query, *RECORDS) == ids


@clause("R4/lifecycle.html#current", "who has no such List has no entry, and the answer says so")
def test_told(client: FhirClient, stored: Any) -> None:
    person = stored(patient("Listed"))
    seen = stored({**allergy("", person, "food"), "id": "told"})
    address = f"AllergyIntolerance?patient={person}&_list=$current-allergies"
    [outcome] = client.get(address).json["entry"]
    assert outcome["search"]["mode"] == "outcome"
    [issue] = outcome["resource"]["issue"]
    assert issue["severity"] == "information"
    assert issue["diagnostics"].startswith("$current-allergies is what Lists name whose status is current")
    stored({**listing("", USES, "allergies", f"AllergyIntolerance/{seen}"), "id": "told"})
    found = client.get(address).json
    assert [each["search"]["mode"] for each in found["entry"]] == ["match", "outcome"]
    assert found["entry"][0]["resource"]["id"] == seen
    several = client.get(f"?_type=Condition,{address.replace('?', '&')}").json
    assert [each["search"]["mode"] for each in several["entry"]] == ["match", "outcome"]
    assert client.get(f"{address}&_summary=count").json["total"] == 1
    by_patient = client.get(f"Patient?_has:AllergyIntolerance:patient:_list=$current-allergies&_id={person}")
    assert [each["search"]["mode"] for each in by_patient.json["entry"]] == ["match", "outcome"]
