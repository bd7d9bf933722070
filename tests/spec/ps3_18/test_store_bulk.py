"""PS3.18 10.5.2: STOW-RS of metadata with bulk data: pixels, pictures, films, documents."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from flask.testing import FlaskClient
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node

STUDY = f"{ROOT_UID}.1"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
PHOTO = "1.2.840.10008.5.1.4.1.1.77.1.4"
PIXELS = "7FE00010"
Bulk = tuple[str, str, bytes]  # location, Content-Type, bytes


def metadata(dataset: Dataset, **bulk: str) -> dict[str, Any]:
    """Return a data set as JSON, some values by address (by tag: t7FE00010="…")."""
    found = json.loads(dataset.to_json(bulk_data_threshold=1 << 40))
    for name, uri in bulk.items():
        tag = name.removeprefix("t")
        vr = found.get(tag, {}).get("vr") or ("OW" if tag == PIXELS else "OB")
        found[tag] = {"vr": vr, "BulkDataURI": uri}
    return dict(sorted(found.items()))


def send(web: FlaskClient, instances: Any, *bulks: Bulk) -> Any:
    body = b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + json.dumps(instances).encode() + b"\r\n"
    for location, media, raw in bulks:
        body += f"--b\r\nContent-Type: {media}\r\nContent-Location: {location}\r\n\r\n".encode()
        body += raw + b"\r\n"
    return web.post(
        "/dicom-web/studies",
        data=body + b"--b--\r\n",
        content_type='multipart/related; type="application/dicom+json"; boundary=b',
    )


def kept(node: Node, dataset: Dataset) -> pydicom.FileDataset:
    """Return the one instance kept under a UID, read by pydicom."""
    ((digest,),) = node.rows(
        "SELECT encode(hash, 'hex') FROM dicom_instance WHERE sop_uid = %s", dataset.SOPInstanceUID
    )
    return pydicom.dcmread(node.files.path(digest))


def picture(**changes: Any) -> Dataset:
    """Return the metadata of a photograph without anything that its picture says itself."""
    dataset = ct(SOPClassUID=PHOTO, Modality="XC", PixelData=None, **changes)
    described = """Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel
        PhotometricInterpretation RescaleIntercept RescaleSlope WindowCenter WindowWidth"""
    for keyword in described.split():
        delattr(dataset, keyword)
    return dataset


def coded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    image = Image.new(mode, (40, 24))
    places = [(x, y) for y in range(24) for x in range(40)]
    image.putdata([(x * 6, y * 9, x ^ y) if mode == "RGB" else (x * y) % 255 for x, y in places])
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@clause("PS3.18 10.5.2", "metadata as application/dicom+json and bulk data in parts make an instance")
def test_uncompressed_pixels_come_in_a_part_of_their_own(node: Node, web: FlaskClient) -> None:
    dataset = ct()
    answer = send(
        web,
        [metadata(dataset, t7FE00010="bulk/pixels")],
        ("bulk/pixels", "application/octet-stream", dataset.PixelData),
    )
    assert answer.status_code == 200, answer.headers
    stored = kept(node, dataset)
    assert stored.PixelData == dataset.PixelData
    assert str(stored.PatientName) == "Müller^Jörg"
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    stored.SpecificCharacterSet = dataset.SpecificCharacterSet
    assert {e.tag for e in stored} == {e.tag for e in dataset}


def test_several_instances_share_a_request(node: Node, web: FlaskClient) -> None:
    datasets = [ct(1, 1, number, pixels=number * 8) for number in (1, 2, 3)]
    instances = [metadata(d, t7FE00010=f"http://x/{d.SOPInstanceUID}") for d in datasets]
    bulks = [
        (f"http://x/{d.SOPInstanceUID}", "application/octet-stream", d.PixelData) for d in reversed(datasets)
    ]
    assert send(web, instances, *bulks).status_code == 200
    assert [kept(node, d).PixelData for d in datasets] == [d.PixelData for d in datasets]


@clause("PS3.18 table 8.7.3-5", "compressed bulk data tells the transfer syntax and the image's description")
@pytest.mark.parametrize(
    ("media", "kind", "mode", "options", "syntax", "colour"),
    [
        ("image/jpeg", "JPEG", "RGB", {}, "1.2.840.10008.1.2.4.50", "YBR_FULL_422"),
        ("image/jpeg", "JPEG", "L", {}, "1.2.840.10008.1.2.4.50", "MONOCHROME2"),
        ("image/jp2", "JPEG2000", "RGB", {"mct": 1}, "1.2.840.10008.1.2.4.90", "YBR_RCT"),
        (
            "image/jp2",
            "JPEG2000",
            "RGB",
            {"irreversible": True, "mct": 1},
            "1.2.840.10008.1.2.4.91",
            "YBR_ICT",
        ),
        ("image/jp2", "JPEG2000", "L", {"no_jp2": True}, "1.2.840.10008.1.2.4.90", "MONOCHROME2"),
    ],
)
def test_a_picture_says_its_size_and_syntax_itself(
    node: Node, web: FlaskClient, media: str, kind: str, mode: str, options: Any, syntax: str, colour: str
) -> None:
    dataset, raw = picture(), coded(kind, mode, **options)
    answer = send(web, metadata(dataset, t7FE00010="p"), ("p", media, raw))
    assert answer.status_code == 200, answer.headers
    stored = kept(node, dataset)
    assert stored.file_meta.TransferSyntaxUID == syntax
    assert (stored.Rows, stored.Columns, stored.BitsStored) == (24, 40, 8)
    assert stored.PhotometricInterpretation == colour
    (frame,) = generate_frames(stored.PixelData, number_of_frames=1)
    if kind == "JPEG2000":
        assert frame[:4] == b"\xff\x4f\xff\x51", "a bare code stream"
    else:
        assert frame.rstrip(b"\0") == raw.rstrip(b"\0")
    assert stored.pixel_array.shape[:2] == (24, 40)
    series = f"/dicom-web/studies/{STUDY}/series/{dataset.SeriesInstanceUID}"
    assert web.get(f"{series}/instances/{dataset.SOPInstanceUID}/rendered").status_code == 200


def test_several_parts_with_one_location_are_frames(node: Node, web: FlaskClient) -> None:
    frames = [coded("JPEG", quality=quality) for quality in (30, 60, 90)]
    dataset = picture()
    answer = send(web, metadata(dataset, t7FE00010="f"), *(("f", "image/jpeg", raw) for raw in frames))
    assert answer.status_code == 200
    stored = kept(node, dataset)
    assert stored.NumberOfFrames == 3
    assert len(list(generate_frames(stored.PixelData, number_of_frames=3))) == 3


@pytest.mark.parametrize(
    ("media", "syntax"),
    [
        ("video/mpeg", "1.2.840.10008.1.2.4.100"),
        ("video/mp4", "1.2.840.10008.1.2.4.102"),
        ("video/mp4; transfer-syntax=1.2.840.10008.1.2.4.104", "1.2.840.10008.1.2.4.104"),
    ],
)
def test_a_film_is_one_fragment_whatever_its_size(
    node: Node, web: FlaskClient, media: str, syntax: str
) -> None:
    film = bytes(range(256)) * 20_001 + b"x"
    dataset = ct(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.1.1", Modality="ES", PixelData=None, NumberOfFrames=9
    )
    assert send(web, metadata(dataset, t7FE00010="film"), ("film", media, film)).status_code == 200
    stored = kept(node, dataset)
    assert stored.file_meta.TransferSyntaxUID == syntax
    assert film in stored.PixelData


@clause("PS3.18 10.5.2", "application/pdf becomes an encapsulated document")
def test_a_pdf_is_encapsulated(node: Node, web: FlaskClient, tmp_path: Path) -> None:
    pdf = b"%PDF-1.4\n" + b"x" * 1000
    dataset = Dataset()
    for keyword in ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName"]:
        setattr(dataset, keyword, getattr(ct(), keyword))
    dataset.SOPClassUID, dataset.Modality = PDF, "DOC"
    answer = send(web, metadata(dataset, t00420011="doc.pdf"), ("doc.pdf", "application/pdf", pdf))
    assert answer.status_code == 200, answer.headers
    stored = kept(node, dataset)
    assert stored.EncapsulatedDocument == pdf + b"\0" * (len(pdf) % 2)
    assert stored.EncapsulatedDocumentLength == len(pdf)
    assert stored.MIMETypeOfEncapsulatedDocument == "application/pdf"
    try:
        done = subprocess.run(
            ["/usr/bin/dcm2pdf", stored.filename, tmp_path / "out.pdf"], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("dcmtk is not installed")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.pdf").read_bytes()[: len(pdf)] == pdf


def test_bulk_data_within_a_sequence_and_behind_pixels(node: Node, web: FlaskClient) -> None:
    dataset = ct()
    instance = metadata(dataset, t7FE00010="p")
    instance["00189346"] = {
        "vr": "SQ",
        "Value": [{"00080100": {"vr": "SH", "Value": ["1"]}, "00091002": {"vr": "OB", "BulkDataURI": "q"}}],
    }
    instance["FFFCFFFC"] = {"vr": "OB", "InlineBinary": "AAAA"}
    octets = "application/octet-stream"
    answer = send(web, instance, ("p", octets, dataset.PixelData), ("q", octets, b"within"))
    assert answer.status_code == 200, answer.headers
    stored = kept(node, dataset)
    assert stored[0x0018, 0x9346].value[0][0x0009, 0x1002].value == b"within"
    assert stored.PixelData == dataset.PixelData
    assert stored[0xFFFC, 0xFFFC].value == b"\0\0\0\0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"00080018": {"vr": "UI"}}, "SOPInstanceUID"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": "nowhere"}}, "7FE00010"),
        ({"00091002": {"vr": "LO", "BulkDataURI": "p"}}, "no bulk data"),
        ({"Rows": {"vr": "US", "Value": [1]}}, "no element"),
        ({"00280010": 5}, "no element"),
        ({"00280010": {"vr": "US", "Value": ["many"]}}, "00280010"),
    ],
)
def test_an_instance_that_cannot_be_made_is_told_and_the_others_are_stored(
    node: Node, web: FlaskClient, change: dict[str, Any], said: str
) -> None:
    good, bad = ct(1, 1, 1), ct(1, 1, 2)
    answer = send(
        web,
        [metadata(good, t7FE00010="p"), {**metadata(bad, t7FE00010="p"), **change}],
        ("p", "application/octet-stream", good.PixelData),
    )
    assert answer.status_code == 202
    assert len(answer.json["00081199"]["Value"]) == 1
    assert any(said in warning for warning in answer.headers.getlist("Warning"))
    assert not node.kept(bad.SOPInstanceUID)


@pytest.mark.parametrize(
    ("first", "status"),
    [("application/dicom+json", 400), ("application/dicom+xml", 415), ("image/jpeg", 415)],
)
def test_metadata_that_is_none_is_refused(node: Node, web: FlaskClient, first: str, status: int) -> None:
    answer = web.post(
        "/dicom-web/studies",
        data=f"--b\r\nContent-Type: {first}\r\n\r\n<x/>\r\n--b--".encode(),
        content_type='multipart/related; type="application/dicom+json"; boundary=b',
    )
    assert answer.status_code == status


def test_every_file_of_pydicom_comes_back_as_it_went_through_json(node: Node, web: FlaskClient) -> None:
    """What pydicom writes as JSON becomes the same data set again, pixels by address."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "JPEG2000.dcm", "reportsi.dcm"):
        path = folder / name
        if not path.exists():
            pytest.skip(f"{name} is not among the files that pydicom's wheel brings along")
        dataset = pydicom.dcmread(path)
        bulks: list[Bulk] = []
        instance = metadata(dataset)
        if "PixelData" in dataset:
            instance = metadata(dataset, t7FE00010=name)
            syntax = dataset.file_meta.TransferSyntaxUID
            raw, media = dataset.PixelData, "application/octet-stream"
            if syntax.is_compressed:
                (raw,) = generate_frames(dataset.PixelData, number_of_frames=1)
                media = f"image/jp2; transfer-syntax={syntax}"
            bulks = [(name, media, raw)]
        answer = send(web, instance, *bulks)
        assert answer.status_code == 200, (name, answer.headers.getlist("Warning"))
        stored = kept(node, dataset)
        assert {e.tag for e in dataset if e.tag.elem} <= {e.tag for e in stored}, name
        assert stored.pixel_array.tolist() == dataset.pixel_array.tolist() if "PixelData" in dataset else True
