"""PS3.18 10.5: STOW-RS, instances as files, one or many, of one study or several."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydicom.dataset import Dataset

from dicom_node.dicomweb import stow
from dicom_node.dicomweb.stow import Request, Storing
from dicom_node.ingest import Durability, Ingest
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_fixtures import ADDRESS, MOST_BYTES, Node

STUDY = f"{ROOT_UID}.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
JSON = "application/dicom+json"


def file(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def message(*parts: bytes, boundary: str = "b", media: str = "application/dicom") -> bytes:
    head = f"--{boundary}\r\nContent-Type: {media}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def store(web: FlaskClient, *parts: bytes, study: str = "", **headers: str) -> Any:
    address = f"/dicom-web/studies/{study}" if study else "/dicom-web/studies"
    return web.post(
        address,
        data=message(*parts),
        content_type='multipart/related; type="application/dicom"; boundary=b',
        headers=headers,
    )


def references(answer: Any, tag: str = "00081199") -> list[tuple[str, dict[str, Any]]]:
    return [(item["00081155"]["Value"][0], item) for item in answer.json.get(tag, {}).get("Value", [])]


@clause("PS3.18 10.5.3", "200: all instances are stored; each is referenced with where it can be retrieved")
def test_instances_are_stored_byte_for_byte_and_referenced(node: Node, web: FlaskClient) -> None:
    datasets = [ct(1, 1, number) for number in (1, 2)]
    answer = store(web, *map(file, datasets))
    assert (answer.status_code, answer.mimetype) == (200, JSON)
    assert answer.json["00081190"]["Value"] == [f"{ADDRESS}/studies/{STUDY}"]
    for dataset, (uid, item) in zip(datasets, references(answer), strict=True):
        assert uid == dataset.SOPInstanceUID
        assert item["00081150"]["Value"] == [CT]
        (address,) = item["00081190"]["Value"]
        assert web.get(address.removeprefix("http://node.example")).status_code == 200
        assert node.kept(uid) == [encoded(dataset)]
    assert node.rows("SELECT DISTINCT calling_ae FROM dicom_instance") == [("STOW-RS",)]


@clause("PS3.18 10.5.1", "one instance may be sent as it is, without a multipart around it")
def test_one_instance_may_be_the_whole_body(node: Node, web: FlaskClient) -> None:
    answer = web.post("/dicom-web/studies", data=file(ct()), content_type="application/dicom")
    assert answer.status_code == 200
    assert node.kept(ct().SOPInstanceUID) == [encoded(ct())]


def test_the_same_again_is_a_success_and_other_bytes_are_a_version(node: Node, web: FlaskClient) -> None:
    assert store(web, file(ct())).status_code == store(web, file(ct())).status_code == 200
    assert node.rows("SELECT count(*) FROM dicom_instance") == [(1,)]
    assert store(web, file(ct(StudyDescription="Other"))).status_code == 200
    assert node.rows("SELECT count(*) FROM dicom_instance") == [(2,)]


@clause("PS3.18 10.5.3", "202: some instances are stored; those that are not have a Failure Reason")
def test_what_can_be_stored_is_stored_and_the_rest_is_told(node: Node, web: FlaskClient) -> None:
    good, other = ct(1, 1, 1), ct(2, 1, 1)
    answer = store(web, file(good), file(other), b"no instance at all", study=STUDY)
    assert answer.status_code == 202
    assert [uid for uid, _ in references(answer)] == [good.SOPInstanceUID]
    ((failed, item),) = references(answer, "00081198")
    assert failed == other.SOPInstanceUID
    assert item["00081197"]["Value"] == [0xC409]
    (unnamed,) = answer.json["0008119A"]["Value"]
    assert unnamed["00081197"]["Value"][0] >= 0xA900
    assert any(other.StudyInstanceUID in warning for warning in answer.headers.getlist("Warning"))
    assert not node.kept(other.SOPInstanceUID)


@clause("PS3.18 10.5.3", "409: no instance is stored")
def test_nothing_stored_is_a_conflict(node: Node, web: FlaskClient) -> None:
    assert store(web, file(ct(2)), study=STUDY).status_code == 409
    answer = store(web, file(ct(StudyInstanceUID=None)))
    assert answer.status_code == 409
    ((_, item),) = references(answer, "00081198")
    assert item["00081197"]["Value"] == [0xA900]


@clause("PS3.18 10.5.3", "202: an instance that is stored with a warning has a Warning Reason")
def test_a_doubtful_instance_is_stored_with_a_warning(node: Node, web: FlaskClient) -> None:
    dataset = ct()
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    answer = store(web, buffer.getvalue())
    assert answer.status_code == 202
    ((_, item),) = references(answer)
    assert item["00081196"]["Value"] == [0xB007]


@clause("PS3.18 10.5.3", "415: a media type that is not stored")
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=b', 415),
        ('multipart/related; type="application/dicom"', 400),
        ("multipart/form-data; boundary=b", 415),
    ],
)
def test_other_bodies_are_refused_by_name(
    node: Node, web: FlaskClient, content_type: str, status: int
) -> None:
    answer = web.post("/dicom-web/studies", data=message(file(ct())), content_type=content_type)
    assert answer.status_code == status
    assert answer.json["issue"][0]["diagnostics"]
    assert not node.rows("SELECT FROM dicom_instance")


@pytest.mark.parametrize("accept", ["image/png", "text/html", "multipart/related; type=application/dicom"])
def test_an_answer_that_cannot_be_given_is_refused_before_anything_is_stored(
    node: Node, web: FlaskClient, accept: str
) -> None:
    assert store(web, file(ct()), Accept=accept).status_code == 406
    assert not node.rows("SELECT FROM dicom_instance")


def test_the_answer_is_given_as_xml_where_that_is_asked_for(node: Node, web: FlaskClient) -> None:
    answer = store(web, file(ct()), Accept="application/dicom+xml")
    assert (answer.status_code, answer.mimetype) == (200, "application/dicom+xml")
    assert ct().SOPInstanceUID in answer.text


def test_content_type_parameters_are_read_tolerantly(node: Node, web: FlaskClient) -> None:
    for number, content_type in enumerate(
        (
            "multipart/related; type=application/dicom; boundary=b",
            "Multipart/Related;boundary=\"b\";Type='x'".replace("'x'", "APPLICATION/DICOM"),
            "multipart/related; boundary=b",
        ),
        1,
    ):
        answer = web.post("/dicom-web/studies", data=message(file(ct(number))), content_type=content_type)
        assert answer.status_code == 200, content_type


def test_a_body_that_breaks_off_keeps_what_was_whole(node: Node, web: FlaskClient) -> None:
    whole = message(file(ct(1, 1, 1)), file(ct(1, 1, 2)))
    answer = web.post(
        "/dicom-web/studies",
        data=whole[:-2000],
        content_type='multipart/related; type="application/dicom"; boundary=b',
    )
    assert answer.status_code == 202
    assert [uid for uid, _ in references(answer)] == [ct(1, 1, 1).SOPInstanceUID]
    assert not node.kept(ct(1, 1, 2).SOPInstanceUID)
    answer = web.post(
        "/dicom-web/studies",
        data=message(file(ct(1, 1, 3)))[:-2000],
        content_type='multipart/related; type="application/dicom"; boundary=b',
    )
    assert answer.status_code == 400
    assert not node.kept(ct(1, 1, 3).SOPInstanceUID)
    assert not list(node.ingest.folder.glob("*.part"))


@clause("PS3.18 8.5", "413: the body is longer than the server takes")
def test_a_body_that_is_too_long_is_refused(node: Node, web: FlaskClient) -> None:
    answer = web.post(
        "/dicom-web/studies",
        data=b"",
        content_type="application/dicom",
        environ_overrides={"CONTENT_LENGTH": str(64 * 1024 * 1024 + 1)},
    )
    assert answer.status_code == 413
    assert "max_stow_bytes" in answer.json["issue"][0]["diagnostics"]


def test_a_store_is_noted_for_the_audit_once_a_study(node: Node, web: FlaskClient) -> None:
    store(web, *(file(ct(study, 1, number)) for study in (1, 2) for number in (1, 2, 3)))
    node.log.flush()
    assert node.rows(
        "SELECT study_uid, event #>> '{study,instances}', event ->> 'kind' FROM dicom_audit ORDER BY 1"
    ) == [(f"{ROOT_UID}.1", "3", "110104"), (f"{ROOT_UID}.2", "3", "110104")]


def test_without_a_database_what_is_durable_is_told_and_found_later(node: Node) -> None:
    away = Ingest(node.files, Engine("host=/nowhere dbname=none"), node.clock, Durability.JOURNAL)
    storing = Storing(lambda: away, node.log, ADDRESS, "NODE", MOST_BYTES)
    raw = file(ct())
    environ = {
        "CONTENT_TYPE": "application/dicom",
        "CONTENT_LENGTH": str(len(raw)),
        "wsgi.input": io.BytesIO(raw),
    }
    result = stow.store(storing, Request(environ, Grant.anonymous()))
    assert result.status == 200
    assert "found later" in result.warnings[0]
    away.close()
    assert node.ingest.recover() == 1
    assert node.kept(ct().SOPInstanceUID) == [encoded(ct())]


def test_a_node_that_stops_asks_to_send_again(node: Node, web: FlaskClient) -> None:
    node.ingest.finish(0)
    answer = store(web, file(ct()))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
