"""Switches: a service is on, off or in shadow, in every worker, within a second, without a restart."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from cds_hooks.operation.modes import Mode, Modes
from cds_hooks.records.store import Store
from cds_hooks.records.switches import Switch, Switches
from conformance.samples import stroke
from fhir_server.database.engine import Engine
from fhir_server.outcome import Invalid
from tests.support.cds import SERVICE, body, client, services
from tests.support.server import Server, wait_for, xinglin

URL = f"/cds-services/{SERVICE}"
AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


class Fixed:
    """Modes that a test sets."""

    def __init__(self, mode: Mode | None) -> None:
        self.mode = mode

    def of(self, _service: str) -> Mode | None:
        return self.mode


# What a mode does -------------------------------------------------------------------------------
def test_off_computes_nothing_and_is_recorded() -> None:
    asked: list[Any] = []
    quiet = {SERVICE: dataclasses.replace(services()[SERVICE], decide=asked.append)}
    door, records = client(services_=quiet, modes=Fixed(Mode.OFF))
    assert door.post(URL, json=body()).json == {"cards": []}
    assert (records.calls[0].reasons, records.calls[0].mode, asked) == (("switched-off",), "off", [])
    assert door.post(URL, json={"hook": "x"}).status_code == 400, "what is no call is still said"


def test_shadow_computes_and_records_and_shows_nothing() -> None:
    door, records = client(modes=Fixed(Mode.SHADOW))
    assert door.post(URL, json=body()).json == {"cards": []}
    (kept,) = records.calls
    assert (kept.mode, kept.reasons, kept.cards) == ("shadow", ("suggested", "shadow"), ())
    (card,) = json.loads(str(kept.computed))["cards"]
    assert kept.withheld == {card["uuid"]: "shadow"}
    assert 0 < kept.output["risk"] < 1


def test_a_service_that_is_itself_in_shadow_is_not_shown_by_its_switch() -> None:
    shadow = {SERVICE: dataclasses.replace(services()[SERVICE], shadow=True)}
    door, records = client(services_=shadow, modes=Fixed(Mode.ON))
    assert door.post(URL, json=body()).json == {"cards": []}
    assert records.calls[0].mode == "shadow"
    door, records = client(services_=shadow, modes=Fixed(Mode.OFF))
    door.post(URL, json=body())
    assert records.calls[0].reasons == ("switched-off",)


def test_a_switch_that_nobody_can_read_shows_nothing() -> None:
    door, records = client(modes=Fixed(None))
    assert door.post(URL, json=body()).json == {"cards": []}
    assert records.calls[0].reasons == ("switch-unknown",)


def test_a_state_that_grew_old_is_not_trusted() -> None:
    broken = threading.Event()

    def read() -> Mapping[str, str]:
        if broken.is_set():
            raise OSError("no database")
        return {"a": "shadow"}

    modes = Modes(read, every_s=0.01, oldest_s=0.2)
    assert modes.of("a") is Mode.SHADOW
    assert modes.of("b") is Mode.ON
    broken.set()
    wait_for(lambda: modes.of("a") is None, 5)
    broken.clear()
    wait_for(lambda: modes.of("a") is Mode.SHADOW, 5)


# How it is kept ---------------------------------------------------------------------------------
def test_turns_are_kept_and_the_newest_counts(engine: Engine) -> None:
    switches, service = Switches(engine), f"s-{uuid4().hex[:8]}"
    for mode in ("off", "shadow"):
        switches.turn(Switch(service, mode, "Dr Lin", f"to {mode}", AT))
    assert switches.newest()[service] == "shadow"
    assert [turn.reason for turn in switches.history(service)] == ["to shadow", "to off"]
    for statement in ("UPDATE cds_switch SET mode = 'on'", "DELETE FROM cds_switch"):
        refused = pytest.raises(psycopg2.errors.RaiseException, match="append-only")
        with engine.connection() as connection, connection.cursor() as cursor, refused:
            cursor.execute(statement)


@pytest.mark.parametrize(
    ("mode", "by", "reason", "field"),
    [
        ("loud", "A", "b", "mode"),
        ("off", " ", "b", "by"),
        ("off", "A", "", "reason"),
        ("off", "A", "\0", "reason"),
    ],
)
def test_a_turn_names_who_and_why(engine: Engine, mode: str, by: str, reason: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        Switches(engine).turn(Switch("s", mode, by, reason, AT))
    assert refused.value.issues[0].expression == field


# All of it, in a running server -----------------------------------------------------------------
@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="xinglin-cds-") as name:
        Path(name).chmod(0o755)
        settings = {
            "XINGLIN_CDS_REPEAT_HOURS": "0",
            "XINGLIN_CDS_CARDS_A_DAY": "0",
            "XINGLIN_DEMONSTRATION": "on",
        }
        server = Server(Path(name) / "data", "--workers", "2", "--no-dimse", **settings)
        yield server
        server.stop()


def _cards(server: Server) -> list[Any]:
    call = body(given=stroke.resources(datetime.now(UTC)))
    request = urllib.request.Request(
        f"{server.url}{URL}", json.dumps(call).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
        return list(json.load(answer)["cards"])


def _turn(server: Server, mode: str) -> None:
    data_dir = str(server.log.parent / "data")
    done = xinglin(
        "cds", "switch", SERVICE, mode, "--by", "Dr Lin", "--reason", "a test", "--data-dir", data_dir
    )
    assert done.returncode == 0, done.stderr


def test_the_switch_is_seen_by_every_worker_within_a_second_under_load(server: Server) -> None:
    wait_for(lambda: _cards(server))
    stop, answers, lock = threading.Event(), list[tuple[float, float, int]](), threading.Lock()

    def load() -> None:
        while not stop.is_set():
            asked = time.monotonic()
            shown = len(_cards(server))
            with lock:
                answers.append((asked, time.monotonic(), shown))

    clients = [threading.Thread(target=load) for _ in range(8)]
    for each in clients:
        each.start()
    try:
        wait_for(lambda: len(answers) > 50)
        _turn(server, "off")
        off_at = time.monotonic()
        wait_for(lambda: sum(asked > off_at + 1.0 for asked, _, _ in answers) > 50)
        _turn(server, "on")
        wait_for(lambda: answers[-1][2] == 1)
    finally:
        stop.set()
        for each in clients:
            each.join()
    late = [shown for asked, _, shown in answers if asked > off_at + 1.0]
    assert late[:50] == [0] * 50
    assert sum(shown for asked, _, shown in answers if asked < off_at) > 0


def test_the_list_of_switches(server: Server) -> None:
    _turn(server, "shadow")
    wait_for(lambda: not _cards(server), 5)
    data_dir = str(server.log.parent / "data")
    listed = json.loads(xinglin("cds", "switches", "--json", "--data-dir", data_dir).stdout)
    assert (listed["switches"][0]["mode"], listed["switches"][0]["by"]) == ("shadow", "Dr Lin")
    _turn(server, "on")
    wait_for(lambda: _cards(server), 5)
    refused = xinglin("cds", "switch", "unknown", "off", "--by", "A", "--reason", "b", "--data-dir", data_dir)
    assert (refused.returncode, "known are" in refused.stderr) == (1, True)


def test_a_shadow_call_is_kept_whole(engine: Engine) -> None:
    store = Store(engine)
    door, _ = client(store, modes=Fixed(Mode.SHADOW))
    assert door.post(URL, json=body()).json == {"cards": []}
    kept = store.latest(SERVICE, 1)[0]
    assert (kept.mode, kept.answer) == ("shadow", '{"cards":[]}')
    assert list(kept.withheld.values()) == ["shadow"]
    assert kept.code
