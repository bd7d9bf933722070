"""_explain: how a search is answered, in words, SQL and Postgres' plan."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.spec.r4_http.test_errors import check
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]


def told(client: FhirClient, query: str) -> dict[str, list[Any]]:
    reply = client.get(query)
    assert reply.status == 200, reply.data
    assert reply.json["resourceType"] == "Parameters"
    found: dict[str, list[Any]] = {}
    for each in reply.json["parameter"]:
        value = each.get("valueString")
        if value is None:
            value = {part["name"]: part["valueString"] for part in each["part"]}
        found.setdefault(each["name"], []).append(value)
    return found


@clause("docs/search.md", "criteria, plan, SQL and EXPLAIN of a page, and of a count where one is asked for")
@pytest.mark.parametrize(
    ("query", "criterion", "plan"),
    [
        ("Observation?code=8867-4", "Observation.code, a token: the key", "stretch"),
        ("Patient?_id=7", "Patient._id, a special: the resource's own row", "keys"),
        ("Patient?birthdate=ge2000", "Patient.birthdate, a date: a row of idx_date", "walk"),
        ("Patient?family=x", "Patient.family, a string: a row of idx_string", "range"),
        ("Patient?family=x,y", "Patient.family, a string: a row of idx_string", "few rows"),
        ("Observation?subject:Patient.name=x", "leads to (Patient with Patient.name, a string", "targets"),
        ("Patient?_has:Observation:patient:code=1", "comes from one with (Observation.code", "holders"),
        ("Observation?patient=7&_sort=-date", "Observation.patient, a reference: the key", "chart"),
        ("Patient?language:missing=true", "is not there", "walk"),
        ("Patient?gender:missing=true", "there is no value", "keys"),
        ("Patient?_filter=gender eq male or active eq true", "(Patient.gender", "keys"),
        ("Patient/7/Observation?code=1", "(Observation.subject", "keys"),
        ("?_type=Patient,Observation&_id=7", "Observation._id", "keys"),
    ],
)
def test_explained(client: FhirClient, stored: Store, query: str, criterion: str, plan: str) -> None:
    stored(observation(f"Patient/{stored(patient())}"))
    found = told(client, f"{query}&_explain=true")
    assert any(criterion in words for words in found["criterion"]), found["criterion"]
    assert any(words.startswith(plan + ":") for words in found["plan"]), found["plan"]
    [page] = found["page"]
    assert page["sql"].startswith(("select", "with"))
    assert "cost=" in page["explain"]
    assert "actual" not in page["explain"]
    assert "count" not in found


@clause("docs/search.md", "analyze runs the statement; a count is explained beside the page, or alone")
def test_analyze(client: FhirClient) -> None:
    found = told(client, "Patient?gender=male&_total=accurate&_explain=analyze")
    assert "Buffers" in found["page"][0]["explain"] or "actual time" in found["page"][0]["explain"]
    assert "count(*)" in found["count"][0]["sql"]
    assert "page" not in told(client, "Patient?gender=male&_summary=count&_explain=true")


@clause("docs/search.md", "a page link is explained, too; false is as if it were not there")
def test_page_link(client: FhirClient, stored: Store) -> None:
    stored(patient())
    stored(patient())
    first = client.get("Patient?_count=1&_explain=false").json
    assert first["resourceType"] == "Bundle"
    following = next(each["url"] for each in first["link"] if each["relation"] == "next")
    assert "_explain" not in following
    assert told(client, following.partition("/fhir/")[2] + "&_explain=true")["page"]
    check(client.get("Patient?_explain=yes"), 400, "_explain is true, analyze or false")


@clause("docs/search.md", "the answer has the values that were asked for, the log has none")
def test_nothing_is_logged(client: FhirClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert "zyxwv" in told(client, "Patient?family=zyxwv&_explain=true")["page"][0]["explain"]
    assert "zyxwv" not in caplog.text
