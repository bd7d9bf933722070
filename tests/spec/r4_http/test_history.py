"""history at its three levels (R4/http.html#history)."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from fhir_server.database.engine import Engine
from fhir_server.interactions.context import utc_now
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import delete
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.update import update
from tests.support.builders import bundle, observation, patient
from tests.support.clause import clause
from tests.support.clock import FixedClock
from tests.support.http import FhirClient, Reply
from tests.support.races import ANYONE

BASE = "http://127.0.0.1/fhir"
Seen = list[tuple[str, str]]


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """A database of the test's own: the history of the system is all there is."""
    engine = Engine(fresh_database_url, size=6)
    yield engine
    engine.close()


@pytest.fixture
def client(client: FhirClient, clock: FixedClock) -> FhirClient:
    """The door, behind which a patient was stored, changed, deleted and stored again, a day each.

    03:04:05 on 2 January to 5 January; on the 6th an Observation.
    """
    for family in ("A", "B", None, "C"):
        if family is None:
            client.delete("Patient/p")
        else:
            assert client.put("Patient/p", patient(family, id="p", birthDate="1970-01-01")).status in (
                200,
                201,
            )
        clock.advance(days=1)
    assert client.put("Observation/o", observation("Patient/p", id="o")).status == 201
    return client


def seen(reply: Reply) -> Seen:
    """Return (id, version) of each entry."""
    assert reply.status == 200, reply.data
    assert reply.json["type"] == "history"
    return [
        (entry["fullUrl"].rpartition("/")[2], entry["response"]["etag"][3:-1])
        for entry in reply.json.get("entry", [])
    ]


P1, P2, P3, P4, O1 = ("p", "1"), ("p", "2"), ("p", "3"), ("p", "4"), ("o", "1")
LEVELS = {"Patient/p": [P4, P3, P2, P1], "Patient": [P4, P3, P2, P1], "": [O1, P4, P3, P2, P1]}


def at(level: str) -> str:
    return f"{level}/_history".lstrip("/")


@clause("R4/http.html#history", "oldest last, with the requests that made them, deletions without a body")
@pytest.mark.parametrize("level", LEVELS)
def test_levels(client: FhirClient, level: str) -> None:
    reply = client.get(at(level))
    assert seen(reply) == LEVELS[level]
    entries = [entry for entry in reply.json["entry"] if entry["fullUrl"] == f"{BASE}/Patient/p"]
    assert [entry["request"]["method"] for entry in entries] == ["PUT", "DELETE", "PUT", "PUT"]
    assert [entry["response"]["status"] for entry in entries] == ["200", "204", "200", "201"]
    assert ["resource" in entry for entry in entries] == [True, False, True, True]
    assert all(entry["request"]["url"] == "Patient/p" for entry in entries)


@clause("R4/http.html#history", "_sort: by _lastUpdated, either way")
@pytest.mark.parametrize("level", LEVELS)
def test_sort(client: FhirClient, level: str) -> None:
    assert seen(client.get(f"{at(level)}?_sort=_lastUpdated")) == LEVELS[level][::-1]
    assert seen(client.get(f"{at(level)}?_sort=-_lastUpdated")) == LEVELS[level]
    refused = client.get(f"{at(level)}?_sort=name")
    assert (refused.status, "-_lastUpdated" in refused.issue["diagnostics"]) == (400, True)


@clause("R4/http.html#history", "_since: made at or after an instant")
@pytest.mark.parametrize("level", LEVELS)
def test_since(client: FhirClient, level: str) -> None:
    expected = [each for each in LEVELS[level] if each in (O1, P4, P3)]
    assert seen(client.get(f"{at(level)}?_since=2026-01-04T03:04:05Z")) == expected
    assert seen(client.get(f"{at(level)}?_since=2026-01-04")) == expected
    later = [each for each in expected if each != P3]
    assert seen(client.get(f"{at(level)}?_since=2026-01-04T04:04:06%2B01:00")) == later
    assert seen(client.get(f"{at(level)}?_since=2027-01-01T00:00:00Z")) == []
    assert seen(client.get(f"{at(level)}?_since=2026-01-04&_sort=_lastUpdated")) == expected[::-1]


@clause("R4/http.html#history", "_at: what was current at that time, or at some time in a day or month")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-01-02T03:04:04Z", []),
        ("2026-01-02T03:04:05Z", [P1]),
        ("2026-01-03T03:04:04Z", [P1]),
        ("2026-01-02", [P1]),
        ("2026-01-03", [P2, P1]),
        ("2026-01-04T12:00:00Z", [P3]),
        ("2026-01", [O1, P4, P3, P2, P1]),
        ("2026-02", [O1, P4]),
        ("2025", []),
    ],
)
def test_at(client: FhirClient, level: str, moment: str, expected: Seen) -> None:
    wanted = [each for each in expected if each in LEVELS[level]]
    assert seen(client.get(f"{at(level)}?_at={moment}")) == wanted


@clause("R4/http.html#history", "_list: of what a List names")
def test_list(client: FhirClient) -> None:
    items = [{"item": {"reference": "Observation/o"}}, {"item": {"reference": "http://elsewhere/Patient/p"}}]
    listed = {"resourceType": "List", "id": "l", "status": "current", "mode": "working", "entry": items}
    assert client.put("List/l", listed).status == 201
    assert seen(client.get("_history?_list=l")) == [O1]
    assert seen(client.get("Patient/_history?_list=l")) == []
    assert seen(client.get("_history?_list=unknown")) == []
    assert client.get("_history?_list=$current-nonsense").status == 400


@clause("R4/http.html#history", "_list: of what the current Lists of a kind name")
def test_current_lists(client: FhirClient) -> None:
    uses = "http://terminology.hl7.org/CodeSystem/list-example-use-codes"

    def listed(id_: str, code: str, status: str, *references: str) -> None:
        body = {
            "resourceType": "List",
            "id": id_,
            "status": status,
            "mode": "working",
            "code": {"coding": [{"system": uses, "code": code}]},
            "entry": [{"item": {"reference": each}} for each in references],
        }
        assert client.put(f"List/{id_}", body).status in (200, 201)

    for id_, category in (("drug", "medication"), ("nut", "food")):
        system = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
        allergy = {
            "resourceType": "AllergyIntolerance",
            "id": id_,
            "clinicalStatus": {"coding": [{"system": system, "code": "active"}]},
            "category": [category],
            "patient": {"reference": "Patient/p"},
        }
        assert client.put(f"AllergyIntolerance/{id_}", allergy).status in (200, 201)
    listed("now", "problems", "current", "Observation/o")
    listed("past", "problems", "retired", "Patient/p")
    listed("all", "allergies", "current", "AllergyIntolerance/drug", "AllergyIntolerance/nut")
    assert seen(client.get("_history?_list=$current-problems")) == [O1]
    assert seen(client.get("Patient/_history?_list=$current-problems")) == []
    allergies = client.get("_history?_list=$current-allergies").json["entry"]
    assert sorted(each["resource"]["id"] for each in allergies) == ["drug", "nut"]
    drugs = client.get("_history?_list=$current-drug-allergies").json["entry"]
    assert [each["resource"]["id"] for each in drugs] == ["drug"]
    assert seen(client.get("_history?_list=$current-medications")) == []


@clause("R4/http.html#paging", "_count and links: every version once, in both orders, at all levels")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sort", ["", "&_sort=_lastUpdated"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_pages(client: FhirClient, level: str, sort: str, count: int) -> None:
    url, met, first = f"{BASE}/{at(level)}?_count={count}{sort}", [], None
    while url:
        reply = client.get(url.removeprefix(f"{BASE}/"))
        assert len(seen(reply)) <= count
        met += seen(reply)
        links = {each["relation"]: each["url"] for each in reply.json["link"]}
        assert seen(client.get(links["self"].removeprefix(f"{BASE}/"))) == seen(reply)
        first = first or links["self"]
        assert links.get("first", first) == first
        url = links.get("next", "")
    assert met == (LEVELS[level][::-1] if sort else LEVELS[level])


@clause("R4/http.html#paging", "a page link is good for its own history only")
def test_foreign_cursor(client: FhirClient) -> None:
    links = client.get("Patient/_history?_count=1").json["link"]
    cursor = next(each["url"] for each in links if each["relation"] == "next").rpartition("_cursor=")[2]
    assert client.get(f"Patient/_history?_cursor={cursor}").status == 200
    for path in (
        "_history",
        "Observation/_history",
        "Patient/p/_history",
        "Patient/_history?_sort=_lastUpdated",
    ):
        mark = "&" if "?" in path else "?"
        assert client.get(f"{path}{mark}_cursor={cursor}").status == 400


@clause("R4/http.html#history", "HEAD at every level; 404 for what never was, also of a deleted resource 200")
def test_head_and_errors(client: FhirClient) -> None:
    for level in LEVELS:
        got, head = client.get(at(level)), client.send("HEAD", at(level))
        assert (head.status, head.data) == (200, b"")
        assert head.headers["Content-Length"] == str(len(got.data))
    assert client.get("Patient/never/_history").status == 404
    client.delete("Patient/p")
    assert len(seen(client.get("Patient/p/_history"))) == 5
    for query in (
        "_count=0",
        "_count=x",
        "_since=gestern",
        "_nonsense=1",
        "_since=2026&_since=2027",
        "_summary=count",
    ):
        assert client.get(f"Patient/_history?{query}").status == 400, query


@clause("R4/search.html#summary", "_summary and _elements on a history, tagged as subsets")
def test_parts(client: FhirClient) -> None:
    whole = client.get("Patient/p/_history").json["entry"][0]["resource"]
    part = client.get("Patient/p/_history?_elements=birthDate").json["entry"][0]["resource"]
    assert ("name" in whole, "name" in part, part["birthDate"]) == (True, False, "1970-01-01")
    assert part["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert "name" in client.get("_history?_summary=true").json["entry"][1]["resource"]
    assert "name" not in client.get("_history?_summary=text").json["entry"][1]["resource"]
    assert client.get("Patient/p/_history?_summary=false").json["entry"][0]["resource"] == whole


@clause("R4/http.html#transaction", "a history as an entry")
def test_in_a_bundle(client: FhirClient) -> None:
    request = {"method": "GET", "url": "Patient/p/_history?_count=2&_sort=_lastUpdated"}
    made = client.post("", bundle("batch", {"request": request})).json["entry"][0]["resource"]
    assert [entry["response"]["etag"] for entry in made["entry"]] == ['W/"1"', 'W/"2"']


@clause("R4/http.html#paging", "walks beside writers: every version of before is met once, in both orders")
@pytest.mark.parametrize("level", ["Patient", "Patient/quiet-0", ""])
@pytest.mark.parametrize("sort", ["", "_sort=_lastUpdated&"])
def test_walks_beside_writers(entry: Entry, client: FhirClient, level: str, sort: str) -> None:
    live = Entry(entry.engine, entry.settings, utc_now)
    for number in range(20):
        for family in "AB":
            body: dict[str, Any] = {**patient(family), "id": f"quiet-{number}"}
            live.write(ANYONE, lambda context, b=body: update(context, "Patient", b["id"], b))  # type: ignore[misc]
    over = threading.Event()

    def disturb(thread: int) -> None:
        chance, ids = random.Random(thread), []
        while not over.is_set():
            if len(ids) < 5:
                made = live.write(ANYONE, lambda context: create(context, "Patient", patient())).version
                assert made is not None
                ids.append(made.id)
            elif chance.random() < 0.2:
                live.write(ANYONE, partial(delete, type_name="Patient", id_=ids.pop()))
            else:
                body = {**patient(str(chance.random())), "id": ids[0]}
                live.write(ANYONE, lambda context, b=body: update(context, "Patient", b["id"], b))  # type: ignore[misc]

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(disturb, thread) for thread in range(2)]
        try:
            met, url, pages = [], f"{at(level)}?{sort}_count=7", 0
            while url and pages < 100:
                reply = client.get(url)
                met += seen(reply)
                links = {each["relation"]: each["url"] for each in reply.json["link"]}
                url, pages = links.get("next", "").removeprefix(f"{BASE}/"), pages + 1
        finally:
            over.set()
        for each in running:
            each.result()
    quiet = [each for each in met if each[0].startswith("quiet-")]
    wanted = {(f"quiet-{n}", v) for n in range(1 if "/" in level else 20) for v in ("1", "2")}
    assert (len(quiet), set(quiet)) == (len(wanted), wanted)
    assert len(met) == len(set(met))
