"""_total and _summary=count (R4/search.html#total)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.clause import clause
from tests.support.http import FhirClient

SLOW = "&".join(f"name:contains=a{number % 2 * 'n'}" for number in range(60))
"""A search whose plan alone takes longer than a millisecond."""


@pytest.fixture
def people(stored: Callable[[dict[str, Any]], str], request: pytest.FixtureRequest) -> str:
    """Five patients that a tag tells from all others."""
    code = blake2b(request.node.name.encode(), digest_size=8).hexdigest()
    for number in range(5):
        stored(
            {
                "resourceType": "Patient",
                "meta": {"tag": [{"system": "urn:test:total", "code": code}]},
                "name": [{"family": "Ander", "given": [f"Ann{number}"]}],
            }
        )
    return f"Patient?_tag=urn:test:total|{code}"


@pytest.fixture
def hasty(entry: Entry) -> FhirClient:
    """The same installation, where a count may take a millisecond."""
    entry = replace(entry, settings=replace(entry.settings, total_budget_ms=1))
    return FhirClient(
        Door(Installation(entry, Config(), Capabilities(entry.settings, BUILT, entry.clock()))).wsgi
    )


def told(bundle: dict[str, Any]) -> list[str]:
    """Return what the Bundle says beside its matches."""
    outcomes = [each["resource"] for each in bundle.get("entry", ()) if each["search"]["mode"] == "outcome"]
    return [issue["diagnostics"] for outcome in outcomes for issue in outcome["issue"]]


@clause("R4/search.html#total", "a type is counted whole: what is deleted is no match, what came back is one")
def test_a_type_and_what_was_deleted_of_it(
    client: FhirClient, stored: Callable[[dict[str, Any]], str]
) -> None:
    def counted() -> int:
        total: int = client.get("Basic?_summary=count").json["total"]
        return total

    before = counted()
    made = [stored({"resourceType": "Basic", "code": {"text": f"kept {number}"}}) for number in range(3)]
    assert counted() == before + 3
    assert client.send("DELETE", f"Basic/{made[0]}").status in (200, 204)
    assert counted() == before + 2
    again = {"resourceType": "Basic", "id": made[0], "code": {"text": "back"}}
    assert client.send("PUT", f"Basic/{made[0]}", again).status in (200, 201)
    assert counted() == before + 3


@clause("R4/search.html#total", "none is the default, accurate is the number of matches on whichever page")
def test_none_and_accurate(client: FhirClient, people: str) -> None:
    assert "total" not in client.get(people).json
    first = client.get(f"{people}&_total=accurate&_count=2").json
    links = {link["relation"]: link["url"] for link in first["link"]}
    second = client.get(links["next"].partition("/fhir/")[2]).json
    assert [bundle["total"] for bundle in (first, second)] == [5, 5]
    assert told(first) == told(second) == []
    assert client.get(f"{people}&_total=accurate").json["total"] == 5


@clause("R4/search.html#total", "an estimate says that it is one, and is no less than what is known")
def test_estimate(client: FhirClient, people: str) -> None:
    page = client.get(f"{people}&_total=estimate&_count=4").json
    assert page["total"] >= 5
    assert told(page) == ["Bundle.total is an estimate by statistics: it was asked for"]
    whole = client.get(f"{people}&_total=estimate").json
    assert (whole["total"], told(whole)) == (5, [])  # counted by being there
    several = client.get(f"?_type=Patient,Device&{people.partition('?')[2]}&_total=estimate&_count=1").json
    assert several["total"] >= 2


@clause("R4/search.html#total", "a count that takes too long becomes an estimate and says so")
@pytest.mark.parametrize("result", ["_total=accurate&_count=1", "_summary=count", "_count=0"])
def test_budget(hasty: FhirClient, people: str, result: str) -> None:
    reply = hasty.get(f"{people}&{SLOW}&{result}")
    assert reply.status == 200
    assert told(reply.json) == [
        "Bundle.total is an estimate by statistics: counting took longer than 1 ms (setting total_budget_ms)"
    ]
    assert reply.json["total"] >= (2 if "accurate" in result else 0)
    # The limit was that of the count alone, also for who comes after on the same connection.
    assert hasty.get(f"{people}&{SLOW}").status == 200


@clause("R4/search.html#total", "in a transaction, too")
def test_in_a_transaction(hasty: FhirClient, people: str) -> None:
    url = f"{people}&{SLOW}&_summary=count"
    written = {
        "resource": {"resourceType": "Basic", "code": {"text": "x"}},
        "request": {"method": "POST", "url": "Basic"},
    }
    entries = [written, {"request": {"method": "GET", "url": url}}]
    reply = hasty.post("", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert reply.status == 200, reply.data
    assert "estimate" in told(reply.json["entry"][1]["resource"])[0]
    assert reply.json["entry"][0]["response"]["status"].startswith("201")
