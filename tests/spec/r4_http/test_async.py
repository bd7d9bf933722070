"""Asynchronous requests (R4/async.html): kick-off, status, results, cancellation, and what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database import contents
from fhir_server.database.engine import Engine, Mode
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Settings
from fhir_server.interactions.entry import Entry
from fhir_server.jobs import queue
from fhir_server.operations.calls import prepare
from fhir_server.rest import async_run
from fhir_server.rest.async_run import Runner
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import bundle, observation, patient, post
from tests.support.clause import clause
from tests.support.clock import FixedClock
from tests.support.http import FhirClient, Reply

ASYNC = {"Prefer": "respond-async"}
BASE = "http://127.0.0.1"


@pytest.fixture
def here(fresh_database_url: str, clock: FixedClock) -> Iterator[Installation]:
    engine = Engine(fresh_database_url, size=4)
    settings = Settings(base_urls=(f"{BASE}/fhir",), operations=prepare, max_count=10)
    entry = Entry(engine, settings, clock)
    yield Installation(entry, Config(max_jobs=5), Capabilities(settings, BUILT, clock()))
    engine.close()


@pytest.fixture
def client(here: Installation) -> FhirClient:
    return FhirClient(Door(here).wsgi)


@pytest.fixture
def runner(here: Installation) -> Runner:
    return Runner(here)


def started(reply: Reply) -> str:
    """Return the path of the status of a request that was accepted."""
    assert reply.status == 202, reply.data
    address = reply.headers["Content-Location"]
    assert address.startswith(f"{BASE}/fhir/jobs/")
    assert reply.headers["Preference-Applied"] == "respond-async"
    assert reply.json["resourceType"] == "OperationOutcome"
    return str(address.removeprefix(BASE))


def statement(here: Installation, sql: str) -> list[tuple[Any, ...]]:
    with here.entry.engine.connection(Mode.SINGLE) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def lines(client: FhirClient, url: str) -> list[dict[str, Any]]:
    reply = client.get(url.removeprefix(BASE), Accept="application/fhir+ndjson")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/fhir+ndjson"
    assert int(reply.headers["Content-Length"]) == len(reply.data)
    return [json.loads(line) for line in reply.data.decode().splitlines()]


@pytest.fixture
def ward(client: FhirClient) -> list[str]:
    """25 patients with an observation each; their ids."""
    ids = [f"async-{number:02}" for number in range(25)]
    entries = []
    for id_ in ids:
        entries.append(
            {
                "resource": {**patient("Ward"), "id": id_},
                "request": {"method": "PUT", "url": f"Patient/{id_}"},
            }
        )
        entries.append(post(observation(f"Patient/{id_}")))
    assert client.post("", bundle("transaction", *entries)).status == 200
    return ids


@clause(
    "R4/async.html#3.1.6.4", "202 with X-Progress and Retry-After while it runs, then 200 with a manifest"
)
def test_a_search(client: FhirClient, runner: Runner, ward: list[str]) -> None:
    path = started(client.get("?_type=Patient,Observation&_sort=-_lastUpdated", **ASYNC))
    waiting = client.get(path)
    assert (waiting.status, waiting.data, waiting.headers["X-Progress"]) == (202, b"", "waiting")
    assert int(waiting.headers["Retry-After"]) > 0
    assert (runner.drain(), runner.drain()) == (1, 0)
    done = client.get(path)
    assert (done.status, done.headers["Content-Type"]) == (200, "application/json")
    assert "GMT" in done.headers["Expires"]
    manifest = done.json
    assert manifest["request"] == f"{BASE}/fhir/?_type=Patient%2CObservation&_sort=-_lastUpdated"
    assert manifest["requiresAccessToken"] is False
    assert "T" in manifest["transactionTime"]
    assert [(each["type"], each["count"]) for each in manifest["output"]] == [
        ("Observation", 25),
        ("Patient", 25),
    ]
    found = {each["type"]: lines(client, each["url"]) for each in manifest["output"]}
    assert sorted(each["id"] for each in found["Patient"]) == ward
    assert {each["subject"]["reference"] for each in found["Observation"]} == {
        f"Patient/{id_}" for id_ in ward
    }
    assert (manifest["error"], manifest["deleted"]) == ([], [])


@clause("R4/async.html#3.1.6.4", "all pages of a search are there, by POST too, with includes in their files")
def test_a_search_by_post(client: FhirClient, runner: Runner, ward: list[str]) -> None:
    sent = {"Content-Type": "application/x-www-form-urlencoded", **ASYNC}
    body = b"_include=Observation:subject&_count=7"
    path = started(client.send("POST", "Observation/_search", body, sent))
    runner.drain()
    output = client.get(path).json["output"]
    found = {each["type"]: [one["id"] for one in lines(client, each["url"])] for each in output}
    assert sorted(found["Patient"]) == ward
    assert len(set(found["Observation"])) == 25


@clause("R4/async.html#3.1.6.4", "what a search answers with no page comes in a batch-response, too")
@pytest.mark.parametrize(
    ("url", "form", "type_name"),
    [
        ("Patient?family=Ward&_explain=true", b"", "Parameters"),
        ("Patient?_outputFormat=ndjson&_explain=true", b"", "Parameters"),
        ("Patient/_search", b"family=Ward&_explain=true", "Parameters"),
        ("Patient/_search", b"family=Nobody&_summary=count", "Bundle"),
        ("Patient?_count=0", b"", "Bundle"),
    ],
)
def test_no_page(client: FhirClient, runner: Runner, url: str, form: bytes, type_name: str) -> None:
    sent = {"Content-Type": "application/x-www-form-urlencoded", **ASYNC}
    path = started(client.send("POST", url, form, sent) if form else client.get(url, **ASYNC))
    runner.drain()
    made = client.get(path).json
    assert (made["resourceType"], made["type"]) == ("Bundle", "batch-response")
    [entry] = made["entry"]
    assert (entry["resource"]["resourceType"], entry["response"]["status"]) == (type_name, "200 OK")


@clause("R4/async.html#3.1.6.4", "a history: every version, deletions in a file of their own")
def test_a_history(client: FhirClient, runner: Runner, ward: list[str]) -> None:
    assert client.delete(f"Patient/{ward[0]}").status == 204
    path = started(client.get("Patient/_history", **ASYNC))
    runner.drain()
    manifest = client.get(path).json
    assert [(each["type"], each["count"]) for each in manifest["output"]] == [("Patient", 25)]
    (deleted,) = lines(client, manifest["deleted"][0]["url"])
    assert deleted["entry"][0]["request"] == {"method": "DELETE", "url": f"Patient/{ward[0]}"}


@clause(
    "R4/async.html#3.1.6.4",
    "other requests: their one answer in a batch-response, as if it had been waited for",
)
def test_other_requests(client: FhirClient, runner: Runner) -> None:
    entries = bundle(
        "transaction", post(patient("Later")), post({"resourceType": "Basic", "code": {"text": "a"}})
    )
    wishes = {"Prefer": "respond-async, return=representation"}
    paths = [
        started(client.post("", entries, **wishes)),
        started(client.post("Patient/$validate", patient(gender="unheard"), **ASYNC)),
        started(client.get("Patient?name=Later&_outputFormat=application/fhir%2Bjson", **ASYNC)),
        started(client.get("Patient?colour=red&_outputFormat=application/fhir+json", **ASYNC)),
        started(client.get("Patient?name=Later&_summary=count", **ASYNC)),
    ]
    while runner.drain():
        pass
    made = [client.get(path) for path in paths]
    assert [reply.status for reply in made] == [200] * 5
    assert {reply.json["type"] for reply in made} == {"batch-response"}
    whole, validated, found, wrong, counted = (reply.json["entry"][0] for reply in made)
    assert [each["response"]["status"] for each in (whole, validated, found)] == ["200 OK"] * 3
    assert whole["resource"]["entry"][0]["resource"]["name"][0]["family"] == "Later"
    assert validated["resource"]["issue"][0]["severity"] == "error"
    assert len(found["resource"]["entry"]) == 1
    assert wrong["response"]["status"] == "400 Bad Request"
    assert "colour" in wrong["response"]["outcome"]["issue"][0]["diagnostics"]
    assert counted["resource"]["total"] == 1
    xml = client.get(paths[0], Accept="application/fhir+xml")
    assert xml.data.startswith(b"<?xml") or xml.data.startswith(b"<Bundle")


@clause("R4/async.html#3.1.6.4", "a search that is refused: the status answers with the refusal")
def test_a_search_that_is_refused(client: FhirClient, runner: Runner) -> None:
    path = started(client.get("Patient?colour=red", **ASYNC))
    runner.drain()
    reply = client.get(path)
    assert reply.status == 400
    assert "colour" in reply.issue["diagnostics"]


@clause("R4/async.html#3.1.6.3", "what cannot be begun is refused at once")
def test_refused_at_once(client: FhirClient) -> None:
    assert client.get("Patient?_outputFormat=text/csv", **ASYNC).status == 400
    assert client.post("Patient/$validate?_outputFormat=ndjson", patient(), **ASYNC).status == 400
    assert client.get("Nonsense?a=b", **ASYNC).status == 404
    assert client.get("Patient", Accept="text/turtle", **ASYNC).status == 406
    replies = [client.get("Patient", **ASYNC) for _ in range(6)]
    assert [reply.status for reply in replies] == [202] * 5 + [429]
    assert int(replies[-1].headers["Retry-After"]) > 0


@clause("RFC7240#4.1", "what is answered at once anyway is: the preference is no demand")
def test_short_requests(client: FhirClient, ward: list[str]) -> None:
    assert client.get(f"Patient/{ward[0]}", **ASYNC).status == 200
    assert client.post("Patient", patient(), **ASYNC).status == 201
    assert client.send("HEAD", "Patient", headers=ASYNC).status == 200


@clause("R4/async.html#3.1.6.5", "DELETE cancels: nothing is done any more, status and files are gone")
def test_cancel(client: FhirClient, here: Installation, runner: Runner, ward: list[str]) -> None:
    waiting = started(client.post("", bundle("transaction", post(patient("Cancelled"))), **ASYNC))
    assert client.delete(waiting).status == 202
    done = started(client.get("Patient", **ASYNC))
    assert runner.drain() == 1
    url = client.get(done).json["output"][0]["url"].removeprefix(BASE)
    assert client.delete(done).status == 202
    assert [client.get(path).status for path in (waiting, done, url)] == [404] * 3
    assert client.delete(done).status == 404
    assert client.get("Patient?name=Cancelled&_summary=count").json["total"] == 0
    runner.sweep()
    assert statement(here, "SELECT count(*) FROM job") == [(0,)]
    assert statement(here, "SELECT count(*) FROM content") == [(0,)]


@clause("R4/async.html#3.1.6.5", "one that is cancelled while it runs commits nothing more")
def test_cancel_while_it_runs(
    client: FhirClient, here: Installation, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = started(client.post("", bundle("batch", *[post(patient("Halfway"))] * 3), **ASYNC))
    monkeypatch.setattr(async_run, "TELL_EVERY_S", 0.0)
    told: list[str] = []
    tell = queue.tell

    def telling(unit: Any, job: Any, progress: str) -> None:
        tell(unit, job, progress)
        told.append(progress)
        if len(told) == 2:
            unit.defer("UPDATE job SET state = 'cancelled', expires_at = now()")

    monkeypatch.setattr(queue, "tell", telling)
    assert runner.drain() == 1
    assert client.get(path).status == 404
    assert client.get("Patient?name=Halfway&_summary=count").json["total"] == 1


@clause("R4/async.html", "whose it is not learns nothing, not even that it is there")
def test_others(here: Installation, client: FhirClient, runner: Runner, ward: list[str]) -> None:
    path = started(client.get("Patient", **ASYNC))
    runner.drain()
    url = client.get(path).json["output"][0]["url"].removeprefix(BASE)
    statement(here, "UPDATE job SET subject = 'somebody else'")
    for address in (path, url):
        reply = client.get(address)
        assert (reply.status, reply.issue["code"]) == (404, "not-found")
    assert client.delete(path).status == 404
    assert client.get("jobs/0123").status == 404


@clause("R4/async.html#3.1.6.4", "a result expires")
def test_expiry(here: Installation, client: FhirClient, runner: Runner, ward: list[str]) -> None:
    path = started(client.get("Patient", **ASYNC))
    runner.drain()
    statement(here, "UPDATE job SET expires_at = '2026-01-01T00:00:00Z'")
    assert client.get(path).status == 404
    runner.sweep()
    assert statement(here, "SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM content_piece)") == [
        (0, 0)
    ]


@clause(
    "R4/async.html", "a worker killed after the commit: the transaction is answered, not carried out again"
)
def test_killed_after_the_commit(
    here: Installation, client: FhirClient, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = started(client.post("", bundle("transaction", post(patient("Once"))), **ASYNC))

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(queue, "end", killed)
        with pytest.raises(Killed):
            runner.drain()
    assert client.get(path).status == 202
    assert runner.drain() == 1
    answer = client.get(path).json["entry"][0]
    assert answer["response"]["status"] == "200 OK"
    location = answer["resource"]["entry"][0]["response"]["location"].removeprefix(BASE)
    assert client.get(location).json["name"][0]["family"] == "Once"
    assert client.get("Patient?name=Once&_summary=count").json["total"] == 1


@clause("R4/async.html", "a worker killed before the commit: carried out anew; after three times given up")
def test_killed_before_the_commit(
    here: Installation, client: FhirClient, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = started(client.post("", bundle("transaction", post(patient("Anew"))), **ASYNC))
    keep = queue.keep

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(queue, "keep", killed)
        with pytest.raises(Killed):
            runner.drain()
    assert client.get("Patient?name=Anew&_summary=count").json["total"] == 0
    assert queue.keep is keep
    assert runner.drain() == 1
    assert client.get(path).json["entry"][0]["response"]["status"] == "200 OK"
    assert client.get("Patient?name=Anew&_summary=count").json["total"] == 1
    path = started(client.get("Patient", **ASYNC))
    statement(here, "UPDATE job SET attempt = 3, state = 'running' WHERE state = 'waiting'")
    assert runner.drain() == 1
    reply = client.get(path)
    assert (reply.status, "3 times" in reply.issue["diagnostics"]) == (500, True)


@clause("R4/async.html", "a batch that was killed in the middle says how much of it was carried out")
def test_killed_in_a_batch(
    here: Installation, client: FhirClient, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = started(client.post("", bundle("batch", *[post(patient("Some"))] * 4), **ASYNC))
    kept: list[int] = []
    keep = queue.keep

    class Killed(BaseException):
        pass

    def killed(unit: Any, job: Any, text: str) -> None:
        if len(kept) == 2:
            raise Killed
        kept.append(1)
        keep(unit, job, text)

    with monkeypatch.context() as patched:
        patched.setattr(queue, "keep", killed)
        with pytest.raises(Killed):
            runner.drain()
    assert runner.drain() == 1
    reply = client.get(path)
    assert (reply.status, "2 of the entries" in reply.issue["diagnostics"]) == (500, True)
    assert client.get("Patient?name=Some&_summary=count").json["total"] == 2


@clause("R4/async.html", "two workers never have one job; a stopping one leaves it to the next")
def test_two_workers(here: Installation, client: FhirClient, runner: Runner) -> None:
    path = started(client.get("Patient", **ASYNC))
    with here.entry.engine.connection(Mode.SINGLE) as connection:
        cursor = connection.cursor()
        assert queue.claim(cursor) is not None
        assert runner.drain() == 0
        queue.release(cursor)
    assert Runner(here, stopping=lambda: True).drain() == 1
    assert client.get(path).headers["X-Progress"] == "waiting"
    assert runner.drain() == 1
    assert client.get(path).status == 200


@clause("RFC9110#14", "files by parts: Range, If-Range, 416; HEAD; ETag and 304")
def test_ranges(client: FhirClient, runner: Runner, ward: list[str]) -> None:
    path = started(client.get("Patient", **ASYNC))
    runner.drain()
    url = client.get(path).json["output"][0]["url"].removeprefix(BASE)
    whole = client.get(url)
    tag, size = whole.headers["ETag"], len(whole.data)
    assert whole.headers["Accept-Ranges"] == "bytes"
    for header, part in (
        ("bytes=0-9", whole.data[:10]), ("bytes=10-", whole.data[10:]), ("bytes=-7", whole.data[-7:]),
        (f"bytes=5-{size + 100}", whole.data[5:]),
    ):  # fmt: skip
        reply = client.get(url, Range=header, If_Range=tag)
        assert (reply.status, reply.data) == (206, part), header
        assert reply.headers["Content-Range"].endswith(f"/{size}")
    for header in ("bytes=0-1,5-6", "lines=1-2", "bytes=9-5", "bytes=-"):
        assert client.get(url, Range=header).data == whole.data, header
    assert client.get(url, Range="bytes=0-9", If_Range='"other"').data == whole.data
    beyond = client.get(url, Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert client.get(url, If_None_Match=tag).status == 304
    head = client.send("HEAD", url)
    assert (head.status, head.data, int(head.headers["Content-Length"])) == (200, b"", size)


def test_contents_that_nobody_points_at_are_swept(here: Installation) -> None:
    writer = contents.Writer(here.entry.engine)
    writer.write(b"a" * (contents.PIECE_BYTES * 2 + 5))
    pk = writer.close().pk
    engine = here.entry.engine
    assert sum(map(len, contents.read(engine, pk, 0, 10**9))) == contents.PIECE_BYTES * 2 + 5
    assert b"".join(contents.read(engine, pk, contents.PIECE_BYTES - 2, contents.PIECE_BYTES + 3)) == b"aaaaa"
    assert contents.sweep(engine) == 0
    assert contents.sweep(engine, "0 seconds") == 1
    assert list(contents.read(engine, pk, 0, 10)) == []
    assert here.entry.read(Grant("test"), lambda context: contents.find(context.unit, pk)) is None
