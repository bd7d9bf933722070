"""The registry on a real database: live states in every worker, without a restart; shadow; exchange."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from flask import Flask

from cds_hooks import door, registry
from cds_hooks.calls import Calls
from cds_hooks.evaluation import local
from cds_hooks.evaluation.local import Place
from cds_hooks.evaluation.sample import Sample, groups
from cds_hooks.models import blocks, catalogue
from cds_hooks.models.catalogue import Release
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.watched import Watched
from conformance.samples import stroke
from fhir_server.database.engine import Engine
from fhir_server.outcome import Conflict
from fhir_server.rest.front import in_front
from tests.support.cds import NOW as CALL_TIME
from tests.support.cds import SERVICE, MemoryRecords, body
from tests.support.models import ASSESSED, NOW, draft, drawn, order
from tests.support.server import wait_for


@pytest.fixture
def engine(fresh_database_url: str) -> Any:
    """A database of this test alone: an active model would be seen by others."""
    engine = Engine(fresh_database_url, size=4)
    yield engine
    engine.close()


@pytest.fixture
def book(engine: Engine) -> ModelLog:
    return ModelLog(engine)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return draft(tmp_path)


def act(book: ModelLog, action: str, release: Release, actor: str = "Ada Lovelace", **more: Any) -> None:
    book.carry_out(order(action, release, actor, **more), blocks.blocks)


def activate(book: ModelLog, release: Release) -> None:
    act(book, "assess", release, evidence=ASSESSED)
    act(book, "promote", release)
    act(book, "propose", release)
    act(book, "promote", release, "Charles Babbage")


class Worker:
    """The services and the door of one worker process, with a pool of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.engine = Engine(url, size=2)
        self.services = registry.services([folder], log=ModelLog(self.engine))
        self.records = MemoryRecords()
        calls = Calls(self.services, self.records, clock=lambda: CALL_TIME, budget_s=5.0)
        app = Flask(__name__)
        here = door.Door(calls, self.records)
        app.wsgi_app = in_front(door.PATH, here.wsgi, app.wsgi_app)  # type: ignore[method-assign]
        self.door = app.test_client()

    def call(self) -> tuple[list[Any], Any]:
        """Call about a patient who is no test data; return the cards and the record."""
        patient = [
            {key: value for key, value in resource.items() if key != "meta"}
            for resource in stroke.resources(CALL_TIME)
        ]
        answer = self.door.post(f"/cds-services/{SERVICE}", json=body(patient))
        return answer.json["cards"], self.records.calls[-1]


@pytest.fixture
def workers(fresh_database_url: str, tmp_path: Path, release: Release) -> Any:
    made = [Worker(fresh_database_url, tmp_path) for _ in range(2)]
    yield made
    for worker in made:
        worker.engine.close()


def test_every_worker_follows_within_a_second(
    workers: list[Worker], book: ModelLog, release: Release
) -> None:
    for worker in workers:
        assert worker.call()[1].reasons == ("not-test-data",), "a draft hides the demonstration from nobody"
    activate(book, release)
    begun = time.monotonic()
    for worker in workers:
        cards = wait_for(lambda worker=worker: worker.call()[0], 1.0)
        assert cards[0]["extension"]["io.xinglin.model"]["identity"] == release.identity
        assert cards[0]["extension"]["io.xinglin.model"]["state"] == "active"
        assert release.identity in cards[0]["detail"]
    act(book, "demote", release, reason="for a look")
    for worker in workers:
        wait_for(lambda worker=worker: not worker.call()[0], 1.0)
    assert time.monotonic() - begun < 2.5


def test_a_model_in_shadow_computes_and_shows_nothing(
    workers: list[Worker], book: ModelLog, release: Release
) -> None:
    act(book, "promote", release)
    cards, record = workers[0].call()
    assert cards == []
    assert record.reasons == ("suggested", "shadow")
    assert 0 < record.output["risk"] < 1
    assert list(record.withheld.values()) == ["shadow"]
    assert "Early aspirin" in (record.computed or "")
    assert (record.model_version, record.model_hash) == ("2", release.sha256)
    service = workers[0].services[SERVICE]
    assert service.model is not None
    assert service.model.state == "shadow"


def test_beside_an_active_model_the_shadow_is_recorded(
    workers: list[Worker], book: ModelLog, release: Release, tmp_path: Path
) -> None:
    activate(book, release)
    newer = draft(tmp_path, "3")
    act(book, "promote", newer)
    cards, record = workers[0].call()
    assert len(cards) == 1
    assert record.model_version == "2"
    assert record.output["shadow"]["version"] == "3"
    assert record.output["shadow"]["output"]["risk"] == record.output["risk"]


def test_an_active_release_that_was_altered_is_not_served(
    workers: list[Worker], book: ModelLog, release: Release
) -> None:
    activate(book, release)
    path = release.folder / catalogue.MODEL
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    cards, record = workers[0].call()
    assert (cards, record.reasons) == ([], ("model-unavailable",))


def test_a_release_is_loaded_once(
    workers: list[Worker], book: ModelLog, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate(book, release)
    assert workers[0].call()[0]
    monkeypatch.setattr(catalogue, "load", lambda _release: pytest.fail("loaded again"))
    act(book, "assess", release, evidence=ASSESSED)
    workers[0].services.forget()
    assert workers[0].call()[0]


def test_a_recalibrated_release_says_so_on_its_card(
    workers: list[Worker], book: ModelLog, release: Release, tmp_path: Path
) -> None:
    y, p = drawn(800, shift=0.7)
    sample = Sample(y, p, groups(["M", "F"] * 400, [70.0] * 800, ["ward"] * 800))
    child = local.recalibrate(release, sample, Place("Ward 7", "Ada", "", 800), [tmp_path], NOW)
    for step, actor in (("promote", "Ada"), ("propose", "Ada"), ("promote", "Charles")):
        act(book, step, child, actor)
    (card,), record = workers[0].call()
    assert "Recalibrated for this hospital on" in card["detail"]
    assert "800 patients" in card["detail"]
    assert "Not recalibrated" not in card["detail"]
    assert card["extension"]["io.xinglin.model"]["identity"] == child.identity
    assert record.output["risk"] > 0.5


def test_a_recorded_call_finds_its_release_again(
    workers: list[Worker], book: ModelLog, release: Release
) -> None:
    activate(book, release)
    services = workers[0].services
    again = services.at(SERVICE, "2", release.sha256, "active")
    assert again is not None
    assert again.model is not None
    assert again.model.version == "2"
    assert services.at(SERVICE, "2", "0" * 64, "active") is None
    assert services.at(SERVICE, "9", release.sha256, "active") is None


def test_the_source_attributes_are_completed_by_what_was_assessed(
    workers: list[Worker], book: ModelLog, release: Release
) -> None:
    address = f"/cds-services/models/{SERVICE}/versions/2/source-attributes"
    before = workers[0].door.get(address).json
    assert len(before) == 31
    assert before["27-local-validity"] == "Not assessed."
    act(book, "assess", release, evidence=ASSESSED)
    workers[0].services.forget()
    assert workers[0].door.get(address).json["27-local-validity"].startswith("AUC 0.79")
    assert workers[0].door.get(address.replace("/2/", "/7/")).status_code == 404


# The log ----------------------------------------------------------------------------------------
def test_events_are_append_only(book: ModelLog, release: Release, engine: Engine) -> None:
    act(book, "promote", release)
    for statement in ("UPDATE cds_model_event SET actor = 'x'", "DELETE FROM cds_model_event"):
        refused = pytest.raises(psycopg2.errors.RaiseException, match="append-only")
        with engine.connection() as connection, connection.cursor() as cursor, refused:
            cursor.execute(statement)


def test_the_database_itself_wants_two_persons(engine: Engine) -> None:
    statement = (
        "INSERT INTO cds_model_event"
        " (at, model, version, release_hash, action, state, actor, proposer, reason)"
        " VALUES (now(), 'm', '1', decode(repeat('00', 32), 'hex'), 'promote', 'active', %s, %s, 'r')"
    )
    for actor, proposer in (("Ada", None), ("Ada", " ada "), ("Ada", "Charles")):
        refused = pytest.raises(psycopg2.errors.CheckViolation, match="two_persons")
        with engine.connection() as connection, connection.cursor() as cursor, refused:
            cursor.execute(statement, (actor, proposer))


def test_two_approvals_at_once_are_one(book: ModelLog, release: Release) -> None:
    act(book, "assess", release, evidence=ASSESSED)
    act(book, "promote", release)
    act(book, "propose", release)
    answers: list[str] = []

    def approve(name: str) -> None:
        try:
            act(book, "promote", release, name)
            answers.append("approved")
        except Conflict:
            answers.append("refused")

    threads = [threading.Thread(target=approve, args=(f"Approver {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["approved", "refused", "refused", "refused"]


def test_evidence_is_kept_as_it_was_given(book: ModelLog, release: Release) -> None:
    act(book, "assess", release, evidence=ASSESSED)
    (event,) = book.events(release.model)
    assert event.evidence == ASSESSED
    assert event.digest == release.digest
    assert book.newest() == event.pk
    assert book.events("other") == []


# What is watched --------------------------------------------------------------------------------
def test_a_watched_value_survives_what_cannot_be_read() -> None:
    answers: list[Any] = [1, RuntimeError("away"), 3]

    def read(_known: int) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    watched = Watched(read, 0, every_s=0.0)
    seen = {watched.value() for _ in range(2)}
    assert seen == {1}
    assert wait_for(lambda: watched.value() == 3, 2.0)


def test_who_asks_never_waits_long_for_a_reading() -> None:
    release, begun = threading.Event(), time.monotonic()
    watched: Watched[int] = Watched(lambda known: int(release.wait(10.0)), 7, first_wait_s=0.05)
    assert watched.value() == 7
    assert time.monotonic() - begun < 1.0
    release.set()
    assert wait_for(lambda: watched.value() == 1, 2.0)
