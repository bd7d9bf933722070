"""PS3.18 10.4.1.1.5, 10.4.1.1.7: bulk data and pixel data at every level."""

from __future__ import annotations

import numpy as np
import pytest
from flask.testing import FlaskClient
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.spec.ps3_18.test_retrieve import INSTANCE, STUDY, address, parts, store_file
from tests.spec.ps3_18.test_transfer_syntaxes import store_video
from tests.support.dicom_data import ct
from tests.support.dicom_fixtures import Node

LEVELS = (f"/dicom-web/studies/{STUDY}", f"/dicom-web/studies/{STUDY}/series/{STUDY}.1", INSTANCE)
OCTETS = "application/octet-stream"


@pytest.mark.clause("PS3.18 10.4.1.1.5", "all bulk data of an instance, a series or a study, a part each")
@pytest.mark.parametrize(("path", "count"), zip(LEVELS, (4, 3, 2), strict=True))
def test_all_bulk_data_of_a_level(node: Node, web: FlaskClient, path: str, count: int) -> None:
    item = Dataset()
    item.add_new(0x00091010, "OB", bytes(range(256)) * 2)
    node.add(ct(1, 1, 1, ProcedureCodeSequence=Sequence([item])), ct(1, 1, 2), ct(1, 2, 1))
    answer = web.get(f"{path}/bulkdata", headers={"Accept": f'multipart/related; type="{OCTETS}"'})
    found = parts(answer)
    assert len(found) == count
    for _, location, body in found:
        again = web.get(location.replace("http://node.example", ""), headers={"Accept": OCTETS})
        assert again.data == body
    assert found[0][1].endswith("/bulkdata/00081032/0/00091010")


@pytest.mark.clause("PS3.18 10.4.1.1.7", "pixel data, a part a frame")
@pytest.mark.parametrize(("path", "count"), zip(LEVELS, (3, 2, 1), strict=True))
def test_all_pixel_data_of_a_level(node: Node, web: FlaskClient, path: str, count: int) -> None:
    node.add(ct(1, 1, 1), ct(1, 1, 2), ct(1, 2, 1))
    found = parts(web.get(f"{path}/pixeldata"))
    assert len(found) == count
    assert found[0][2] == ct().PixelData


def test_coded_pixel_data_comes_decoded_or_frame_by_frame_or_as_it_is(node: Node, web: FlaskClient) -> None:
    dataset = store_file(node, "SC_rgb_rle_2frame.dcm")
    at = f"{address(dataset)}/bulkdata/7FE00010"
    decoded = web.get(at, headers={"Accept": OCTETS})
    assert decoded.data == dataset.pixel_array.tobytes()
    frames = parts(web.get(at, headers={"Accept": "multipart/related; type=image/dicom-rle"}))
    assert [media for media, _, _ in frames] == ["image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"] * 2
    kept = web.get(at, headers={"Accept": f"{OCTETS}; transfer-syntax=*"}).data
    assert kept.startswith(b"\xfe\xff\x00\xe0")
    assert frames[1][2] in kept


def test_values_of_a_big_endian_file_are_little_endian(node: Node, web: FlaskClient) -> None:
    dataset = store_file(node, "MR_small_bigendian.dcm")
    whole = web.get(f"{address(dataset)}/bulkdata/7FE00010", headers={"Accept": OCTETS}).data
    assert np.array_equal(np.frombuffer(whole, "<i2").reshape(64, 64), dataset.pixel_array)
    some = web.get(
        f"{address(dataset)}/bulkdata/7FE00010", headers={"Accept": OCTETS, "Range": "bytes=3-1001"}
    )
    assert some.data == whole[3:1002]


@pytest.mark.clause("PS3.18 8.7.4", "a video is given as its stream, in ranges")
def test_a_video_is_its_stream(node: Node, web: FlaskClient) -> None:
    stream = store_video(node)
    for path in (f"{INSTANCE}/bulkdata/7FE00010", f"{INSTANCE}/rendered"):
        whole = web.get(path, headers={"Accept": "video/mp4"})
        assert (whole.content_type, whole.data) == ("video/mp4", stream)
        some = web.get(path, headers={"Accept": "video/mp4", "Range": "bytes=990-1009"})
        assert (some.status_code, some.data) == (206, stream[990:1010])
    assert web.get(f"{INSTANCE}/frames/1", headers={"Accept": "*/*"}).status_code == 406
    assert "video" in web.get(f"{INSTANCE}/rendered", headers={"Accept": "image/jpeg"}).text
    ((media, _, body),) = parts(web.get(f"{INSTANCE}/bulkdata"))
    assert (media.partition(";")[0], body) == ("video/mp4", stream)


def test_a_level_without_bulk_data_says_so(node: Node, web: FlaskClient) -> None:
    node.add(ct(PixelData=None, Rows=None, Columns=None))
    assert web.get(f"{INSTANCE}/bulkdata").status_code == 404
    assert web.get(f"{INSTANCE}/pixeldata").status_code == 404
    node.add(ct(1, 2, 1))
    assert web.get(f"{LEVELS[0]}/bulkdata", headers={"Accept": "text/plain"}).status_code == 406
