"""Faults put into a running server: 200 with no cards or the specified error, a record, a metric counted."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cds_hooks.operation.spool import Spool
from cds_hooks.records.entries import Call
from cds_hooks.records.store import Store
from cds_hooks.service import Decision, Facts
from conformance.benchmarks.processes import postmaster_under
from conformance.samples import stroke
from fhir_server.database.engine import Engine
from tests.support.cds import SERVICE, body, client, services
from tests.support.server import Server, wait_for

URL = f"/cds-services/{SERVICE}"


class House:
    """A running server with two workers, and the way into its database."""

    def __init__(self, folder: Path) -> None:
        settings = {"XINGLIN_CDS_REPEAT_HOURS": "0", "XINGLIN_DEMONSTRATION": "on"}
        self.server = Server(folder / "data", "--workers", "2", "--no-dimse", **settings)
        self.socket = next((folder / "data").rglob(".s.PGSQL.*")).parent
        self.engine = Engine(f"postgresql:///xinglin?host={self.socket}&user=postgres", size=3)
        self.store = Store(self.engine)
        self.spool = Spool(folder / "data" / "cds-spool")

    def post(
        self, data: bytes, path: str = URL, media_type: str = "application/json"
    ) -> tuple[int, Any, float]:
        """Call; return status, body and seconds."""
        request = urllib.request.Request(f"{self.server.url}{path}", data, {"Content-Type": media_type})
        begun = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer), time.monotonic() - begun
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()), time.monotonic() - begun

    def call(self, **more: Any) -> tuple[int, Any, float]:
        """Call with everything prefetched."""
        return self.post(json.dumps(body(given=stroke.resources(datetime.now(UTC)), **more)).encode())

    def announce(self, size_bytes: int) -> tuple[int, Any]:
        """Say how long a body will be, and listen before it is sent: it would not be read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.facts["port"], timeout=30)
        connection.putrequest("POST", URL)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(size_bytes))
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    def counted(self, outcome: str) -> float:
        """Return how many calls ended in a way, by /metrics."""
        name = f'xinglin_cds_calls_total{{service="{SERVICE}",outcome="{outcome}"}} '
        found = re.search(re.escape(name) + r"(\S+)", self.server.get("/metrics")[1])
        return float(found[1]) if found else 0.0

    def newest(self) -> Call:
        """Return the newest record."""
        return self.store.latest(SERVICE, 1)[0]

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Hold a table so that nobody else gets at it: a database that does not answer."""
        with self.engine.connection() as connection, connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="xinglin-faults-") as name:
        Path(name).chmod(0o755)
        made = House(Path(name))
        wait_for(lambda: made.call()[1]["cards"])
        yield made
        made.engine.close()
        made.server.stop()


def test_a_store_that_does_not_answer(house: House) -> None:
    before = house.counted(outcome="timeout")
    call = stroke.call(str(uuid4()), fhir_server=house.server.facts["base_url"])
    with house.locked("resource"):
        status, answer, seconds = house.post(json.dumps(call).encode())
    assert (status, answer) == (200, {"cards": []})
    assert seconds < 2.0, "0.4 s by itself; the rest is a loaded machine"
    assert house.newest().reasons == ("timeout",)
    assert house.counted(outcome="timeout") == before + 1


def test_a_record_table_that_does_not_answer(house: House) -> None:
    before = house.counted(outcome="not-recorded")
    count = len(house.store.latest(SERVICE, 1000))
    with house.locked("cds_call"):
        status, answer, seconds = house.call()
        assert (status, answer) == (200, {"cards": []})
        assert seconds < 2.0
        assert house.counted(outcome="not-recorded") == before + 1
    # by the recorder after all, or from the spool: it is there once
    wait_for(lambda: len(house.store.latest(SERVICE, 1000)) == count + 1)
    wait_for(lambda: house.spool.size_bytes() == 0)
    assert len(house.store.latest(SERVICE, 1000)) == count + 1


def test_a_database_that_is_killed(house: House) -> None:
    count = len(house.store.latest(SERVICE, 1000))
    before = house.counted(outcome="switch-unknown") + house.counted(outcome="not-recorded")
    postmaster = postmaster_under(house.server.process.pid)
    assert postmaster is not None
    os.kill(postmaster, signal.SIGSTOP)  # nothing answers, nothing is refused: the worst kind
    try:
        answers = [house.call() for _ in range(3)]
        os.kill(postmaster, signal.SIGCONT)
    finally:
        os.kill(postmaster, signal.SIGCONT)
    assert all(status == 200 for status, _, _ in answers)
    os.kill(postmaster, signal.SIGKILL)

    def silent() -> bool:
        status, answer, _seconds = house.call()
        assert status == 200
        return answer == {"cards": []}

    wait_for(silent)
    made = 1
    while not house.call()[1]["cards"]:
        made += 1
        assert made < 5000
    after = house.counted(outcome="switch-unknown") + house.counted(outcome="not-recorded")
    assert after > before
    wait_for(lambda: house.spool.size_bytes() == 0)
    assert len(house.store.latest(SERVICE, 5000)) > count
    with house.engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM cds_call WHERE 'not-recorded' = ANY(reasons)")
        assert cursor.fetchone()[0] >= 1


def test_a_request_that_is_too_long_or_of_another_type(house: House) -> None:
    before = house.counted(outcome="refused")
    status, answer = house.announce(9 * 1024 * 1024)
    assert (status, answer["resourceType"]) == (413, "OperationOutcome")
    assert (house.newest().status, house.newest().reasons) == (413, ("too-large",))
    for data, media_type, status, reason in (
        (b"hook=x", "application/x-www-form-urlencoded", 415, "media-type"),
        (b'{"hook": ', "application/json", 400, "invalid-request"),
        (b"[" * 100_000, "application/json", 400, "invalid-request"),
    ):
        found, answer, _seconds = house.post(data, media_type=media_type)
        assert (found, answer["resourceType"]) == (status, "OperationOutcome")
        assert (house.newest().status, house.newest().reasons) == (status, (reason,))
    assert house.counted(outcome="refused") == before + 4


def test_what_was_measured_by_a_clock_that_is_ahead_is_not_used(house: House) -> None:
    ahead = json.dumps(body(given=stroke.resources(datetime.now(UTC) + timedelta(hours=9)))).encode()

    def is_refused() -> bool:
        status, answer, _seconds = house.post(ahead)
        assert (status, answer) == (200, {"cards": []})
        return "onset-in-future" in house.newest().reasons  # on a busy machine first "timeout"

    wait_for(is_refused)
    little = stroke.resources(datetime.now(UTC) + timedelta(minutes=2))
    sent = json.dumps(body(given=little)).encode()
    wait_for(lambda: house.post(sent)[1]["cards"])  # a few minutes are no matter


def test_a_worker_that_is_killed_takes_no_record_with_it(house: House) -> None:
    """What was answered is in the table, whenever the worker ends."""
    shown: list[str] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                _status, answer, _seconds = house.call()
            except (OSError, urllib.error.URLError, json.JSONDecodeError):
                continue
            shown.extend(card["uuid"] for card in answer["cards"])

    clients = [threading.Thread(target=load) for _ in range(4)]
    for each in clients:
        each.start()
    wait_for(lambda: len(shown) > 10)
    os.kill(house.server.pid("http-1"), signal.SIGKILL)
    seen = len(shown)
    wait_for(lambda: len(shown) > seen + 10)
    stop.set()
    for each in clients:
        each.join()
    with house.engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM cds_card WHERE card = ANY(%s::uuid[])", (shown,))
        assert cursor.fetchone()[0] == len(set(shown))


def test_decisions_that_never_end_do_not_keep_others_from_their_answer() -> None:
    """All threads are taken: the next call is answered in its time, with no cards."""
    end = threading.Event()

    def hang(_facts: Facts) -> Decision:
        end.wait(30)
        return Decision(("shown",))

    hanging = {SERVICE: dataclasses.replace(services()[SERVICE], decide=hang)}
    door, records = client(services_=hanging, budget_s=0.3, threads=2)
    try:
        for number in range(4):
            begun = time.monotonic()
            assert door.post(URL, json=body()).json == {"cards": []}
            assert time.monotonic() - begun < 2.0
            assert records.calls[number].reasons == ("timeout",)
    finally:
        end.set()


def test_no_patient_in_the_log(house: House) -> None:
    text = house.server.log.read_text()
    assert stroke.PATIENT_ID not in text
    assert "Beispiel" not in text
    assert "Practitioner/demo" not in text
