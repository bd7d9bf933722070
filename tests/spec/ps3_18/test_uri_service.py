"""PS3.18 chapter 9 (WADO-URI) and 8.9 (capabilities), and what browsers need of both."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pydicom
import pytest
from flask.testing import FlaskClient
from PIL import Image

from tests.spec.ps3_18.test_retrieve import INSTANCE, SERIES, STUDY
from tests.support.dicom_data import ct
from tests.support.dicom_fixtures import Node

QUERY = f"/dicom-web?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID={SERIES}.1"
WADL = "{http://wadl.dev.java.net/2009/02}"


@pytest.fixture
def archive(node: Node) -> Node:
    node.add(ct())
    return node


@pytest.mark.clause("PS3.18 9.4", "one instance by a query, in explicit little endian unless asked otherwise")
@pytest.mark.parametrize(
    ("asked", "syntax"),
    [
        ("", "1.2.840.10008.1.2.1"),
        ("&transferSyntax=1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.90"),
        ("&transferSyntax=1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1"),
    ],
)
def test_an_instance_by_a_query(archive: Node, web: FlaskClient, asked: str, syntax: str) -> None:
    answer = web.get(f"{QUERY}&contentType=application%2Fdicom{asked}")
    assert answer.content_type == "application/dicom"
    assert pydicom.dcmread(io.BytesIO(answer.data)).file_meta.TransferSyntaxUID == syntax


@pytest.mark.clause("PS3.18 9.5", "a picture by a query; JPEG where nothing else is asked for")
@pytest.mark.parametrize(
    ("asked", "kind", "size"),
    [
        ("", "JPEG", (64, 64)),
        ("&contentType=image/png", "PNG", (64, 64)),
        ("&contentType=image/jp2,image/gif", "GIF", (64, 64)),
        ("&rows=32", "JPEG", (32, 32)),
        ("&rows=16&columns=32&imageQuality=50", "JPEG", (16, 16)),
        ("&windowCenter=40&windowWidth=400&frameNumber=1", "JPEG", (64, 64)),
        ("&region=0.25,0.5,0.75,1.0&contentType=image/png", "PNG", (32, 32)),
    ],
)
def test_a_picture_by_a_query(
    archive: Node, web: FlaskClient, asked: str, kind: str, size: tuple[int, int]
) -> None:
    answer = web.get(QUERY + asked)
    assert answer.status_code == 200, answer.text
    picture = Image.open(io.BytesIO(answer.data))
    assert (picture.format, picture.size) == (kind, size)
    assert web.get(QUERY.replace("/dicom-web?", "/dicom-web/?") + asked).status_code == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("&anonymize=yes", 400),
        ("&annotation=patient", 400),
        ("&presentationUID=1.2", 400),
        ("&region=0,0,2,1", 400),
        ("&windowCenter=40", 400),
        ("&rows=none", 400),
        ("&frameNumber=7", 404),
        ("&contentType=text/html", 406),
        ("&objectUID=", 400),
    ],
)
def test_what_a_query_cannot_have_is_refused_by_name(
    archive: Node, web: FlaskClient, asked: str, status: int
) -> None:
    query = QUERY.partition("&objectUID")[0] if asked == "&objectUID=" else QUERY
    answer = web.get(query + asked)
    assert answer.status_code == status, answer.text
    assert answer.json["resourceType"] == "OperationOutcome"
    assert web.get("/dicom-web?requestType=OTHER").status_code == 400


@pytest.mark.clause("PS3.18 8.9", "OPTIONS on the service gives its capabilities as WADL")
@pytest.mark.parametrize("path", ["/dicom-web", "/dicom-web/"])
@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
def test_capabilities(web: FlaskClient, path: str, method: str) -> None:
    answer = web.open(path, method=method, headers={"Accept": "application/vnd.sun.wadl+xml"})
    assert answer.content_type == "application/vnd.sun.wadl+xml"
    root = ElementTree.fromstring(answer.data)
    (resources,) = root
    assert resources.get("base") == "http://node.example/dicom-web"
    (studies,) = resources.findall(f"{WADL}resource[@path='studies']")
    (study,) = studies.findall(f"{WADL}resource[@path='{{study}}']")
    (metadata,) = study.findall(f"{WADL}resource[@path='metadata']")
    (get,) = metadata.findall(f"{WADL}method[@name='GET']")
    assert get.find(f"{WADL}response/{WADL}representation[@mediaType='application/dicom+json']") is not None
    ids = [method.get("id") for method in root.iter(f"{WADL}method")]
    assert len(ids) == len(set(ids))
    as_json = web.open(path, method=method, headers={"Accept": "application/json"})
    assert "studies" in {one["path"] for one in as_json.json["resources"]}
    assert web.open(path, method=method, headers={"Accept": "text/plain"}).status_code == 406


def test_browsers_may_read_from_everywhere_isolated_pages_too(archive: Node, web: FlaskClient) -> None:
    for answer in (web.get(f"{INSTANCE}/metadata"), web.get(f"{INSTANCE}0"), web.head(INSTANCE)):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    asked = {"Origin": "http://viewer.example", "Access-Control-Request-Method": "GET"}
    for path in ("/dicom-web", f"{INSTANCE}/frames/1"):
        preflight = web.options(path, headers=asked)
        assert (preflight.status_code, preflight.data) == (200, b"")
        assert "GET" in preflight.headers["Access-Control-Allow-Methods"]


def test_every_address_answers_head_as_it_answers_get(archive: Node, web: FlaskClient) -> None:
    series = f"/dicom-web/studies/{STUDY}/series/{SERIES}"
    for path in (
        "/dicom-web", QUERY, f"{series}/metadata", series, f"{series}/bulkdata", f"{series}/pixeldata",
        f"{series}/rendered", f"{series}/thumbnail", f"{INSTANCE}/frames/1", f"{INSTANCE}/bulkdata/7FE00010",
    ):  # fmt: skip
        got, head = web.get(path), web.head(path)
        assert (head.status_code, head.data) == (got.status_code, b""), path
        for name in ("Content-Type", "ETag", "Content-Length"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)


@pytest.mark.clause(
    "PS3.15 A.5.3.7", "who was given something of a study is written down once, not each time"
)
def test_a_look_at_a_study_is_written_down_once(archive: Node, web: FlaskClient) -> None:
    for path in (INSTANCE, f"{INSTANCE}/metadata", f"{INSTANCE}/frames/1", f"{INSTANCE}/rendered", INSTANCE):
        assert web.get(path).status_code == 200
    assert web.get(f"{INSTANCE}9").status_code == 404
    ((kind, study, patient),) = archive.rows(
        "SELECT event->>'kind', study_uid, event->'study'->>'patient_id' FROM dicom_audit"
    )
    assert (kind, study, patient) == ("110104", STUDY, "P1")
