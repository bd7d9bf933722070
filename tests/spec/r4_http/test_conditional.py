"""The conditional forms of every interaction (R4/http.html#cread to #concurrency)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import bundle, identified, patient, post, put
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]


def family(client: FhirClient, name: str, count: int) -> list[str]:
    """Store so many patients of one name and return their ids."""
    return [client.post("Patient", identified(f"{name}-{n}", name)).json["id"] for n in range(count)]


def with_settings(entry: Entry, **changed: Any) -> FhirClient:
    """Return the door of an installation that decides otherwise."""
    entry = replace(entry, settings=replace(entry.settings, **changed))
    return FhirClient(
        Door(Installation(entry, Config(), Capabilities(entry.settings, BUILT, entry.clock()))).wsgi
    )


def entry_of(reply: Any) -> dict[str, Any]:
    """Return the first entry of a response Bundle."""
    assert reply.status == 200, reply.data
    first: dict[str, Any] = reply.json["entry"][0]
    return first


@clause("R4/http.html#cdelete", "several matches are deleted together, and the answer says how many")
def test_conditional_delete_of_several(client: FhirClient) -> None:
    ids = family(client, "Several", 3)
    reply = client.delete("Patient?family=Several")
    assert reply.status == 200
    assert reply.issue["severity"] == "information"
    assert reply.issue["diagnostics"].startswith("3 resources of type Patient are deleted: ")
    assert all(id_ in reply.issue["diagnostics"] for id_ in ids)
    assert [client.get(f"Patient/{id_}").status for id_ in ids] == [410] * 3
    assert client.delete("Patient?family=Several").status == 204


@clause("R4/http.html#ops", "Prefer: return=minimal leaves the answer to a delete without a body")
def test_minimal_delete(client: FhirClient) -> None:
    family(client, "Minimal", 2)
    reply = client.delete("Patient?family=Minimal", Prefer="return=minimal")
    assert (reply.status, reply.data) == (204, b"")
    told = client.delete("Patient?family=Minimal", Prefer="return=OperationOutcome")
    assert (told.status, told.issue["diagnostics"]) == (200, "there was nothing to delete")


@clause("R4/http.html#cdelete", "over the limit: 412, how many match, and nothing is deleted")
def test_conditional_delete_over_the_limit(client: FhirClient, entry: Entry) -> None:
    ids = family(client, "Many", 4)
    limited = with_settings(entry, max_conditional_deletes=3)
    for at, path in ((limited, "Patient?family=Many"), (client, "Patient?family=Many&_count=3")):
        reply = at.delete(path)
        assert (reply.status, reply.issue["code"]) == (412, "multiple-matches")
        assert "matches 4 resources" in reply.issue["diagnostics"]
        assert "3 at most" in reply.issue["diagnostics"]
        assert client.get(f"Patient/{ids[0]}").status == 200
    assert limited.delete("Patient?family=Many&_count=100").status == 412, "_count does not raise the limit"
    assert client.delete("Patient?family=Many&_count=4").status == 200


@clause("R4/http.html#cdelete", "single or multiple, as the CapabilityStatement says")
@pytest.mark.parametrize(("limit", "says"), [(1, "single"), (2, "multiple")])
def test_conditional_delete_is_declared(entry: Entry, limit: int, says: str) -> None:
    client = with_settings(entry, max_conditional_deletes=limit)
    resources = client.get("metadata").json["rest"][0]["resource"]
    assert {each["conditionalDelete"] for each in resources} == {says}
    name = f"Declared{says}"
    family(client, name, 2)
    assert client.delete(f"Patient?family={name}").status == (412 if says == "single" else 200)


@clause("R4/http.html#cdelete", "criteria that select nothing in particular are refused")
@pytest.mark.parametrize(
    "query",
    ["", "?", "?_count=5", "?_sort=name", "?nonsense=1", "?family=x&_include=*", "?family=x&_count=0"],
)
def test_conditional_delete_needs_criteria(client: FhirClient, query: str) -> None:
    assert client.delete(f"Patient{query}").status == 400


@clause("R4/http.html#cdelete", "inside batch and transaction: how many, in the entry's outcome")
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_conditional_delete_in_a_bundle(client: FhirClient, kind: str) -> None:
    ids = family(client, f"In{kind}", 2)
    gone = {"request": {"method": "DELETE", "url": f"Patient?family=In{kind}"}}
    response = entry_of(client.post("", bundle(kind, gone)))["response"]
    assert response["status"] == "200 OK"
    assert response["outcome"]["issue"][0]["diagnostics"].startswith("2 resources of type Patient")
    assert [client.get(f"Patient/{id_}").status for id_ in ids] == [410, 410]
    again = entry_of(client.post("", bundle(kind, gone)))["response"]
    assert again["status"] == "204 No Content"


@clause(
    "R4/http.html#trules", "two entries on one resource are refused, also by a conditional delete of several"
)
def test_conditional_delete_meets_an_update(client: FhirClient) -> None:
    ids = family(client, "Meets", 2)
    sent = bundle(
        "transaction",
        {"request": {"method": "DELETE", "url": "Patient?family=Meets"}},
        put(patient("New", id=ids[1]), f"Patient/{ids[1]}"),
    )
    reply = client.post("", sent)
    assert (reply.status, "may write a resource once" in reply.issue["diagnostics"]) == (400, True)
    assert client.get(f"Patient/{ids[0]}").status == 200


@clause(
    "R4/http.html#trules", "deletions come first: a conditional create does not find what the Bundle deletes"
)
def test_replace_in_one_transaction(client: FhirClient) -> None:
    old = client.post("Patient", identified("replaced")).json["id"]
    criteria = "identifier=urn:test:mrn|replaced"
    sent = bundle(
        "transaction",
        post(identified("replaced"), None, criteria),
        {"request": {"method": "DELETE", "url": f"Patient/{old}"}},
    )
    made = entry_of(client.post("", sent))["response"]
    assert made["status"] == "201 Created"
    assert f"Patient/{old}/" not in made["location"]


@clause("R4/http.html#ccreate", "two conditional creates with the same criteria in one transaction make one")
def test_twins_in_one_transaction(client: FhirClient) -> None:
    criteria = (
        "identifier=urn:test:mrn|twin-1&family=Chalmers",
        "family=Chalmers&identifier=urn:test:mrn|twin-1",
    )
    urns = [f"urn:uuid:00000000-0000-4000-8000-00000000000{n}" for n in (1, 2)]
    sent = [post(identified("twin-1"), urn, asked) for urn, asked in zip(urns, criteria, strict=True)]
    reply = client.post("", bundle("transaction", *sent))
    made = [each["response"] for each in reply.json["entry"]]
    assert [each["status"] for each in made] == ["201 Created", "200 OK"]
    assert made[0]["location"] == made[1]["location"]


@clause("R4/http.html#ccreate", "criteria with a parameter that shapes answers are refused")
def test_conditional_create_with_a_count(client: FhirClient) -> None:
    reply = client.post("Patient", patient(), If_None_Exist="family=Nobody&_count=1")
    assert (reply.status, "_count" in reply.issue["diagnostics"]) == (400, True)


@clause("R4/http.html#ccreate", "several matches: 412")
def test_conditional_create_with_two_matches(client: FhirClient) -> None:
    family(client, "Twice", 2)
    reply = client.post("Patient", patient("Twice"), If_None_Exist="family=Twice")
    assert (reply.status, reply.issue["code"]) == (412, "multiple-matches")


@clause("R4/http.html#cond-update", "no match and an id in the body: created under that id")
def test_conditional_update_creates_under_its_id(client: FhirClient) -> None:
    reply = client.put("Patient?identifier=urn:test:mrn|cuid-1", {**identified("cuid-1"), "id": "cuid-1"})
    assert (reply.status, reply.json["id"]) == (201, "cuid-1")


@clause("R4/http.html#cond-update", "one match: the body has its id or none; with another one 400")
@pytest.mark.parametrize("kind", ["alone", "batch", "transaction"])
def test_conditional_update_with_another_id(client: FhirClient, kind: str) -> None:
    value = f"cuid-2-{kind}"
    id_ = client.post("Patient", identified(value)).json["id"]
    path = f"Patient?identifier=urn:test:mrn|{value}"

    def status(body: dict[str, Any]) -> int:
        if kind == "alone":
            return client.put(path, body).status
        reply = client.post("", bundle(kind, put(body, path)))
        return reply.status if reply.status != 200 else int(entry_of(reply)["response"]["status"].split()[0])

    assert status({**identified(value, "Same"), "id": id_}) == 200
    assert status({**identified(value, "Other"), "id": "other"}) == 400
    assert status(identified(value, "None")) == 200
    assert client.get(f"Patient/{id_}").json["name"][0]["family"] == "None"


@clause(
    "R4/http.html#cond-update",
    "no match, and the body has the id of another resource: 409, it is not overwritten",
)
@pytest.mark.parametrize("kind", ["alone", "batch", "transaction"])
def test_conditional_update_onto_a_stranger(client: FhirClient, kind: str) -> None:
    taken = client.post("Patient", identified("stranger")).json["id"]
    body, path = {**identified("nobody"), "id": taken}, "Patient?identifier=urn:test:mrn|nobody"
    if kind == "alone":
        assert client.put(path, body).status == 409
    else:
        reply = client.post("", bundle(kind, put(body, path)))
        assert "409" in (
            str(reply.status),
            reply.json.get("entry", [{}])[0].get("response", {}).get("status", "")[:3],
        )
    assert client.get(f"Patient/{taken}").json["identifier"][0]["value"] == "stranger"


@clause("R4/http.html#cond-update", "several matches: 412")
def test_conditional_update_with_two_matches(client: FhirClient) -> None:
    family(client, "Both", 2)
    assert client.put("Patient?family=Both", patient("Both")).status == 412


@clause(
    "R4/http.html#cond-update",
    "If-None-Match: * creates or refuses, If-Match asks for the version of the match",
)
def test_conditional_update_with_headers(client: FhirClient) -> None:
    path = "Patient?identifier=urn:test:mrn|both-ways"
    assert client.put(path, identified("both-ways"), If_Match='W/"1"').status == 412
    assert client.put(path, identified("both-ways"), If_None_Match="*").status == 201
    assert client.put(path, identified("both-ways", "New"), If_None_Match="*").status == 412
    assert client.put(path, identified("both-ways", "New"), If_Match='W/"2"').status == 412
    assert client.put(path, identified("both-ways", "New"), If_Match='W/"1"').status == 200


@clause(
    "R4/http.html#concurrency", "If-Match on update, patch and delete: 412 when it is not the current version"
)
def test_if_match(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    patch = b'[{"op": "add", "path": "/birthDate", "value": "1970-01-01"}]'
    typed = {"Content-Type": "application/json-patch+json"}
    for stale in ('W/"7"', '"7"', 'W/"abc"'):
        headers = {"If-Match": stale}
        assert client.send("PUT", f"Patient/{id_}", patient("New", id=id_), headers).status == 412
        assert client.send("PATCH", f"Patient/{id_}", patch, {**headers, **typed}).status == 412
        assert client.send("DELETE", f"Patient/{id_}", headers=headers).status == 412
    assert client.get(f"Patient/{id_}").json["meta"]["versionId"] == "1"
    assert client.send("PATCH", f"Patient/{id_}", patch, {"If-Match": 'W/"1"', **typed}).status == 200
    assert client.delete(f"Patient/{id_}", If_Match='W/"2"').status == 204


@clause("RFC 9110 13.1.1", "If-Match: * asks for any current version")
def test_if_match_any(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert client.put(f"Patient/{id_}", patient("New", id=id_), If_Match="*").status == 200
    assert client.put("Patient/never-there", patient(id="never-there"), If_Match="*").status == 412
    assert client.delete(f"Patient/{id_}", If_Match="*").status == 204
    assert client.delete(f"Patient/{id_}", If_Match="*").status == 412


@clause("R4/http.html#concurrency", "If-Match on a conditional delete: the version of its one match")
def test_if_match_on_conditional_delete(client: FhirClient) -> None:
    family(client, "Guarded", 2)
    assert client.delete("Patient?family=Guarded", If_Match='W/"1"').status == 412
    assert client.delete("Patient?identifier=Guarded-0", If_Match='W/"2"').status == 412
    assert client.delete("Patient?identifier=Guarded-0", If_Match='W/"1"').status == 204


@clause("R4/http.html#concurrency", "ifMatch of every kind of entry, in batch and transaction")
@pytest.mark.parametrize("kind", ["batch", "transaction"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "DELETE?"])
def test_if_match_in_entries(client: FhirClient, stored: Store, kind: str, method: str) -> None:
    value = f"entry-{kind}-{method}"
    id_ = stored(identified(value))
    url = f"Patient?identifier={value}" if method.endswith("?") else f"Patient/{id_}"
    request = {"method": method.strip("?"), "url": url, "ifMatch": 'W/"5"'}
    patch = {"resourceType": "Parameters", "parameter": [
        {"name": "operation", "part": [
            {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Patient.name.family"},
            {"name": "value", "valueString": "Patched"}]}]}  # fmt: skip
    body = {"PUT": {"resource": patient("New", id=id_)}, "PATCH": {"resource": patch}}.get(method, {})

    def status() -> int:
        reply = client.post("", bundle(kind, {**body, "request": request}))
        return reply.status if reply.status != 200 else int(entry_of(reply)["response"]["status"].split()[0])

    assert status() == 412
    request["ifMatch"] = 'W/"1"'
    assert status() == (204 if method.startswith("DELETE") else 200)


@clause("R4/http.html#upsert", "If-None-Match: * in an entry, and nothing else there")
def test_if_none_match_in_entries(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    taken = put(patient(id=id_), f"Patient/{id_}", ifNoneMatch="*")
    assert client.post("", bundle("transaction", taken)).status == 412
    tag = put(patient(id=id_), f"Patient/{id_}", ifNoneMatch='W/"1"')
    assert client.post("", bundle("transaction", tag)).status == 400
    assert client.put(f"Patient/{id_}", patient(id=id_), If_None_Match='W/"1"').status == 400


@clause("R4/http.html#upsert", "where the installation gives all ids itself: 405 with Allow, and it says so")
def test_upsert_off(entry: Entry) -> None:
    client = with_settings(entry, upsert=False)
    reply = client.put("Patient/mine", patient(id="mine"))
    assert (reply.status, "PUT" in reply.headers["Allow"]) == (405, False)
    assert "POST Patient" in reply.issue["diagnostics"]
    refused = client.post("", bundle("transaction", put(patient(id="mine"), "Patient/mine")))
    assert refused.status == 405
    assert client.put("Patient?family=Nowhere", patient("Nowhere", id="mine")).status == 405
    made = client.put("Patient?family=Nowhere", patient("Nowhere"))
    assert made.status == 201
    id_ = made.json["id"]
    assert client.delete(f"Patient/{id_}").status == 204
    assert client.put(f"Patient/{id_}", patient(id=id_)).status == 201, "it was given out before"
    resources = client.get("metadata").json["rest"][0]["resource"]
    assert {each["updateCreate"] for each in resources} == {False}


@clause("R4/http.html#cread", "If-Modified-Since: 304 until it changes; If-None-Match counts before it")
def test_if_modified_since(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    modified = client.get(f"Patient/{id_}").headers["Last-Modified"]
    assert client.get(f"Patient/{id_}", If_Modified_Since=modified).status == 304
    assert client.get(f"Patient/{id_}", If_Modified_Since="Thu, 01 Jan 2026 00:00:00 GMT").status == 200
    assert client.get(f"Patient/{id_}", If_Modified_Since="yesterday").status == 200
    both = {"If_Modified_Since": modified, "If_None_Match": 'W/"9"'}
    assert client.get(f"Patient/{id_}", **both).status == 200
    assert client.get(f"Patient/{id_}/_history/1", If_None_Match='W/"1"').status == 304
    assert client.send("HEAD", f"Patient/{id_}", headers={"If-None-Match": 'W/"1"'}).status == 304


@clause("R4/http.html#cread", "conditional reads as entries: 304 without a resource")
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_conditional_read_in_a_bundle(client: FhirClient, stored: Store, kind: str) -> None:
    id_ = stored(patient())
    for condition in ({"ifNoneMatch": 'W/"1"'}, {"ifModifiedSince": "2030-01-01T00:00:00Z"}):
        sent = {"request": {"method": "GET", "url": f"Patient/{id_}", **condition}}
        found = entry_of(client.post("", bundle(kind, sent)))
        assert (found["response"]["status"], "resource" in found) == ("304 Not Modified", False)
    sent = {"request": {"method": "GET", "url": f"Patient/{id_}", "ifNoneMatch": 'W/"2"'}}
    assert "resource" in entry_of(client.post("", bundle(kind, sent)))


@clause("R4/http.html#ops", "Prefer: return=OperationOutcome on a Bundle: each write says what it did")
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_outcomes_of_a_bundle(client: FhirClient, kind: str) -> None:
    sent = bundle(kind, post(patient()), {"request": {"method": "GET", "url": "Patient?_count=1"}})
    reply = client.post("", sent, Prefer="return=OperationOutcome")
    made, found = reply.json["entry"]
    assert made["response"]["outcome"]["issue"][0]["diagnostics"].endswith("is created, version 1")
    assert "outcome" not in found["response"]


@clause(
    "R4/http.html#update",
    "what changes nothing makes no version: update, conditional update, patch, in a Bundle",
)
def test_nothing_changes(client: FhirClient) -> None:
    made = client.put("Patient/still", identified("still") | {"id": "still"})
    assert made.status == 201
    same = identified("still") | {"id": "still"}
    patch = b'[{"op": "test", "path": "/id", "value": "still"}]'
    typed = {"Content-Type": "application/json-patch+json"}
    for reply in (
        client.put("Patient/still", same),
        client.put(
            "Patient/still", {**same, "meta": {"versionId": "9", "lastUpdated": "2020-01-01T00:00:00Z"}}
        ),
        client.put("Patient?identifier=urn:test:mrn|still", same),
        client.send("PATCH", "Patient/still", patch, typed),
    ):
        assert (reply.status, reply.headers["ETag"]) == (200, 'W/"1"')
        assert reply.headers["Last-Modified"] == made.headers["Last-Modified"]
    for kind in ("batch", "transaction"):
        response = entry_of(client.post("", bundle(kind, put(same, "Patient/still"))))["response"]
        assert (response["status"], response["etag"]) == ("200 OK", 'W/"1"')
    assert len(client.get("Patient/still/_history").json["entry"]) == 1
