"""renal-and-interaction through the door: calls, what is asked for, somebody else's data, broken data."""

from __future__ import annotations

from typing import Any

import pytest

from cds_hooks.override_reasons import ORDER
from cds_hooks.services.renal_and_interaction import ID, PREFETCH
from tests.support.cds import client
from tests.support.prescribing import (
    LOINC,
    allergy,
    call,
    creatinine,
    decide,
    filtration,
    order,
    patient,
    running,
)

URL = f"/cds-services/{ID}"
METFORMIN = ("Metformin hydrochloride 500 MG Extended Release Oral Tablet", "860975")


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_a_call_answers_with_cards_and_nothing_else(hook: str) -> None:
    door, records = client()
    answer = door.post(URL, json=call([patient(), creatinine(4)], [order(*METFORMIN)], hook))
    assert answer.status_code == 200
    assert set(answer.json) == {"cards"}, "system actions are never made"
    (card,) = answer.json["cards"]
    assert "suggestions" not in card
    assert card["summary"].endswith("contraindicated at eGFR 16.3 mL/min/1.73 m²")
    assert {reason["code"] for reason in card["overrideReasons"]} == {reason.code for reason in ORDER}
    assert records.calls[0].reasons == ("shown", "renal-rule")


def test_a_call_on_a_new_allergy() -> None:
    door, records = client()
    chart_ = [patient(), running("aspirin 81 MG Oral Tablet", "1191")]
    answer = door.post(
        URL, json=call(chart_, [allergy("Aspirin", "1191", id="new")], "allergyintolerance-create")
    )
    assert len(answer.json["cards"]) == 1
    assert records.calls[0].reasons == ("shown", "allergy")


def test_the_service_is_found_for_its_three_hooks_and_tells_what_it_needs() -> None:
    door, _ = client()
    entries = [entry for entry in door.get("/cds-services").json["services"] if entry["id"] == ID]
    assert [entry["hook"] for entry in entries] == ["order-select", "order-sign", "allergyintolerance-create"]
    for entry in entries:
        assert entry["prefetch"] == dict(PREFETCH)
        assert "absence of an alert is not evidence of safety" in entry["description"]


@pytest.mark.parametrize("key", sorted(PREFETCH))
def test_data_that_are_missing_are_asked_for_and_not_taken_as_none(key: str) -> None:
    door, _ = client()
    given = call(filtration(20), [order(*METFORMIN)])
    del given["prefetch"][key]
    answer = door.post(URL, json=given)
    assert answer.status_code == 412
    assert answer.json["issue"][0]["expression"] == [f"prefetch.{key}"]


@pytest.mark.parametrize(
    ("hook", "draft"),
    [
        ("order-sign", order(*METFORMIN, subject={"reference": "Patient/other"})),
        ("allergyintolerance-create", allergy("Aspirin", "1191", patient={"reference": "Patient/other"})),
    ],
)
def test_an_order_for_somebody_else_is_never_decided_on(hook: str, draft: dict[str, Any]) -> None:
    door, records = client()
    assert door.post(URL, json=call(filtration(20), [draft], hook)).json == {"cards": []}
    assert records.calls[0].reasons == ("other-patient",)


@pytest.mark.parametrize(
    "broken",
    [
        {"resourceType": "Observation", "code": 5, "valueQuantity": "x"},
        {"resourceType": "Observation", "code": {"coding": [{"system": LOINC, "code": "2160-0"}]},
         "status": "final", "effectiveDateTime": "soon", "valueQuantity": {"value": "NaN", "unit": 3}},
        {"resourceType": "AllergyIntolerance", "code": "aspirin", "clinicalStatus": [], "reaction": "x"},
        {"resourceType": "AllergyIntolerance", "reaction": [{"substance": 5}, 7, None]},
        {"resourceType": "MedicationRequest", "status": "active", "medicationCodeableConcept": "x"},
        {"resourceType": "MedicationRequest", "status": 5, "medicationReference": {"reference": 5}},
        {"resourceType": "MedicationStatement", "status": "active", "medicationReference": {}},
        {"resourceType": "Procedure", "code": {"coding": [5]}, "performedPeriod": "x"},
        {"resourceType": "Condition", "code": [], "clinicalStatus": "active"},
    ],
)  # fmt: skip
def test_malformed_resources_break_nothing(broken: dict[str, Any]) -> None:
    decision = decide([*filtration(20), broken], [order(*METFORMIN)])
    assert decision.output["rules"] == ["metformin-below-30"]
    assert decide([patient(), broken], [allergy("aspirin", "1191")], "allergyintolerance-create").cards == ()


@pytest.mark.parametrize(
    "broken",
    [
        order("", medicationCodeableConcept=None),
        order("", medicationReference={"reference": "Medication/elsewhere"}, medicationCodeableConcept=None),
        order("", medicationCodeableConcept={"coding": [{"code": 5}], "text": 6}),
    ],
)
def test_an_order_whose_drug_cannot_be_known_is_said(broken: dict[str, Any]) -> None:
    assert decide(filtration(20), [broken]).reasons == ("nothing-found", "medication-unrecognised")
