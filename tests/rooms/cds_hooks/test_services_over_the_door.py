"""The services of rules over HTTP: discovery, prefetch, card, feedback with one of HL7's reasons."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from cds_hooks import override_reasons
from conformance.samples import stroke
from tests.support.cds import client, services
from tests.support.clause import clause
from tests.support.cv_chart import PATIENT, Resource, chart
from tests.support.stroke_chart import sample


def _call(service_id: str, hook: str, given: list[Resource], **context: Any) -> dict[str, Any]:
    patient = next(entry["id"] for entry in given if entry["resourceType"] == "Patient")
    return {
        "hook": hook,
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": patient, **context},
        "prefetch": stroke.prefetch(dict(services()[service_id].prefetch), given),
    }


def heparin() -> dict[str, Any]:
    draft = {
        "resourceType": "MedicationRequest", "id": "draft-1", "status": "draft", "intent": "order",
        "subject": {"reference": f"Patient/{stroke.PATIENT_ID}"},
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "5224"}]
        },
        "dosageInstruction": [{
            "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
            "doseAndRate": [{"doseQuantity": {"value": 12500, "system": stroke.UCUM, "code": "[iU]"}}],
        }],
    }  # fmt: skip
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]}
    return _call("stroke-heparin-dose", "order-sign", sample(), draftOrders=bundle)


def risk() -> dict[str, Any]:
    given = chart(years=62, gender="male", total=240, hdl=38, pressure=150)
    assert given[0]["id"] == PATIENT
    return _call("cv-risk", "patient-view", given)


@clause("CDS-Hooks-2.0/#cds-service-response", "a card has summary, indicator and source")
@pytest.mark.parametrize(("service_id", "make"), [("stroke-heparin-dose", heparin), ("cv-risk", risk)])
def test_a_call_is_answered_with_one_card(service_id: str, make: Any) -> None:
    door, records = client()
    answer = door.post(f"/cds-services/{service_id}", json=make())
    assert answer.status_code == 200
    (card,) = answer.json["cards"]
    assert card["summary"]
    assert card["source"]["label"]
    assert card["indicator"] in ("info", "warning")
    assert records.calls[-1].reasons == ("shown",)
    assert {reason["system"] for reason in card["overrideReasons"]} == {override_reasons.SYSTEM}
    again = door.post(f"/cds-services/{service_id}", json=make() | {"hookInstance": str(uuid4())})
    assert again.status_code == 200


def test_feedback_takes_the_reason_of_the_card() -> None:
    door, records = client()
    (card,) = door.post("/cds-services/cv-risk", json=risk()).json["cards"]
    entry = {
        "card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-03-02T15:05:00Z",
        "overrideReason": {"reason": card["overrideReasons"][0]},
    }  # fmt: skip
    answer = door.post("/cds-services/cv-risk/feedback", json={"feedback": [entry]})
    assert answer.status_code == 200
    assert len(records.feedback) == 1
