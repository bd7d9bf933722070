"""dicomweb-client and Orthanc retrieve from us over HTTP: clients that share no code with this house."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from tests.spec.ps3_18.test_retrieve import store_file
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node
from tests.support.http_server import dicomweb
from tests.support.server import wait_for

client = pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")
STUDY, SERIES = f"{ROOT_UID}.1", f"{ROOT_UID}.1.1"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture
def address(node: Node) -> Iterator[str]:
    node.add(*(ct(1, 1, number) for number in (1, 2, 3)), ct(1, 2, 1))
    with dicomweb(node) as where:
        yield where


def test_dicomweb_client_retrieves_at_every_level(address: str) -> None:
    peer = client.DICOMwebClient(address)
    assert [one["0020000D"]["Value"] for one in peer.search_for_studies()] == [[STUDY]]
    assert len(peer.retrieve_study(STUDY)) == 4
    assert len(peer.retrieve_series(STUDY, SERIES)) == 3
    found = list(peer.iter_series(STUDY, SERIES))
    assert [one.InstanceNumber for one in found] == [1, 2, 3]
    one = peer.retrieve_instance(STUDY, SERIES, f"{SERIES}.2")
    assert np.array_equal(one.pixel_array, ct(1, 1, 2).pixel_array)
    assert len(peer.retrieve_study_metadata(STUDY)) == 4
    assert len(peer.retrieve_series_metadata(STUDY, SERIES)) == 3
    assert peer.retrieve_instance_metadata(STUDY, SERIES, f"{SERIES}.1")["00100020"]["Value"] == ["P1"]
    (frame,) = peer.retrieve_instance_frames(STUDY, SERIES, f"{SERIES}.1", [1])
    assert frame == ct().PixelData


def test_dicomweb_client_retrieves_bulk_data_and_pictures(address: str) -> None:
    peer = client.DICOMwebClient(address)
    metadata = peer.retrieve_instance_metadata(STUDY, SERIES, f"{SERIES}.1")
    (value,) = peer.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"])
    assert value == ct().PixelData
    for media in ("image/png", "image/jpeg", "image/gif"):
        assert len(peer.retrieve_instance_rendered(STUDY, SERIES, f"{SERIES}.1", media_types=(media,))) > 100
        assert len(
            peer.retrieve_instance_frames_rendered(STUDY, SERIES, f"{SERIES}.1", [1], media_types=(media,))
        ) > 100  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "syntax"),
    [
        ("*", "1.2.840.10008.1.2.5"),
        ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1"),
        ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.80"),
    ],
)
def test_dicomweb_client_names_a_transfer_syntax(node: Node, address: str, asked: str, syntax: str) -> None:
    dataset = store_file(node, "SC_rgb_rle_2frame.dcm")
    peer = client.DICOMwebClient(address)
    found = peer.retrieve_instance(
        dataset.StudyInstanceUID,
        dataset.SeriesInstanceUID,
        dataset.SOPInstanceUID,
        media_types=(("application/dicom", asked),),
    )
    assert found.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(found.pixel_array, dataset.pixel_array)


@pytest.fixture
def orthanc(tmp_path: Path, address: str) -> Iterator[str]:
    """The REST address of an Orthanc of its own that knows us as a DICOMweb server."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plug-in is not installed")
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        http, dicom = one.getsockname()[1], two.getsockname()[1]
    configuration = tmp_path / "orthanc.json"
    settings: dict[str, Any] = {
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Servers": {"ours": {"Url": f"{address}/"}}},
    }
    configuration.write_text(json.dumps(settings))
    with open(tmp_path / "orthanc.log", "w") as log:
        process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
    try:
        where = f"http://127.0.0.1:{http}"
        wait_for(lambda: answers(f"{where}/dicom-web/servers"))
        yield where
    finally:
        process.terminate()
        process.wait(30)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (URLError, OSError):
        return False


def ask(address: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data), timeout=60) as answer:
        return json.load(answer)


def test_orthanc_retrieves_from_us(node: Node, address: str, orthanc: str) -> None:
    coded = store_file(node, "JPEG2000.dcm")
    found = ask(f"{orthanc}/dicom-web/servers/ours/qido", {"Uri": "/studies"})
    assert len(found) == 2
    ask(
        f"{orthanc}/dicom-web/servers/ours/retrieve",
        {"Resources": [{"Study": STUDY}, {"Study": str(coded.StudyInstanceUID)}], "Synchronous": True},
    )
    assert len(ask(f"{orthanc}/instances")) == 5
    statistics = ask(f"{orthanc}/statistics")
    assert statistics["CountStudies"] == 2
