"""Orthanc as the other side of storage commitment: it asks us, and we ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE

from dicom_node.dimse import peers
from dicom_node.dimse.delivery import Delivery
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.peers import Peer
from dicom_node.workflow import commitment
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node
from tests.support.orthanc import Orthanc, orthanc
from tests.support.server import wait_for


@pytest.fixture
def peer(tmp_path: Path, dimse_port: int) -> Iterator[Orthanc]:
    with orthanc(tmp_path / "orthanc", dimse_port) as running:
        yield running


@pytest.fixture
def delivery(node: Node) -> Delivery:
    return Delivery(node.engine, Destinations(node.engine), "XINGLIN", node.clock)


def settled(node: Node, peer: Orthanc, delivery: Delivery, id_: str) -> dict[str, Any]:
    """Return Orthanc's report once it is no longer pending."""

    def look() -> dict[str, Any] | None:
        delivery.drain()
        report: dict[str, Any] = peer.call(f"/storage-commitment/{id_}")
        return report if report["Status"] != "Pending" else None

    return wait_for(look)


def test_orthanc_asks(node: Node, peer: Orthanc, delivery: Delivery) -> None:
    peers.add(node.engine, Peer("ORTHANC", "127.0.0.1", peer.dicom), node.clock)
    node.add(ct(number=1), ct(number=2))
    mine = [[str(CTImageStorage), f"{ROOT_UID}.1.1.{number}"] for number in (1, 2)]
    id_ = peer.call("/modalities/NODE/storage-commitment", {"DicomInstances": mine})["ID"]
    report = settled(node, peer, delivery, id_)
    assert report["Status"] == "Success"
    assert {one["SOPInstanceUID"] for one in report["Success"]} == {uid for _, uid in mine}
    wrong = [["1.2.840.10008.5.1.4.1.1.4", mine[0][1]], mine[1]]
    id_ = peer.call("/modalities/NODE/storage-commitment", {"DicomInstances": wrong})["ID"]
    report = settled(node, peer, delivery, id_)
    assert report["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == [mine[0][1]]
    assert node.rows("SELECT FROM outgoing_message") == []


def test_we_ask_orthanc(node: Node, peer: Orthanc, delivery: Delivery) -> None:
    peers.add(node.engine, Peer("ORTHANC", "127.0.0.1", peer.dicom), node.clock)
    image = ct(number=1)
    sender = AE("XINGLIN")
    sender.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    association = sender.associate("127.0.0.1", peer.dicom, ae_title="ORTHANC")
    assert association.send_c_store(image).Status == 0
    association.release()
    instances = [(str(CTImageStorage), f"{ROOT_UID}.1.1.1"), (str(CTImageStorage), "1.2.3.4")]
    with node.engine.connection() as connection:
        uid = commitment.ask(connection.cursor(), "ORTHANC", instances, node.clock())
        connection.commit()
    assert delivery.drain() == 1

    def outcome() -> dict[str, int] | None:
        with node.engine.connection() as connection:
            return commitment.outcome(connection.cursor(), uid)

    assert wait_for(lambda: outcome()) == {"1.2.3.4": 0x0112}
