"""PS3.18 8.7: which representation a client gets, with the headers that viewers really send."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pydicom
import pytest
from flask.testing import FlaskClient

from dicom_node.pixels.transcode import LOSSLESS
from tests.spec.ps3_18.test_retrieve import INSTANCE, SERIES, STUDY, address, parts, store_file
from tests.support.dicom_data import ct
from tests.support.dicom_fixtures import Node

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
OF_STUDY = f"/dicom-web/studies/{STUDY}"


def syntaxes(answer: Any) -> list[str]:
    return [media.rpartition("transfer-syntax=")[2] for media, _, _ in parts(answer)]


@pytest.mark.clause("PS3.18 8.7.3.5.2", "the default is explicit VR little endian; * is what is kept")
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ('multipart/related; type="application/dicom"', EXPLICIT),
        ("multipart/related; type=application/dicom", EXPLICIT),
        ("Multipart/Related;Type=Application/DICOM", EXPLICIT),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', RLE),
        ('multipart/related; type="application/dicom"; transfer-syntax="*"', RLE),
        ('multipart/related; type="application/dicom; transfer-syntax=*"', RLE),
        (f"multipart/related; type=application/dicom; transfer-syntax={RLE}", RLE),
        (f"multipart/related; type=application/dicom; transfer-syntax={JPEG_2000}", JPEG_2000),
        (
            "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50;q=0.9,"
            f" multipart/related; type=application/dicom; transfer-syntax={JPEG_2000};q=0.5",
            JPEG_2000,
        ),
        (
            'multipart/related; type="application/dicom"; q=0.1,'
            ' multipart/related; type="application/dicom"; transfer-syntax=*; q=0.9',
            RLE,
        ),
        ("multipart/related", RLE),
        ("*/*", RLE),
    ],
)
def test_the_transfer_syntax_that_is_asked_for(
    node: Node, web: FlaskClient, accept: str, expected: str
) -> None:
    dataset = store_file(node, "SC_rgb_rle_2frame.dcm")
    answer = web.get(address(dataset), headers={"Accept": accept})
    assert syntaxes(answer) == [expected]
    (_, _, body), *_ = parts(answer)
    found = pydicom.dcmread(io.BytesIO(body))
    assert found.file_meta.TransferSyntaxUID == expected
    assert np.array_equal(found.pixel_array, dataset.pixel_array)


def test_what_cannot_be_given_is_answered_with_what_can(node: Node, web: FlaskClient) -> None:
    node.add(ct())
    answer = web.get(
        INSTANCE,
        headers={
            "Accept": "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50"
        },
    )
    assert answer.status_code == 406
    said = answer.json["issue"][0]["diagnostics"]
    assert all(syntax in said for syntax in (EXPLICIT, *LOSSLESS, "application/zip"))


def test_a_study_is_given_whole_or_not_at_all(node: Node, web: FlaskClient) -> None:
    node.add(*(ct(1, 1, number) for number in (1, 2)), ct(1, 2, 1, Rows=None, Columns=None, PixelData=None))
    answer = web.get(
        OF_STUDY, headers={"Accept": f"multipart/related; type=application/dicom; transfer-syntax={RLE}"}
    )
    assert syntaxes(answer) == [RLE, RLE, EXPLICIT]  # what has no pixels is not coded


def test_a_video_comes_as_it_is_where_no_syntax_is_named(node: Node, web: FlaskClient) -> None:
    store_video(node)
    whole = web.get(INSTANCE, headers={"Accept": 'multipart/related; type="application/dicom"'})
    assert syntaxes(whole) == ["1.2.840.10008.1.2.4.102"]
    named = web.get(INSTANCE, headers={"Accept": f"application/dicom; transfer-syntax={EXPLICIT}"})
    assert named.status_code == 406


def store_video(node: Node, stream: bytes = b"\0\0\0\x18ftypmp42" + bytes(range(200)) * 9) -> bytes:
    """Store a video in two fragments; its frames are nothing that anybody here looks into."""
    from pydicom.encaps import encapsulate

    dataset = ct(NumberOfFrames=25, BitsAllocated=8)
    dataset.PixelData = encapsulate([stream[:1000], stream[1000:]])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    node.add(dataset)
    return stream


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*;"
        " transfer-syntax=*",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        "application/json",
        "*/*",
    ],
)
def test_viewers_get_metadata_with_the_headers_that_they_send(
    node: Node, web: FlaskClient, accept: str
) -> None:
    node.add(ct())
    for path in (f"{INSTANCE}/metadata", f"{OF_STUDY}/series/{SERIES}/metadata", f"{OF_STUDY}/metadata"):
        answer = web.get(path, headers={"Accept": accept})
        assert answer.status_code == 200
        assert len(answer.json) == 1
    assert web.get(f"{OF_STUDY}/series", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize(
    ("accept", "media", "kept"),
    [
        ('multipart/related; type="application/octet-stream"; transfer-syntax=*', "octet-stream", True),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", "octet-stream", True),
        ("multipart/related; type=application/octet-stream", "octet-stream", False),
        (
            f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}',
            "octet-stream",
            False,
        ),
        ("multipart/related; type=image/dicom-rle", "dicom-rle", True),
        ("multipart/related; type=image/x-dicom-rle", "dicom-rle", True),
        (f"multipart/related; type=image/dicom-rle; transfer-syntax={RLE}", "dicom-rle", True),
        ("multipart/related; type=image/*; transfer-syntax=*", "dicom-rle", True),
        (f"multipart/related; type=image/jp2; transfer-syntax={JPEG_2000}", "jp2", False),
        ("*/*", "dicom-rle", True),
    ],
)
def test_viewers_get_frames_with_the_headers_that_they_send(
    node: Node, web: FlaskClient, accept: str, media: str, kept: bool
) -> None:
    dataset = store_file(node, "SC_rgb_rle_2frame.dcm")
    answer = web.get(f"{address(dataset)}/frames/2", headers={"Accept": accept})
    ((described, location, body),) = parts(answer)
    assert described.partition(";")[0].endswith(media)
    assert (described.endswith(RLE)) == kept
    assert location.endswith("/frames/2")
    assert answer.content_length == len(answer.data)
    if media == "octet-stream" and not kept:
        assert body == dataset.pixel_array[1].tobytes()
    if media == "jp2":
        assert body.startswith(b"\xff\x4f\xff\x51")


def test_a_single_frame_without_multipart_and_a_part_of_it(node: Node, web: FlaskClient) -> None:
    node.add(ct())
    whole = web.get(f"{INSTANCE}/frames/1", headers={"Accept": "application/octet-stream"})
    assert (whole.data, whole.content_length) == (ct().PixelData, len(ct().PixelData))
    some = web.get(
        f"{INSTANCE}/frames/1", headers={"Accept": "application/octet-stream", "Range": "bytes=10-19"}
    )
    assert (some.status_code, some.data) == (206, ct().PixelData[10:20])


@pytest.mark.clause("PS3.18 8.4.3", "validators and ranges on what is kept")
def test_instances_have_lengths_tags_and_ranges(node: Node, web: FlaskClient) -> None:
    node.add(ct(1, 1, 1), ct(1, 1, 2))
    one = web.get(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert one.content_length == len(one.data)
    again = web.get(
        INSTANCE,
        headers={"Accept": "application/dicom; transfer-syntax=*", "If-None-Match": one.headers["ETag"]},
    )
    assert (again.status_code, again.data) == (304, b"")
    part = web.get(
        INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*", "Range": "bytes=128-131"}
    )
    assert (part.status_code, part.data) == (206, b"DICM")
    beyond = web.get(
        INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=*", "Range": "bytes=9999999-"}
    )
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(one.data)}")
    both = web.get(
        OF_STUDY, headers={"Accept": "multipart/related; type=application/dicom; transfer-syntax=*"}
    )
    assert both.content_length == len(both.data)
    head = web.head(
        OF_STUDY, headers={"Accept": "multipart/related; type=application/dicom; transfer-syntax=*"}
    )
    assert (head.status_code, head.data, head.content_length) == (200, b"", len(both.data))
    assert web.get(OF_STUDY, headers={"If-None-Match": both.headers["ETag"]}).status_code == 304


def test_a_study_as_one_zip_file(node: Node, web: FlaskClient) -> None:
    node.add(*(ct(1, 1, number) for number in (1, 2)), ct(1, 2, 1))
    answer = web.get(OF_STUDY, headers={"Accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(answer.data)) as packed:
        assert packed.testzip() is None
        read = [pydicom.dcmread(packed.open(name)).SOPInstanceUID for name in packed.namelist()]
    assert sorted(read) == [f"{STUDY}.1.1", f"{STUDY}.1.2", f"{STUDY}.2.1"]
