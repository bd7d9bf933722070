"""_text and _content at the door: scores, pages, totals, what is turned off, what is told."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.app import create_entry
from fhir_server.config import Config, ConfigError
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.reindex import Reindexer
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.spec.r4_http.test_errors import check
from tests.support.clause import clause
from tests.support.http import FhirClient

Resource = dict[str, Any]


def opened(url: str, full_text: tuple[str, ...] = ("*",), **settings: Any) -> FhirClient:
    """A door on an installation with these settings."""
    config = Config(full_text=full_text, **settings)
    entry = create_entry(config, url, connections=4)
    return FhirClient(
        Door(Installation(entry, config, Capabilities(entry.settings, BUILT, entry.clock()))).wsgi
    )


def basic(id: str, text: str) -> Resource:
    narrative = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'}
    return {"resourceType": "Basic", "id": id, "code": {"text": "note"}, "text": narrative}


def put(client: FhirClient, *resources: Resource) -> None:
    for each in resources:
        assert client.put(f"{each['resourceType']}/{each['id']}", each).status in (200, 201)


def ids(bundle: Resource) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


@clause("R4/search.html#score", "matches have a score between 0 and 1, the best are first with _sort=_score")
def test_scores(fresh_database_url: str) -> None:
    client = opened(fresh_database_url)
    put(client, *(basic(f"b{n}", "bone " * n + "and more words " * 3) for n in range(1, 8)))
    put(client, {"resourceType": "Patient", "id": "bone", "name": [{"text": "Mrs. Bone"}]})
    bundle = client.get("Basic?_text=bone&_sort=_score&_total=accurate").json
    scores = [entry["search"]["score"] for entry in bundle["entry"]]
    assert bundle["total"] == 7
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    walked: list[str] = []
    page = client.get("Basic?_text=bone&_sort=_score&_count=3").json
    while page:
        walked += ids(page)
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        page = client.get(following[0].partition("/fhir/")[2]).json if following else None
    assert walked == ids(bundle)
    unsorted = client.get("Basic?_text=bone").json
    assert ids(unsorted) == [f"b{n}" for n in range(1, 8)]  # in the order of creation, as without words
    assert all("score" in entry["search"] for entry in unsorted["entry"])
    assert "score" not in client.get("Basic?code:text=note").json["entry"][0]["search"]
    assert client.get("Basic?_content=note&_summary=count").json["total"] == 7
    found = client.get("?_content=bone&_type=Patient,Basic&_sort=_score").json
    assert sorted(ids(found)) == sorted([*walked, "bone"])
    assert len(ids(client.get("?_text=bone").json)) == 7  # a Patient without narrative, and Bundles have none
    explained = client.get("Basic?_text=bone&_explain=true").json
    assert any("words of the resource" in each.get("valueString", "") for each in explained["parameter"])


@clause("R4/search.html#text", "an update replaces the words, a deletion takes them away")
def test_writes(fresh_database_url: str) -> None:
    client = opened(fresh_database_url)
    put(client, basic("a", "first"))
    assert ids(client.get("Basic?_text=first").json) == ["a"]
    put(client, basic("a", "second"))
    assert ids(client.get("Basic?_text=first").json) == []
    assert ids(client.get("Basic?_content=second").json) == ["a"]
    assert client.delete("Basic/a").status == 204
    assert client.get("Basic?_text=second&_total=accurate").json["total"] == 0


@clause("R4/search.html#text", "what is turned off is refused by name, and not announced")
def test_off(fresh_database_url: str) -> None:
    client = opened(fresh_database_url, ("Basic", "Condition"))
    put(client, {"resourceType": "Patient", "id": "p", "active": True})
    check(client.get("Patient?_text=x"), 400, "the setting full_text")
    check(client.get("?_content=x&_type=Basic,Patient"), 400, "the setting full_text")
    assert client.get("Basic?_text=x").status == 200
    stated = {each["type"]: each for each in client.get("metadata").json["rest"][0]["resource"]}
    told = {name: {each["name"] for each in one["searchParam"]} for name, one in stated.items()}
    assert {"_text", "_content"} <= told["Basic"]
    assert not {"_text", "_content"} & told["Patient"]
    assert client.get("Patient?_text=x", Prefer="handling=lenient").status == 200
    with pytest.raises(ConfigError, match="Nothing"):
        opened(fresh_database_url, ("Nothing",))


@clause("R4/search.html#text", "turned on later: refused until all that is stored has its words")
def test_turned_on(fresh_database_url: str) -> None:
    put(opened(fresh_database_url, ("off",)), basic("old", "early words"))
    client = opened(fresh_database_url)
    check(client.get("Basic?_text=early"), 400, "POST $reindex")
    put(client, basic("new", "later words"))
    check(client.get("Basic?_text=words"), 400, "POST $reindex")
    entry = create_entry(Config(), fresh_database_url, connections=2)
    worker = Reindexer(entry)
    while worker.drain():
        pass
    assert ids(client.get("Basic?_text=words").json) == ["old", "new"]
    assert client.get("Patient?_text=words").status == 200


@clause("R4/search.html#text", "a resource with more words than are indexed is told")
def test_cut(fresh_database_url: str) -> None:
    client = opened(fresh_database_url)
    put(client, basic("huge", " ".join(f"word{number}" for number in range(70_000))))
    bundle = client.get("Basic?_text=word7").json
    assert ids({"entry": bundle["entry"][:1]}) == ["huge"]
    outcome = bundle["entry"][-1]["resource"]
    assert "1 Basic resources have more words" in outcome["issue"][0]["diagnostics"]
    assert len(client.get("Condition?_text=word7").json.get("entry", [])) == 0


@clause("R4/search.html#text", "hostile questions are refused or answered, never a failure")
@pytest.mark.parametrize(
    "text",
    [
        "'", "''", "\\", "a\\", "a:*", "a:A", "!a", "a & b", "a | b", "a <-> b", "<->", "(((", ")))", '"',
        '""', '"\\"', "not", "not not not a", "a or", "%00", "%F0%9F%98%80", "*", "a**", "-", "--", "a--b",
        "'; drop", "%s", "{r}", "a" * 5000, "(a)" * 99, "not " * 31 + "a b", "a," * 50 + "a", "%EF%BF%BF",
        "\u0301", "a\u0301*", "%E2%80%AE", "and and and", '"a" "b" not "c"', "AND", "\u202e(a", "a\0b",
    ],
)  # fmt: skip
def test_hostile(client_of_words: FhirClient, text: str) -> None:
    for code in ("_text", "_content"):
        for more in ("", "&_sort=_score", "&_sort=-_id&_total=accurate"):
            reply = client_of_words.get(f"Basic?{code}={text.replace('&', '%26').replace('#', '%23')}{more}")
            assert reply.status in (200, 400), (text, reply.data)


@pytest.fixture
def client_of_words(database_url: str) -> FhirClient:
    return opened(database_url)
