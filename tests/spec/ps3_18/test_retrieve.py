"""PS3.18 10.4: WADO-RS, instances, metadata, frames, bulk data and rendered frames."""

from __future__ import annotations

import io
import json
import struct
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from flask.testing import FlaskClient
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from tests.support.dicom_data import ROOT_UID, ct, data_set_of, encoded
from tests.support.dicom_fixtures import ADDRESS, Node

STUDY = f"{ROOT_UID}.1"
SERIES = f"{STUDY}.1"
INSTANCE = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def archive(node: Node) -> Node:
    node.add(*(ct(1, 1, number) for number in (1, 2, 3)), ct(1, 2, 1))
    return node


def parts(answer: Any) -> list[tuple[str, str, bytes]]:
    """Return (Content-Type, Content-Location, body) of each part."""
    message = BytesParser().parsebytes(
        b"Content-Type: " + answer.content_type.encode() + b"\r\n\r\n" + answer.data
    )
    boundary = message.get_boundary()
    assert boundary is not None
    found = []
    for piece in answer.data.split(f"--{boundary}".encode())[1:-1]:
        head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = BytesParser().parsebytes(head)
        found.append((headers["Content-Type"], headers["Content-Location"], body.removesuffix(b"\r\n")))
    return found


def store_file(node: Node, name: str) -> pydicom.FileDataset:
    """Store one of the files that pydicom brings along and return it as pydicom reads it."""
    path = Path(pydicom.data.__file__).parent / "test_files" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the files that pydicom's wheel brings along")
    dataset = pydicom.dcmread(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    outcome = node.ingest.store([data_set_of(path)], syntax, "T")
    assert outcome.instance is not None
    return dataset


def address(dataset: Dataset) -> str:
    return (
        f"/dicom-web/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )


@pytest.mark.clause(
    "PS3.18 10.4.1.1.1", "study, series and instance come as multipart/related, as they were stored"
)
@pytest.mark.parametrize(
    ("path", "count"),
    [(f"/dicom-web/studies/{STUDY}", 4), (f"/dicom-web/studies/{STUDY}/series/{SERIES}", 3), (INSTANCE, 1)],
)
@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom"',
        "multipart/related; type=application/dicom; transfer-syntax=*",
        f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}',
        "multipart/related; type=application/dicom, */*;q=0.1",
        "*/*",
        None,
    ],
)
def test_instances_as_they_are_kept(
    archive: Node, web: FlaskClient, path: str, count: int, accept: str | None
) -> None:
    answer = web.get(path, headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200
    found = parts(answer)
    assert len(found) == count
    media, location, body = found[0]
    assert media == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert location == f"{ADDRESS}{INSTANCE.removeprefix('/dicom-web')}"
    assert body.endswith(encoded(ct()))
    assert pydicom.dcmread(io.BytesIO(body)).SOPInstanceUID == ct().SOPInstanceUID


def test_one_instance_without_multipart(archive: Node, web: FlaskClient) -> None:
    answer = web.get(INSTANCE, headers={"Accept": "application/dicom"})
    assert answer.content_type == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert answer.content_length == len(answer.data)
    assert answer.data.endswith(encoded(ct()))


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        (
            INSTANCE,
            'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.91',
            406,
        ),
        (INSTANCE, "text/plain", 406),
        (f"{INSTANCE}/metadata", "application/xml", 406),
        (f"{INSTANCE}/frames/1", "video/mp4", 406),
        (f"{INSTANCE}/rendered", "image/webp", 406),
        (f"{INSTANCE}9", "*/*", 404),
        (f"/dicom-web/studies/{STUDY}9", "*/*", 404),
        (f"{INSTANCE}/frames/2", "*/*", 404),
        (f"{INSTANCE}/frames/0", "*/*", 400),
        (f"{INSTANCE}/frames/one", "*/*", 400),
        (f"{INSTANCE}/bulkdata/00091002", "*/*", 404),
        (f"{INSTANCE}/rendered?window=40", "*/*", 400),
        (f"{INSTANCE}/rendered?window=40,0", "*/*", 400),
        (f"{INSTANCE}/rendered?viewport=0,0", "*/*", 400),
        (f"{INSTANCE}/rendered?quality=101", "*/*", 400),
    ],
)
def test_refusals_say_why(archive: Node, web: FlaskClient, path: str, accept: str, status: int) -> None:
    answer = web.get(path, headers={"Accept": accept})
    assert answer.status_code == status, answer.text
    assert len(answer.json["issue"][0]["diagnostics"]) > 20


@pytest.mark.clause("PS3.18 10.4.1.1.2", "metadata is DICOM JSON with URIs for bulk data")
def test_metadata_is_what_pydicom_reads(archive: Node, web: FlaskClient) -> None:
    answer = web.get(f"/dicom-web/studies/{STUDY}/metadata", headers={"Accept": "application/dicom+json"})
    assert answer.content_type == "application/dicom+json"
    assert len(answer.json) == 4
    found = answer.json[0]
    assert (
        found["7FE00010"]["BulkDataURI"]
        == f"{ADDRESS}{INSTANCE.removeprefix('/dicom-web')}/bulkdata/7FE00010"
    )
    expected = json.loads(ct().to_json(bulk_data_threshold=1, bulk_data_element_handler=lambda _: "there"))
    for name, element in expected.items():
        if name not in ("7FE00010", "00080005"):
            assert found[name] == element, name
    assert found["00080005"]["Value"] == ["ISO_IR 192"]


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
        "JPEG2000.dcm",
        "liver_1frame.dcm",
    ],
)
def test_metadata_of_real_files(node: Node, web: FlaskClient, name: str) -> None:
    dataset = store_file(node, name)
    (found,) = web.get(f"{address(dataset)}/metadata").json
    expected = json.loads(dataset.to_json(bulk_data_threshold=10**9, suppress_invalid_tags=True))
    assert _comparable(found).keys() == _comparable(expected).keys()
    for tag, element in _comparable(expected).items():
        assert _values(found[tag]) == _values(element), tag


def _comparable(attributes: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the JSON models may differ in: group lengths, binary values, the character set."""
    return {
        tag: element
        for tag, element in attributes.items()
        if not tag.endswith("0000")
        and tag not in ("00080005", "00083002")
        and element["vr"] not in ("OB", "OW", "OF", "OD", "UN")
    }


def _values(element: dict[str, Any]) -> Any:
    if element["vr"] == "SQ":
        return [
            {tag: _values(one) for tag, one in _comparable(item).items()} for item in element.get("Value", [])
        ]
    values = element.get("Value", [])
    if element["vr"] in ("DS", "IS", "FL", "FD"):
        return [round(float(value), 9) for value in values if value is not None]
    return [value for value in values if value not in (None, "", {}, {"Alphabetic": ""})]


def test_character_sets_come_out_as_unicode(node: Node, web: FlaskClient) -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 144"
    item.CodeMeaning = "Люкceмбypг"
    dataset = ct(
        SpecificCharacterSet="GB18030",
        PatientName="Wang^XiaoDong=王^小东",
        ProcedureCodeSequence=Sequence([item]),
    )
    node.add(dataset)
    (found,) = web.get(f"{INSTANCE}/metadata").json
    assert found["00100010"]["Value"][0]["Ideographic"] == "王^小东"
    assert found["00081032"]["Value"][0]["00080104"]["Value"] == ["Люкceмбypг"]


@pytest.mark.clause("PS3.18 10.4.1.1.5", "bulk data by its URI, whole or in ranges")
def test_bulk_data(node: Node, web: FlaskClient) -> None:
    item = Dataset()
    item.add_new(0x00091010, "OB", bytes(range(256)) * 2)
    node.add(ct(ProcedureCodeSequence=Sequence([Dataset(), item])))
    (found,) = web.get(f"{INSTANCE}/metadata").json
    uri = found["00081032"]["Value"][1]["00091010"]["BulkDataURI"].removeprefix(ADDRESS)
    whole = web.get(f"/dicom-web{uri}", headers={"Accept": "application/octet-stream"})
    assert whole.data == bytes(range(256)) * 2
    some = web.get(f"/dicom-web{uri}", headers={"Accept": "*/*", "Range": "bytes=2-4"})
    assert (some.status_code, some.data, some.headers["Content-Range"]) == (206, b"\2\3\4", "bytes 2-4/512")
    pixels = web.get(
        f"{INSTANCE}/bulkdata/7FE00010",
        headers={"Accept": 'multipart/related; type="application/octet-stream"'},
    )
    assert parts(pixels)[0][2] == ct().PixelData


@pytest.mark.clause("PS3.18 10.4.1.1.6", "frames by number, plain or as they are coded")
def test_frames(node: Node, web: FlaskClient) -> None:
    coded = store_file(node, "SC_rgb_rle_2frame.dcm")
    answer = web.get(f"{address(coded)}/frames/1,2")
    found = parts(answer)
    assert [media for media, _, _ in found] == ["image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"] * 2
    assert answer.content_type.startswith('multipart/related; type="image/dicom-rle"')
    octets = 'multipart/related; type="application/octet-stream"'
    decoded = parts(web.get(f"{address(coded)}/frames/2", headers={"Accept": octets}))
    assert decoded[0][2] == coded.pixel_array[1].tobytes()


def test_a_frame_of_a_big_endian_file_is_little_endian(node: Node, web: FlaskClient) -> None:
    dataset = store_file(node, "MR_small_bigendian.dcm")
    (_, _, body), *_ = parts(web.get(f"{address(dataset)}/frames/1"))
    assert np.array_equal(np.frombuffer(body, "<i2").reshape(64, 64), dataset.pixel_array)


@pytest.mark.clause("PS3.18 10.4.1.1.3", "rendered is a picture of what the window shows")
def test_rendered_png_shows_the_window(archive: Node, web: FlaskClient) -> None:
    answer = web.get(f"{INSTANCE}/rendered", headers={"Accept": "image/png"})
    assert answer.content_type == "image/png"
    seen = np.asarray(Image.open(io.BytesIO(answer.data)))
    dataset = ct()
    expected = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = expected.min(), expected.max()
    assert np.abs(seen - (expected - low) / (high - low) * 255).max() <= 0.5
    jpeg = web.get(f"{INSTANCE}/frames/1/rendered?viewport=32,32&window=100,50,sigmoid")
    assert jpeg.content_type == "image/jpeg"
    assert Image.open(io.BytesIO(jpeg.data)).size == (32, 32)
    assert Image.open(io.BytesIO(web.get(f"/dicom-web/studies/{STUDY}/thumbnail").data)).size == (128, 128)


def test_a_video_or_a_report_is_not_rendered_and_says_so(node: Node, web: FlaskClient) -> None:
    report = store_file(node, "test-SR.dcm")
    answer = web.get(f"{address(report)}/rendered")
    assert answer.status_code == 422
    assert "no image" in answer.text


def test_an_encapsulated_value_is_given_as_its_items(node: Node, web: FlaskClient) -> None:
    dataset = store_file(node, "JPEG2000.dcm")
    body = web.get(
        f"{address(dataset)}/bulkdata/7FE00010",
        headers={"Accept": "application/octet-stream; transfer-syntax=*"},
    ).data
    assert body.startswith(b"\xfe\xff\x00\xe0")
    assert struct.unpack_from("<I", body, 4)[0] in (0, 4)


def test_other_methods_are_refused_and_browsers_may_read(archive: Node, web: FlaskClient) -> None:
    refused = web.put(f"/dicom-web/studies/{STUDY}/series", data=b"x")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert web.delete("/dicom-web/studies").headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert refused.json["resourceType"] == "OperationOutcome"
    preflight = web.options(f"{INSTANCE}/metadata")
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert web.head(INSTANCE).status_code == 200


def test_a_file_that_is_gone_is_told_before_the_answer_begins(archive: Node, web: FlaskClient) -> None:
    for path in archive.files.kept.rglob("*.dcm"):
        path.unlink()
    for address in (f"/dicom-web/studies/{STUDY}", f"{INSTANCE}/metadata", f"{INSTANCE}/rendered"):
        answer = web.get(address)
        assert answer.status_code == 500
        assert "missing on disk" in answer.text
