"""From storescu to FHIR: what a scanner sends is read by a client, through removal, note and correction."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.ingest import Verdict
from dicom_node.lifecycle import correction
from fhir_server.app import create_app
from tests.rooms.dicom_node.test_bridge import STUDY, Fhir, fhir
from tests.rooms.dicom_node.test_bridge_decisions import GRANT, Worker, note, worker
from tests.support import dicom_reports as made
from tests.support.clause import clause
from tests.support.dicom_data import ct, encoded, file_of
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import program

__all__ = ["fhir", "worker"]
WRITTEN = (
    "ImagingStudy", "DiagnosticReport", "Observation", "DocumentReference", "Patient", "Task", "Endpoint",
)  # fmt: skip


@pytest.fixture
def send(dimse_port: int, tmp_path: Path) -> Callable[..., None]:
    def sent(*datasets: Dataset) -> None:
        folder = tmp_path / str(random.random())
        folder.mkdir()
        for dataset in datasets:
            file_of(dataset, folder)
        command = [program("storescu"), "-R", "-aec", "XINGLIN", "+sd", "127.0.0.1", str(dimse_port), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

    return sent


@pytest.fixture
def client(node: Node) -> FlaskClient:
    return create_app(replace(node.config, worker=False)).test_client()


def read(client: FlaskClient, path: str) -> list[dict[str, Any]]:
    answer = client.get(f"/fhir/{path}")
    assert answer.status_code == 200, answer.data
    return [entry["resource"] for entry in json.loads(answer.data).get("entry", [])]


def assert_valid(client: FlaskClient) -> int:
    """Ask $validate about everything that the bridge has written; return how much that was."""
    count = 0
    for kind in WRITTEN:
        for resource in read(client, f"{kind}?_count=500"):
            answer = client.post(
                f"/fhir/{kind}/$validate",
                data=json.dumps(resource),
                headers={"Content-Type": "application/fhir+json"},
            )
            issues = json.loads(answer.data)["issue"]
            wrong = [one for one in issues if one["severity"] in ("error", "fatal")]
            assert not wrong, (kind, wrong)
            count += 1
    return count


@clause("PS3.4 B.2.1", "what storescu sends is read by FHIR, through a note and a correction, always valid")
def test_from_storescu_to_fhir(
    node: Node, fhir: Fhir, worker: Worker, client: FlaskClient, send: Callable[..., None]
) -> None:
    images = [ct(number=number, pixels=16) for number in (1, 2, 3)]
    send(*images, made.measurement_report(), made.pdf(), made.key_object())
    node.ingest.settle(20)
    worker.rest()
    (study,) = read(client, f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{STUDY}")
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (4, 6)
    assert len(read(client, f"Observation?derived-from=ImagingStudy/{study['id']}")) == 6
    assert len(read(client, f"DiagnosticReport?subject={study['subject']['reference']}")) == 1
    assert len(read(client, f"DocumentReference?related=ImagingStudy/{study['id']}")) == 2
    assert assert_valid(client) == 12

    send(note("113001", images[0]))
    node.ingest.settle(20)
    worker.rest()
    (study,) = read(client, f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{STUDY}")
    assert study["numberOfInstances"] == 5
    send(images[0])  # the modality sends once more: success, and nobody sees it
    node.ingest.settle(20)
    worker.rest()
    assert node.rows("SELECT count(*) FROM dicom_instance WHERE sop_uid = %s", f"{STUDY}.1.1") == [(0,)]

    wanted = {"PatientID": "P77", "PatientName": "Right^Person"}
    correction.order(node.engine, GRANT, STUDY, wanted, "mixed up", node.clock())
    worker.rest()
    (patient,) = read(client, "Patient?identifier=P77")
    for kind in ("ImagingStudy", "DiagnosticReport", "DocumentReference", "Observation"):
        found = [one for one in read(client, f"{kind}?_count=100") if one["status"] != "entered-in-error"]
        assert {one["subject"]["reference"] for one in found} == {f"Patient/{patient['id']}"}
    assert_valid(client)


def test_all_that_a_correction_writes_passes_dciodvfy_as_what_came(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    def errors(path: Path) -> list[str]:
        command = [program("dciodvfy"), "-new", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        return sorted(line for line in said.splitlines() if line.startswith("Error"))

    node.add(ct(), made.measurement_report(), made.basic_text(2), made.pdf(), made.key_object())
    correction.order(node.engine, GRANT, STUDY, {"PatientName": "Li^Ming=李^明"}, "mixed up", node.clock())
    worker.rest()
    rows = node.rows(
        "SELECT sop_uid, array_agg(encode(hash, 'hex') ORDER BY version) FROM dicom_instance GROUP BY 1"
    )
    assert len(rows) == 5
    for sop_uid, (before, after) in rows:
        assert errors(node.files.path(after)) == errors(node.files.path(before)), sop_uid


def test_a_correction_races_late_instances(node: Node, fhir: Fhir, worker: Worker) -> None:
    node.add(*(ct(number=number, pixels=8) for number in range(1, 6)))
    stop = threading.Event()
    problems: list[object] = []

    def late(first: int) -> None:
        for number in range(first, 200, 2):
            if stop.is_set():
                return
            outcome = node.ingest.store([encoded(ct(number=number, pixels=8))], "1.2.840.10008.1.2.1", "CT1")
            if outcome.verdict is not Verdict.STORED:
                problems.append(outcome)

    threads = [threading.Thread(target=late, args=(first,)) for first in (100, 101)]
    for thread in threads:
        thread.start()
    correction.order(node.engine, GRANT, STUDY, {"PatientID": "P77"}, "mixed up", node.clock())
    for _ in range(20):
        worker.lifecycle.drain()
    stop.set()
    for thread in threads:
        thread.join()
    worker.rest()
    assert not problems
    assert node.rows(
        "SELECT DISTINCT p.patient_id FROM dicom_instance i JOIN dicom_study_patient p ON p.pk = i.patient_pk"
        " WHERE i.current"
    ) == [("P77",)]
    assert fhir.study()["numberOfInstances"] == len(node.rows("SELECT FROM dicom_instance WHERE current"))
    assert node.rows("SELECT patient_id FROM dicom_study") == [("P77",)]


def random_study(seed: random.Random, study: int) -> list[Dataset]:
    """Return some objects of a study whose attributes are odd now and then."""

    def code() -> Sequence:
        item = Dataset()
        choices = [("T-04000", "SRT"), ("10200004", "SCT"), ("x y", "99LOCAL"), ("", ""), ("1", "1.2.840.1")]
        item.CodeValue, item.CodingSchemeDesignator = seed.choice(choices)
        item.CodeMeaning = seed.choice(["Liver", "", "\x1b[0m odd", "Leber, groß"])
        return Sequence([item] * seed.randrange(3))

    odd: dict[str, Callable[[], Any]] = {
        "StudyDate": lambda: seed.choice(["20260102", "", "2026", "99999999", "1.1.2026"]),
        "StudyTime": lambda: seed.choice(["0304", "", "996060", "030405.123456"]),
        "TimezoneOffsetFromUTC": lambda: seed.choice(["+0100", "-1400", "+9999", "x"]),
        "AccessionNumber": lambda: seed.choice(["A|1", "", "  ", "ü,$\\x"]),
        "Modality": lambda: seed.choice(["CT", "", "??", "ZZ Z", "DOC"]),
        "PatientID": lambda: seed.choice(["P1", "", "A|B,C", "x" * 64]),
        "IssuerOfPatientID": lambda: seed.choice(["HOSPITAL", "Other Clinic", "ü/?#"]),
        "PatientName": lambda: seed.choice(["", "^", "Doe^John^^Dr", "=山田^太郎", "a=b=c"]),
        "PatientBirthDate": lambda: seed.choice(["19700131", "", "1970", "00000000"]),
        "ReferringPhysicianName": lambda: seed.choice(["Ref^Er", ""]),
        "NameOfPhysiciansReadingStudy": lambda: ["A^B", "C^D"],
        "StudyDescription": lambda: seed.choice(["<b>&", " ", "\x07", "x" * 64]),
        "SeriesNumber": lambda: seed.choice([1, -5, None, 2**31 - 1]),
        "BodyPartExamined": lambda: seed.choice(["KNEE", "", "NOWHERE", "head"]),
        "Laterality": lambda: seed.choice(["L", "R", "B", "X", ""]),
        "ProcedureCodeSequence": code,
        "AnatomicRegionSequence": code,
        "ReasonForPerformedProcedureCodeSequence": code,
        "InstitutionName": lambda: seed.choice(["H", "", " x "]),
        "Manufacturer": lambda: seed.choice(["M", ""]),
        "OperatorsName": lambda: ["Op^One", "Op^Two"],
        "DeviceSerialNumber": lambda: seed.choice(["1", ""]),
    }
    objects = []
    for number in range(1, seed.randrange(2, 5)):
        changes = {name: value() for name, value in odd.items() if seed.random() < 0.5}
        if seed.random() < 0.1:
            changes["SeriesInstanceUID"] = "1." * 40 + "1"
        objects.append(ct(study, seed.randrange(1, 3), number, pixels=4, **changes))
    return objects


@pytest.mark.filterwarnings("ignore")
def test_random_studies_are_valid_and_told_once(
    node: Node, fhir: Fhir, worker: Worker, client: FlaskClient
) -> None:
    seed = random.Random(11)
    for study in range(1, 31):
        for dataset in random_study(seed, study):
            outcome = node.ingest.store([encoded(dataset)], "1.2.840.10008.1.2.1", "CT1")
            assert outcome.verdict.name.startswith(("STORED", "NEW_VERSION")), outcome
    worker.rest()
    studies = fhir.all("ImagingStudy", _count="500")
    assert len(studies) == 30
    assert assert_valid(client) > 60
    with node.engine.connection() as connection:
        connection.cursor().execute(
            "INSERT INTO dicom_outbox (study_pk, written_at) SELECT pk, now() FROM dicom_study"
        )
        connection.commit()
    node.clock.advance(days=10_000)
    worker.rest()
    assert {one["id"] for one in fhir.all("ImagingStudy", _count="500")} == {one["id"] for one in studies}
    again = {one["id"]: one["meta"]["versionId"] for one in fhir.all("ImagingStudy", _count="500")}
    assert again == {one["id"]: one["meta"]["versionId"] for one in studies}
