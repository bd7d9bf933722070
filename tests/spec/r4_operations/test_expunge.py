"""$expunge: history and resources removed for good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database import feed
from fhir_server.database.changes import Change
from fhir_server.database.engine import Engine
from fhir_server.database.unit_of_work import UnitOfWork, run_read
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.expunge import Modes, expunge
from fhir_server.interactions.read import read
from fhir_server.interactions.update import update
from fhir_server.operations.calls import prepare
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import bundle, observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient
from tests.support.races import ANYONE, at_once, chain

EVERYTHING = {"expungeEverything": True}
VERSIONS = {"expungePreviousVersions": True}
DELETED = {"expungeDeletedResources": True}


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """A database of the test's own: what is counted here is counted over all of it."""
    engine = Engine(fresh_database_url, size=12, wait_s=60)
    yield engine
    engine.close()


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(client: FhirClient) -> Call:
    """Call $expunge and return its numbers; `status` is that of the answer."""

    def call(path: str = "", status: int = 200, **given: bool | int) -> dict[str, Any]:
        parameters = [
            {"name": name, "valueBoolean" if isinstance(value, bool) else "valueInteger": value}
            for name, value in given.items()
        ]
        body = {"resourceType": "Parameters", "parameter": parameters}
        reply = client.post(f"{path}/$expunge".lstrip("/"), body if parameters else None)
        assert reply.status == status, reply.data
        if status != 200:
            return reply.issue
        return {
            each["name"]: next(value for name, value in each.items() if name.startswith("value"))
            for each in reply.json["parameter"]
            if each["name"] != "outcome"
        }

    return call


def versions(client: FhirClient, id_: str, count: int) -> None:
    """Store a patient in so many versions."""
    for number in range(count):
        reply = client.put(f"Patient/{id_}", patient(f"N{number}", id=id_, birthDate="1970-01-01"))
        assert reply.status in (200, 201)


@clause("R4/http.html#vread", "old versions go, the current one stays; a purged version is 410")
def test_previous_versions(client: FhirClient, call: Call) -> None:
    versions(client, "a", 3)
    assert call("Patient/a", **VERSIONS) == {"count": 2, "resources": 0, "more": False, "dryRun": False}
    assert client.get("Patient/a").json["name"][0]["family"] == "N2"
    assert client.get("Patient/a/_history/3").status == 200
    gone = client.get("Patient/a/_history/1")
    assert (gone.status, "purged" in gone.issue["diagnostics"]) == (410, True)
    assert client.get("Patient/a/_history/4").status == 404
    assert len(client.get("Patient/a/_history").json["entry"]) == 1
    assert client.put("Patient/a", patient("N3", id="a")).headers["ETag"] == 'W/"4"'
    assert call("Patient/a", **VERSIONS)["count"] == 1


@clause("R4/http.html#delete", "deleted resources go with their history; what is not deleted stays")
@pytest.mark.parametrize("path", ["", "Patient", "Patient/gone"])
def test_deleted_resources(client: FhirClient, call: Call, path: str) -> None:
    versions(client, "gone", 2)
    versions(client, "stays", 2)
    client.delete("Patient/gone")
    assert call(path, **DELETED) == {"count": 3, "resources": 1, "more": False, "dryRun": False}
    assert client.get("Patient/gone").status == 404
    assert client.get("Patient/gone/_history").status == 404
    assert client.get("Patient/gone/_history/1").status == 404
    assert client.get("Patient/stays/_history/1").status == 200
    assert call("Patient/stays", **DELETED)["count"] == 0


def rows_of(url: str) -> dict[str, int]:
    """Return how many rows each table has that is kept by the keys of resources."""
    connection = psycopg2.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT table_name FROM information_schema.columns JOIN information_schema.tables "
            "USING (table_schema, table_name) WHERE table_schema = 'public' AND column_name = 'pk' "
            "AND table_type = 'BASE TABLE' AND data_type = 'bigint' AND table_name <> 'resource_purged'"
        )
        names = sorted(row[0] for row in cursor.fetchall())
        counts = {}
        for name in names:
            cursor.execute(f'SELECT count(*) FROM "{name}"')
            counts[name] = int(cursor.fetchone()[0])
        return {name: count for name, count in counts.items() if count}
    finally:
        connection.close()


@clause("R4/http.html#delete", "everything of one resource: no row is left of it, in any table")
def test_everything(client: FhirClient, call: Call, engine: Engine) -> None:
    before = rows_of(engine.url)
    client.put("Patient/all", patient("Long", id="all", birthDate="1970-01-01"))
    body = observation("Patient/all", id="all-o", effectiveDateTime="2026")
    del body["valueString"]
    body["contained"] = [{"resourceType": "Practitioner", "id": "p", "name": [{"family": "Inside"}]}]
    body["performer"] = [{"reference": "#p"}]
    body["valueQuantity"] = {"value": 1, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
    for _ in range(2):
        assert client.put("Observation/all-o", body).status in (200, 201)
        body["status"] = "amended"
    connection = psycopg2.connect(engine.url)
    connection.cursor().execute(
        "INSERT INTO validation_outcome (pk, version, errors, warnings, type, issues) "
        "SELECT pk, v, 1, 0, type, '[]' FROM resource, generate_series(1, 2) AS v WHERE id = 'all-o'"
    )
    connection.commit()
    connection.close()
    kept = {"resource", "resource_version", "idx_date", "idx_quantity", "validation_outcome"}
    assert kept <= rows_of(engine.url).keys()
    assert call("Observation/all-o", **EVERYTHING) == {
        "count": 2, "resources": 1, "more": False, "dryRun": False,
    }  # fmt: skip
    assert client.get("Observation/all-o").status == 404
    assert "entry" not in client.get("Observation?subject=Patient/all").json
    assert call("Patient/all", **EVERYTHING)["resources"] == 1
    assert rows_of(engine.url) == before
    assert client.put("Patient/all", patient("New", id="all")).headers["ETag"] == 'W/"1"'


@clause("R4/operations.html", "a dry run counts and removes nothing; a limit goes on where it ended")
def test_dry_run_and_limit(client: FhirClient, call: Call) -> None:
    for id_ in ("a", "b", "c"):
        versions(client, id_, 3)
    client.delete("Patient/c")
    both = {**VERSIONS, **DELETED}
    asked = {"count": 8, "resources": 1, "more": False, "dryRun": True}
    assert call("", dryRun=True, **both) == asked
    assert call("", dryRun=True, **both) == asked
    first = call("Patient", limit=2, **VERSIONS)
    assert (first["count"], first["more"]) == (2, True)
    rest = call("", limit=100, **both)
    assert (rest["count"], rest["resources"], rest["more"]) == (6, 1, False)
    assert call("", **both)["count"] == 0
    assert [each["resource"]["id"] for each in client.get("_history").json["entry"]] == ["b", "a"]


@clause("R4/operations.html", "what is refused, and what would work")
def test_refusals(client: FhirClient, call: Call) -> None:
    versions(client, "a", 2)
    assert "expungePreviousVersions" in call("Patient/a", 400)["diagnostics"]
    assert "one resource" in call("Patient", 400, **EVERYTHING)["diagnostics"]
    assert "1 to 10000" in call("", 400, limit=0, **VERSIONS)["diagnostics"]
    assert call("", 400, limit=10_001, **VERSIONS)["code"] == "value"
    assert call("Patient/nobody", 404, **EVERYTHING)["code"] == "not-found"
    reply = client.get("Patient/a/$expunge?expungeEverything=true")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST, OPTIONS")
    assert client.get("Patient/a/_history/1").status == 200
    operations = client.get("metadata").json["rest"][0]["resource"][0].get("operation", [])
    assert not operations or "expunge" in {each["name"] for each in operations}


@clause("R4/http.html#transaction", "an operation that changes something is an entry of a batch")
def test_in_a_batch(entry: Entry) -> None:
    settings = replace(entry.settings, operations=prepare)
    here = Installation(
        replace(entry, settings=settings), Config(), Capabilities(settings, BUILT, entry.clock())
    )
    client = FhirClient(Door(here).wsgi)
    versions(client, "a", 2)
    request = {"method": "POST", "url": "Patient/a/$expunge?expungePreviousVersions=true"}
    made = client.post("", bundle("batch", {"request": request})).json["entry"][0]
    assert made["response"]["status"] == "200 OK"
    assert made["resource"]["parameter"][0] == {"name": "count", "valueInteger": 1}
    assert client.get("Patient/a/_history/1").status == 410


@clause("R4/http.html#history", "who follows the change feed is told that nothing is left of a resource")
def test_the_feed(client: FhirClient, call: Call, engine: Engine) -> None:
    versions(client, "a", 2)
    seen = followed(engine, feed.START, "U")
    call("Patient/a", **EVERYTHING)
    (last,) = followed(engine, seen[-1].position, feed.PURGED)
    assert (last.pk, last.type_code, last.id) == (seen[-1].pk, seen[-1].type_code, "")
    assert [entry.method for entry in followed(engine, feed.START, feed.PURGED)] == [feed.PURGED]
    versions(client, "a", 1)
    assert [entry.version for entry in followed(engine, last.position, "U")] == [1]


def followed(engine: Engine, after: feed.Position, until: str) -> list[feed.Entry]:
    """Return what the feed tells, once it ends with an entry of a method: other tests may hold it back."""
    for _ in range(10_000):
        found = run_read(engine, lambda unit: feed.read(unit, after, 100))
        if found and found[-1].method == until:
            return found
    raise AssertionError("the feed did not get so far")


@clause("R4/http.html#delete", "listeners are told of a resource that goes without a deletion")
def test_listeners(entry: Entry) -> None:
    told: list[Change] = []

    def listen(unit: UnitOfWork, changes: list[Change]) -> None:
        told.extend(changes)

    listening = Entry(entry.engine, entry.settings, entry.clock, (listen,))
    body = {**patient(), "id": "heard"}
    listening.write(ANYONE, lambda context: update(context, "Patient", "heard", body))
    told.clear()
    listening.write(ANYONE, lambda context: expunge(context, "Patient", "heard", Modes(everything=True)))
    assert [(each.id, each.interaction, each.resource) for each in told] == [("heard", "delete", None)]


@clause("R4/http.html#concurrency", "beside writers: one chain of versions without a gap, or a new one")
@pytest.mark.parametrize("modes", [Modes(previous_versions=True), Modes(everything=True)])
def test_beside_writers(entry: Entry, modes: Modes) -> None:
    body = {**patient(), "id": "busy"}
    entry.write(Grant("test"), lambda context: update(context, "Patient", "busy", body))

    def write(number: int) -> Result:
        def work(context: Context) -> Result:
            changed = {**patient(f"N{number}"), "id": "busy"}
            return update(context, "Patient", "busy", changed)

        return entry.write(ANYONE, work)

    def one(number: int) -> Result:
        if number % 8:
            return write(number)
        entry.write(ANYONE, lambda context: expunge(context, "Patient", "busy", modes))
        return Result(200)

    at_once(one, 32)
    write(99)
    found = chain(entry, "busy")
    assert found == list(range(found[0], found[-1] + 1))
    if modes.everything:
        assert found[0] == 1
    current = entry.read(ANYONE, lambda context: json.loads(_text(context)))
    assert current["name"][0]["family"] == "N99"
    assert int(current["meta"]["versionId"]) == found[-1]


def _text(context: Context) -> str:
    version = read(context, "Patient", "busy").version
    assert version is not None
    return version.text()
