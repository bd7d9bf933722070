"""The doors to removal and correction: DICOMweb DELETE, the console's forms, the command, doctor's checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dicom_node.lifecycle import hold
from fhir_server.app import create_app
from fhir_server.authorization.grant import Grant
from fhir_server.cli import dicom_checks
from fhir_server.cli.main import main
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node

STUDY = f"{ROOT_UID}.1"
GRANT = Grant("test")


@pytest.fixture
def archive(node: Node) -> Node:
    node.add(ct(number=1), ct(number=2), ct(series=2), ct(2))
    return node


def left(node: Node) -> int:
    return len(node.rows("SELECT FROM dicom_instance WHERE current"))


@pytest.mark.parametrize(
    ("path", "stay"),
    [("", 1), (f"/series/{STUDY}.1", 2), (f"/series/{STUDY}.1/instances/{STUDY}.1.1", 3)],
)
@clause("PS3.18 10", "DELETE, which is no transaction of the standard, removes what is addressed")
def test_what_is_deleted_at_its_address_is_in_no_answer(
    archive: Node, web: FlaskClient, path: str, stay: int
) -> None:
    address = f"/dicom-web/studies/{STUDY}{path}"
    assert web.get(f"/dicom-web/studies/{STUDY}/series/{STUDY}.1/metadata").status_code == 200
    assert web.delete(f"{address}?reason=wrong").status_code == 204
    assert left(archive) == stay
    assert web.get(address).status_code == 404
    assert len(json.loads(web.get("/dicom-web/instances").data)) == stay
    metadata = web.get(f"/dicom-web/studies/{STUDY}/series/{STUDY}.1/metadata")
    assert (metadata.status_code == 200) == (stay == 3)
    if stay == 3:
        assert [one["00080018"]["Value"][0] for one in json.loads(metadata.data)] == [f"{STUDY}.1.2"]
    assert web.delete(address).status_code == 404
    assert archive.rows("SELECT reason, actor FROM dicom_removal") == [("wrong", "anonymous")]


def test_a_hold_answers_409_and_other_addresses_405(archive: Node, web: FlaskClient) -> None:
    hold.place(archive.engine, GRANT, "court", archive.clock(), study_uid=STUDY)
    refused = web.delete(f"/dicom-web/studies/{STUDY}")
    assert refused.status_code == 409
    assert "legal hold" in json.loads(refused.data)["issue"][0]["diagnostics"]
    assert web.delete("/dicom-web/studies").status_code == 405
    assert web.delete(f"/dicom-web/studies/{STUDY}/metadata").status_code == 405
    assert left(archive) == 4


@pytest.fixture
def console(archive: Node) -> FlaskClient:
    app: Flask = create_app(replace(archive.config, worker=False))
    return app.test_client()


def test_the_console_deletes_restores_and_corrects(archive: Node, console: FlaskClient) -> None:
    page = console.get(f"/console/studies/{STUDY}").get_data(as_text=True)
    assert f"/console/studies/{STUDY}/delete" in page
    deleted = console.post(f"/console/studies/{STUDY}/delete", data={"reason": "mixed up"})
    assert deleted.status_code == 303
    assert left(archive) == 1
    listed = console.get(deleted.location).get_data(as_text=True)
    assert "mixed up" in listed
    assert STUDY in listed
    ((number,),) = archive.rows("SELECT pk FROM dicom_removal")
    assert console.post(f"/console/studies/removed/{number}/restore").status_code == 303
    assert archive.rows("SELECT lifted_at IS NOT NULL FROM dicom_removal") == [(True,)]
    form = {"patient_id": "P9", "birth_date": "1980-02-29", "reason": "typed in wrongly"}
    assert console.post(f"/console/studies/{ROOT_UID}.2/correct", data=form).status_code == 303
    assert archive.rows("SELECT attributes FROM dicom_correction") == [
        ({"00100020": "P9", "00100030": "19800229"},)
    ]


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, {"reason": "x"}, 403),
        ({"Origin": "http://evil.example"}, {"reason": "x"}, 403),
        ({}, {"reason": " "}, 400),
    ],
)
def test_forms_of_others_and_without_a_reason_are_refused(
    archive: Node, console: FlaskClient, headers: dict[str, str], data: dict[str, str], status: int
) -> None:
    answer = console.post(f"/console/studies/{STUDY}/delete", headers=headers, data=data)
    assert answer.status_code == status
    assert left(archive) == 4
    assert console.post(f"/console/studies/{STUDY}/correct", data={"reason": "x"}).status_code == 400


@pytest.fixture
def study(archive: Node, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(*arguments: str, code: int = 0) -> dict[str, Any]:
        where = ["--database-url", archive.config.database_url, "--data-dir", str(archive.config.data_dir)]
        assert main(["study", *arguments, *where, "--json"]) == code
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return run


def test_the_command_deletes_holds_restores_and_corrects(
    archive: Node, study: Callable[..., dict[str, Any]]
) -> None:
    held = study("hold", "--patient", "P1", "--reason", "court")["hold"]
    assert "legal hold" in study("delete", STUDY, "--reason", "x", code=1)["error"]
    assert len(study("holds")["holds"]) == 1
    study("release", str(held))
    done = study("delete", STUDY, "--series", f"{STUDY}.1", "--reason", "x")["removal"]
    assert (done["instances"], left(archive)) == (2, 2)
    assert study("removals", STUDY)["removals"][0]["pk"] == done["pk"]
    assert study("restore", str(done["pk"]))["restored"] == 2
    assert left(archive) == 4
    study("correct", STUDY, "--set", "PatientID=P9", "--reason", "mixed up")
    assert archive.rows("SELECT DISTINCT patient_id FROM dicom_study ORDER BY 1") == [("P2",), ("P9",)]
    assert "NAME=VALUE" in study("correct", STUDY, "--set", "PatientID", "--reason", "x", code=1)["error"]
    assert "--series" in study("delete", STUDY, "--instance", "1.2", "--reason", "x", code=1)["error"]


def test_the_command_keeps_retention_rules(archive: Node, study: Callable[..., dict[str, Any]]) -> None:
    rules = study("retention", "add", "--days", "3650", "--modality", "ct", "--until-age", "28")["rules"]
    assert (rules[0]["modality"], rules[0]["until_age"]) == ("CT", 28)
    assert study("retention", "list", "--expired")["expired"] == []
    assert "--days" in study("retention", "add", code=1)["error"]
    assert "which rule" in study("retention", "remove", code=1)["error"]
    assert study("retention", "remove", str(rules[0]["pk"]))["rules"] == []


def test_doctor_finds_files_without_rows_and_rows_without_files(archive: Node) -> None:
    def found() -> dict[str, tuple[str, str]]:
        config, url = archive.config, archive.config.database_url
        findings = [one for check in dicom_checks.DICOM for one in check(config, url)]
        return {one.subject: (one.state, one.says) for one in findings}

    assert found()["DICOM files"] == ("ok", "4 files, 4 rows, and they belong together")
    paths = sorted(archive.files.kept.rglob("*.dcm"))
    paths[0].unlink()
    stray = archive.files.kept / "abc" / f"abc{'0' * 61}.dcm"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    (archive.files.removed / f"{'1' * 64}.dcm").touch()
    with archive.engine.connection() as connection:
        connection.cursor().execute("UPDATE dicom_outbox SET written_at = now() - interval '2 hours'")
        connection.commit()
    states = found()
    assert states["DICOM files"][0] == "advice"
    assert states["DICOM index"][0] == "broken"
    assert states["DICOM journal"][0] == "advice"
    assert states["DICOM to FHIR"][0] == "advice"
