"""capabilities (R4/http.html#capabilities): its modes, its parts, and asking again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.database.engine import Engine
from fhir_server.definitions import code_systems
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.operations.registry import OPERATIONS, offered
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from fhir_server.search.parse import modifiers_of
from fhir_server.search.registry import standard
from fhir_server.validation.validator import validate
from tests.support.clause import clause
from tests.support.clock import FixedClock
from tests.support.http import FhirClient

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/none"


def door(entry: Entry) -> FhirClient:
    capabilities = Capabilities(entry.settings, BUILT, entry.clock(), operations=offered())
    return FhirClient(Door(Installation(entry, Config(), capabilities)).wsgi)


@pytest.fixture
def client(entry: Entry) -> FhirClient:
    return door(entry)


@pytest.fixture
def without_database(entry: Entry) -> Iterator[FhirClient]:
    engine = Engine(UNREACHABLE, size=1)
    yield door(replace(entry, engine=engine))
    engine.close()


@pytest.mark.parametrize("mode", ["full", "normative", "terminology"])
@clause(
    "R4/http.html#capabilities",
    "each mode is a valid resource, in JSON and XML, with the database and without",
)
def test_modes(client: FhirClient, without_database: FhirClient, mode: str) -> None:
    reply = client.get(f"metadata?mode={mode}")
    assert reply.status == 200
    kind = "TerminologyCapabilities" if mode == "terminology" else "CapabilityStatement"
    assert reply.json["resourceType"] == kind
    assert [each for each in validate(reply.json) if each.severity in ("error", "fatal")] == []
    assert (
        client.get(f"metadata?mode={mode}", Accept="application/fhir+xml").data[:200].count(kind.encode())
        == 1
    )
    assert without_database.get(f"metadata?mode={mode}").json["resourceType"] == kind


@clause("R4/http.html#capabilities", "mode=normative leaves out what R4 calls trial use")
def test_normative(client: FhirClient) -> None:
    rest = client.get("metadata?mode=normative").json["rest"][0]
    assert "security" not in rest
    patient = next(each for each in rest["resource"] if each["type"] == "Patient")
    assert set(patient) == {"type", "profile", "interaction", "searchParam", "operation"}
    full = client.get("metadata").json["rest"][0]
    assert "security" in full
    assert "conditionalUpdate" in full["resource"][0]


@clause(
    "R4/http.html#capabilities", "mode=terminology tells the code systems that there are, stored ones too"
)
def test_terminology(client: FhirClient) -> None:
    system = {
        "resourceType": "CodeSystem", "url": "urn:test:metadata", "version": "3", "status": "active",
        "content": "complete", "concept": [{"code": "a"}],
    }  # fmt: skip
    assert client.post("CodeSystem", system).status == 201
    made = client.get("metadata?mode=terminology").json
    systems = {each["uri"]: each for each in made["codeSystem"]}
    assert systems["urn:test:metadata"]["version"] == [{"code": "3"}]
    assert systems["http://hl7.org/fhir/administrative-gender"]["subsumption"] is True
    assert "http://unitsofmeasure.org" in systems
    complete = {
        url for url in code_systems.code_system_urls() if code_systems.code_system(url).content == "complete"
    }
    assert complete <= systems.keys()
    assert not {"expansion", "validateCode", "translation", "closure"} & made.keys()


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("mode=partial", 400, "mode=partial"),
        ("moode=full", 400, "moode"),
        ("_summary=count", 400, "_summary=count"),
    ],
)
@clause("R4/http.html#capabilities", "what is asked for and not known is refused by name")
def test_wrong_parameters(client: FhirClient, query: str, status: int, says: str) -> None:
    reply = client.get(f"metadata?{query}")
    assert reply.status == status
    assert says in reply.issue["diagnostics"]


@clause("R4/search.html#summary", "_summary and _elements of the statement")
def test_parts(client: FhirClient) -> None:
    summary = client.get("metadata?_summary=true").json
    assert summary["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert summary["software"]["name"] == "Xinglin"
    only = client.get("metadata?_elements=software").json
    assert "publisher" not in only
    assert only["software"]["name"] == "Xinglin"


@clause("R4/http.html#capabilities", "an ETag that changes with what is said, the same in every process; 304")
def test_asking_again(client: FhirClient, entry: Entry, clock: FixedClock) -> None:
    first = client.get("metadata")
    tag = first.headers["ETag"]
    again = client.get("metadata", If_None_Match=f'W/"0", {tag}')
    assert (again.status, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert client.get("metadata?mode=terminology", If_None_Match=tag).status == 200
    clock.advance(days=1)
    assert door(entry).get("metadata").headers["ETag"] == tag
    head = client.send("HEAD", "metadata")
    assert (head.status, head.data, head.headers["ETag"]) == (200, b"", tag)
    assert int(head.headers["Content-Length"]) == len(first.data)


@clause(
    "R4/capabilitystatement.html",
    "every parameter tells the modifiers that it takes, every operation its definition",
)
def test_what_is_listed(client: FhirClient) -> None:
    rest: dict[str, Any] = client.get("metadata").json["rest"][0]
    types = {each["type"]: each for each in rest["resource"]}
    birth = next(each for each in types["Patient"]["searchParam"] if each["name"] == "birthdate")
    assert birth["documentation"] == "date: modifiers :missing; prefixes eq ne gt lt ge le sa eb ap"
    subject = next(each for each in types["Observation"]["searchParam"] if each["name"] == "patient")
    assert "modifier :Patient" in subject["documentation"]
    for parameter in types["Patient"]["searchParam"]:
        known = standard().get("Patient", parameter["name"])
        if known is not None and known.kind != "reference":
            assert all(f":{name}" in parameter["documentation"] for name in modifiers_of(known))
    listed = {each["name"]: each["definition"] for each in types["Patient"]["operation"]}
    assert listed["validate"] == "http://hl7.org/fhir/OperationDefinition/Resource-validate"
    everywhere = rest.get("operation", []) + [
        each for kind in types.values() for each in kind.get("operation", [])
    ]
    assert {each["name"] for each in everywhere} == {operation.code for operation in OPERATIONS}
    assert json_format.encode(rest)
