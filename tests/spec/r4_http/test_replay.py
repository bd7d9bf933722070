"""A history Bundle sent to the base (R4/http.html#other-bundles)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.builders import bundle, observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

CLAUSE = "R4/http.html#other-bundles"


def version(moment: str | None, method: str, resource: dict[str, Any]) -> dict[str, Any]:
    url = resource["resourceType"] + ("" if method == "POST" else f"/{resource['id']}")
    entry: dict[str, Any] = {"request": {"method": method, "url": url}, "response": {"status": "200"}}
    if method != "DELETE":
        entry["resource"] = resource
    if moment is not None:
        entry["response"]["lastModified"] = moment
    return entry


def family(reply: Any) -> Any:
    return reply.json["name"][0]["family"]


@clause(CLAUSE, "what a history tells of is done again: the same ids, the oldest first, deletions too")
@pytest.mark.parametrize("oldest_first", [False, True])
def test_history_of_ours(
    client: FhirClient, stored: Callable[[dict[str, Any]], str], oldest_first: bool
) -> None:
    kept = stored(patient("One"))
    client.put(f"Patient/{kept}", patient("Two", id=kept))
    gone = stored(patient("Gone"))
    client.delete(f"Patient/{gone}")
    seen = stored(observation(f"Patient/{kept}"))
    paths = (f"Patient/{kept}", f"Patient/{gone}", f"Observation/{seen}")
    order = "_lastUpdated" if oldest_first else "-_lastUpdated"
    pages = [client.get(f"{path}/_history?_sort={order}").json["entry"] for path in paths]
    told = bundle("history", *(entry for page in pages for entry in page))
    for path in paths:
        client.delete(path)
        everything = {"name": "expungeEverything", "valueBoolean": True}
        purged = {"resourceType": "Parameters", "parameter": [everything]}
        assert client.post(f"{path}/$expunge", purged).status == 200
        assert client.get(path).status == 404
    reply = client.post("", told)
    assert reply.status == 200, reply.data
    assert reply.json["type"] == "batch-response"
    assert {each["response"]["status"][:3] for each in reply.json["entry"]} <= {"200", "201", "204"}
    assert len(reply.json["entry"]) == len(told["entry"])
    assert family(client.get(f"Patient/{kept}")) == "Two"
    assert client.get(f"Patient/{gone}").status == 410
    assert family(client.get(f"Patient/{kept}/_history/1")) == "One"
    assert client.get(f"Observation/{seen}").json["subject"]["reference"] == f"Patient/{kept}"


@clause(CLAUSE, "the order is that of the times it says; without any the newest come first")
@pytest.mark.parametrize(
    "moments",
    [
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T23:30:00-02:00", "2026-01-02T00:00:00Z"),
        (None, None),
        ("yesterday", "before"),
    ],
)
def test_order(client: FhirClient, moments: tuple[str | None, str | None]) -> None:
    id_ = f"replay-{moments[0] or 'none'}".replace(":", ".")
    newer, older = patient("New", id=id_), patient("Old", id=id_)
    sent = bundle("history", version(moments[0], "PUT", newer), version(moments[1], "POST", older))
    reply = client.post("", sent).json["entry"]
    assert [each["response"]["etag"] for each in reply] == ['W/"2"', 'W/"1"']
    assert family(client.get(f"Patient/{id_}")) == "New"


@clause(CLAUSE, "what cannot be repeated is told of the entry where it stands, and the others are done")
def test_refusals(client: FhirClient) -> None:
    sent = bundle(
        "history",
        version(None, "PUT", patient(id="replay-2")),
        version(None, "POST", patient(id="no id!")),
        {"request": {"method": "PUT", "url": "Patient/7"}},
        {"fullUrl": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0d"},
    )
    sent["entry"].append({"request": {"method": "DELETE", "url": "Patient?_id=replay-2"}})
    reply = client.post("", sent).json["entry"]
    assert [each["response"]["status"][:3] for each in reply] == ["201", "400", "400", "400", "400"]
    told = [each["response"]["outcome"]["issue"][0]["expression"][0] for each in reply[1:]]
    assert [text[: len("Bundle.entry[0]")] for text in told] == [f"Bundle.entry[{n}]" for n in (1, 2, 3, 4)]
    assert client.get("Patient/replay-2").status == 200, "a deletion by criteria is none of a history"


@clause("R4/http.html#Status-Codes", "entries that are none: a refusal, of all or of each")
@pytest.mark.parametrize("kind", ["batch", "transaction", "history"])
@pytest.mark.parametrize(
    "entries", [None, {}, "x", [None], [[]], [5], [{"fullUrl": []}], [{"resource": []}], [{"request": 1}]]
)
def test_entries_that_are_none(client: FhirClient, kind: str, entries: Any) -> None:
    reply = client.post("", {"resourceType": "Bundle", "type": kind, "entry": entries})
    if reply.status == 200:
        assert [each["response"]["status"] for each in reply.json["entry"]] == ["400 Bad Request"]
    else:
        assert reply.status == 400, reply.data
