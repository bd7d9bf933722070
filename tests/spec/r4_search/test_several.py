"""Searches over several types and all of them: /fhir?_type=… and POST /fhir/_search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.spec.r4_http.test_errors import check
from tests.support.builders import bundle, observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def addresses(answer: Any) -> list[str]:
    """Return Type/id of the entries of a searchset."""
    return [
        f"{each['resource']['resourceType']}/{each['resource']['id']}" for each in answer.get("entry", [])
    ]


def tagged(resource: dict[str, Any], tag: str) -> dict[str, Any]:
    return {**resource, "meta": {"tag": [{"system": "urn:test:several", "code": tag}]}}


@pytest.fixture
def ward(stored: Store) -> list[str]:
    """Two patients, two observations and a group, stored in turns under one tag of their own."""
    made: list[str] = []
    tag = f"ward-{uuid4()}"

    def keep(resource: dict[str, Any]) -> str:
        made.append(f"{resource['resourceType']}/{stored(tagged(resource, tag))}")
        return made[-1]

    first = keep(patient("Abel"))
    keep(observation(first))
    second = keep(patient("Baker"))
    keep(observation(second, code="1-8"))
    keep({"resourceType": "Group", "type": "person", "actual": True})
    return [tag, *made]


@clause("R4/search.html#_type", "_type names the types; without it all are searched")
def test_types(client: FhirClient, ward: list[str]) -> None:
    tag, p1, o1, p2, o2, group = ward
    for query, expected in (
        (f"_tag={tag}", {p1, o1, p2, o2, group}),
        (f"_tag=urn:test:several|{tag}", {p1, o1, p2, o2, group}),
        (f"_type=Patient&_tag={tag}", {p1, p2}),
        (f"_type=Patient,Observation&_tag={tag}", {p1, p2, o1, o2}),
        (f"_type=Group,Device&_tag={tag}", {group}),
        (f"_type=Device&_tag={tag}", set()),
        (f"_type=Patient,Group&_type=Group,Device&_tag={tag}", {group}),
        (f"_type=Observation,Condition&_tag={tag}&code=1-8", {o2}),
        (f"_type=Observation,Condition&_tag={tag}&subject:Patient.family=abel", {o1}),
        (f"_tag={tag}&_has:Observation:subject:code=1-8", {p2}),
        (f"_tag={tag}&_id={p1.partition('/')[2]},{o2.partition('/')[2]}", {p1, o2}),
        (f"_tag={tag}&_tag:not=other&_lastUpdated=gt2000", {p1, o1, p2, o2, group}),
        (f"_tag={tag}&_profile:missing=false", set()),
    ):
        answer = client.get(f"?{query}").json
        assert (set(addresses(answer)), answer["type"]) == (expected, "searchset"), query


@clause("R4/http.html#search", "POST /_search takes the same in a form, and both")
def test_post(client: FhirClient, ward: list[str]) -> None:
    tag, p1, _, p2, *_ = ward
    reply = client.send("POST", "_search?_type=Patient", f"_tag={tag}", FORM)
    assert (reply.status, set(addresses(reply.json))) == (200, {p1, p2})


@clause("R4/search.html#_type", "criteria are parameters of every searched type")
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("name=x", "_type=Patient,Practitioner"),
        ("_type=Patient,Observation&family=x", "Observation has no search parameter 'family'"),
        ("_type=Patiend", "did you mean Patient?"),
        ("_type=", "no resource type"),
        ("_type:not=Patient", "no modifier 'not'"),
        ("_sort=family", "cannot be sorted by 'family'"),
        ("_type=Patient,Group&_elements=nothing", "none of the searched types has an element 'nothing'"),
        ("_type=Patient,Group&_include=Observation:subject", ":iterate"),
        ("_has:Observation:focus.x", "_has"),
    ],
)
def test_refused(client: FhirClient, query: str, says: str) -> None:
    check(client.get(f"?{query}"), 400, says)


@clause("R4/search.html#errors", "what would fan out too far is refused before it is asked")
def test_too_wide(client: FhirClient, ward: list[str]) -> None:
    many = " or ".join(f"_id eq x{number}" for number in range(199))
    types = "Patient,Observation,Group,Encounter,Condition,Device"
    assert client.get(f"Patient?_filter={many}").status == 200
    for _ in range(3):
        many = f"{many}&_filter={many}"
    reply = client.get(f"?_type={types}&_filter={many}")
    check(reply, 400, "more than can be asked at once")
    assert reply.issue["code"] == "too-costly"


@clause("R4/search.html#_type", "_type is for searches over several types")
def test_type_of_one(client: FhirClient) -> None:
    check(client.get("Patient?_type=Patient"), 400, "/fhir?_type=")


@clause("R4/search.html#errors", "lenient handling leaves out what not all types have, and says so")
def test_lenient(client: FhirClient, ward: list[str]) -> None:
    tag = ward[0]
    reply = client.get(f"?_type=Patient,Group&_tag={tag}&family=x", Prefer="handling=lenient")
    assert reply.json["link"][0]["url"].endswith(f"/fhir?_type=Patient%2CGroup&_tag={tag}")
    assert "family" in reply.json["entry"][-1]["resource"]["issue"][0]["diagnostics"]


@clause("R4/http.html#paging", "pages over several types: each resource once, in one order, both ways")
@pytest.mark.parametrize(
    "sort", ["", *(f"&_sort={key}" for key in ("_lastUpdated", "-_lastUpdated", "_id", "-_id"))]
)
def test_pages(client: FhirClient, ward: list[str], sort: str) -> None:
    tag, *made = ward
    whole = addresses(client.get(f"?_tag={tag}{sort}").json)
    assert sorted(whole) == sorted(made)
    if "_id" in sort:
        by_id = sorted(made, key=lambda each: each.partition("/")[2], reverse="-" in sort)
        assert whole == by_id
    elif sort:
        assert whole == (made[::-1] if "-" in sort else made)
    path, seen, back = f"?_tag={tag}{sort}&_count=2", [], []
    while True:
        answer = client.get(path).json
        seen.append(addresses(answer))
        links = {each["relation"]: each["url"].partition("/fhir")[2] for each in answer["link"]}
        assert tag in links["self"]
        if "next" not in links:
            break
        assert tag not in links["next"]
        path = links["next"]
    assert [each for page in seen for each in page] == whole
    while "previous" in links:
        answer = client.get(links["previous"]).json
        back.append(addresses(answer))
        links = {each["relation"]: each["url"].partition("/fhir")[2] for each in answer["link"]}
    assert back == seen[-2::-1]


@clause("R4/search.html#total", "_total and _summary=count count over all types")
def test_total(client: FhirClient, ward: list[str]) -> None:
    tag = ward[0]
    assert client.get(f"?_tag={tag}&_total=accurate&_count=2").json["total"] == 5
    counted = client.get(f"?_tag={tag}&_summary=count").json
    assert (counted["total"], "entry" in counted) == (5, False)
    assert client.get(f"?_type=Device&_tag={tag}&_summary=count").json["total"] == 0


@clause("R4/search.html#include", "includes of any of the searched types; _elements of any")
def test_includes(client: FhirClient, ward: list[str]) -> None:
    tag, p1, o1, p2, o2, group = ward
    answer = client.get(f"?_type=Observation,Group&_tag={tag}&_include=Observation:subject").json
    assert set(addresses(answer)) == {o1, o2, group, p1, p2}
    answer = client.get(f"?_type=Patient,Group&_tag={tag}&_revinclude=Observation:subject").json
    assert set(addresses(answer)) == {o1, o2, group, p1, p2}
    answer = client.get(f"?_tag={tag}&_elements=actual,Patient.gender").json
    assert all("name" not in each["resource"] for each in answer["entry"])


@clause("R4/http.html#transaction", "searches over several types and in a compartment as entries of a batch")
def test_batch(client: FhirClient, ward: list[str]) -> None:
    tag, p1, o1, *_ = ward
    urls = (f"?_type=Patient&_tag={tag}", f"{p1}/Observation", f"{p1}/*?_tag={tag}")
    entries = [{"request": {"method": "GET", "url": url}} for url in urls]
    reply = client.send("POST", "", bundle("batch", *entries))
    found = [addresses(each["resource"]) for each in reply.json["entry"]]
    assert (len(found[0]), found[1], found[2]) == (2, [o1], [p1, o1])
