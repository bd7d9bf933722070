"""$reindex, $reindex-status, $reindex-cancel, and definitions at their canonical ids, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fhir_server.app import create_app, create_drains
from fhir_server.config import Config
from tests.support.builders import patient
from tests.support.clause import clause
from tests.support.http import FhirClient
from tests.support.server import wait_for

URL = "http://example.org/fhir/SearchParameter/nickname"
NICKNAME: dict[str, Any] = {
    "resourceType": "SearchParameter",
    "id": "nickname",
    "url": URL,
    "name": "Nickname",
    "status": "active",
    "description": "tested",
    "code": "nickname",
    "base": ["Patient"],
    "type": "string",
    "expression": "Patient.name.where(use='nickname').given",
}


@pytest.fixture
def config(fresh_database_url: str, tmp_path: Path) -> Config:
    return Config(database_url=fresh_database_url, data_dir=tmp_path, base_url=("http://127.0.0.1/fhir",))


@pytest.fixture
def client(config: Config) -> FhirClient:
    return FhirClient(create_app(config).wsgi_app)


@pytest.fixture
def drain(config: Config) -> Iterator[Callable[[], int]]:
    return create_drains(config)["reindex"]


def given(answer: Any, name: str) -> Any:
    [part] = [each for each in answer["parameter"] if each["name"] == name]
    return next(value for key, value in part.items() if key.startswith("value"))


@clause("R4/search.html#errors", "a parameter whose index is not whole is refused, with how far it is")
def test_from_the_definition_to_the_search(client: FhirClient, drain: Callable[[], int]) -> None:
    name = [{"use": "nickname", "given": ["Bo"]}]
    assert client.post("Patient", patient(name=name)).status == 201
    assert client.post("SearchParameter", NICKNAME).status == 201
    refused = client.get("Patient?nickname=bo")
    assert (refused.status, refused.issue["code"]) == (400, "transient")
    assert "its index has not begun; GET /fhir/$reindex-status?job=" in refused.issue["diagnostics"]
    lenient = client.get("Patient?nickname=bo", Prefer="handling=lenient")
    assert lenient.status == 200
    assert "nickname" not in lenient.json["link"][0]["url"]
    [job] = client.get("$reindex-status").json["parameter"]
    assert job["part"][2]["valueString"] == "SearchParameter nickname"
    wait_for(lambda: drain() or client.get("Patient?nickname=bo").status == 200)
    found = client.get("Patient?nickname=bo").json
    assert len(found["entry"]) == 1
    statement = client.get("metadata").json["rest"][0]["resource"]
    [listed] = [
        each
        for one in statement
        if one["type"] == "Patient"
        for each in one["searchParam"]
        if each["name"] == "nickname"
    ]
    assert (listed["definition"], listed["type"]) == (URL, "string")


def test_a_job_by_hand(client: FhirClient, drain: Callable[[], int]) -> None:
    for _ in range(3):
        client.post("Patient", patient())
    parameters = [
        {"name": "type", "valueCode": "Patient"},
        {"name": "dryRun", "valueBoolean": True},
        {"name": "rate", "valueInteger": 500},
    ]
    reply = client.post("$reindex", {"resourceType": "Parameters", "parameter": parameters})
    assert reply.status == 200
    job = given(reply.json, "job")
    assert given(reply.json, "statusUrl") == f"http://127.0.0.1/fhir/$reindex-status?job={job}"
    status = client.get(f"$reindex-status?job={job}").json
    assert (given(status, "status"), given(status, "dryRun"), given(status, "rate")) == ("waiting", True, 500)
    path = f"$reindex-status?job={job}"
    wait_for(lambda: drain() and given(client.get(path).json, "status") == "completed")
    done = client.get(path).json
    assert (given(done, "seen"), given(done, "total"), given(done, "changed")) == (3, 3, 0)
    assert given(done, "says") == "3 of 3 resources are looked at, 0 would change"
    other = given(client.post("Patient/$reindex?rate=1").json, "job")
    assert given(client.post(f"$reindex-cancel?job={other}").json, "status") == "cancelled"
    assert given(client.get(f"$reindex-status?job={other}").json, "status") == "cancelled"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "$reindex", 405),
        ("POST", "$reindex?type=Pateint", 400),
        ("POST", "$reindex?url=urn:nobody", 400),
        ("POST", "$reindex?rate=-1", 400),
        ("GET", "$reindex-status?job=x", 404),
        ("POST", "$reindex-cancel?job=x", 404),
        ("POST", "$reindex-cancel", 400),
        ("POST", "Patient/7/$reindex", 404),
    ],
)
def test_what_is_refused(client: FhirClient, method: str, path: str, status: int) -> None:
    reply = client.send(method, path)
    assert (reply.status, reply.json["resourceType"]) == (status, "OperationOutcome")


CANONICAL = [
    ("SearchParameter", "individual-family", "http://hl7.org/fhir/SearchParameter/individual-family"),
    ("SearchParameter", "clinical-patient", "http://hl7.org/fhir/SearchParameter/clinical-patient"),
    ("OperationDefinition", "Resource-validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate"),
    ("OperationDefinition", "reindex", "http://127.0.0.1/fhir/OperationDefinition/reindex"),
    ("StructureDefinition", "Patient", "http://hl7.org/fhir/StructureDefinition/Patient"),
    ("ValueSet", "administrative-gender", "http://hl7.org/fhir/ValueSet/administrative-gender"),
    ("CodeSystem", "v3-ActCode", "http://terminology.hl7.org/CodeSystem/v3-ActCode"),
]


@clause("R4/http.html#read", "definitions that the server uses are read at their canonical ids")
@pytest.mark.parametrize(("type_name", "id_", "url"), CANONICAL)
def test_definitions_are_read_and_found(client: FhirClient, type_name: str, id_: str, url: str) -> None:
    reply = client.get(f"{type_name}/{id_}")
    assert (reply.status, reply.json["url"], reply.json["id"]) == (200, url, id_)
    assert reply.headers["ETag"] == 'W/"1"'
    assert client.get(f"{type_name}/{id_}/_history/1").json == reply.json
    assert client.get(f"{type_name}/{id_}", If_None_Match='W/"1"').status == 304
    for query in (f"url={quote(url)}", f"_id={id_}", f"_id={id_},nobody&url={quote(url)}"):
        found = client.get(f"{type_name}?{query}&_total=accurate").json
        assert [each["resource"]["id"] for each in found["entry"]] == [id_]
        assert found["total"] == 1
        assert found["entry"][0]["fullUrl"] == f"http://127.0.0.1/fhir/{type_name}/{id_}"
    assert client.get(f"{type_name}?url={quote(url)}&_summary=count").json["total"] == 1
    assert "entry" not in client.get(f"{type_name}?url={quote(url)}&_id=nobody").json
    assert "entry" not in client.get(f"{type_name}?status=active").json  # what is stored, which is nothing
    assert client.get(f"{type_name}/nobody").status == 404
    assert client.get(f"{type_name}/{id_}", Accept="application/fhir+xml").status == 200


def test_every_definition_that_the_statement_names_is_found(client: FhirClient) -> None:
    statement = client.get("metadata").json["rest"][0]
    of_types = statement["resource"]
    searches = {each["definition"] for one in of_types for each in one["searchParam"]}
    operations = {each["definition"] for one in (*of_types, statement) for each in one.get("operation", ())}
    assert len(searches) > 1000
    for type_name, urls in (
        ("SearchParameter", sorted(searches)),
        ("OperationDefinition", sorted(operations)),
    ):
        for start in range(0, len(urls), 50):
            some = urls[start : start + 50]
            found = client.get(f"{type_name}?url={quote(','.join(some))}&_elements=url").json
            assert [each["resource"]["url"] for each in found["entry"]] == some


def test_what_a_client_stores_under_the_id_is_read_instead(client: FhirClient) -> None:
    own = {**client.get("SearchParameter/individual-family").json, "description": "mine"}
    assert client.put("SearchParameter/individual-family", own).status == 201
    assert client.get("SearchParameter/individual-family").json["description"] == "mine"
    found = client.get(f"SearchParameter?url={quote(own['url'])}").json
    assert [each["resource"]["description"] for each in found["entry"]] == ["mine"]
    assert client.get("Patient?family=x").status == 200
    assert client.delete("SearchParameter/individual-family").status in (200, 204)
    assert client.get("SearchParameter/individual-family").json["description"] != "mine"
    [entry] = client.get(f"SearchParameter?url={quote(own['url'])}").json["entry"]
    assert entry["resource"] == client.get("SearchParameter/individual-family").json
