"""Storage commitment, both ways, and instance availability (PS3.4 Annexes J and R)."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, build_role, evt

from dicom_node.bridge.drain import Bridge, BridgeSettings
from dicom_node.dimse import peers
from dicom_node.dimse.application_entity import ApplicationEntity
from dicom_node.dimse.delivery import Delivery
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.peers import Peer
from dicom_node.workflow import availability, commitment
from dicom_node.workflow.commitment import Checks
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node
from tests.support.orders import MRN
from tests.support.orders import hospital as hospital_of
from tests.support.server import wait_for

PUSH = "1.2.840.10008.1.20.1"
WELL_KNOWN = "1.2.840.10008.1.20.1.1"
IAN = "1.2.840.10008.5.1.4.33"
TRANSACTION = f"{ROOT_UID}.900"
MINE = f"{ROOT_UID}.1.1.1"


def request(*uids: str, transaction: str = TRANSACTION, sop_class: str = CTImageStorage) -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = transaction
    items = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        items.append(item)
    dataset.ReferencedSOPSequence = items
    return dataset


Reports = queue.Queue[tuple[int, Dataset]]


def reporting(reports: Reports) -> Any:
    """Return a handler of N-EVENT-REPORT that keeps what it is told."""

    def handle(event: Any) -> tuple[int, None]:
        reports.put((event.request.EventTypeID, event.event_information))
        return 0x0000, None

    return handle


@contextmanager
def calling(port: int, reports: Reports, title: str = "CT1") -> Iterator[Any]:
    ae = AE(title)
    ae.add_requested_context(PUSH)
    handlers = [(evt.EVT_N_EVENT_REPORT, reporting(reports))]
    association = ae.associate("127.0.0.1", port, ae_title="XINGLIN", evt_handlers=handlers)
    assert association.is_established
    yield association
    association.release()


def ask(association: Any, dataset: Dataset, action: int = 1, instance: str = WELL_KNOWN) -> int:
    status, _ = association.send_n_action(dataset, action, PUSH, instance)
    return int(status.Status)


@pytest.fixture
def checks(node: Node) -> Checks:
    return Checks(node.files, "XINGLIN", node.clock)


@pytest.fixture
def delivery(node: Node) -> Delivery:
    return Delivery(node.engine, Destinations(node.engine), "XINGLIN", node.clock)


@clause("PS3.4 J.3.3", "the result comes on the same association while the requestor keeps it open")
def test_everything_is_safe(node: Node, dimse_port: int) -> None:
    node.add(ct(number=1), ct(number=2))
    reports: Reports = queue.Queue()
    with calling(dimse_port, reports) as association:
        assert ask(association, request(MINE, f"{ROOT_UID}.1.1.2")) == 0
        kind, told = reports.get(timeout=30)
    assert kind == 1
    assert told.TransactionUID == TRANSACTION
    assert [one.ReferencedSOPInstanceUID for one in told.ReferencedSOPSequence] == [MINE, f"{ROOT_UID}.1.1.2"]
    assert told.RetrieveAETitle == "XINGLIN"
    wait_for(lambda: not node.rows("SELECT FROM outgoing_message"))
    assert node.rows("SELECT failed FROM storage_commitment WHERE answered_at IS NOT NULL") == [({},)]


@clause("PS3.3 C.14.1.1", "what is not safe is named with its reason")
def test_what_is_not_safe(node: Node, dimse_port: int, checks: Checks) -> None:
    node.add(ct(number=1), ct(number=2), ct(number=3))
    for number in (2, 3):
        ((digest,),) = node.rows(
            "SELECT encode(hash, 'hex') FROM dicom_instance WHERE sop_uid = %s", f"{ROOT_UID}.1.1.{number}"
        )
        path = node.files.path(digest)
        if number == 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])
    reports: Reports = queue.Queue()
    with calling(dimse_port, reports) as association:
        asked = request(MINE, *(f"{ROOT_UID}.1.1.{number}" for number in (2, 3)))
        asked.ReferencedSOPSequence[0].ReferencedSOPClassUID = MRImageStorage
        assert ask(association, asked) == 0
        kind, told = reports.get(timeout=30)
    assert kind == 2
    assert "ReferencedSOPSequence" not in told
    reasons = {one.ReferencedSOPInstanceUID: one.FailureReason for one in told.FailedSOPSequence}
    assert reasons == {MINE: 0x0119, f"{ROOT_UID}.1.1.2": 0x0110, f"{ROOT_UID}.1.1.3": 0x0110}


def test_what_may_still_come_is_waited_for(
    node: Node, dimse_port: int, checks: Checks, delivery: Delivery
) -> None:
    """The index may be behind: an instance is called missing only after a while."""
    reports: Reports = queue.Queue()
    with listening(reports) as port:
        peers.add(node.engine, Peer("CT1", "127.0.0.1", port), node.clock)
        with calling(dimse_port, reports) as association:
            assert ask(association, request(MINE)) == 0
            assert ask(association, request("1.2.3", transaction=f"{TRANSACTION}.1")) == 0
        wait_for(
            lambda: (
                len(node.rows("SELECT FROM storage_commitment WHERE due_at <= %s", node.clock())) == 2
                or len(node.rows("SELECT FROM storage_commitment WHERE due_at > %s", node.clock())) == 2
            )
        )
        node.add(ct(number=1))
        node.clock.advance(seconds=2)
        while checks.drain(node.engine):
            pass
        assert delivery.drain() == 1
        assert reports.get(timeout=30)[0] == 1
        node.clock.advance(seconds=10)
        while checks.drain(node.engine):
            pass
        assert delivery.drain() == 1
        kind, told = reports.get(timeout=30)
        assert (kind, told.FailedSOPSequence[0].FailureReason) == (2, 0x0112)
    assert node.rows("SELECT FROM outgoing_message") == []


@contextmanager
def listening(reports: Reports, title: str = "CT1", **handlers: Any) -> Iterator[int]:
    """A modality that listens for reports with the roles turned round (PS3.7 D.3.3.4)."""
    ae = AE(title)
    ae.add_supported_context(PUSH, scu_role=True, scp_role=True)
    ae.add_supported_context(IAN)
    events = [(evt.EVT_N_EVENT_REPORT, handlers.get("report") or reporting(reports))]
    events += [(evt.EVT_N_CREATE, handlers["create"])] if "create" in handlers else []
    events += [(evt.EVT_N_ACTION, handlers["action"])] if "action" in handlers else []
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=events)
    yield int(server.server_address[1])
    server.shutdown()


@clause("PS3.4 J.3.3", "else it comes on a new association, with the roles turned round")
def test_a_requestor_that_goes_at_once(
    node: Node, dimse_port: int, checks: Checks, delivery: Delivery
) -> None:
    node.add(ct(number=1))
    reports: Reports = queue.Queue()
    with listening(reports) as port:
        peers.add(node.engine, Peer("CT1", "127.0.0.1", port), node.clock)
        with calling(dimse_port, reports) as association:
            assert ask(association, request(MINE)) == 0
            association.release()
        wait_for(
            lambda: (
                node.rows("SELECT FROM outgoing_message WHERE due_at <= %s", node.clock())
                or not reports.empty()
            )
        )
        delivery.drain()
        assert reports.get(timeout=30)[0] == 1
    wait_for(lambda: not node.rows("SELECT FROM outgoing_message"))


def test_a_peer_that_is_away_is_called_again(
    node: Node, dimse_port: int, checks: Checks, delivery: Delivery
) -> None:
    node.add(ct(number=1))
    reports: Reports = queue.Queue()
    with calling(dimse_port, reports) as association:
        assert ask(association, request(MINE)) == 0
        association.abort()
    wait_for(lambda: node.rows("SELECT FROM outgoing_message WHERE due_at <= %s", node.clock()))
    assert delivery.drain() == 1
    ((problem, attempts),) = node.rows("SELECT problem, attempts FROM outgoing_message")
    assert attempts == 1
    assert "no host and port" in problem
    assert delivery.drain() == 0
    with listening(reports) as port:
        peers.add(node.engine, Peer("CT1", "127.0.0.1", port), node.clock)
        node.clock.advance(seconds=5)
        again = Delivery(node.engine, Destinations(node.engine), "XINGLIN", node.clock)  # after a restart
        assert again.drain() == 1
        assert reports.get(timeout=30)[0] == 1
    assert node.rows("SELECT FROM outgoing_message") == []


def test_a_message_that_nobody_takes_is_given_up_after_a_week(node: Node, delivery: Delivery) -> None:
    with node.engine.connection() as connection:
        commitment.ask(connection.cursor(), "GONE", [(CTImageStorage, MINE)], node.clock())
        connection.commit()
    delivery.drain()
    node.clock.advance(days=8)
    delivery.drain()
    assert node.rows("SELECT gave_up FROM outgoing_message") == [(True,)]
    node.clock.advance(days=8)
    assert delivery.drain() == 0


@clause("PS3.4 J.3.2", "requests that are refused")
def test_requests_that_are_refused(node: Node, dimse_port: int) -> None:
    reports: Reports = queue.Queue()
    lacking = request(MINE)
    del lacking.TransactionUID
    with calling(dimse_port, reports) as association:
        assert ask(association, request(MINE), action=2) == 0x0123
        assert ask(association, request(MINE), instance="1.2.3") == 0x0112
        assert ask(association, lacking) == 0x0115
        assert ask(association, request()) == 0x0115
    assert node.rows("SELECT FROM storage_commitment") == []


def test_the_same_request_again_and_another_under_its_uid(node: Node, dimse_port: int) -> None:
    node.add(ct(number=1))
    reports: Reports = queue.Queue()
    for _ in range(2):
        with calling(dimse_port, reports) as association:
            assert ask(association, request(MINE)) == 0
            assert reports.get(timeout=30)[0] == 1
    with calling(dimse_port, reports) as association:
        assert ask(association, request("1.2.3")) == 0x0110
    with calling(dimse_port, reports, "CT2") as association:
        assert ask(association, request(MINE)) == 0
        assert reports.get(timeout=30)[0] == 1


def test_the_hash_is_compared_where_that_is_set(node: Node) -> None:
    node.add(ct(number=1))
    ((digest,),) = node.rows("SELECT encode(hash, 'hex') FROM dicom_instance")
    path = node.files.path(digest)
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    asked = [[str(CTImageStorage), MINE]]
    with node.engine.connection() as connection:
        cursor = connection.cursor()
        quick, thorough = (Checks(node.files, "X", node.clock, hashes=hashes) for hashes in (False, True))
        assert quick.failures(cursor, asked) == {}
        assert thorough.failures(cursor, asked) == {MINE: 0x0110}


@clause("PS3.4 J.3.2", "as SCU: we ask, the peer reports")
@pytest.mark.parametrize("same_association", [True, False])
def test_we_ask(node: Node, dimse_port: int, delivery: Delivery, same_association: bool) -> None:
    asked: queue.Queue[Dataset] = queue.Queue()

    def report(association: Any, given: Dataset, safe: int) -> None:
        told = Dataset()
        told.TransactionUID = given.TransactionUID
        told.ReferencedSOPSequence = given.ReferencedSOPSequence[:safe]
        failed = given.ReferencedSOPSequence[safe:]
        for item in failed:
            item.FailureReason = 0x0112
        if failed:
            told.FailedSOPSequence = failed
        status, _ = association.send_n_event_report(told, 2 if failed else 1, PUSH, WELL_KNOWN)
        assert status.Status == 0

    def action(event: Any) -> tuple[int, None]:
        asked.put(event.action_information)
        return 0x0000, None

    def responded(event: Any) -> None:
        if same_association and type(event.message).__name__ == "N_ACTION_RSP":
            import threading

            thread = threading.Thread(target=report, args=(event.assoc, asked.get(timeout=30), 1))
            thread.start()

    ae = AE("ARCHIVE")
    ae.add_supported_context(PUSH)
    handlers = [(evt.EVT_N_ACTION, action), (evt.EVT_DIMSE_SENT, responded)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    peers.add(node.engine, Peer("ARCHIVE", "127.0.0.1", server.server_address[1]), node.clock)
    with node.engine.connection() as connection:
        instances = [(str(CTImageStorage), MINE), (str(CTImageStorage), f"{MINE}.2")]
        uid = commitment.ask(connection.cursor(), "ARCHIVE", instances, node.clock())
        connection.commit()
    assert delivery.drain() == 1
    if not same_association:
        given = asked.get(timeout=30)
        assert given.TransactionUID == uid
        caller = AE("ARCHIVE")
        caller.add_requested_context(PUSH)
        role = build_role(PUSH, scu_role=False, scp_role=True)
        association = caller.associate("127.0.0.1", dimse_port, ae_title="XINGLIN", ext_neg=[role])
        assert association.is_established
        report(association, given, 1)
        given.TransactionUID = "1.2.3"
        status, _ = association.send_n_event_report(given, 1, PUSH, WELL_KNOWN)
        assert status.Status == 0x0115
        status, _ = association.send_n_event_report(given, 3, PUSH, WELL_KNOWN)
        assert status.Status == 0x0113
        association.release()
    server.shutdown()
    with node.engine.connection() as connection:
        assert commitment.outcome(connection.cursor(), uid) == {f"{MINE}.2": 0x0112}
        assert commitment.outcome(connection.cursor(), "1.2.3") is None
    assert node.rows("SELECT FROM outgoing_message") == []


@clause("PS3.4 R.3.2.1", "peers are told which instances of a study are here")
def test_availability(node: Node, delivery: Delivery) -> None:
    node.add(ct(number=1), ct(number=2), ct(series=2, number=1))
    told: queue.Queue[Dataset] = queue.Queue()

    def create(event: Any) -> tuple[int, Dataset]:
        told.put(event.attribute_list)
        return 0x0000, event.attribute_list

    with listening(queue.Queue(), "RIS", create=create) as port:
        peers.add(node.engine, Peer("RIS", "127.0.0.1", port), node.clock)
        hospital = hospital_of(node.config, node.clock)
        bridge = Bridge(
            hospital.entry,
            BridgeSettings(0.0, 30.0, MRN, "http://node.example/dicom-web"),
            after=lambda cursor, study: availability.tell(cursor, ["RIS"], study, "XINGLIN", node.clock()),
        )
        assert bridge.drain() == 1
        node.add(ct(series=2, number=2))
        assert bridge.drain() == 1  # the newer takes the place of the one that waits
        assert delivery.drain() == 1
        given = told.get(timeout=30)
    assert given.StudyInstanceUID == f"{ROOT_UID}.1"
    assert [len(one.ReferencedSOPSequence) for one in given.ReferencedSeriesSequence] == [2, 2]
    instance = given.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert (instance.InstanceAvailability, instance.RetrieveAETitle) == ("ONLINE", "XINGLIN")
    assert given.ReferencedPerformedProcedureStepSequence == []
    assert delivery.drain() == 0


def test_without_the_right_nothing_is_answered(node: Node) -> None:
    peers.add(node.engine, Peer("CT1", "127.0.0.1", None, frozenset({"store"})), lambda: datetime.now(UTC))
    entity = ApplicationEntity(replace(node.config), node.engine, node.ingest)
    port = entity.start()
    ae = AE("CT1")
    for abstract_syntax in (PUSH, "1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3"):
        ae.add_requested_context(abstract_syntax)
    association = ae.associate("127.0.0.1", port, ae_title="XINGLIN")
    assert association.accepted_contexts == []
    entity.stop()
