"""Processes killed with -9 under load: what was answered is there whole, the rest not at all."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.builders import bundle, identified, observation, post
from tests.support.clause import clause
from tests.support.server import Server, wait_for

SYSTEM = "urn:test:crash"
ENTRIES = 6
_RUNS = itertools.count()


def send(server: Server, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and JSON; raises OSError when the connection breaks."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(
        path if path.startswith("http") else f"{server.url}{path}",
        data, {"Content-Type": "application/fhir+json"}, method=method,
    )  # fmt: skip
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, _lower(answer.headers), json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, _lower(error.headers), json.loads(error.read() or b"null")


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def pages(server: Server, query: str) -> Iterator[dict[str, Any]]:
    """Yield the resources of a search, page after page."""
    url: str | None = f"/fhir/{query}"
    while url:
        status, _, found = send(server, "GET", url)
        assert status == 200, found
        yield from (entry["resource"] for entry in found.get("entry", []))
        url = {each["relation"]: each["url"] for each in found["link"]}.get("next")


@dataclass
class Writers:
    """Threads that send transactions, each of one Patient and its Observations, and note the answers."""

    server: Server
    run: str = field(default_factory=lambda: f"{next(_RUNS)}-{time.time_ns()}")
    answered: list[str] = field(default_factory=list)
    broken: int = 0
    unsure: int = 0
    statuses: set[int] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def write(self, thread: int) -> None:
        for number in itertools.count():
            if self.over.is_set():
                return
            name = f"{self.run}-{thread}-{number}"
            patient = identified(name, self.run, SYSTEM)
            urn = "urn:uuid:00000000-0000-4000-8000-000000000001"
            criteria = f"identifier={SYSTEM}|{name}" if number % 2 else None
            parts = [post(observation(urn, identifier=[{"value": self.run}])) for _ in range(ENTRIES - 1)]
            try:
                status, *_ = send(
                    self.server, "POST", "/fhir", bundle("transaction", post(patient, urn, criteria), *parts)
                )
            except OSError:
                self.broken += 1
                time.sleep(0.02)
                continue
            self.statuses.add(status)
            if status == 200:
                self.answered.append(name)
            else:
                self.unsure += status == 503  # the connection may have been lost behind COMMIT

    @contextmanager
    def writing(self, threads: int = 4) -> Iterator[None]:
        with ThreadPoolExecutor(threads) as pool:
            running = [pool.submit(self.write, thread) for thread in range(threads)]
            try:
                yield
            finally:
                self.over.set()
            for each in running:
                each.result()

    def check(self) -> None:
        """Hold what is stored against what was answered: all of it whole, nothing in part."""
        patients = {
            each["identifier"][0]["value"]: each["id"]
            for each in pages(self.server, f"Patient?family:exact={self.run}&_count=500")
        }
        assert set(self.answered) <= patients.keys(), "an answered write is lost"
        held: dict[str, int] = dict.fromkeys(patients.values(), 0)
        for each in pages(self.server, f"Observation?identifier={self.run}&_count=1000"):
            held[each["subject"]["reference"].removeprefix("Patient/")] += 1
        assert set(held.values()) <= {ENTRIES - 1}, "a transaction is there in part"
        assert len(patients) <= len(self.answered) + self.broken + self.unsure, "a refused write is there"


def killed(server: Server, name: str) -> bool:
    """Kill a process; say whether it was there, for it may be about to be started again."""
    try:
        os.kill(server.pid(name), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@clause("R4/http.html#transaction", "a worker killed in the middle: answered is stored, all or nothing")
def test_workers_killed_under_load(running: Server) -> None:
    writers = Writers(running)
    chance = random.Random(7)
    with writers.writing():
        for kill in range(3):
            enough = len(writers.answered) + 10
            wait_for(lambda: len(writers.answered) >= enough, 20)  # noqa: B023
            time.sleep(chance.uniform(0, 0.05))
            wait_for(lambda: killed(running, f"http-{kill % 2 + 1}"), 20)  # noqa: B023
    assert writers.statuses <= {200, 409, 503}
    writers.check()


@clause(
    "R4/http.html#Status-Codes", "Postgres killed or shut down: 503 with Retry-After, well again by itself"
)
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_postgres_ended_under_load(running: Server, ending: signal.Signals) -> None:
    writers = Writers(running)
    refused: list[dict[str, str]] = []
    with writers.writing():
        wait_for(lambda: len(writers.answered) >= 10, 20)
        os.kill(running.pid("postgres"), ending)

        def said_so() -> bool:
            status, headers, outcome = send(running, "GET", "/fhir/Patient?_count=1")
            if status == 503:
                assert outcome["resourceType"] == "OperationOutcome"
                assert outcome["issue"][0]["code"] == "transient"
                refused.append(headers)
            return bool(refused)

        wait_for(said_so, 10)
        enough = len(writers.answered) + 10
        wait_for(lambda: len(writers.answered) >= enough, 40)
    assert all(int(headers["retry-after"]) > 0 for headers in refused)
    assert writers.statuses <= {200, 409, 503}
    writers.check()


@clause("R4/http.html#paging", "pages beside writers: what does not change is met once, in every order")
def test_a_walk_beside_writers(running: Server) -> None:
    mine = f"walk-{time.time_ns()}"
    entries = [post(identified(str(n), mine, SYSTEM)) for n in range(60)]
    assert send(running, "POST", "/fhir", bundle("transaction", *entries))[0] == 200
    quiet = {each["id"] for each in pages(running, f"Patient?family:exact={mine}&_count=100")}
    assert len(quiet) == 60
    over = threading.Event()

    def disturb(thread: int) -> None:
        """Add, change and delete resources of the same name all the time."""
        chance, ids = random.Random(thread), []
        while not over.is_set():
            if len(ids) < 8 or chance.random() < 0.3:
                status, _, made = send(running, "POST", "/fhir/Patient", identified("x", mine, SYSTEM))
                assert status == 201
                ids.append(made["id"])
            else:
                id_ = ids[chance.randrange(len(ids))]
                changed = identified(str(chance.random()), mine, SYSTEM) | {
                    "id": id_,
                    "birthDate": f"{chance.randrange(1900, 2000)}",
                }
                assert send(running, "PUT", f"/fhir/Patient/{id_}", changed)[0] in (200, 201)
                if chance.random() < 0.2:
                    assert send(running, "DELETE", f"/fhir/Patient/{id_}")[0] == 204

    with ThreadPoolExecutor(2) as pool:
        running_ = [pool.submit(disturb, thread) for thread in range(2)]
        try:
            for sort in (
                "",
                "_lastUpdated",
                "-_lastUpdated",
                "identifier",
                "-birthdate",
                "family,-birthdate",
            ):
                query = f"Patient?family:exact={mine}&_count=7" + (f"&_sort={sort}" if sort else "")
                met = [each["id"] for each in pages(running, query)]
                assert sorted(id_ for id_ in met if id_ in quiet) == sorted(quiet), sort
                if not sort:
                    assert len(met) == len(set(met))
        finally:
            over.set()
        for each in running_:
            each.result()
