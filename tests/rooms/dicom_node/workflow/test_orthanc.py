"""Orthanc as the other side of storage commitment: it asks us, and we ask it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
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
from tests.support.server import wait_for

ORTHANC = shutil.which("Orthanc", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
pytestmark = pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")


@dataclass
class Orthanc:
    """A running Orthanc that knows us as NODE."""

    http: int
    dicom: int

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in taken]
    for one in taken:
        one.close()
    return ports


@pytest.fixture
def orthanc(tmp_path: Path, dimse_port: int) -> Iterator[Orthanc]:
    http, dicom = free_ports(2)
    folder = tmp_path / "orthanc"
    folder.mkdir()
    settings = {
        "Name": "peer",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "DicomModalities": {"NODE": ["XINGLIN", "127.0.0.1", dimse_port]},
        "DicomCheckModalityHost": False,
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
    peer = Orthanc(http, dicom)

    def up() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return bool(peer.ask("/system"))
        except OSError:
            return False

    try:
        wait_for(up)
        yield peer
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def delivery(node: Node) -> Delivery:
    return Delivery(node.engine, Destinations(node.engine), "XINGLIN", node.clock)


def settled(node: Node, orthanc: Orthanc, delivery: Delivery, id_: str) -> dict[str, Any]:
    """Return Orthanc's report once it is no longer pending."""

    def look() -> dict[str, Any] | None:
        delivery.drain()
        report: dict[str, Any] = orthanc.ask(f"/storage-commitment/{id_}")
        return report if report["Status"] != "Pending" else None

    return wait_for(look)


def test_orthanc_asks(node: Node, orthanc: Orthanc, delivery: Delivery) -> None:
    peers.add(node.engine, Peer("ORTHANC", "127.0.0.1", orthanc.dicom), node.clock)
    node.add(ct(number=1), ct(number=2))
    mine = [[str(CTImageStorage), f"{ROOT_UID}.1.1.{number}"] for number in (1, 2)]
    id_ = orthanc.ask("/modalities/NODE/storage-commitment", {"DicomInstances": mine})["ID"]
    report = settled(node, orthanc, delivery, id_)
    assert report["Status"] == "Success"
    assert {one["SOPInstanceUID"] for one in report["Success"]} == {uid for _, uid in mine}
    wrong = [["1.2.840.10008.5.1.4.1.1.4", mine[0][1]], mine[1]]
    id_ = orthanc.ask("/modalities/NODE/storage-commitment", {"DicomInstances": wrong})["ID"]
    report = settled(node, orthanc, delivery, id_)
    assert report["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == [mine[0][1]]
    assert node.rows("SELECT FROM outgoing_message") == []


def test_we_ask_orthanc(node: Node, orthanc: Orthanc, delivery: Delivery) -> None:
    peers.add(node.engine, Peer("ORTHANC", "127.0.0.1", orthanc.dicom), node.clock)
    image = ct(number=1)
    sender = AE("XINGLIN")
    sender.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    association = sender.associate("127.0.0.1", orthanc.dicom, ae_title="ORTHANC")
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
