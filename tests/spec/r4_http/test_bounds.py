"""Answers are bounded by bytes: pages end early, with a link to go on (R4/http.html#paging)."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.database.engine import Engine
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Settings
from fhir_server.interactions.entry import Entry
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import patient
from tests.support.clause import clause
from tests.support.clock import FixedClock
from tests.support.http import FhirClient

BIG_BYTES = 120_000
LIMIT_BYTES = 400_000
MANY = 12


def noise(number: int, size: int) -> str:
    """Return base64 that hardly compresses, another one for each number."""
    return base64.b64encode(
        bytes((i * i * 31 + i // 7 + number * 131) % 251 for i in range(size * 3 // 4))
    ).decode()


@pytest.fixture
def entry(fresh_database_url: str, clock: FixedClock) -> Iterator[Entry]:
    engine = Engine(fresh_database_url, size=2)
    base_urls = ("http://127.0.0.1/fhir",)
    yield Entry(engine, Settings(base_urls=base_urls, max_response_bytes=LIMIT_BYTES), clock)
    engine.close()


def door(entry: Entry) -> FhirClient:
    return FhirClient(
        Door(Installation(entry, Config(), Capabilities(entry.settings, BUILT, entry.clock()))).wsgi
    )


@pytest.fixture
def client(entry: Entry) -> FhirClient:
    return door(entry)


@pytest.fixture
def big(client: FhirClient) -> list[str]:
    """Patients that are much larger than others, with a photo each; their ids."""
    ids = [f"big-{number:02}" for number in range(MANY)]
    for number, id_ in enumerate(ids):
        photo = [{"contentType": "image/png", "data": noise(number, BIG_BYTES)}]
        resource = patient("Bounds", id=id_, photo=photo, birthDate=f"2000-01-{number + 1:02}")
        assert client.put(f"Patient/{id_}", resource).status == 201
    return ids


def links(bundle: dict[str, Any]) -> dict[str, str]:
    return {link["relation"]: link["url"].removeprefix("http://127.0.0.1") for link in bundle["link"]}


def walk(client: FhirClient, address: str, relation: str = "next") -> Iterator[dict[str, Any]]:
    """Give the pages from an address on, as far as they go."""
    while address:
        reply = client.get(address)
        assert reply.status == 200, reply.data
        assert len(reply.data) < LIMIT_BYTES + BIG_BYTES
        yield reply.json
        address = links(reply.json).get(relation, "")


def ids(bundle: dict[str, Any]) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


@pytest.mark.parametrize(
    "address", ["Patient?name=Bounds&_count=1000", "?_type=Patient&name=Bounds&_count=1000"]
)
@clause("R4/http.html#paging", "a page ends when its bytes do, with a next link; none is missed, none twice")
def test_pages_end_early(client: FhirClient, big: list[str], address: str) -> None:
    pages = list(walk(client, address))
    assert [len(ids(page)) for page in pages] == [3, 3, 3, 3]
    assert [id_ for page in pages for id_ in ids(page)] == big


@clause("R4/http.html#paging", "pages that go back end early at the far end")
def test_pages_back(client: FhirClient, big: list[str]) -> None:
    address = "Patient?name=Bounds&_count=5&_sort=-birthdate"
    forward = list(walk(client, address))
    assert [id_ for page in forward for id_ in ids(page)] == big[::-1]
    back = list(walk(client, links(forward[-1])["previous"], "previous"))
    there = [id_ for page in back[::-1] for id_ in ids(page)]
    assert there == big[::-1][: -len(ids(forward[-1]))]


@clause("R4/http.html#history", "a history page ends when its bytes do")
@pytest.mark.parametrize("address", ["Patient/_history", "_history"])
def test_history_ends_early(client: FhirClient, big: list[str], clock: FixedClock, address: str) -> None:
    clock.advance(seconds=1)
    assert client.delete(f"Patient/{big[3]}").status == 204
    pages = list(walk(client, f"{address}?_count=1000"))
    assert len(pages) >= 4
    told = [
        (e["request"]["method"], e["fullUrl"].rpartition("/")[2]) for page in pages for e in page["entry"]
    ]
    assert told == [("DELETE", big[3]), *(("PUT", id_) for id_ in big[::-1])]
    assert all(
        ("resource" in e) == (e["request"]["method"] == "PUT") for page in pages for e in page["entry"]
    )


@clause("R4/http.html#history", "superseded versions are bounded too")
def test_history_of_one(client: FhirClient, big: list[str]) -> None:
    for year in range(1990, 1995):
        photo = [{"contentType": "image/png", "data": noise(year, BIG_BYTES)}]
        resource = patient("Bounds", id=big[0], photo=photo, birthDate=f"{year}")
        assert client.put(f"Patient/{big[0]}", resource).status == 200
    pages = list(walk(client, f"Patient/{big[0]}/_history?_count=100"))
    assert [len(page["entry"]) for page in pages] == [3, 3]
    whole = [e["resource"]["birthDate"] for page in pages for e in page["entry"]]
    assert whole == ["1994", "1993", "1992", "1991", "1990", "2000-01-01"]


@clause("R4/search.html#include", "includes are bounded by bytes, and the answer says that some are missing")
def test_includes_end_early(client: FhirClient, big: list[str]) -> None:
    for id_ in big:
        resource = {
            "resourceType": "Basic",
            "code": {"text": "a"},
            "subject": {"reference": f"Patient/{id_}"},
        }
        assert client.post("Basic", resource).status == 201
    bundle = client.get("Basic?_include=Basic:subject&_count=100").json
    modes = [entry["search"]["mode"] for entry in bundle["entry"]]
    assert modes == ["match"] * MANY + ["include"] * 3 + ["outcome"]
    assert "first 3" in bundle["entry"][-1]["resource"]["issue"][0]["diagnostics"]
    bundle = client.get("Basic?_include=Basic:subject&_count=3").json
    assert [entry["search"]["mode"] for entry in bundle["entry"]] == ["match"] * 3 + ["include"] * 3


@clause("R4/http.html#paging", "a resource that is longer than a page has a page of its own")
def test_one_that_is_too_long(entry: Entry, big: list[str]) -> None:
    client = door(replace(entry, settings=replace(entry.settings, max_response_bytes=1_000)))
    pages = list(walk(client, "Patient?name=Bounds&_count=1000"))
    assert [ids(page) for page in pages] == [[id_] for id_ in big]


@clause("R4/http.html#paging", "the memory of a page is bounded by its bytes, whatever _count says")
def test_memory_of_a_page(client: FhirClient, big: list[str]) -> None:
    client.get("Patient?_id=none")  # what is loaded once is not what a page costs
    tracemalloc.start()
    try:
        reply = client.get("Patient?name=Bounds&_count=1000")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reply.status == 200
    assert peak_bytes < 6 * LIMIT_BYTES
