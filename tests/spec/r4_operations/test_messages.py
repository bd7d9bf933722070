"""What a refused or warned writer reads: places, rules, all problems at once (R4/operationoutcome.html)."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.outcome import COLUMN, LINE, Issue
from tests.support.builders import bundle, patient, post, put
from tests.support.clause import clause
from tests.support.http import FhirClient, Reply

POST = b'{"method": "POST", "url": "Patient"}'
LIBRARY = {"resourceType": "Library", "name": "not a name", "status": "draft", "type": {"text": "x"}}


def place(issue: dict[str, Any]) -> tuple[int, int]:
    assert [each["url"] for each in issue["extension"]] == [LINE, COLUMN]
    return issue["extension"][0]["valueInteger"], issue["extension"][1]["valueInteger"]


def severities(reply: Reply) -> list[str]:
    return [issue["severity"] for issue in reply.json["issue"]]


@clause("R4/operationoutcome.html", "every problem of a refused body has the line and column of its element")
def test_places_of_a_write(client: FhirClient) -> None:
    text = (
        '{"resourceType": "Patient",\r\n  "name": [{"family": "Ü", "use": "x"}],\n\t"birthDate": "1970-13"}'
    )
    for reply in (client.post("Patient", text.encode()), client.put("Patient?name=x", text.encode())):
        assert [(issue["expression"][0], place(issue)) for issue in reply.json["issue"]] == [
            ("Patient.name[0].use", (2, 35)),
            ("Patient.birthDate", (3, 15)),
        ]


@clause("R4/operationoutcome.html", "what cannot be read as JSON has its place too")
@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b'{"resourceType":"Patient",\n  "active": tru}', (2, 17)),
        (b'{"resourceType":"Patient",\n"a":1,"a":2}', (2, 7)),
        (b'{"resourceType":"Patient",\n"a":"\xff"}', (2, 6)),
        (b'{"resourceType":"Patient"', (1, 26)),
    ],
)
def test_places_of_broken_json(client: FhirClient, text: bytes, where: tuple[int, int]) -> None:
    issue = client.post("Patient", text).json["issue"][0]
    assert place(issue) == where
    assert issue["diagnostics"].startswith(f"line {where[0]}, column {where[1]}: ")


@clause("R4/operationoutcome.html", "an issue that is about the request and not the body has no place")
def test_no_place(client: FhirClient) -> None:
    for reply in (
        client.post("Patient", patient(), If_None_Exist="nothing=1"),
        client.put("Patient/7", patient(id="7"), If_Match='W/"9"'),
        client.get("Patient?nothing=1"),
    ):
        assert reply.status in (400, 412)
        assert "extension" not in reply.issue


@clause(
    "R4/http.html#trules", "a refused transaction names the problems of all its entries, and writes nothing"
)
def test_transaction(client: FhirClient) -> None:
    text = (
        b'{"resourceType": "Bundle", "type": "transaction", "entry": [\n'
        b'{"resource": {"resourceType": "Patient", "gender": "x"}, "request": ' + POST + b"},\n"
        b'{"resource": {"resourceType": "Patient"}, "request": ' + POST + b"},\n"
        b'{"resource": {"resourceType": "Patient", "nme": 1}, "request": ' + POST + b"}]}"
    )
    before = client.get("Patient?_summary=count").json["total"]
    reply = client.post("", text)
    assert reply.status == 400
    assert [(issue["expression"][0], place(issue)) for issue in reply.json["issue"]] == [
        ("Bundle.entry[0].resource.gender", (2, 52)),
        ("Bundle.entry[2].resource.nme", (4, 49)),
    ]
    assert client.get("Patient?_summary=count").json["total"] == before


@clause("R4/http.html#trules", "more problems than anybody reads are cut off, and that is said")
def test_capped(client: FhirClient) -> None:
    wrong = [post(patient(gender="x")) for _ in range(130)]
    found = client.post("", bundle("transaction", *wrong)).json["issue"]
    assert len(found) == 101
    assert found[-1]["diagnostics"].startswith("more than 100 problems; the first 100 are listed, see ")


@clause(
    "R4/bundle.html", "each refused entry of a batch has its outcome, with places in the Bundle that was sent"
)
def test_batch(client: FhirClient) -> None:
    text = (
        b'{"resourceType": "Bundle", "type": "batch", "entry": [\n'
        b'{"resource": {"resourceType": "Patient", "gender": "x"}, "request": ' + POST + b"},\n"
        b'{"resource": {"resourceType": "Patient"}, "request": ' + POST + b"},\n"
        b'{"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Nothing"}}]}'
    )
    first, second, third = (entry["response"] for entry in client.post("", text).json["entry"])
    [issue] = first["outcome"]["issue"]
    assert (issue["expression"], place(issue)) == (["Bundle.entry[0].resource.gender"], (2, 52))
    assert second["status"] == "201 Created"
    assert "outcome" not in second
    assert place(third["outcome"]["issue"][0])[0] == 4


@clause(
    "R4/http.html#ops", "warnings of a write that was done: with return=OperationOutcome they are the body"
)
def test_warnings(client: FhirClient) -> None:
    reply = client.post("Library", LIBRARY, Prefer="return=OperationOutcome")
    assert (reply.status, severities(reply)) == (201, ["warning", "information"])
    assert "X-Warnings" not in reply.headers
    id_ = reply.headers["Location"].split("/")[-3]
    again = client.put(
        f"Library/{id_}", {**LIBRARY, "id": id_, "title": "x"}, Prefer="return=OperationOutcome"
    )
    assert (again.status, severities(again)) == (200, ["warning", "information"])


@clause("R4/http.html#ops", "otherwise a header says that there are some")
def test_warnings_are_announced(client: FhirClient) -> None:
    for prefer in ("return=minimal", "return=representation", ""):
        reply = client.post("Library", LIBRARY, Prefer=prefer)
        assert (reply.status, reply.headers["X-Warnings"]) == (201, "1")
    assert "X-Warnings" not in client.post("Patient", patient()).headers


@clause("R4/bundle.html#bundle-response", "warnings of entries are in their outcomes, and name the entry")
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_warnings_of_entries(client: FhirClient, kind: str) -> None:
    sent = bundle(kind, post(patient()), post(LIBRARY), put({**LIBRARY, "id": "warned"}, "Library/warned"))
    first, *others = (entry["response"] for entry in client.post("", sent).json["entry"])
    assert "outcome" not in first
    for number, response in enumerate(others, 1):
        [issue] = response["outcome"]["issue"]
        assert (issue["severity"], issue["expression"]) == ("warning", [f"Bundle.entry[{number}].resource"])


@clause("R4/operationoutcome.html", "a rule is named by its definition and key, and by a page to open")
@pytest.mark.parametrize(
    ("canonical", "page"),
    [
        ("http://hl7.org/fhir/StructureDefinition/Patient#pat-1", "patient.html#invs"),
        ("http://hl7.org/fhir/StructureDefinition/DomainResource#dom-3", "domainresource.html#invs"),
        ("http://hl7.org/fhir/StructureDefinition/Quantity#qty-3", "datatypes.html#Quantity"),
        ("http://hl7.org/fhir/StructureDefinition/Extension#ext-1", "extensibility.html#Extension"),
        (
            "http://hl7.org/fhir/StructureDefinition/vitalsigns#vs-1",
            "observation-vitalsigns.html#vitals-table",
        ),
        ("http://hl7.org/fhir/StructureDefinition/cqf-library#x", None),
        ("http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient#us-core-6", None),
    ],
)
def test_rules(canonical: str, page: str | None) -> None:
    issue = Issue("error", "invariant", "what is wrong", "Patient", canonical).as_json()
    system, _, key = canonical.partition("#")
    assert issue["details"]["coding"] == [{"system": system, "code": key}]
    assert issue["diagnostics"] == "what is wrong" + (f", see http://hl7.org/fhir/R4/{page}" if page else "")
