"""What the entries of a Bundle say of each other (R4: http.html#trules, #brules, bundle.html#references)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.builders import bundle, identified, observation, patient, post, put
from tests.support.clause import clause
from tests.support.http import FhirClient

ELSEWHERE = "http://other.example/fhir"
REPRESENTATION = {"Prefer": "return=representation"}


def done(client: FhirClient, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    reply = client.send("POST", "", bundle("transaction", *entries), REPRESENTATION)
    assert reply.status == 200, reply.data
    return [each["resource"] for each in reply.json["entry"]]


@clause("R4/bundle.html#references", "a relative reference begins at the fullUrl of the entry that has it")
def test_relative_references(client: FhirClient) -> None:
    made, there, urn, none = done(
        client,
        post(patient(), f"{ELSEWHERE}/Patient/12"),
        post(observation("Patient/12"), f"{ELSEWHERE}/Observation/1"),
        post(observation("Patient/12"), "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0b"),
        post(observation("Patient/12")),
    )
    assert there["subject"]["reference"] == f"Patient/{made['id']}"
    # no base is said: they are meant as references to what is here
    assert urn["subject"]["reference"] == none["subject"]["reference"] == "Patient/12"


@clause("R4/http.html#trules", "references to a version stay such: of the version that the entry makes")
def test_versioned_references(client: FhirClient) -> None:
    found = client.post("Patient", identified("version-there")).json
    again = client.put(
        f"Patient/{found['id']}", {**identified("version-there", "New"), "id": found["id"]}
    ).json
    made, _, absolute, relative, existing, stranger = done(
        client,
        post(patient(), f"{ELSEWHERE}/Patient/12"),
        post(patient(), f"{ELSEWHERE}/Patient/13", "identifier=urn:test:mrn|version-there"),
        post(observation(f"{ELSEWHERE}/Patient/12/_history/3")),
        post(observation("Patient/12/_history/3"), f"{ELSEWHERE}/Observation/1"),
        post(observation(f"{ELSEWHERE}/Patient/13/_history/1")),
        post(observation(f"{ELSEWHERE}/Patient/14/_history/1")),
    )
    assert absolute["subject"] == relative["subject"] == {"reference": f"Patient/{made['id']}/_history/1"}
    assert existing["subject"]["reference"] == f"Patient/{again['id']}/_history/2"
    assert stranger["subject"]["reference"] == f"{ELSEWHERE}/Patient/14/_history/1"


@clause(
    "R4/http.html#trules", "attachments and links of narratives lead to what the entry made; canonicals stay"
)
def test_other_links(client: FhirClient) -> None:
    url = f"{ELSEWHERE}/Binary/5"
    div = (
        '<div xmlns="http://www.w3.org/1999/xhtml">'
        f'<a href=\'{url}\'>it</a> <a href="Binary/5">it</a> <a href="#a" id="a">here</a> {url}</div>'
    )
    document = {
        "resourceType": "DocumentReference",
        "status": "current",
        "text": {"status": "additional", "div": div},
        "extension": [{"url": url, "valueUri": url}],
        "content": [{"attachment": {"contentType": "text/plain", "url": url}}],
    }
    answer = {
        "resourceType": "QuestionnaireResponse",
        "status": "completed",
        "questionnaire": f"{ELSEWHERE}/Questionnaire/1",
    }
    binary, _, made, filled = done(
        client,
        post({"resourceType": "Binary", "contentType": "text/plain", "data": "YQ=="}, url),
        post({"resourceType": "Questionnaire", "status": "active"}, f"{ELSEWHERE}/Questionnaire/1"),
        post(document, f"{ELSEWHERE}/DocumentReference/1"),
        post(answer),
    )
    address = f"Binary/{binary['id']}"
    assert made["content"][0]["attachment"]["url"] == address
    assert f"<a href='{address}'>" in made["text"]["div"]
    assert f'<a href="{address}">' in made["text"]["div"]
    assert f"{url}</div>" in made["text"]["div"], "a text is no link"
    assert made["extension"] == [{"url": url, "valueUri": url}]
    assert filled["questionnaire"] == f"{ELSEWHERE}/Questionnaire/1"


@clause("R4/http.html#trules", "conditional references are resolved last: they find what the Bundle makes")
def test_conditional_reference_to_an_entry(client: FhirClient) -> None:
    reference = "Patient?identifier=urn:test:mrn|inside"
    # the one that is found refers in the same way itself
    boss = {"resourceType": "Practitioner", "identifier": [{"system": "urn:test:mrn", "value": "boss"}]}
    person = identified("inside")
    person["generalPractitioner"] = [{"reference": "Practitioner?identifier=urn:test:mrn|boss"}]
    seen, made, doctor = done(client, post(observation(reference)), post(person), post(boss))
    assert seen["subject"]["reference"] == f"Patient/{made['id']}"
    assert made["generalPractitioner"] == [{"reference": f"Practitioner/{doctor['id']}"}]
    assert made["meta"]["versionId"] == "1"
    history = client.get(f"Patient/{made['id']}/_history").json
    assert len(history["entry"]) == 1, "what was looked at on the way is not there"


@clause("R4/http.html#trules", "conditional references do not find what the Bundle deletes or changes away")
def test_conditional_reference_to_what_goes(client: FhirClient) -> None:
    old, new = (client.post("Patient", identified("goes")).json for _ in range(2))
    observed = post(observation("Patient?identifier=urn:test:mrn|goes"))
    assert client.post("", bundle("transaction", observed)).status == 412
    seen = client.send(
        "POST",
        "",
        bundle("transaction", observed, {"request": {"method": "DELETE", "url": f"Patient/{old['id']}"}}),
        REPRESENTATION,
    )
    assert seen.json["entry"][0]["resource"]["subject"]["reference"] == f"Patient/{new['id']}"
    moved = put({**identified("elsewhere"), "id": new["id"]}, f"Patient/{new['id']}")
    refused = client.post("", bundle("transaction", observed, moved))
    assert refused.status == 412
    assert client.get(f"Patient/{new['id']}").headers["ETag"] == 'W/"1"'


@clause("R4/http.html#trules", "a conditional reference that a new entry makes ambiguous fails the whole")
def test_conditional_reference_made_ambiguous(client: FhirClient) -> None:
    client.post("Patient", identified("twice"))
    observed = post(observation("Patient?identifier=urn:test:mrn|twice"))
    refused = client.post("", bundle("transaction", observed, post(identified("twice"))))
    assert (refused.status, refused.issue["code"]) == (412, "multiple-matches")
    assert refused.issue["expression"] == ["Bundle.entry[0].resource.subject.reference"]
    assert client.get("Patient?identifier=urn:test:mrn|twice&_summary=count").json["total"] == 1


@clause(
    "R4/bundle-definitions.html#Bundle.entry.response.status", "a code with the words that HTTP has for it"
)
@pytest.mark.parametrize(
    ("url", "status"),
    [("Patient/nobody", "404 Not Found"), ("Nonsense", "404 Not Found"), ("Patient?a=b", "400 Bad Request")],
)
def test_status(client: FhirClient, url: str, status: str) -> None:
    reply = client.post("", bundle("batch", {"request": {"method": "GET", "url": url}}))
    assert reply.json["entry"][0]["response"]["status"] == status


@clause(
    "R4/http.html#brules", "an entry that refers to another one of the batch is refused, the others are done"
)
def test_entries_of_a_batch_do_not_depend(client: FhirClient) -> None:
    urn = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0c"
    reply = client.post("", bundle("batch", post(observation(urn)), post(patient(), urn))).json["entry"]
    assert [each["response"]["status"] for each in reply] == ["400 Bad Request", "201 Created"]
    issue = reply[0]["response"]["outcome"]["issue"][0]
    assert "transaction" in issue["diagnostics"]
    assert issue["expression"] == ["Bundle.entry[0].resource.subject.reference"]


@clause(
    "R4/http.html#transaction", "an entry is what its request would be by itself: other requests are refused"
)
@pytest.mark.parametrize("kind", ["batch", "transaction"])
@pytest.mark.parametrize(
    ("method", "url", "said"),
    [
        ("POST", "Patient/walk-1", "PUT Patient/walk-1"),
        ("PUT", "Patient/walk-1", "needs the same id"),
        ("POST", "Patient/_search", "GET Patient?"),
        ("POST", "_search", "GET Patient?"),
    ],
)
def test_requests_that_are_none(client: FhirClient, kind: str, method: str, url: str, said: str) -> None:
    entry = {"resource": patient(), "request": {"method": method, "url": url}}
    reply = client.post("", bundle(kind, entry))
    told = reply.json["entry"][0]["response"]["outcome"] if kind == "batch" else reply.json
    assert reply.status == (200 if kind == "batch" else 400)
    assert said in told["issue"][0]["diagnostics"]
    assert client.get("Patient/walk-1").status == 404
