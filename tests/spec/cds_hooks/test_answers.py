"""Answers and discovery of every service, held against the specification by an independent reading."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import pytest

from cds_hooks.cards import Action, Card, Coding, Link, Source, Suggestion
from cds_hooks.hooks.table import HOOKS
from cds_hooks.prefetch import check_template
from cds_hooks.service import Decision, Facts, Service
from conformance.samples import stroke
from fhir_server.validation import validator
from tests.spec.cds_hooks.test_hooks import CONTEXTS
from tests.support import cds, cds_echo
from tests.support.cds_checks import violations
from tests.support.clause import clause
from tests.support.golden import FOLDER

SPEC = "CDS-Hooks-2.0/"
GOOD = {"uuid": str(UUID(int=1)), "summary": "x", "indicator": "info", "source": {"label": "y"}}
DRAFT = {"resourceType": "MedicationRequest", "status": "draft", "intent": "proposal"}


def everything(facts: Facts) -> Decision:
    """Return a card that has every member that a card can have."""
    actions = (
        Action("create", "Order it", DRAFT),
        Action("update", "Change it", DRAFT | {"id": "m"}),
        Action("delete", "Stop it", resource_id="MedicationRequest/m"),
    )
    card = Card(
        facts.uuid("card"), "Everything", "warning",
        Source("Label", "https://a.example/guide", "https://a.example/icon.png", Coding("urn:s", "t")),
        "**Bold** and a [link](https://a.example)",
        (Suggestion("All of it", facts.uuid("one"), actions, is_recommended=True),
         Suggestion("None of it", facts.uuid("two"))),
        "at-most-one",
        (Coding("urn:s", "c", "Because"),),
        (Link("Read", "https://a.example/read#deep?x=1"),
         Link("Open the app", "https://a.example/launch", "smart", '{"session":7}')),
        {"org.example.more": {"a": 1}},
    )  # fmt: skip
    return Decision(("shown",), (card,))


def full() -> dict[str, Service]:
    return {cds_echo.ID: Service(cds_echo.ID, ("patient-view",), "Full", "All members.", {}, everything)}


@clause(f"{SPEC}#card-attributes", "every member of cards, suggestions, actions, links and codings")
def test_a_card_with_every_member_keeps_every_rule() -> None:
    client, _ = cds.client(services_=full())
    answer = client.post(cds_echo.URL, json=cds_echo.call())
    assert violations(answer.json) == []
    (card,) = answer.json["cards"]
    assert set(card) >= {"uuid", "detail", "suggestions", "overrideReasons", "links", "extension"}
    first = card["suggestions"][0]
    assert [each["type"] for each in first["actions"]] == ["create", "update", "delete"]
    assert (first["isRecommended"], first["actions"][2]["resourceId"]) == (True, "MedicationRequest/m")
    assert [each["type"] for each in card["links"]] == ["absolute", "smart"]
    assert card["links"][1]["appContext"] == '{"session":7}'


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"cards": {}}, {"cards": [], "systemActions": [{}]}, {"cards": [{"summary": "x"}]},
        {"cards": [{"summary": "x", "indicator": "info", "source": {"label": ""}, "uuid": "7"}]},
        {"cards": [GOOD | {"detail": "| a | b |\n| 1 | 2 |"}]},
        {"cards": [GOOD | {"detail": "| a | b |\n|---|---|\n| 1 | 2 | 3 |"}]},
        {"cards": [GOOD | {"detail": "words\n| a | b |\n|---|---|"}]},
        {"cards": [GOOD | {"detail": "a <b>bold</b> word"}]},
    ],
)  # fmt: skip
def test_the_reading_itself_finds_what_is_wrong(broken: Any) -> None:
    assert violations({"cards": [GOOD]}) == []
    assert violations(broken)


@clause(f"{SPEC}#cds-service-response", "200 with cards, none where there is no guidance; no systemActions")
@pytest.mark.parametrize("hook", ["encounter-start", "order-select"])
def test_the_answers_of_the_stroke_service_keep_every_rule(hook: str) -> None:
    client, _ = cds.client()
    url = f"/cds-services/{cds.SERVICE}"
    for given in (None, []):
        answer = client.post(url, json=cds.body(given, hook=hook))
        assert (answer.status_code, violations(answer.json)) == (200, [])
        for card in answer.json["cards"]:
            assert "icon" not in card["source"], "no service sends an icon"
            assert stroke.PATIENT_ID not in card["source"].get("url", ""), "a source is no drill-down"


def golden() -> dict[str, dict[str, Any]]:
    """Return the cards that the services' own tests hold word for word, by name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def test_every_service_has_cards_that_are_held() -> None:
    held = {service for service in cds.services() for name in golden() if name.startswith(service)}
    assert held == set(cds.services())


@clause(f"{SPEC}#card-attributes", "cards of all services: every rule, no icon, no drill-down as the source")
@pytest.mark.parametrize("name", golden())
def test_the_cards_of_every_service_keep_every_rule(name: str) -> None:
    card = golden()[name]
    assert violations({"cards": [card]}) == []
    assert "icon" not in card["source"], "no service sends an icon"
    assert "Patient/" not in card["source"].get("url", ""), "a source is no drill-down"
    assert card["detail"]


@clause(
    f"{SPEC}#suggestion", "what a suggestion offers is one whole draft, so to take it is to take all of it"
)
@pytest.mark.parametrize("name", [name for name, card in golden().items() if "suggestions" in card])
def test_a_suggestion_of_every_service_is_one_draft_that_is_valid_fhir(name: str) -> None:
    for suggestion in golden()[name]["suggestions"]:
        (action,) = suggestion["actions"]
        resource = action["resource"]
        assert (action["type"], resource["status"], resource["intent"]) == ("create", "draft", "proposal")
        assert [each for each in validator.validate(resource) if each.severity in ("error", "fatal")] == []


@clause(f"{SPEC}#discovery", "every service of an installation, each hook, answers at its address")
def test_every_service_that_is_listed_answers_at_its_address() -> None:
    client, _ = cds.client()
    entries = client.get("/cds-services").json["services"]
    assert {entry["id"] for entry in entries} == set(cds.services())
    assert len({(entry["id"], entry["hook"]) for entry in entries}) == len(entries)
    for entry in entries:
        assert entry["hook"] in HOOKS
        assert all(isinstance(entry[name], str) and entry[name] for name in ("id", "title", "description"))
        assert client.post(f"/cds-services/{entry['id']}", json={}).status_code == 400


PARAMETER = re.compile(r"(?:[a-z-]+|_id|_count|_sort|[a-z-]+:in)")
DATES = re.compile(r"(?:eq|lt|gt|ge|le)?[0-9]{4}.*")


@clause(f"{SPEC}#prefetch-query-restrictions", "reads and searches by type, with what the subset allows")
def test_every_template_keeps_to_the_subset_that_is_recommended() -> None:
    for service in cds.services().values():
        for template in service.prefetch.values():
            for hook in service.hooks:
                check_template(template, HOOKS[hook])
            path, question, query = template.partition("?")
            if not question:
                assert re.fullmatch(r"[A-Z][A-Za-z]+/\{\{[A-Za-z.]+\}\}", path), template
                continue
            assert re.fullmatch(r"[A-Z][A-Za-z]+", path), template
            for name, value in parse_qsl(query, keep_blank_values=True):
                assert PARAMETER.fullmatch(name), template
                assert value, template
                assert name != "date" or DATES.fullmatch(value), template
                assert name != "_count" or value.isdigit(), template


CARRIED = {
    "order-select": "MedicationRequest/m",
    "order-sign": "MedicationRequest/m",
    "order-dispatch": "Task/None",
    "appointment-book": "Appointment/None",
    "allergyintolerance-create": "AllergyIntolerance/None",
    "medication-refill": "MedicationRequest/m",
    "problem-list-item-create": "Condition/None",
}


@clause(f"{SPEC}#hooks", "a service may listen to any of the ten; what a context carries is decided on")
@pytest.mark.parametrize("hook", CONTEXTS)
def test_each_hook_through_the_door(hook: str) -> None:
    service = replace(cds_echo.service({})[cds_echo.ID], hooks=tuple(CONTEXTS))
    client, records = cds.client(services_={cds_echo.ID: service})
    assert len(client.get("/cds-services").json["services"]) == 10
    context = CONTEXTS[hook]
    answer = client.post(cds_echo.URL, json=cds_echo.call() | {"hook": hook, "context": context})
    assert violations(answer.json) == []
    assert cds_echo.summary(answer) == CARRIED.get(hook, "nothing")
    (kept,) = records.calls
    assert (kept.hook, kept.patient, kept.user_reference) == (hook, "p1", context.get("userId"))


# What comes in ---------------------------------------------------------------------------------------
@clause(f"{SPEC}#extensions", "an extension is an object; other fields that nobody knows are kept beside")
def test_extensions_of_a_request() -> None:
    client, _ = cds.client(services_=full())
    for more in (
        {"extension": {"com.example.timestamp": "2026-03-02"}},
        {"extension": None},
        {"hookVersion": "1.0"},
        {"hookVersion": {"odd": True}, "somethingNew": [1]},
    ):
        assert client.post(cds_echo.URL, json=cds_echo.call(**more)).status_code == 200
    refusal = client.post(cds_echo.URL, json=cds_echo.call(extension=[{"a": 1}]))
    assert (refusal.status_code, refusal.json["issue"][0]["expression"]) == (400, ["extension"])


@clause(f"{SPEC}#http-request_1", "null for an optional field counts as absent")
def test_null_for_an_optional_field_counts_as_absent() -> None:
    client, _ = cds.client(services_=full())
    call = cds_echo.call(fhirServer=None, fhirAuthorization=None, prefetch=None)
    call["context"]["encounterId"] = None
    assert client.post(cds_echo.URL, json=call).status_code == 200
