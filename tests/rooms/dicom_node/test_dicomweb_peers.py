"""dicomweb-client and Orthanc retrieve from us over HTTP: clients that share no code with this house."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.spec.ps3_18.test_retrieve import store_file
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node
from tests.support.http_server import dicomweb
from tests.support.orthanc import orthanc

client = pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")
STUDY, SERIES = f"{ROOT_UID}.1", f"{ROOT_UID}.1.1"


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


def test_orthanc_retrieves_from_us(node: Node, address: str, tmp_path: Path) -> None:
    coded = store_file(node, "JPEG2000.dcm")
    with orthanc(tmp_path / "orthanc", servers={"ours": f"{address}/"}) as peer:
        found = peer.call("/dicom-web/servers/ours/qido", {"Uri": "/studies"})
        assert len(found) == 2
        studies = [{"Study": STUDY}, {"Study": str(coded.StudyInstanceUID)}]
        peer.call("/dicom-web/servers/ours/retrieve", {"Resources": studies, "Synchronous": True})
        assert len(peer.call("/instances")) == 5
        assert peer.call("/statistics")["CountStudies"] == 2
