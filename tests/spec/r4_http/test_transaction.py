"""batch and transaction, clause by clause (R4/http.html#transaction)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg2 import errors as postgres

from fhir_server.authorization.grant import Grant
from fhir_server.interactions import entries
from fhir_server.interactions.batch import batch
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.read import read
from fhir_server.interactions.transaction import execute, transaction
from fhir_server.outcome import FhirError, Invalid, MultipleMatches, NoMatch
from tests.support.builders import bundle, identified, observation, patient, post, put
from tests.support.clause import clause

ANYONE = Grant("test")


def run(entry: Entry, body: dict[str, Any], **options: bool) -> list[dict[str, Any]]:
    result = entry.write(ANYONE, lambda context: transaction(context, body, **options))
    assert result.text is not None
    answer = json.loads(result.text)
    assert answer["type"] == "transaction-response"
    return answer.get("entry", [])


def stored(entry: Entry, location: str) -> dict[str, Any]:
    type_name, id_ = location.split("/fhir/")[1].split("/")[:2]
    version = entry.read(ANYONE, lambda context: read(context, type_name, id_)).version
    assert version is not None
    return json.loads(version.text())


def count(entry: Entry) -> int:
    return entry.read(ANYONE, lambda context: context.unit.execute("SELECT count(*) FROM resource"))[0][0]


@clause("R4/http.html#trules", "references to a fullUrl become references to what the entry made")
def test_references_between_entries_are_rewritten(entry: Entry) -> None:
    urn = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
    # the reference stands before its target
    made = run(entry, bundle("transaction", post(observation(urn)), post(patient(), urn)))
    subject = stored(entry, made[0]["response"]["location"])["subject"]["reference"]
    assert made[1]["response"]["location"].split("/_history")[0].endswith(subject)
    assert [part["response"]["status"] for part in made] == ["201 Created", "201 Created"]
    assert [part["response"]["etag"] for part in made] == ['W/"1"', 'W/"1"']


@clause("R4/http.html#trules", "a narrative link and a uri element with the urn are rewritten too")
def test_narrative_and_uris_are_rewritten(entry: Entry) -> None:
    urn = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
    text = {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{urn}">her</a></div>',
    }
    made = run(entry, bundle("transaction", post(observation(urn, text=text)), post(patient(), urn)))
    body = stored(entry, made[0]["response"]["location"])
    assert urn not in json.dumps(body)
    assert body["subject"]["reference"] in body["text"]["div"]


@clause("R4/http.html#trules", "all or nothing; the refusal names the entry")
def test_one_bad_entry_undoes_the_rest(entry: Entry) -> None:
    before = count(entry)
    bad = observation("Patient/1")
    bad["status"] = "finnished"
    with pytest.raises(FhirError) as refused:
        run(entry, bundle("transaction", post(patient()), post(bad)))
    assert refused.value.issues[0].expression == "Bundle.entry[1].resource.status"
    assert refused.value.status == 400
    assert count(entry) == before


@clause("R4/http.html#trules", "a conditional reference becomes the one match")
def test_conditional_reference(entry: Entry) -> None:
    entry.write(ANYONE, lambda context: create(context, "Patient", identified("a1")))
    made = run(entry, bundle("transaction", post(observation("Patient?identifier=urn:test:mrn|a1"))))
    subject = stored(entry, made[0]["response"]["location"])["subject"]["reference"]
    assert subject.startswith("Patient/")
    assert "?" not in subject


@clause("R4/http.html#trules", "a conditional reference without a match fails the whole")
def test_conditional_reference_without_a_match(entry: Entry) -> None:
    before = count(entry)
    body = bundle("transaction", post(patient()), post(observation("Patient?identifier=urn:test:mrn|nobody")))
    with pytest.raises(NoMatch) as refused:
        run(entry, body)
    assert refused.value.issues[0].expression == "Bundle.entry[1].resource.subject.reference"
    assert count(entry) == before


@clause("R4/http.html#trules", "a conditional reference with several matches fails the whole")
def test_conditional_reference_with_two_matches(entry: Entry) -> None:
    for _ in range(2):
        entry.write(ANYONE, lambda context: create(context, "Patient", identified("twin")))
    with pytest.raises(MultipleMatches):
        run(entry, bundle("transaction", post(observation("Patient?identifier=urn:test:mrn|twin"))))


@clause("R4/http.html#trules", "If-None-Exist: an existing match stands in for the entry")
def test_conditional_create_inside(entry: Entry) -> None:
    first = entry.write(ANYONE, lambda context: create(context, "Patient", identified("c1"))).version
    assert first is not None
    urn = "urn:uuid:00000000-0000-4000-8000-000000000001"
    body = bundle(
        "transaction",
        post(identified("c1", "Other"), urn, "identifier=urn:test:mrn|c1"),
        post(observation(urn)),
    )
    made = run(entry, body)
    assert made[0]["response"]["status"] == "200 OK"
    assert stored(entry, made[1]["response"]["location"])["subject"]["reference"] == first.address


@clause("R4/http.html#trules", "two entries on the same resource are refused")
def test_two_writes_on_one_resource(entry: Entry) -> None:
    body = bundle(
        "transaction",
        put({**patient(), "id": "same"}, "Patient/same"),
        {"request": {"method": "DELETE", "url": "Patient/same"}},
    )
    with pytest.raises(Invalid, match=r"entry\[0\] and .*entry\[1\]"):
        run(entry, body)


@clause("R4/http.html#trules", "GET entries see what the transaction wrote")
def test_reads_come_last(entry: Entry) -> None:
    body = bundle(
        "transaction",
        {"request": {"method": "GET", "url": "Patient/fresh"}},
        {"request": {"method": "GET", "url": "Patient?_id=fresh"}},
        put({**patient("Late"), "id": "fresh"}, "Patient/fresh"),
    )
    made = run(entry, body)
    assert made[0]["resource"]["name"][0]["family"] == "Late"
    assert made[1]["resource"]["entry"][0]["resource"]["id"] == "fresh"


@clause("R4/http.html#concurrency", "ifMatch inside a Bundle")
def test_stale_if_match_inside(entry: Entry) -> None:
    run(entry, bundle("transaction", put({**patient(), "id": "v"}, "Patient/v")))
    run(entry, bundle("transaction", put({**patient("New"), "id": "v"}, "Patient/v", ifMatch='W/"1"')))
    with pytest.raises(FhirError) as refused:
        run(entry, bundle("transaction", put({**patient("Newer"), "id": "v"}, "Patient/v", ifMatch='W/"1"')))
    assert refused.value.status == 412


@clause("R4/http.html#transaction", "an update that changes nothing makes no version")
def test_equal_update_makes_no_version(entry: Entry) -> None:
    weight = observation("Patient/1", id="eq")
    weight.pop("valueString")
    weight["valueQuantity"] = {"value": json.loads("70"), "unit": "kg"}
    for _ in range(2):
        made = run(entry, bundle("transaction", put(weight, "Observation/eq")))
    assert made[0]["response"]["etag"] == 'W/"1"'


@clause("R4/http.html#batch", "each entry by itself; a refused one does not stop the others")
def test_batch(entry: Entry) -> None:
    body = bundle(
        "batch",
        post(patient()),
        {"request": {"method": "GET", "url": "Patient/nobody"}},
        {"request": {"method": "GET", "url": "Nonsense"}},
        post({"resourceType": "Patient", "gender": "unheard"}),
    )
    text = batch(entry, ANYONE, body).text
    assert text is not None
    statuses = [part["response"]["status"].split()[0] for part in json.loads(text)["entry"]]
    assert statuses == ["201", "404", "404", "400"]


@clause(
    "R4/http.html#batch",
    "an entry that crashes or costs too much does not hide the others' fate",
)
@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("Musterfrau"), "500"), (postgres.QueryCanceled("late"), "422")]
)
def test_batch_with_a_crash(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(entries, "look", crash)
    body = bundle("batch", post(patient()), {"request": {"method": "GET", "url": "Patient/7"}})
    answer = execute(entry, ANYONE, body).text
    assert answer is not None
    assert "Musterfrau" not in answer
    statuses = [part["response"]["status"].split()[0] for part in json.loads(answer)["entry"]]
    assert statuses == ["201", status]
