"""PS3.4 C.4.2: destinations over TLS, and Orthanc as destination and as the one who retrieves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as STUDY

from dicom_node.dimse import peers
from dicom_node.dimse.application_entity import ApplicationEntity
from dicom_node.dimse.peers import Peer
from tests.support.certificates import Authority, Certificate
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import free_port, listening, program, storescp
from tests.support.orthanc import orthanc
from tests.support.server import wait_for

STUDY_UID = f"{ROOT_UID}.1"


@pytest.fixture
def archive(node: Node) -> Node:
    node.add(*(ct(number=number) for number in range(1, 6)))
    peers.add(node.engine, Peer("MOVER", "*"), node.clock)
    return node


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def ours(authority: Authority) -> Certificate:
    return authority.entity("xinglin")


@pytest.fixture
def tls_port(archive: Node, ours: Certificate, authority: Authority) -> Iterator[int]:
    """The plain port of a node that calls others with a certificate."""
    config = replace(
        archive.config,
        dimse_tls_cert=str(ours.certificate),
        dimse_tls_key=str(ours.key),
        dimse_tls_ca=str(authority.file),
    )
    entity = ApplicationEntity(config, archive.engine, archive.ingest)
    yield entity.start()
    entity.stop()


def move(port: int, to: str) -> Dataset:
    """Move the study and return the last response."""
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", STUDY_UID
    ae = AE("MOVER")
    association = ae.associate("127.0.0.1", port, contexts=[build_context(STUDY)], ae_title="XINGLIN")
    *_, (final, _) = association.send_c_move(asked, to, STUDY)
    association.release()
    return final


@clause("PS3.15 B.10", "a C-MOVE goes to a destination over TLS, each side showing its certificate")
def test_tls_destination(archive: Node, tls_port: int, authority: Authority) -> None:
    theirs = authority.entity("dest")
    options = ("+B", "+xa", "+tls", str(theirs.key), str(theirs.certificate), "+cf", str(authority.file))
    with storescp(*options, "-rc") as peer:
        peers.add(archive.engine, Peer("DEST", "127.0.0.1", peer.port, tls=True), archive.clock)
        assert move(tls_port, "DEST").Status == 0
        assert len(peer.files()) == 5
        peers.add(archive.engine, Peer("DEST", "127.0.0.1", peer.port, tls=False), archive.clock)
        assert move(tls_port, "DEST").Status == 0xA702  # plain to a port that speaks TLS


@clause("PS3.15 B.10", "a destination whose certificate nobody of ours signed gets nothing")
def test_tls_stranger(archive: Node, tls_port: int, tmp_path: Path) -> None:
    other = Authority(tmp_path / "stranger", "Other Authority")
    theirs = other.entity("dest")
    options = ("+B", "+xa", "+tls", str(theirs.key), str(theirs.certificate), "+cf", str(other.file))
    with storescp(*options, "-ic") as peer:
        peers.add(archive.engine, Peer("DEST", "127.0.0.1", peer.port, tls=True), archive.clock)
        final = move(tls_port, "DEST")
        assert final.Status == 0xA702
        assert final.ErrorComment.startswith("no TLS with DEST")
        assert not peer.files()


@clause("PS3.4 C.4.2", "Orthanc is a destination, and retrieves what it has found here")
def test_orthanc(archive: Node, dimse_port: int, tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc", dimse_port) as peer:
        peers.add(archive.engine, Peer("ORTHANC", "127.0.0.1", peer.dicom), archive.clock)
        assert move(dimse_port, "ORTHANC").Status == 0
        assert len(peer.call("/instances")) == 5
        for study in peer.call("/studies"):
            peer.call(f"/studies/{study}", method="DELETE")
        query = {"Level": "Study", "Query": {"StudyInstanceUID": STUDY_UID}}
        found = peer.call("/modalities/NODE/query", query)
        assert peer.call(f"{found['Path']}/answers") == ["0"]
        job = peer.call(f"{found['Path']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
        assert job["Query"]
        wait_for(lambda: len(peer.call("/instances")) == 5, 30)


@clause("PS3.4 C.4.2", "pynetdicom's movescu moves to itself")
def test_pynetdicom_movescu(archive: Node, dimse_port: int, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "got"
    folder.mkdir()
    peers.add(archive.engine, Peer("MOVER", "127.0.0.1", port), archive.clock)
    command = [
        sys.executable, "-m", "pynetdicom", "movescu", "-S", "-aet", "MOVER", "-aec", "XINGLIN",
        "-aem", "MOVER", "--store", "--store-port", str(port), "--store-aet", "MOVER", "-od", str(folder),
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY_UID}", "127.0.0.1",
        str(dimse_port),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.iterdir())) == 5


@clause("PS3.4 C.4.2", "dcmtk's archive is a destination")
def test_dcmqrscp(archive: Node, dimse_port: int, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "db"
    folder.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {folder} RW (200, 1024mb) ANY\nAETable END\n"
    )
    log = tmp_path / "qrscp.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program("dcmqrscp"), "-c", str(config)], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        listening(port, process, log)
        peers.add(archive.engine, Peer("QRSCP", "127.0.0.1", port), archive.clock)
        assert move(dimse_port, "QRSCP").Status == 0
        assert len([path for path in folder.iterdir() if path.name != "index.dat"]) == 5
    finally:
        process.kill()
        process.wait(10)
