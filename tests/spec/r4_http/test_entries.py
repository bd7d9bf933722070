"""What entries of batch and transaction may ask for besides writes (R4/http.html#transaction)."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Settings
from fhir_server.interactions.entries import RETURNS
from fhir_server.interactions.entry import Entry
from fhir_server.operations.calls import prepare
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import bundle, observation, patient, post
from tests.support.clause import clause
from tests.support.http import FhirClient, Reply

KINDS = pytest.mark.parametrize("kind", ["batch", "transaction"])


def door(entry: Entry, **settings: Any) -> FhirClient:
    made = replace(entry, settings=replace(entry.settings, operations=prepare, **settings))
    return FhirClient(
        Door(Installation(made, Config(), Capabilities(made.settings, BUILT, made.clock()))).wsgi
    )


@pytest.fixture
def client(entry: Entry) -> FhirClient:
    return door(entry)


@pytest.fixture
def ann(client: FhirClient) -> str:
    """The id of a patient with one observation."""
    id_ = str(client.post("Patient", patient("Entry")).json["id"])
    assert client.post("Observation", observation(f"Patient/{id_}")).status == 201
    return id_


def ask(method: str, url: str, resource: dict[str, Any] | None = None, **request: str) -> dict[str, Any]:
    asked = {"request": {"method": method, "url": url, **request}}
    return asked if resource is None else {**asked, "resource": resource}


def answers(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.data
    made: list[dict[str, Any]] = reply.json["entry"]
    return made


def status(answer: dict[str, Any]) -> str:
    return str(answer["response"]["status"].split()[0])


@KINDS
@clause(
    "R4/http.html#transaction", "an entry may be any GET: read, vread, history, and searches at all levels"
)
def test_reads_and_searches(client: FhirClient, ann: str, kind: str) -> None:
    urls = (
        f"Patient/{ann}", f"/Patient/{ann}/_history/1", f"Patient/{ann}/_history",
        "Patient/_history?_count=1", "_history?_count=1", f"Patient?_id={ann}", f"?_type=Patient&_id={ann}",
        f"Patient/{ann}/Observation?status=final", f"Patient/{ann}/*",
        f"http://127.0.0.1/fhir/Patient/{ann}", f"http://127.0.0.1/fhir?_type=Patient&_id={ann}",
    )  # fmt: skip
    made = answers(client.post("", bundle(kind, *(ask("GET", url) for url in urls))))
    assert [status(answer) for answer in made] == ["200"] * len(urls)
    told = [(answer["resource"]["resourceType"], answer["resource"].get("type")) for answer in made]
    patient_, history, found = ("Patient", None), ("Bundle", "history"), ("Bundle", "searchset")
    assert told == [
        patient_, patient_, history, history, history, found, found, found, found, patient_, found,
    ]  # fmt: skip
    assert [entry["resource"]["id"] for entry in made[5]["resource"]["entry"]] == [ann]
    assert len(made[7]["resource"]["entry"]) == 1


@KINDS
@clause("R4/http.html#transaction", "HEAD is GET without the resource")
def test_head(client: FhirClient, ann: str, kind: str) -> None:
    made = answers(
        client.post("", bundle(kind, ask("HEAD", f"Patient/{ann}"), ask("HEAD", "Patient?_count=1")))
    )
    assert [status(answer) for answer in made] == ["200", "200"]
    assert made[0]["response"]["etag"] == 'W/"1"'
    assert not any("resource" in answer for answer in made)


@KINDS
@clause("R4/http.html#cread", "ifNoneMatch and ifModifiedSince of an entry: 304 without the resource")
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"ifNoneMatch": 'W/"1"'}, "304"),
        ({"ifNoneMatch": 'W/"7", W/"1"'}, "304"),
        ({"ifNoneMatch": 'W/"2"'}, "200"),
        ({"ifModifiedSince": "2026-01-02T03:04:05.678Z"}, "304"),
        ({"ifModifiedSince": "2025-12-31T00:00:00+01:00"}, "200"),
        ({"ifNoneMatch": 'W/"2"', "ifModifiedSince": "2030-01-01T00:00:00Z"}, "200"),
    ],
)
def test_conditional_read(
    client: FhirClient, ann: str, kind: str, condition: dict[str, str], expected: str
) -> None:
    (made,) = answers(client.post("", bundle(kind, ask("GET", f"Patient/{ann}", **condition))))
    assert status(made) == expected
    assert ("resource" in made) == (expected == "200")
    assert made["response"]["etag"] == 'W/"1"'


@KINDS
@clause("R4/operations.html#3.2.0.1", "operations that change nothing are entries like any other")
def test_operations(client: FhirClient, ann: str, kind: str) -> None:
    whole = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "expression", "valueString": "name.family"},
            {"name": "resource", "resource": patient("Asked")},
        ],
    }
    entries = (
        ask("POST", "Patient/$validate", patient()),
        ask("POST", "Patient/$validate", patient(gender="unheard")),
        ask("GET", f"Patient/{ann}/$validate?mode=delete"),
        ask("POST", "$fhirpath", whole),
    )
    made = answers(client.post("", bundle(kind, *entries)))
    assert [status(answer) for answer in made] == ["200"] * 4
    outcomes = [answer["resource"] for answer in made]
    assert [outcome["resourceType"] for outcome in outcomes] == ["OperationOutcome"] * 3 + ["Parameters"]
    assert [outcomes[0]["issue"][0]["severity"], outcomes[1]["issue"][0]["severity"]] == [
        "information",
        "error",
    ]
    assert "Asked" in json.dumps(outcomes[3])


@clause("R4/operations.html#3.2.0.1", "an operation in a transaction sees what the transaction wrote")
def test_an_operation_comes_last(client: FhirClient) -> None:
    new = {**patient("Late"), "id": "late-operation"}
    made = answers(
        client.post(
            "",
            bundle(
                "transaction",
                ask("GET", "Patient/late-operation/$validate"),
                ask("PUT", "Patient/late-operation", new),
            ),
        )
    )
    assert "All OK" in made[0]["resource"]["issue"][0]["diagnostics"]


@KINDS
@clause("R4/http.html#capabilities", "GET metadata as an entry: the statement, its modes and parts")
def test_metadata(client: FhirClient, kind: str) -> None:
    alone = client.get("metadata")
    made = answers(
        client.post(
            "",
            bundle(
                kind,
                ask("GET", "metadata"),
                ask("GET", "http://127.0.0.1/fhir/metadata?mode=terminology"),
                ask("GET", "metadata?_elements=software"),
                ask("GET", "metadata", ifNoneMatch=alone.headers["ETag"]),
                ask("HEAD", "metadata"),
            ),
        )
    )
    assert [status(answer) for answer in made] == ["200", "200", "200", "304", "200"]
    assert made[0]["resource"] == alone.json
    assert made[1]["resource"]["resourceType"] == "TerminologyCapabilities"
    assert made[2]["resource"] == client.get("metadata?_elements=software").json
    assert all("resource" not in answer for answer in made[3:])


@KINDS
@clause("R4/search.html#summary", "_summary and _elements of a read in a Bundle, as of the read alone")
def test_parts(client: FhirClient, kind: str) -> None:
    id_ = client.post("Patient", patient("Partly", gender="female")).json["id"]
    parts = [f"Patient/{id_}?_elements=gender", f"Patient/{id_}/_history/1?_summary=text"]
    made = answers(client.post("", bundle(kind, *(ask("GET", part) for part in parts))))
    assert [answer["resource"] for answer in made] == [client.get(part).json for part in parts]
    assert all(answer["response"]["etag"] == 'W/"1"' for answer in made)
    assert "name" not in made[0]["resource"]


WRONG = [
    (ask("POST", "ValueSet/$lookup", patient()), "404", "$lookup"),
    (ask("GET", "ValueSet/$expand?url=urn:a"), "404", "$expand"),
    (ask("GET", "Patient/7/$nonsense"), "404", "$nonsense"),
    (ask("POST", "Patient/$validate", {"resourceType": "Observation"}), "400", "Observation"),
    (ask("GET", "Patient/$validate?colour=red"), "400", "colour"),
    (ask("PUT", "Patient/$validate", patient()), "400", "PUT cannot call $validate"),
    (ask("GET", "Patient/7/_history/$validate"), "400", "no interaction"),
    (ask("GET", "ImplementationGuide/$install"), "405", "$install"),
    (ask("GET", "metadata?mode=loud"), "400", "mode=loud is not known"),
    (ask("GET", "metadata?colour=red"), "400", "metadata has no parameter 'colour'"),
    (ask("POST", "metadata", patient()), "400", "POST metadata cannot be an entry"),
    (ask("GET", "Patient/7", ifModifiedSince="yesterday"), "400", "instant"),
    (ask("PUT", "Patient/7", {**patient(), "id": "7"}, ifNoneMatch='W/"3"'), "400", "ifNoneMatch"),
    (ask("GET", "Patient?" + "&".join(["name=a"] * 501)), "400", "500 parameters"),
    (ask("GET", "Patient?colour=red"), "400", "colour"),
    (ask("GET", "Patient/nobody"), "404", "nobody"),
]


@pytest.mark.parametrize(("entry_", "expected", "says"), WRONG)
@clause(
    "R4/http.html#trules", "what is wrong with an entry is told with its number, in batch and transaction"
)
def test_refusals_name_the_entry(
    client: FhirClient, entry_: dict[str, Any], expected: str, says: str
) -> None:
    good = ask("GET", "Patient?_count=1")
    whole = client.post("", bundle("transaction", good, entry_))
    assert whole.status == int(expected)
    assert says in whole.issue["diagnostics"]
    assert whole.issue["expression"][0].startswith("Bundle.entry[1]")
    first, second = answers(client.post("", bundle("batch", good, entry_)))
    assert [status(first), status(second)] == ["200", expected]
    issue = second["response"]["outcome"]["issue"][0]
    assert says in issue["diagnostics"]
    assert issue["expression"][0].startswith("Bundle.entry[1]")


@clause("R4/http.html#trules", "an operation that changes something is no part of a transaction")
def test_an_operation_that_changes_something(client: FhirClient) -> None:
    install = {"resourceType": "Parameters", "parameter": [{"name": "package", "valueBase64Binary": "AAAA"}]}
    reply = client.post("", bundle("transaction", ask("POST", "ImplementationGuide/$install", install)))
    assert reply.status == 400
    assert "$install" in reply.issue["diagnostics"]
    (made,) = answers(client.post("", bundle("batch", ask("POST", "ImplementationGuide/$install", install))))
    assert status(made) in ("400", "422")
    assert "cannot share" not in json.dumps(made)


@KINDS
@clause("R4/http.html#patch", "PATCH entries: JSON Patch in a Binary, FHIRPath Patch as Parameters")
def test_patches(client: FhirClient, kind: str) -> None:
    first, second = (str(client.post("Patient", patient("Patched")).json["id"]) for _ in range(2))
    operations = json.dumps([{"op": "add", "path": "/active", "value": True}]).encode()
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(operations).decode(),
    }
    parts = {"type": "add", "path": "Patient", "name": "active"}
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {
                "name": "operation",
                "part": [
                    *({"name": name, f"value{'Code' if name == 'type' else 'String'}": text}
                      for name, text in parts.items()),
                    {"name": "value", "valueBoolean": True},
                ],
            }
        ],
    }  # fmt: skip
    body = bundle(
        kind, ask("PATCH", f"Patient/{first}", binary), ask("PATCH", f"Patient/{second}", parameters)
    )
    made = answers(client.post("", body, Prefer="return=representation"))
    assert [status(answer) for answer in made] == ["200", "200"]
    assert [answer["resource"]["active"] for answer in made] == [True, True]


@KINDS
@clause("R4/http.html#ops", "Prefer holds for every entry: minimal, representation, OperationOutcome")
def test_prefer(client: FhirClient, kind: str) -> None:
    body = bundle(kind, post(patient()), ask("DELETE", "Patient/never-there"))
    wishes = ({}, *({"Prefer": f"return={name}"} for name in RETURNS))
    plain, minimal, whole, outcome = (answers(client.post("", body, **wish)) for wish in wishes)
    assert "resource" not in plain[0]
    assert "resource" not in minimal[0]
    assert whole[0]["resource"]["resourceType"] == "Patient"
    assert "resource" not in outcome[0]
    said = [answer["response"]["outcome"]["issue"][-1]["diagnostics"] for answer in outcome]
    assert "created, version 1" in said[0]
    assert "nothing to delete" in said[1]
    assert all("outcome" not in answer["response"] for answer in (*plain, *minimal, *whole))


@clause(
    "R4/http.html#batch", "what does not fit into the answer is told entry by entry; writes keep their status"
)
def test_a_batch_is_bounded(entry: Entry) -> None:
    client = door(entry, max_response_bytes=5_000)
    big = {**patient("x" * 3_000), "id": "batch-bounded"}
    entries = (ask("PUT", "Patient/batch-bounded", big), *[ask("GET", "Patient/batch-bounded")] * 2)
    made = answers(client.post("", bundle("batch", *entries), Prefer="return=representation"))
    assert [status(answer) for answer in made] == ["201", "422", "422"]
    assert made[1]["response"]["outcome"]["issue"][0]["code"] == "too-costly"
    made = answers(client.post("", bundle("batch", *reversed(entries)), Prefer="return=representation"))
    assert [status(answer) for answer in made] == ["200", "422", "200"]
    assert "resource" not in made[2]
    assert "max_response_bytes" in made[2]["response"]["outcome"]["issue"][-1]["diagnostics"]


@clause("R4/http.html#trules", "a transaction whose answer would be too long is refused whole")
def test_a_transaction_is_bounded(entry: Entry) -> None:
    client = door(entry, max_response_bytes=5_000)
    big = {**patient("x" * 3_000), "id": "transaction-bounded"}
    entries = (
        ask("PUT", "Patient/transaction-bounded", big),
        *[ask("GET", "Patient/transaction-bounded")] * 2,
    )
    reply = client.post("", bundle("transaction", *entries))
    assert reply.status == 422
    assert reply.issue["expression"] == ["Bundle.entry[2]"]
    assert client.get("Patient/transaction-bounded").status == 404


def test_operations_are_wired() -> None:
    from fhir_server.app import create_entry

    assert create_entry(Config(), "postgresql://nowhere", connections=1).settings.operations is prepare
    assert Settings(base_urls=("http://a",)).operations is None
