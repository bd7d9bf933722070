"""Fail-safe: whatever breaks, 200 with no cards and a record; what is not recorded is not shown."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cds_hooks import registry
from cds_hooks.models import catalogue
from cds_hooks.operation.spool import Spool
from cds_hooks.records.entries import Call, Offer
from cds_hooks.service import Decision, Facts, Service
from conformance.samples import stroke
from tests.support.cds import NOW, SERVICE, MemoryRecords, body, client, services
from tests.support.server import wait_for

URL = f"/cds-services/{SERVICE}"


def with_decide(decide: Any) -> dict[str, Service]:
    return {SERVICE: dataclasses.replace(services()[SERVICE], decide=decide)}


def test_an_exception_is_an_empty_answer_a_record_and_no_patient_in_the_log(caplog: Any) -> None:
    def broken(facts: Facts) -> Decision:
        raise KeyError(f"Marker-{facts.chart.patient_id}")

    caplog.set_level(logging.DEBUG)
    door, records = client(services_=with_decide(broken))
    answer = door.post(URL, json=body())
    assert (answer.status_code, answer.json) == (200, {"cards": []})
    assert records.calls[0].reasons == ("error",)
    assert "KeyError" in caplog.text
    assert "Marker" not in caplog.text
    assert stroke.PATIENT_ID not in caplog.text


def test_over_the_budget_is_an_empty_answer_in_time() -> None:
    def slow(_facts: Facts) -> Decision:
        time.sleep(1.0)
        return Decision(("shown",))

    door, records = client(services_=with_decide(slow), budget_s=0.4)
    started = time.perf_counter()
    answer = door.post(URL, json=body())
    assert time.perf_counter() - started < 0.9
    assert (answer.status_code, answer.json) == (200, {"cards": []})
    assert records.calls[0].reasons == ("timeout",)


class Broken(MemoryRecords):
    def keep(self, offers: Sequence[Offer]) -> Mapping[UUID, str]:
        raise OSError("no disk")


class Slow(MemoryRecords):
    """Records that take as long as a test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def keep(self, offers: Sequence[Offer]) -> Mapping[UUID, str]:
        self.go_on.wait(30)
        return super().keep(offers)


def test_what_cannot_be_recorded_is_not_shown_and_goes_to_the_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    door, _records = client(Broken(), spool=spool)
    assert door.post(URL, json=body()).json == {"cards": []}
    played: list[Call] = []
    assert spool.play_back(played.extend) == 1
    assert (played[0].answer, played[0].cards) == ('{"cards":[]}', ())
    assert played[0].reasons == ("suggested", "not-recorded")
    assert "fewer dead or dependent" in str(played[0].computed)
    assert spool.play_back(played.extend) == 0


def test_a_record_that_comes_too_late_is_told_by_the_spool(tmp_path: Path) -> None:
    slow, spool = Slow(), Spool(tmp_path / "spool")
    door, _records = client(slow, budget_s=0.3, spool=spool)
    started = time.perf_counter()
    assert door.post(URL, json=body()).json == {"cards": []}
    assert time.perf_counter() - started < 1.0
    slow.go_on.set()
    wait_for(lambda: slow.calls)
    played: list[Call] = []
    assert spool.play_back(played.extend) == 1
    assert played[0].call_id == slow.calls[0].call_id
    assert slow.calls[0].cards, "recorded as shown, and the spool says that it was not"
    assert played[0].cards == ()


def test_a_corrupt_model_keeps_the_service_and_says_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "stroke-early-aspirin-1"
    shutil.copytree(catalogue.SHIPPED / folder.name, folder)
    (folder / catalogue.MODEL).write_text("tree\n")
    monkeypatch.setattr(catalogue, "SHIPPED", tmp_path)
    door, records = client(services_=registry.services())
    listed = [entry["id"] for entry in door.get("/cds-services").json["services"]]
    assert listed.count(SERVICE) == 2
    assert door.post(URL, json=body()).json == {"cards": []}
    assert records.calls[0].reasons == ("model-unavailable",)


def test_resources_of_another_patient_are_never_decided_on() -> None:
    call = body()
    call["prefetch"]["allergies"]["entry"][0]["resource"]["patient"] = {"reference": "Patient/other"}
    door, records = client()
    assert door.post(URL, json=call).json == {"cards": []}
    assert records.calls[0].reasons == ("other-patient",)


@pytest.mark.parametrize(
    "broken",
    [
        {"resourceType": "Observation", "component": "x", "code": 5},
        {"resourceType": "Condition", "code": [], "clinicalStatus": "active"},
        {"resourceType": "MedicationRequest", "status": "active", "medicationCodeableConcept": "x"},
        {
            "resourceType": "DiagnosticReport",
            "conclusionCode": {"coding": 1},
            "effectiveDateTime": NOW.isoformat(),
        },
        {"resourceType": "Patient", "meta": "x"},
        {"resourceType": "AllergyIntolerance", "reaction": [1]},
    ],
)
def test_odd_resources_end_in_an_answer(broken: dict[str, Any]) -> None:
    call = body()
    call["prefetch"]["conditions"]["entry"].append({"resource": broken})
    door, records = client()
    answer = door.post(URL, json=call)
    assert answer.status_code == 200
    assert len(records.calls) == 1


def test_the_record_holds_what_was_asked_computed_and_answered() -> None:
    door, records = client()
    call = body(fhirServer="https://ehr.example/fhir", fhirAuthorization={
        "access_token": "Secret-Token", "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read",
        "subject": "app"})  # fmt: skip
    answer = door.post(URL, json=call)
    (kept,) = records.calls
    card = answer.json["cards"][0]
    assert kept.answer.encode() == answer.data
    assert [str(uuid) for uuid in kept.cards] == [card["uuid"]]
    assert str(kept.hook_instance) == call["hookInstance"]
    assert (kept.patient, kept.user_reference, kept.status) == (stroke.PATIENT_ID, "Practitioner/demo", 200)
    assert kept.model_hash == card["extension"]["io.xinglin.model"]["sha256"]
    assert kept.inputs["RSBP"]["value"] == 168.0
    assert 0 < kept.output["risk"] < 1
    assert kept.latency_us > 0
    assert len(kept.input_hash) == 32
    assert "Secret-Token" not in repr(kept)


def test_the_input_hash_follows_the_resources_and_not_the_token() -> None:
    door, records = client()
    call = body()
    door.post(URL, json=call)
    authorization = {
        "access_token": "t",
        "token_type": "Bearer",
        "expires_in": 1,
        "scope": "s",
        "subject": "x",
    }
    door.post(URL, json=call | {"fhirServer": "https://a.example", "fhirAuthorization": authorization})
    call["prefetch"]["patient"]["birthDate"] = "1951-01-01"
    door.post(URL, json=call)
    first, second, third = [kept.input_hash for kept in records.calls]
    assert first == second != third
