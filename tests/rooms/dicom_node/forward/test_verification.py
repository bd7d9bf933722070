"""Forwarding with storage commitment: a study has arrived when its receiver says that it is safe."""

from __future__ import annotations

import queue as queues
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage

from dicom_node.dimse import peers
from dicom_node.dimse.application_entity import ApplicationEntity
from dicom_node.dimse.delivery import Delivery
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.peers import Peer
from dicom_node.forward import rules, verification
from dicom_node.forward.rules import Rule
from dicom_node.forward.worker import Forwarder, ForwardSettings
from tests.support.dicom_data import ct
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import storescp
from tests.support.orthanc import orthanc
from tests.support.server import wait_for

PUSH, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


class Both:
    """The two drains of the background worker that forwarding with commitment needs."""

    def __init__(self, node: Node, tries: int = 3) -> None:
        destinations = Destinations(node.engine)
        settings = ForwardSettings("XINGLIN", tries=tries)
        self.forwarder = Forwarder(node.engine, node.files, destinations, settings, node.clock)
        self.delivery = Delivery(node.engine, destinations, "XINGLIN", node.clock)

    def until(self, done: Callable[[], bool]) -> None:
        def turn() -> bool:
            self.forwarder.drain()
            self.delivery.drain()
            return done()

        wait_for(turn, 60)


def items(node: Node) -> list[tuple[Any, ...]]:
    return node.rows("SELECT transaction_uid <> '', reason FROM dicom_forward_item ORDER BY instance_pk")


def jobs(node: Node) -> list[tuple[Any, ...]]:
    return node.rows("SELECT state, tries, reason FROM dicom_forward_job ORDER BY pk")


class Archive:
    """A receiver of pynetdicom's that notes what it is to commit, and reports when it is told to."""

    def __init__(self, node: Node, dimse_port: int) -> None:
        self.got: list[str] = []
        self.asked: queues.Queue[Dataset] = queues.Queue()
        self._port = dimse_port
        ae = AE("ARCHIVE")
        ae.add_supported_context(PUSH)
        ae.add_supported_context(CTImageStorage)
        handlers = [(evt.EVT_N_ACTION, self._action), (evt.EVT_C_STORE, self._store)]
        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        peers.add(node.engine, Peer("ARCHIVE", "127.0.0.1", self.server.server_address[1]), node.clock)

    def _store(self, event: Any) -> int:
        self.got.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def _action(self, event: Any) -> tuple[int, None]:
        self.asked.put(event.action_information)
        return 0, None

    def report(self, safe: int) -> None:
        """Report so many of what was asked last as safe, the others as failed."""
        given = self.asked.get(timeout=30)
        told = Dataset()
        told.TransactionUID = given.TransactionUID
        if safe:
            told.ReferencedSOPSequence = given.ReferencedSOPSequence[:safe]
        if failed := given.ReferencedSOPSequence[safe:]:
            for item in failed:
                item.FailureReason = 0x0112
            told.FailedSOPSequence = failed
        caller = AE("ARCHIVE")
        caller.add_requested_context(PUSH)
        role = build_role(PUSH, scu_role=False, scp_role=True)
        association = caller.associate("127.0.0.1", self._port, ae_title="XINGLIN", ext_neg=[role])
        status, _ = association.send_n_event_report(told, 2 if failed else 1, PUSH, WELL_KNOWN)
        assert status.Status == 0
        association.release()


@pytest.fixture
def archive(node: Node, dimse_port: int) -> Any:
    made = Archive(node, dimse_port)
    yield made
    made.server.shutdown()


def test_committed_is_arrived(node: Node, archive: Archive) -> None:
    rules.add(node.engine, Rule("all", "ARCHIVE", commits=True), node.clock)
    node.add(ct(number=1), ct(number=2))
    both = Both(node)
    both.until(lambda: not archive.asked.empty())
    assert items(node) == [(True, ""), (True, "")]
    both.until(lambda: True)
    assert len(archive.got) == 2, "nothing is sent again while the report is waited for"
    archive.report(safe=2)
    both.until(lambda: not jobs(node))
    assert items(node) == []
    assert node.rows("SELECT sent FROM dicom_forward_destination") == [(2,)]


def test_what_is_not_committed_is_sent_again(node: Node, archive: Archive) -> None:
    rules.add(node.engine, Rule("all", "ARCHIVE", commits=True), node.clock)
    node.add(ct(number=1), ct(number=2), ct(number=3))
    both = Both(node)
    both.until(lambda: not archive.asked.empty())
    archive.report(safe=1)
    both.until(lambda: jobs(node)[0][1] == 1)
    assert jobs(node) == [("waiting", 1, "2 instances are not committed: 0112")]
    node.clock.advance(seconds=10)
    both.until(lambda: not archive.asked.empty())
    assert len(archive.got) == 5
    archive.report(safe=2)
    both.until(lambda: not jobs(node))


def test_new_images_do_not_wait_for_the_report_on_old_ones(node: Node, archive: Archive) -> None:
    rules.add(node.engine, Rule("all", "ARCHIVE", commits=True), node.clock)
    node.add(ct(number=1))
    both = Both(node)
    both.until(lambda: archive.asked.qsize() == 1)
    node.add(ct(number=2))
    both.until(lambda: archive.asked.qsize() == 2)
    archive.report(safe=1)
    archive.report(safe=1)
    both.until(lambda: not jobs(node))
    assert len(archive.got) == 2


def test_a_report_that_never_comes(node: Node, archive: Archive) -> None:
    rules.add(node.engine, Rule("all", "ARCHIVE", commits=True), node.clock)
    node.add(ct())
    both = Both(node, tries=2)
    both.until(lambda: archive.asked.qsize() == 1)
    node.clock.now += verification.PATIENCE
    both.until(lambda: jobs(node)[0][1] == 1)
    node.clock.advance(seconds=10)
    both.until(lambda: archive.asked.qsize() == 2)
    node.clock.now += verification.PATIENCE
    both.until(lambda: jobs(node)[0][0] == "failed")
    assert jobs(node) == [("failed", 2, "no report on its commitment came in time")]


def test_a_peer_that_does_not_commit_is_told_at_once(node: Node) -> None:
    with storescp() as peer:
        peers.add(node.engine, Peer("DEST", "127.0.0.1", peer.port), node.clock)
        rules.add(node.engine, Rule("all", "DEST", commits=True), node.clock)
        node.add(ct())
        Both(node).until(lambda: bool(jobs(node)) and jobs(node)[0][0] == "failed")
        assert "does not take 1.2.840.10008.1.20.1" in jobs(node)[0][2]


def test_orthanc_commits(node: Node, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        entity = ApplicationEntity(replace(node.config), node.engine, node.ingest, sockets=[listener])
        port = entity.start()
        with orthanc(tmp_path / "orthanc", port) as peer:
            peers.add(node.engine, Peer("ORTHANC", "127.0.0.1", peer.dicom), node.clock)
            rules.add(node.engine, Rule("all", "ORTHANC", commits=True), node.clock)
            node.add(*(ct(number=number) for number in range(1, 6)))
            Both(node).until(lambda: node.rows("SELECT FROM storage_commitment") != [] and not jobs(node))
            assert len(peer.call("/instances")) == 5
        entity.stop()
    assert node.rows("SELECT failed FROM storage_commitment") == [({},)]
