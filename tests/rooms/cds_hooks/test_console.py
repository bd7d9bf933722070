"""The console's pages of decision support: try any hook, answers, replay, rates, switches; a browser too."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from cds_hooks import trial
from cds_hooks.hooks.table import HOOKS
from cds_hooks.records.store import Store
from cds_hooks.records.switches import Switches
from cds_hooks.request import parse
from conformance.samples import stroke
from fhir_server.interactions.context import utc_now
from fhir_server.model import json_format
from fhir_server.outcome import Invalid
from tests.rooms.fhir_server.console.conftest import House, house, served  # noqa: F401  # fixtures
from tests.support.browser import Page, browser, missing
from tests.support.cds import SERVICE, body
from tests.support.server import wait_for

PAGES = ("/console/cds", "/console/cds/answers", "/console/cds/rates", "/console/cds/switches")


def post(house: House, path: str, status: int = 200, **data: str) -> str:  # noqa: F811
    answer = house.app.test_client().post(path, data=data)
    assert answer.status_code == status, answer.text
    return answer.text


def called(house: House) -> dict[str, Any]:  # noqa: F811
    """Call the service from outside, as somebody new, until it answers in its time; return the card."""

    def ask() -> list[dict[str, Any]]:
        call = body(given=stroke.resources(utc_now()))
        call["context"]["userId"] = f"Practitioner/{uuid4()}"
        answer = house.app.test_client().post(f"/cds-services/{SERVICE}", json=call)
        return list(answer.json["cards"])  # type: ignore[index]

    (card,) = wait_for(ask)
    return card


# Trying a service -------------------------------------------------------------------------------
@pytest.mark.parametrize("name", HOOKS)
def test_the_body_of_a_trial_is_what_the_hook_wants(name: str) -> None:
    hook = HOOKS[name]
    drafted = [trial.example(hook, "7")] if trial.wanted(hook) else []
    if hook.name == "order-dispatch":
        drafted = [trial.proposal(drafted[0] | {"status": "active"}, hook)]
        assert drafted[0]["status"] == "active", "what is dispatched stands already"
    sent = json_format.encode(trial.body(hook, "7", "e", drafted, "http://127.0.0.1/fhir"))
    assert parse(sent, HOOKS, (name,)).patient_id == "7"


def test_a_draft_is_read_or_refused() -> None:
    hook = HOOKS["medication-refill"]
    stored = {"resourceType": "MedicationRequest", "id": "m", "status": "active", "meta": {}, "text": {}}
    drafted = trial.proposal(stored, hook)
    assert drafted == {"resourceType": "MedicationRequest", "id": "draft-1", "status": "draft"}
    assert trial.drafts(json.dumps([drafted, drafted]), hook) == [drafted, drafted]
    for text in ("", "[]", "{", '{"resourceType": "Patient"}', "[1]"):
        with pytest.raises(Invalid):
            trial.drafts(text, hook)


def tried(house: House) -> str:  # noqa: F811
    return post(house, "/console/cds", patient=stroke.PATIENT_ID, service=SERVICE)


def test_a_service_is_tried_again_and_again(house: House) -> None:  # noqa: F811
    house.admit()
    for _ in range(3):  # a trial is never withheld for being repeated
        wait_for(lambda: "fewer dead or dependent" in tried(house))
    (newest, *_) = Store(house.entry.engine).latest()
    assert newest.client == "console"
    page = tried(house)
    assert re.search("/console/cds/answers/[0-9a-f-]{36}", page)


def test_a_hook_that_wants_an_order_gets_a_draft(house: House) -> None:  # noqa: F811
    house.admit()
    asked = f"/console/cds?service={SERVICE}&patient={stroke.PATIENT_ID}&hook=order-select"
    page = house.get(asked)
    assert "ramipril" in page, "a draft can be made from what is stored"
    page = house.get(f"{asked}&from=MedicationRequest/{stroke.PATIENT_ID}-ramipril")
    draft = html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)[1])  # type: ignore[index]
    assert json.loads(draft)["status"] == "draft"
    given = {"service": SERVICE, "patient": stroke.PATIENT_ID, "hook": "order-select"}
    assert "No call yet" in post(house, "/console/cds", **given), "first the draft is looked at"
    wait_for(lambda: "fewer dead or dependent" in post(house, "/console/cds", **given, draft=draft))
    refused = post(house, "/console/cds", 400, **given, draft="{")
    assert 'role="alert"' in refused


# What was answered ------------------------------------------------------------------------------
def test_answers_with_reasons_and_replay(house: House) -> None:  # noqa: F811
    card = called(house)
    assert house.app.test_client().post(f"/cds-services/{SERVICE}", json={"hook": "x"}).status_code == 400
    page = house.get("/console/cds/answers")
    assert "A card with a suggestion was computed." in page
    assert "The request could not be read." in page
    (refused, shown, *_) = Store(house.entry.engine).latest()
    one = house.get(f"/console/cds/answers/{shown.call_id}")
    assert card["summary"] in html.unescape(one)
    assert "168.0" in one, "the inputs that were used"
    assert shown.input_hash.hex() in one
    assert "the same, byte for byte" in house.get(f"/console/cds/answers/{shown.call_id}?replay=1")
    assert "nothing was decided" in house.get(f"/console/cds/answers/{refused.call_id}?replay=1")
    assert house.app.test_client().get(f"/console/cds/answers/{uuid4()}").status_code == 404
    assert "No call yet" in house.get("/console/cds/answers?service=none")


def test_pages_of_answers(house: House) -> None:  # noqa: F811
    client = house.app.test_client()
    for _ in range(53):
        client.post(f"/cds-services/{SERVICE}", json={"hook": "x"})
    page = house.get("/console/cds/answers")
    older = re.search(r"before=([0-9a-f-]{36})", page)
    assert older is not None
    assert house.get(f"/console/cds/answers?before={older[1]}").count('class="go"') == 3


def test_rates_of_feedback(house: House) -> None:  # noqa: F811
    card = called(house)
    report = {
        "card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": utc_now().isoformat(),
        "overrideReason": {"reason": card["overrideReasons"][0]},
    }  # fmt: skip
    client = house.app.test_client()
    assert client.post(f"/cds-services/{SERVICE}/feedback", json={"feedback": [report]}).status_code == 200
    page = house.get("/console/cds/rates?days=1")
    assert "100 %" in page
    assert html.escape(card["overrideReasons"][0]["display"], quote=True) in page
    assert "Practitioner" in page


def test_a_switch_is_turned_in_the_console(house: House) -> None:  # noqa: F811
    given = {"service": SERVICE, "mode": "off", "by": "Dr Lin", "reason": "a test"}
    assert called(house)["uuid"]
    post(house, "/console/cds/switches", 303, **given)
    switches = Switches(house.entry.engine)
    assert [turn.by for turn in switches.history()] == ["Dr Lin"]
    client = house.app.test_client()
    wait_for(
        lambda: (
            client.post(f"/cds-services/{SERVICE}", json=body(given=stroke.resources(utc_now()))).json
            == {"cards": []}
        ),
        5,
    )
    assert "Dr Lin" in house.get("/console/cds/switches")
    assert "say" in post(house, "/console/cds/switches", 400, **given | {"reason": ""})
    foreign = client.post("/console/cds/switches", data=given, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    foreign = client.post("/console/cds/switches", data=given, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert len(switches.history()) == 1


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_what_it_may_do(house: House, path: str) -> None:  # noqa: F811
    answer = house.app.test_client().get(path)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in answer.text


# In a browser -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    if (lack := missing()) is not None:
        pytest.skip(lack)
    with browser() as page:
        yield page


def test_a_person_tries_a_service_reads_the_answer_and_turns_the_switch(served: House, window: Page) -> None:  # noqa: F811
    served.admit()

    def shown() -> bool:
        window.open(f"{served.url}/console/cds")
        window.click(".people button")
        return bool(window.find(".cds-card h3"))

    wait_for(shown)
    assert "fewer dead or dependent" in window.text(".cds-card h3")
    window.open(f"{served.url}/console/cds/answers")
    window.click("a.go")
    window.click(".head button")
    assert "the same, byte for byte" in window.text(".notice")
    window.open(f"{served.url}/console/cds/switches")
    window.type(f"#by-{SERVICE}", "Dr Lin")
    window.type(f"#reason-{SERVICE}", "a test")
    window.run(f"document.getElementById('mode-{SERVICE}').value = 'shadow'; return 1")
    window.click(".turn button")
    wait_for(lambda: window.find("section[aria-label=Turns]"), 10)
    assert "Dr Lin" in window.text("section[aria-label=Turns]")
    assert window.problems() == []
    for path in PAGES:
        window.open(f"{served.url}{path}")
        nameless = window.run(
            "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a')]"
            ".filter(e => !(e.labels && e.labels.length) && !e.getAttribute('aria-label')"
            " && !e.textContent.trim()).map(e => e.outerHTML)"
        )
        assert nameless == []
        assert window.run("return document.querySelectorAll('h1').length") == 1
        assert window.run("return document.documentElement.scrollWidth <= window.innerWidth"), path
        assert window.problems() == []


def test_the_drawings_of_a_model_are_images_that_a_browser_shows(served: House, window: Page) -> None:  # noqa: F811
    address = f"{served.url}/console/cds/models/{SERVICE}/1"
    window.open(address)
    shown = window.run(
        "return [...document.querySelectorAll('.plots figure')].map(f => {"
        " const svg = f.querySelector('svg'), box = svg.getBoundingClientRect();"
        " return [f.id, box.width > 200 && box.height > 100,"
        "  svg.querySelectorAll('circle, line, path, polyline, rect, text').length > 10,"
        "  svg.querySelector('title').textContent] })"
    )
    assert [name for name, *_ in shown] == ["calibration", "decision-curve", "subgroups", "subgroups-auc"]
    for name, wide, drawn, title in shown:
        assert (wide, drawn) == (True, True), name
        assert SERVICE in title
    assert "Individual effects are refused" in window.text("section[aria-label='Individual effects']")
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert window.problems() == []
    for name, *_ in shown:
        window.open(address)
        window.run(
            f"window.image = new Image(); window.image.src = location.pathname + '/{name}.svg';"
            " document.body.append(window.image)"
        )
        size = wait_for(
            lambda: window.run("return window.image.complete && [image.naturalWidth, image.naturalHeight]"),
            10,
        )
        assert size[0] > 200 < size[1], f"{name}.svg is an image for a page, too"
        # a drawing that was a page of its own had the browser ask for an icon of it
        assert [said for said in window.problems() if "/favicon.ico" not in said] == []
        window.open(f"{address}/{name}.svg")
        assert window.run("return document.contentType") == "image/svg+xml"
        assert window.run("return document.documentElement.getBBox().width > 200"), "and a page of its own"
