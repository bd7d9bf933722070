"""The service on a real store: what it fetches itself, and what it keeps."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_hooks.door import PATH, create
from cds_hooks.records.store import Store
from conformance.samples import stroke
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from fhir_server.interactions import transaction
from fhir_server.interactions.entry import Entry
from fhir_server.rest.front import in_front
from fhir_server.validation import validator
from tests.support.cds import SERVICE, body

URL = f"/cds-services/{SERVICE}"
OURS = "http://127.0.0.1/fhir"


@pytest.fixture
def patient(entry: Entry, clock: Any) -> str:
    """A stroke patient of this test's own, stored; returns her id."""
    identifier = f"stroke-{uuid4().hex[:8]}"
    bundle = stroke.transaction(clock(), patient_id=identifier)
    transaction.execute(entry, Grant.system("test"), bundle)
    return identifier


@pytest.fixture
def door(entry: Entry, clock: Any) -> FlaskClient:
    app = Flask(__name__)
    made = create(entry, clock=clock, budget_s=10.0)
    app.wsgi_app = in_front(PATH, made.wsgi, app.wsgi_app)  # type: ignore[method-assign]
    return app.test_client()


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


@pytest.mark.parametrize("hook", ["encounter-start", "order-select"])
def test_what_is_not_prefetched_comes_from_our_own_store(
    door: FlaskClient, patient: str, store: Store, hook: str
) -> None:
    call = stroke.call(str(uuid4()), patient_id=patient, fhir_server=OURS, hook=hook)
    answer = door.post(URL, json=call)
    assert answer.status_code == 200
    (card,) = answer.json["cards"]
    assert f"Observation/{patient}-pressure" in card["detail"]
    kept = store.latest(SERVICE, 1)[0]
    assert kept.answer.encode() == answer.data
    assert kept.reasons == ("suggested",)
    assert kept.inputs["RSBP"] == {
        "value": 168.0,
        "time": kept.inputs["RSBP"]["time"],
        "reference": f"Observation/{patient}-pressure",
    }


def test_a_part_may_be_given_and_the_rest_is_fetched(door: FlaskClient, patient: str) -> None:
    call = stroke.call(str(uuid4()), patient_id=patient, fhir_server=f"{OURS}/")
    call["prefetch"] = {"reports": None}
    assert door.post(URL, json=call).json == {"cards": []}, "null is not fetched again: no CT is known"
    call["prefetch"] = {"allergies": None}
    (card,) = door.post(URL, json=call | {"hookInstance": str(uuid4())}).json["cards"]
    assert "No allergy list came with this call" in card["detail"]


@pytest.mark.parametrize("server", [None, "https://other.example/fhir", "http://127.0.0.1/fhir/x"])
def test_a_foreign_or_unnamed_server_gets_nothing_from_our_store(
    door: FlaskClient, patient: str, server: str | None
) -> None:
    call = stroke.call(str(uuid4()), patient_id=patient, fhir_server=server)
    assert door.post(URL, json=call).status_code == 412


def test_an_unknown_patient_is_no_card(door: FlaskClient, store: Store) -> None:
    call = stroke.call(str(uuid4()), patient_id="nobody", fhir_server=OURS)
    assert door.post(URL, json=call).json == {"cards": []}
    assert store.latest(SERVICE, 1)[0].reasons == ("patient-unknown",)


def test_refused_requests_are_recorded_too(door: FlaskClient, store: Store) -> None:
    assert door.post(URL, json={"hook": "encounter-start"}).status_code == 400
    kept = store.latest(SERVICE, 1)[0]
    assert (kept.status, kept.reasons) == (400, ("invalid-request",))
    assert json.loads(kept.answer)["resourceType"] == "OperationOutcome"


def test_records_are_append_only(door: FlaskClient, engine: Engine) -> None:
    door.post(URL, json={})
    for statement in ("UPDATE cds_call SET answer = ''", "DELETE FROM cds_call", "TRUNCATE cds_call CASCADE"):
        refused = pytest.raises(psycopg2.errors.RaiseException, match="append-only")
        with engine.connection() as connection, connection.cursor() as cursor, refused:
            cursor.execute(statement)


def test_feedback_twice_is_one_row(door: FlaskClient, patient: str, engine: Engine) -> None:
    call = stroke.call(str(uuid4()), patient_id=patient, fhir_server=OURS)
    (card,) = door.post(URL, json=call).json["cards"]
    report = {
        "card": card["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": card["overrideReasons"][0], "userComment": "given at home"},
        "outcomeTimestamp": "2026-01-02T03:10:00Z",
    }
    stranger = report | {"card": str(uuid4())}
    for _ in range(2):
        answer = door.post(f"{URL}/feedback", json={"feedback": [report, stranger]})
        assert answer.status_code == 200
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT outcome, reason->>'code' FROM cds_feedback WHERE card = %s", (card["uuid"],))
        assert cursor.fetchall() == [("overridden", report["overrideReason"]["reason"]["code"])]


def test_a_dead_database_is_an_empty_answer(entry: Entry, clock: Any) -> None:
    dead = Entry(Engine("postgresql://127.0.0.1:1/none"), entry.settings, clock)
    app = Flask(__name__)
    app.wsgi_app = in_front(PATH, create(dead, clock=clock).wsgi, app.wsgi_app)  # type: ignore[method-assign]
    door = app.test_client()
    assert door.post(URL, json=body()).json == {"cards": []}
    answer = door.post(URL, json=stroke.call(str(uuid4()), fhir_server=OURS))
    assert (answer.status_code, answer.json) == (200, {"cards": []})
    assert door.get("/cds-services").status_code == 200


def test_the_fetch_of_a_call_is_one_snapshot_of_few_statements(
    entry: Entry, clock: Any, patient: str, query_recorder: Any
) -> None:
    app = Flask(__name__)
    made = create(entry, clock=clock, budget_s=10.0)
    app.wsgi_app = in_front(PATH, made.wsgi, app.wsgi_app)  # type: ignore[method-assign]
    client = app.test_client()
    first, second = (stroke.call(str(uuid4()), patient_id=patient, fhir_server=OURS) for _ in range(2))
    assert client.post(URL, json=first).json["cards"]  # from here on the statements are prepared
    with query_recorder(at_most=13):
        assert client.post(URL, json=second).json["cards"]


def test_sample_and_suggested_order_are_valid_fhir(door: FlaskClient, patient: str, clock: Any) -> None:
    call = stroke.call(str(uuid4()), patient_id=patient, fhir_server=OURS)
    (card,) = door.post(URL, json=call).json["cards"]
    order = card["suggestions"][0]["actions"][0]["resource"]
    for resource in [order, *stroke.resources(clock())]:
        problems = [issue for issue in validator.validate(resource) if issue.severity in ("error", "fatal")]
        assert problems == [], resource["resourceType"]
