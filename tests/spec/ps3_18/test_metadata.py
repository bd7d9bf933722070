"""PS3.18 10.4.1.1.2: metadata of series written once, joined to studies, and never out of date."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import warnings
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pydicom
import pydicom.data
import pytest
from flask.testing import FlaskClient

from dicom_node.dicomweb import json_model
from dicom_node.dicomweb.metadata_drain import MetadataDrain
from tests.spec.ps3_18.test_retrieve import parts as parts_of
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import ADDRESS, Node

STUDY = f"{ROOT_UID}.1"
SERIES = f"{STUDY}.1"
OF_STUDY = f"/dicom-web/studies/{STUDY}/metadata"
OF_SERIES = f"/dicom-web/studies/{STUDY}/series/{SERIES}/metadata"
FILES = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))

BROKEN = {"MR_truncated.dcm", "no_meta.dcm", "rtplan_truncated.dcm"}  # readers stop at different places


def parts(node: Node) -> list[str]:
    return sorted(path.name for path in node.files.root.glob("metadata/*/*"))


def drain(node: Node, quiet_s: float = 0.0) -> MetadataDrain:
    return MetadataDrain(node.engine, node.files, ADDRESS, node.clock, quiet_s)


def numbers(answer: Any) -> list[int]:
    return [one["00200013"]["Value"][0] for one in answer.json]


def test_a_quiet_series_is_written_once_and_served_as_it_lies(node: Node, web: FlaskClient) -> None:
    node.add(*(ct(1, 1, number) for number in (3, 1, 2)), ct(1, 2, 1))
    worker = drain(node)
    assert (worker.drain(), worker.drain()) == (2, 0)
    written = parts(node)
    assert len(written) == 2
    answer = web.get(OF_SERIES)
    assert numbers(answer) == [1, 2, 3]
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert parts(node) == written
    packed = web.get(OF_SERIES, headers={"Accept-Encoding": "gzip, deflate, br"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(packed.data)
    assert gzip.decompress(packed.data) == answer.data


def test_a_study_is_its_series_in_one_stream_that_every_reader_takes(node: Node, web: FlaskClient) -> None:
    node.add(*(ct(1, series, number) for series in (1, 2, 3) for number in (1, 2)))
    plain = web.get(OF_STUDY)
    assert len(plain.json) == 6
    packed = web.get(OF_STUDY, headers={"Accept-Encoding": "gzip"}).data
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert stream.decompress(packed) + stream.flush() == plain.data
    assert stream.eof  # one member, with the right sum
    assert not stream.unused_data


def test_a_late_instance_a_new_version_and_a_deletion_are_seen_at_once(node: Node, web: FlaskClient) -> None:
    node.add(ct(1, 1, 1))
    drain(node).drain()
    assert numbers(web.get(OF_SERIES)) == [1]
    node.add(ct(1, 1, 2))
    assert numbers(web.get(OF_SERIES)) == [1, 2]
    node.add(ct(1, 1, 2, SeriesDescription="corrected"))
    found = web.get(OF_SERIES).json
    assert [one["0008103E"]["Value"] for one in found] == [["Series 1"], ["corrected"]]
    assert len(parts(node)) == 1
    with node.engine.connection() as connection:
        connection.cursor().execute("DELETE FROM dicom_instance WHERE sop_uid = %s", (f"{SERIES}.1",))
        connection.commit()
    assert numbers(web.get(OF_SERIES)) == [2]


@pytest.mark.clause("PS3.18 8.4.3", "an entity tag that tells one state from another")
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_who_has_it_already_is_told_so(node: Node, web: FlaskClient, encoding: str) -> None:
    node.add(ct(1, 1, 1))
    first = web.get(OF_SERIES, headers={"Accept-Encoding": encoding})
    tag = first.headers["ETag"]
    again = web.get(OF_SERIES, headers={"Accept-Encoding": encoding, "If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert web.get(OF_STUDY, headers={"If-None-Match": tag}).status_code in (200, 304)
    node.add(ct(1, 1, 2))
    assert web.get(OF_SERIES, headers={"Accept-Encoding": encoding, "If-None-Match": tag}).status_code == 200


def test_a_series_that_still_grows_is_not_written_and_its_parts_go_with_it(
    node: Node, web: FlaskClient
) -> None:
    node.add(ct(1, 1, 1))
    worker = drain(node, quiet_s=2)
    assert (worker.drain(), parts(node)) == (0, [])
    node.clock.advance(seconds=3)
    assert worker.drain() == 1
    with node.engine.connection() as connection:
        connection.cursor().execute("DELETE FROM dicom_instance; DELETE FROM dicom_study")
        connection.commit()
    assert web.get(OF_SERIES).status_code == 404
    assert len(parts(node)) == 1
    node.clock.advance(seconds=120)
    worker.drain()
    assert parts(node) == []


def test_a_part_that_broke_is_written_anew(node: Node, web: FlaskClient) -> None:
    node.add(ct(1, 1, 1))
    drain(node).drain()
    (path,) = node.files.root.glob("metadata/*/*")
    path.write_bytes(path.read_bytes()[:-10])
    assert numbers(web.get(OF_SERIES)) == [1]
    path.write_bytes(b"")
    assert numbers(web.get(OF_SERIES)) == [1]


def test_without_room_for_a_part_it_is_told_all_the_same(node: Node, web: FlaskClient) -> None:
    node.add(ct(1, 1, 1), ct(1, 1, 2))
    (node.files.root / "metadata").write_bytes(b"in the way")
    assert numbers(web.get(OF_SERIES)) == [1, 2]
    assert drain(node).drain() == 0


@pytest.mark.clause("PS3.18 F.2", "DICOM JSON as pydicom makes it, for every file that it brings along")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_json_is_what_pydicom_makes(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        try:
            expected = json.loads(
                dataset.to_json(bulk_data_threshold=1, bulk_data_element_handler=lambda _: "there")
            )
        except Exception as error:
            pytest.skip(f"pydicom makes no JSON of it: {str(error)[:60]}")
    found = json.loads(json_model.encode(json_model.metadata(path, "http://here")))
    if path.name not in BROKEN:
        _compare(found, expected, path.name)


@pytest.mark.skipif(shutil.which("dcm2json") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_json_is_what_dcmtk_makes(path: Path) -> None:
    made = subprocess.run(
        ["dcm2json", "+b", "http://there", str(path)], capture_output=True, timeout=60, check=False
    )
    try:
        expected = json.loads(made.stdout.decode("utf-8"))
    except ValueError:
        pytest.skip("dcm2json makes no JSON of it")
    found = json.loads(json_model.encode(json_model.metadata(path, "http://here")))
    _compare(found, expected, path.name)


_BINARY = ("OB", "OW", "OF", "OD", "OL", "OV", "UN")


def _compare(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    """Compare all but what models differ in: group lengths, where binary values lie, the character set."""
    left_out = {"00080005", "00083002"}
    ours = {tag for tag in found if not tag.endswith("0000") and tag > "0008"} - left_out
    theirs = {tag for tag in expected if not tag.endswith("0000") and tag > "0008"} - left_out
    assert ours == theirs, where
    for tag in sorted(ours):
        one, other = found[tag], expected[tag]
        if one["vr"] in _BINARY or other["vr"] in _BINARY:
            continue
        assert one["vr"] == other["vr"], (where, tag)
        if one["vr"] == "SQ":
            items, others = one.get("Value", []), other.get("Value", [])
            assert len(items) == len(others), (where, tag)
            for number, (item, its) in enumerate(zip(items, others, strict=True)):
                _compare(item or {}, its or {}, f"{where} {tag}[{number}]")
        else:
            assert _values(one) == _values(other), (where, tag)


def _values(element: dict[str, Any]) -> list[Any]:
    found = []
    for value in element.get("Value", []):
        if element["vr"] in ("DS", "IS", "FL", "FD") and value is not None:
            try:
                found.append(round(float(value), 6))
                continue
            except ValueError:
                pass
        if isinstance(value, dict):
            value = {group: name for group, name in value.items() if name.strip("^ ")}
        value = value.strip() if isinstance(value, str) else value
        if value not in (None, "", {}):
            found.append(value)
    return found


@pytest.mark.clause("PS3.18 8.7.3.1", "metadata as XML, a part an instance")
@pytest.mark.parametrize("path", [OF_STUDY, OF_SERIES])
def test_metadata_as_xml(node: Node, web: FlaskClient, path: str) -> None:
    node.add(ct(1, 1, 1), ct(1, 1, 2))
    answer = web.get(path, headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    found = parts_of(answer)
    assert [media for media, _, _ in found] == ["application/dicom+xml"] * 2
    document = ElementTree.fromstring(found[0][2])
    names = {one.get("keyword") for one in document}
    assert {"PatientID", "StudyInstanceUID", "PixelData"} <= names
    assert web.get(path, headers={"Accept": "application/dicom+xml"}).status_code == 406
