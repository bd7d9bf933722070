"""CDS Hooks 2.0: discovery, the call, prefetch, CORS, feedback, as a client sees them."""

from __future__ import annotations

import copy
import re
from typing import Any
from uuid import uuid4

import pytest

from cds_hooks.hooks.table import HOOKS
from cds_hooks.prefetch import check_template
from conformance.samples import stroke
from tests.support.cds import NOW, SERVICE, body, client, services
from tests.support.clause import clause

URL = f"/cds-services/{SERVICE}"
SPEC = "CDS-Hooks-2.0/"


def fields(answer: Any) -> list[str]:
    assert answer.json["resourceType"] == "OperationOutcome"
    return [issue["expression"][0] for issue in answer.json["issue"]]


# Discovery
@clause(f"{SPEC}#discovery", "an object with a list of services, each with hook, description and id")
def test_discovery() -> None:
    door, _ = client()
    answer = door.get("/cds-services")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    entries = answer.json["services"]
    listed = [(entry["hook"], entry["id"]) for entry in entries]
    assert listed == [(hook, service.id) for service in services().values() for hook in service.hooks]
    assert listed[:2] == [("encounter-start", SERVICE), ("order-select", SERVICE)]
    for entry in entries:
        service = services()[entry["id"]]
        assert set(entry) <= {"hook", "id", "title", "description", "prefetch", "usageRequirements"}
        assert entry["prefetch"] == dict(service.prefetch), "each key with its template, as the call names it"
        assert all(isinstance(text, str) and text for text in entry["prefetch"].values())
        words = (entry["title"], entry["description"], entry["usageRequirements"])
        assert words == (service.title, service.description, service.usage_requirements)
        assert all(isinstance(text, str) and text for text in words)


@clause(f"{SPEC}#prefetch-tokens", "tokens are root-level primitive context fields")
def test_prefetch_templates_use_allowed_tokens_only() -> None:
    for service in services().values():
        for hook in service.hooks:
            for template in service.prefetch.values():
                check_template(template, HOOKS[hook])
                assert set(re.findall(r"{{(.*?)}}", template)) <= {"context.patientId"}
    for wrong in (
        "Patient/{{context.draftOrders}}",
        "Patient/{{patientId}}",
        "Patient/{{context.a.b}}",
        "X/{{ }}",
    ):
        with pytest.raises(ValueError, match="token"):
            check_template(wrong, HOOKS["order-select"])


@clause(f"{SPEC}#discovery", "a server without services answers an empty list")
def test_no_services() -> None:
    door, _ = client(services_={})
    assert door.get("/cds-services").json == {"services": []}


# The call
@clause(f"{SPEC}#cds-service-response", "200 with a cards array; same id for two hooks")
@pytest.mark.parametrize("hook", ["encounter-start", "order-select"])
def test_a_call_with_everything_prefetched(hook: str) -> None:
    door, _ = client()
    answer = door.post(URL, json=body(hook=hook))
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert set(answer.json) == {"cards"}
    (card,) = answer.json["cards"]
    assert not empties(card)


@clause(f"{SPEC}#update-stale-guidance", "a later hook under the same id brings cards of its own")
def test_a_later_hook_brings_newer_cards() -> None:
    door, _ = client()
    first, later = (door.post(URL, json=body(hook=hook)).json for hook in ("encounter-start", "order-select"))
    assert len(first["cards"]) == len(later["cards"]) == 1
    assert first["cards"][0]["uuid"] != later["cards"][0]["uuid"]


def empties(value: Any) -> list[Any]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in parts if part in (None, "", [], {})] + [
        hit for part in parts for hit in empties(part)
    ]


@clause(f"{SPEC}#http-request_1", "a request that lacks a required field: 400 that names it")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hook": None}, "hook"),
        ({"hook": 7}, "hook"),
        ({"hook": "patient-view"}, "hook"),
        ({"hookInstance": None}, "hookInstance"),
        ({"hookInstance": "7"}, "hookInstance"),
        ({"context": None}, "context"),
        ({"context": []}, "context"),
        ({"context": {"userId": "Practitioner/1", "encounterId": "e"}}, "context.patientId"),
        ({"context": {"userId": "Practitioner/1", "patientId": "", "encounterId": "e"}}, "context.patientId"),
        (
            {"context": {"userId": "Practitioner/1", "patientId": "Patient/1", "encounterId": "e"}},
            "context.patientId",
        ),
        ({"context": {"userId": "Practitioner/1", "patientId": "1"}}, "context.encounterId"),
        ({"context": {"patientId": "1", "encounterId": "e"}}, "context.userId"),
        ({"context": {"userId": "someone", "patientId": "1", "encounterId": "e"}}, "context.userId"),
        ({"fhirServer": "nowhere"}, "fhirServer"),
        ({"fhirServer": 7}, "fhirServer"),
        ({"fhirAuthorization": "x"}, "fhirAuthorization"),
        ({"fhirAuthorization": {"access_token": "t"}}, "fhirServer"),
        (
            {"fhirServer": "https://a.example", "fhirAuthorization": {"token_type": "Bearer"}},
            "fhirAuthorization.access_token",
        ),
        ({"prefetch": []}, "prefetch"),
        ({"prefetch": {"patient": "x"}}, "prefetch.patient"),
        (
            {"prefetch": {"conditions": {"resourceType": "Bundle", "entry": [{"resource": 1}]}}},
            "prefetch.conditions.entry[0].resource",
        ),
    ],
)
def test_400_names_the_field(change: dict[str, Any], field: str) -> None:
    call = body() | change
    call = {key: value for key, value in call.items() if value is not None}
    door, records = client()
    answer = door.post(URL, json=call)
    assert answer.status_code == 400
    assert fields(answer) == [field]
    assert records.calls[0].status == 400


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"selections": None}, "context.selections"),
        ({"selections": []}, "context.selections"),
        ({"selections": ["Task/9"]}, "context.selections[0]"),
        ({"draftOrders": None}, "context.draftOrders"),
        ({"draftOrders": {"resourceType": "Patient"}}, "context.draftOrders"),
        ({"draftOrders": {"resourceType": "Bundle", "entry": [{}]}}, "context.draftOrders.entry[0].resource"),
    ],
)
def test_400_names_the_field_of_order_select(change: dict[str, Any], field: str) -> None:
    call = body(hook="order-select")
    call["context"] |= change
    door, _ = client()
    answer = door.post(URL, json=call)
    assert (answer.status_code, fields(answer)) == (400, [field])


def test_unknown_fields_are_kept_out_of_the_way() -> None:
    door, _ = client()
    assert door.post(URL, json=body(hookVersion="1.0", extension={"a.b": {}})).json["cards"]


def test_broken_json_says_where() -> None:
    door, records = client()
    answer = door.post(URL, data=b'{"hook": ', content_type="application/json")
    assert answer.status_code == 400
    assert "line 1" in answer.json["issue"][0]["diagnostics"]
    assert records.calls[0].reasons == ("invalid-request",)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", URL, 405),
        ("DELETE", URL, 405),
        ("POST", "/cds-services", 405),
        ("POST", "/cds-services/unknown", 404),
        ("GET", "/cds-services/unknown", 404),
        ("POST", "/cds-services/unknown/feedback", 404),
        ("GET", "/cds-services/models/stroke-early-aspirin/versions/99/source-attributes", 404),
        ("GET", "/cds-services/a/b/c", 404),
    ],
)
def test_other_addresses_and_methods(method: str, path: str, status: int) -> None:
    door, _ = client()
    answer = door.open(path, method=method, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert answer.json["resourceType"] == "OperationOutcome"


def test_another_media_type_is_415_and_too_much_is_413() -> None:
    door, _ = client()
    assert door.post(URL, data=b"hook=x", content_type="application/x-www-form-urlencoded").status_code == 415
    assert door.post(URL, data=b" " * (9 * 1024 * 1024), content_type="application/json").status_code == 413


# Prefetch
@clause(f"{SPEC}#prefetch-template", "needed data that cannot be had: 412")
@pytest.mark.parametrize("server", [None, "https://ehr.example/fhir"])
@pytest.mark.parametrize("missing", ["patient", "allergies", "reports"])
def test_a_missing_key_that_cannot_be_fetched_is_412(missing: str, server: str | None) -> None:
    call = body(**({"fhirServer": server} if server else {}))
    del call["prefetch"][missing]
    door, records = client()
    answer = door.post(URL, json=call)
    assert answer.status_code == 412
    assert fields(answer) == [f"prefetch.{missing}"]
    assert records.calls[0].reasons == ("prefetch-missing",)


def test_no_prefetch_at_all_is_412() -> None:
    door, _ = client()
    assert door.post(URL, json=stroke.call(str(uuid4()))).status_code == 412


@clause(f"{SPEC}#prefetch-template", "null: the client looked and there is no data")
def test_null_is_an_answer() -> None:
    call = body()
    call["prefetch"]["allergies"] = None
    door, _ = client()
    (card,) = door.post(URL, json=call).json["cards"]
    assert "No allergy list came with this call" in card["detail"]


def test_null_for_what_is_required_is_no_card_and_no_error() -> None:
    call = body()
    call["prefetch"]["reports"] = None
    door, records = client()
    assert door.post(URL, json=call).json == {"cards": []}
    assert records.calls[0].reasons == ("ct-unknown",)


@clause(f"{SPEC}#prefetch-template", "services check prefetched data for OperationOutcomes")
def test_an_operation_outcome_counts_as_missing() -> None:
    call = body()
    call["prefetch"]["requests"] = {"resourceType": "OperationOutcome", "issue": []}
    door, _ = client()
    assert door.post(URL, json=call).status_code == 412


def test_a_bundle_with_more_pages_counts_as_missing() -> None:
    call = body()
    call["prefetch"]["requests"]["link"] = [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]
    door, _ = client()
    assert door.post(URL, json=call).status_code == 412


def test_warnings_inside_a_searchset_are_passed_over() -> None:
    call = body()
    entry = {"resource": {"resourceType": "OperationOutcome", "issue": []}, "search": {"mode": "outcome"}}
    call["prefetch"]["conditions"]["entry"].append(entry)
    door, _ = client()
    assert door.post(URL, json=call).json["cards"]


@clause("CDS-Hooks-2.0/hooks/order-select", "draftOrders are read from the context")
def test_a_drafted_anticoagulant_or_aspirin_is_seen() -> None:
    for code, reasons in (("11289", ("anticoagulation",)), ("1191", ("shown",))):
        call = body(hook="order-select")
        call["context"]["draftOrders"]["entry"].append({"resource": {
            "resourceType": "MedicationRequest", "id": "d", "status": "draft", "intent": "order",
            "subject": {"reference": f"Patient/{stroke.PATIENT_ID}"},
            "medicationCodeableConcept": {"coding": [
                {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": code}]},
        }})  # fmt: skip
        door, records = client()
        assert door.post(URL, json=call).status_code == 200
        assert records.calls[0].reasons == reasons


def test_a_draft_that_has_the_id_of_a_stored_order_is_not_lost() -> None:
    call = body(hook="order-select")
    draft = copy.deepcopy(stroke.resources(NOW)[9])
    draft |= {"status": "draft", "medicationCodeableConcept": {"text": "Warfarin 5 mg"}}
    call["context"]["draftOrders"]["entry"].append({"resource": draft})
    door, records = client()
    assert door.post(URL, json=call).json == {"cards": []}
    assert records.calls[0].reasons == ("anticoagulation",)


# Source attributes
def test_31_source_attributes() -> None:
    door, _ = client()
    answer = door.get("/cds-services/models/stroke-early-aspirin/versions/1/source-attributes")
    assert len(answer.json) == 31
    assert all(isinstance(text, str) and text for text in answer.json.values())


# CORS
@clause(f"{SPEC}#cross-origin-resource-sharing", "browser clients need CORS; OPTIONS without authorization")
@pytest.mark.parametrize("path", ["/cds-services", URL, f"{URL}/feedback"])
def test_preflight(path: str) -> None:
    door, _ = client()
    asked = {"Origin": "https://ehr.example", "Access-Control-Request-Method": "POST"}
    answer = door.options(path, headers=asked)
    assert answer.status_code == 204
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "Content-Type"} <= set(
        answer.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert door.post(URL, json={}).headers["Access-Control-Allow-Origin"] == "*"


# Feedback
def accepted(card: dict[str, Any]) -> dict[str, Any]:
    return {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": "2026-03-02T15:05:00Z",
    }


@clause(f"{SPEC}#feedback", "accepted and overridden cards are taken")
def test_feedback_is_joined_to_the_card() -> None:
    door, records = client()
    (card,) = door.post(URL, json=body()).json["cards"]
    overridden = {
        "card": card["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": card["overrideReasons"][0], "userComment": "ward round"},
        "outcomeTimestamp": "2026-03-02T15:06:00Z",
    }
    answer = door.post(f"{URL}/feedback", json={"feedback": [accepted(card), overridden]})
    assert answer.status_code == 200
    assert [entry.outcome for entry in records.feedback] == ["accepted", "overridden"]
    assert records.feedback[1].reason == card["overrideReasons"][0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"card": "7"}, "feedback[0].card"),
        ({"outcome": "ignored"}, "feedback[0].outcome"),
        ({"acceptedSuggestions": []}, "feedback[0].acceptedSuggestions"),
        ({"acceptedSuggestions": [{}]}, "feedback[0].acceptedSuggestions[0].id"),
        ({"outcomeTimestamp": "yesterday"}, "feedback[0].outcomeTimestamp"),
        ({"overrideReason": "x"}, "feedback[0].overrideReason"),
        ({"overrideReason": {"reason": "x"}}, "feedback[0].overrideReason.reason"),
    ],
)
def test_feedback_that_cannot_be_read_names_the_field(change: dict[str, Any], field: str) -> None:
    door, records = client()
    (card,) = door.post(URL, json=body()).json["cards"]
    answer = door.post(f"{URL}/feedback", json={"feedback": [accepted(card) | change]})
    assert (answer.status_code, fields(answer)) == (400, [field])
    assert records.feedback == []


def test_feedback_on_a_card_that_is_not_ours_is_404() -> None:
    door, records = client()
    (card,) = door.post(URL, json=body()).json["cards"]
    stranger = accepted(card) | {"card": str(uuid4())}
    assert door.post(f"{URL}/feedback", json={"feedback": [stranger]}).status_code == 404
    assert records.feedback == []


def test_the_request_of_the_sample_is_not_changed_by_a_call() -> None:
    call = body()
    before = copy.deepcopy(call)
    client()[0].post(URL, json=call)
    assert call == before
    assert NOW.tzinfo is not None
