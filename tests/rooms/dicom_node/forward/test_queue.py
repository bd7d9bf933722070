"""Forwarding: what rules queue, what a worker makes of it, what becomes of peers that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.dimse import peers
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.peers import Peer
from dicom_node.forward import queue, rules
from dicom_node.forward.rules import Rule
from dicom_node.forward.worker import Forwarder, ForwardSettings
from fhir_server.outcome import Conflict, Invalid, NotFound
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import free_port, storescp
from tests.support.server import wait_for

SETTINGS = ForwardSettings("XINGLIN", tries=3, max_age_hours=48)


@pytest.fixture
def rule(node: Node) -> Callable[..., None]:
    def add(name: str, destination: str = "DEST", **changes: Any) -> None:
        rules.add(node.engine, Rule(name, destination, **changes), node.clock)

    return add


def forwarder(node: Node, settings: ForwardSettings = SETTINGS) -> Forwarder:
    return Forwarder(node.engine, node.files, Destinations(node.engine), settings, node.clock)


def listed(node: Node, title: str, port: int) -> None:
    peers.add(node.engine, Peer(title, "127.0.0.1", port), node.clock)


def jobs(node: Node) -> list[tuple[Any, ...]]:
    return node.rows("SELECT destination, rule, state, tries FROM dicom_forward_job ORDER BY pk")


def sort(node: Node) -> int:
    with node.engine.connection() as connection:
        return queue.sort(connection, node.clock(), ZoneInfo("UTC"))


def drained(work: Forwarder, done: Callable[[], bool]) -> None:
    """Drain until something is so."""

    def turn() -> bool:
        work.drain()
        return done()

    wait_for(turn, 60)


def emptied(node: Node, work: Forwarder) -> None:
    """Drain until nothing is queued."""
    drained(work, lambda: not jobs(node))


def test_without_a_rule_nothing_is_noted(node: Node) -> None:
    node.add(ct())
    assert node.rows("SELECT count(*) FROM dicom_forward_new") == [(0,)]


def test_a_rule_takes_what_comes_after_it(node: Node, rule: Callable[..., None]) -> None:
    node.add(ct(number=1))
    rule("ct", criteria={"modality": "CT", "study": "*horax"})
    node.add(ct(number=2), ct(number=3), ct(study=2, Modality="MR"))
    node.ingest.store([encoded(ct(number=2))], ExplicitVRLittleEndian, "CT1")  # the same again is nothing new
    assert sort(node) == 3
    assert sort(node) == 0
    assert jobs(node) == [("DEST", "ct", "waiting", 0)]
    assert node.rows("SELECT count(*) FROM dicom_forward_item") == [(2,)]


def test_nothing_goes_back_to_where_it_came_from(node: Node, rule: Callable[..., None]) -> None:
    rule("back", "CT1")
    node.add(ct())  # by CT1
    sort(node)
    assert jobs(node) == []


def test_of_two_rules_for_a_destination_one_decides(node: Node, rule: Callable[..., None]) -> None:
    rule("slow", quiet_s=60)
    rule("urgent", criteria={"modality": "CT"}, priority=5)
    node.add(ct())
    sort(node)
    assert [job[1] for job in jobs(node)] == ["urgent"]


def test_a_study_is_waited_for_but_not_for_ever(node: Node, rule: Callable[..., None]) -> None:
    rule("quiet", quiet_s=60)
    begun = node.clock()

    def due() -> timedelta:
        return node.rows("SELECT due_at FROM dicom_forward_job")[0][0] - begun

    node.add(ct(number=1))
    sort(node)
    assert due() == timedelta(seconds=60)
    for number in range(2, 15):
        node.clock.advance(seconds=50)
        node.add(ct(number=number))
        sort(node)
    assert due() == timedelta(seconds=600)


def test_rules_that_cannot_be(node: Node, rule: Callable[..., None]) -> None:
    rule("one")
    for wrong, kind in [
        ({"name": "one"}, Conflict),
        ({"name": "a b"}, Invalid),
        ({"name": "two", "hours": "late"}, Invalid),
        ({"name": "two", "criteria": {"colour": "red"}}, Invalid),
        ({"name": "two", "quiet_s": -1.0}, Invalid),
        ({"name": "two", "destination": "SEVENTEEN_LETTERS"}, Invalid),
    ]:
        with pytest.raises(kind):
            rule(**wrong)
    with pytest.raises(NotFound):
        rules.remove(node.engine, "two")


def test_two_hundred_instances_arrive(node: Node, rule: Callable[..., None]) -> None:
    with storescp() as peer:
        listed(node, "DEST", peer.port)
        rule("all")
        node.add(*(ct(study=1 + number % 4, number=number, pixels=16) for number in range(200)))
        emptied(node, forwarder(node))
        assert len(peer.files()) == 200
    assert node.rows("SELECT count(*) FROM dicom_forward_item") == [(0,)]
    assert node.rows("SELECT sent, failures FROM dicom_forward_destination") == [(200, 0)]
    told = node.rows("SELECT event FROM dicom_audit")
    assert sum(event["study"]["instances"] for (event,) in told) == 200
    assert {event["destination"]["ae"] for (event,) in told} == {"DEST"}


def test_a_dead_peer_rests_and_keeps_nobody_waiting(node: Node, rule: Callable[..., None]) -> None:
    with storescp() as peer:
        listed(node, "DEST", peer.port)
        listed(node, "DEAD", free_port())
        rule("alive")
        rule("dead", "DEAD", priority=100)
        node.add(*(ct(number=number, pixels=16) for number in range(10)))
        work = forwarder(node)

        drained(work, lambda: len(peer.files()) == 10 and "DEAD" in resting(node))
        wait_for(lambda: [job[0] for job in jobs(node)] == ["DEAD"])
    failures, until = resting(node)["DEAD"]
    assert (failures, until - node.clock()) == (1, timedelta(seconds=5))
    for again, rest_s in [(2, 10), (3, 20)]:
        work.drain()  # it rests: nobody tries
        assert resting(node)["DEAD"][0] == again - 1
        node.clock.advance(seconds=rest_s / 2 + 1)
        drained(work, lambda again=again: resting(node)["DEAD"][0] == again)
        assert resting(node)["DEAD"][1] - node.clock() == timedelta(seconds=rest_s)


def resting(node: Node) -> dict[str, tuple[int, Any]]:
    rows = node.rows("SELECT title, failures, rests_until FROM dicom_forward_destination WHERE failures > 0")
    return {title: (failures, until) for title, failures, until in rows}


def test_a_peer_that_comes_back_gets_everything(node: Node, rule: Callable[..., None]) -> None:
    port = free_port()
    listed(node, "DEST", port)
    rule("all")
    node.add(*(ct(number=number, pixels=16) for number in range(5)))
    work = forwarder(node)
    drained(work, lambda: "DEST" in resting(node))
    with storescp(port=port) as peer:
        node.clock.advance(seconds=6)
        emptied(node, work)
        assert len(peer.files()) == 5
    assert resting(node) == {}


def test_what_waited_too_long_is_given_up_and_a_person_tries_again(
    node: Node, rule: Callable[..., None]
) -> None:
    port = free_port()
    listed(node, "DEST", port)
    rule("all")
    node.add(ct())
    work = forwarder(node)
    sort(node)
    node.clock.advance(seconds=49 * 3600)
    drained(work, lambda: jobs(node) == [("DEST", "all", "failed", 0)])
    with storescp(port=port) as peer:
        node.clock.advance(seconds=3600)
        work.drain()
        assert not peer.files()
        with node.engine.connection() as connection:
            assert queue.retry(connection, node.clock()) == 1
        emptied(node, work)
        assert len(peer.files()) == 1


def test_what_a_peer_refuses_is_tried_again_and_then_given_up(node: Node, rule: Callable[..., None]) -> None:
    with storescp("+xi") as peer:  # takes no coded pixels, and this one cannot be decoded
        listed(node, "DEST", peer.port)
        rule("all")
        node.add(ct(number=1), ct(number=2, pixels=16))
        bad = node.rows("SELECT encode(hash, 'hex') FROM dicom_instance WHERE number = 1")[0][0]
        node.files.path(bad).unlink()
        work = forwarder(node)
        for tries in (1, 2):
            drained(work, lambda tries=tries: jobs(node)[0][3] == tries)
            assert jobs(node) == [("DEST", "all", "waiting", tries)]
            assert len(peer.files()) == 1
            node.clock.advance(seconds=60)
        drained(work, lambda: jobs(node) == [("DEST", "all", "failed", 3)])
    assert node.rows("SELECT reason FROM dicom_forward_item") == [("its file is not there",)]
    assert node.rows("SELECT reason FROM dicom_forward_job") == [("1 instances: its file is not there",)]


def test_new_images_of_a_study_that_failed_go_their_way(node: Node, rule: Callable[..., None]) -> None:
    listed(node, "DEST", free_port())
    rule("all")
    node.add(ct(number=1))
    sort(node)
    node.rows("UPDATE dicom_forward_job SET state = 'failed' RETURNING 1")
    with node.engine.connection() as connection:
        connection.cursor().execute("UPDATE dicom_forward_job SET state = 'failed'")
        connection.commit()
    node.add(ct(number=2))
    sort(node)
    assert [job[2] for job in jobs(node)] == ["failed", "waiting"]
    with node.engine.connection() as connection:
        assert queue.retry(connection, node.clock(), "DEST") == 1
    assert [job[2] for job in jobs(node)] == ["waiting"]
    assert node.rows("SELECT count(DISTINCT job_pk), count(*) FROM dicom_forward_item") == [(1, 2)]


def test_outside_its_hours_nothing_is_sent(node: Node, rule: Callable[..., None]) -> None:
    with storescp() as peer:
        listed(node, "DEST", peer.port)
        rule("night", hours="19:00-23:00")  # it is 03:04
        node.add(ct())
        work = forwarder(node)
        work.drain()
        assert node.rows("SELECT due_at FROM dicom_forward_job")[0][0].hour == 19
        node.clock.advance(seconds=16 * 3600)
        emptied(node, work)
        assert len(peer.files()) == 1


def test_a_study_by_hand(node: Node) -> None:
    with storescp() as peer:
        listed(node, "DEST", peer.port)
        node.add(ct(number=1), ct(number=2))
        with node.engine.connection() as connection:
            assert queue.send_study(connection, f"{ROOT_UID}.1", "DEST", node.clock()) == 2
            assert queue.send_study(connection, f"{ROOT_UID}.1", "DEST", node.clock()) == 0
            assert queue.send_study(connection, f"{ROOT_UID}.9", "DEST", node.clock()) is None
        emptied(node, forwarder(node))
        assert len(peer.files()) == 2


def test_what_was_replaced_or_deleted_meanwhile_is_not_sent(node: Node, rule: Callable[..., None]) -> None:
    with storescp() as peer:
        listed(node, "DEST", peer.port)
        rule("all")
        node.add(ct(number=1), ct(number=2))
        sort(node)
        node.add(ct(number=1, PatientSex="F"))
        emptied(node, forwarder(node))
        assert [each.PatientSex for each in peer.datasets() if each.InstanceNumber == 1] == ["F"]


WORKER = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from dicom_node.dimse.destinations import Destinations
from dicom_node.files.store import FileStore
from dicom_node.forward.worker import Forwarder, ForwardSettings
from fhir_server.database.engine import Engine
engine = Engine(sys.argv[1], size=8)
work = Forwarder(engine, FileStore(Path(sys.argv[2])), Destinations(engine), ForwardSettings("XINGLIN"),
    lambda: datetime.now(UTC))
print("up", flush=True)
while True:
    work.drain() or time.sleep(0.05)
"""


def worker(node: Node) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, node.config.database_url, str(node.files.root)],
        cwd=Path(__file__).parents[4], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_a_worker_killed_again_and_again_loses_nothing(node: Node, rule: Callable[..., None]) -> None:
    """kill -9 in the middle of 200 instances, three times: all of them arrive."""
    with storescp() as peer:
        listed(node, "DEST", peer.port)
        rule("all")
        node.add(*(ct(study=1 + number % 3, number=number, pixels=64) for number in range(200)))
        for part in (30, 90, 150):
            process = worker(node)
            try:
                wait_for(lambda part=part: len(peer.files()) >= part, 60)
            finally:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(10)
            assert jobs(node), "it was killed in the middle"
        process = worker(node)
        try:
            wait_for(lambda: not jobs(node) and len(peer.files()) == 200, 60)
        finally:
            process.kill()
            process.wait(10)
        assert len({str(each.SOPInstanceUID) for each in peer.datasets()}) == 200
