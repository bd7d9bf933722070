"""dimse/mpps and workflow/procedures: what modalities did moves the order (PS3.4 Annex F)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from dicom_node.audit import Kind
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node
from tests.support.orders import Hospital, order, patient
from tests.support.server import ROOT, wait_for

MPPS = "1.2.840.10008.3.1.2.3.3"
RETRIEVE = "1.2.840.10008.3.1.2.3.4"
STEP = f"{ROOT_UID}.77"


@contextmanager
def calling(port: int) -> Iterator[Any]:
    """Give an association of pynetdicom for both SOP classes."""
    ae = AE("CT1")
    ae.add_requested_context(MPPS)
    ae.add_requested_context(RETRIEVE)
    association = ae.associate("127.0.0.1", port, ae_title="XINGLIN")
    assert association.is_established
    yield association
    association.release()


def begun(study_uid: str, **changes: Any) -> Dataset:
    """Return the attributes of an N-CREATE; None leaves one out."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study_uid
    scheduled.AccessionNumber = "A1"
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ScheduledStepAttributesSequence = [scheduled]
    dataset.PatientName = "Müller^Jörg"
    dataset.PatientID = "P1"
    dataset.PatientBirthDate = "19700131"
    dataset.PatientSex = "M"
    dataset.PerformedProcedureStepID = "PPS1"
    dataset.PerformedStationAETitle = "CT1"
    dataset.PerformedProcedureStepStartDate = "20260102"
    dataset.PerformedProcedureStepStartTime = "093100"
    dataset.PerformedProcedureStepStatus = "IN PROGRESS"
    dataset.PerformedProcedureStepDescription = "Chest"
    dataset.PerformedProcedureStepEndDate = ""
    dataset.PerformedProcedureStepEndTime = ""
    dataset.PerformedSeriesSequence = []
    dataset.Modality = "CT"
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def ended(status: str = "COMPLETED", reason: str = "", *, series: int = 1, **changes: Any) -> Dataset:
    """Return the attributes of the last N-SET."""
    dataset = Dataset()
    dataset.PerformedProcedureStepStatus = status
    dataset.PerformedProcedureStepEndDate = "20260102"
    dataset.PerformedProcedureStepEndTime = "094500"
    items = []
    for number in range(series):
        item = Dataset()
        item.SeriesInstanceUID = f"{STEP}.{number}"
        item.ProtocolName = "Chest"
        item.PerformingPhysicianName = "Roe^Jane"
        item.OperatorsName = "Op^One"
        item.ReferencedImageSequence = []
        items.append(item)
    dataset.PerformedSeriesSequence = items
    if reason:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = reason, "DCM", "Reason"
        dataset.PerformedProcedureStepDiscontinuationReasonCodeSequence = [code]
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def create(port: int, dataset: Dataset, uid: str = STEP) -> int:
    with calling(port) as association:
        status, _ = association.send_n_create(dataset, MPPS, uid)
        return int(status.Status)


def change(port: int, dataset: Dataset, uid: str = STEP) -> int:
    with calling(port) as association:
        status, _ = association.send_n_set(dataset, MPPS, uid)
        return int(status.Status)


def execute(node: Node, sql: str) -> None:
    with node.engine.connection() as connection:
        connection.cursor().execute(sql)
        connection.commit()


@pytest.fixture
def ordered(hospital: Hospital) -> tuple[str, str]:
    """An order in the worklist: its address and its Study Instance UID."""
    request = hospital.add(order(hospital.add(patient())))
    hospital.drain()
    return request, hospital.study_uid(request)


@clause("PS3.4 F.7.2", "IN PROGRESS, then COMPLETED: the order follows")
def test_a_step_is_performed(
    node: Node, hospital: Hospital, ordered: tuple[str, str], dimse_port: int
) -> None:
    request, study_uid = ordered
    node.add(ct(StudyInstanceUID=study_uid))
    execute(node, "DELETE FROM dicom_outbox")
    assert create(dimse_port, begun(study_uid)) == 0
    hospital.drain()
    (procedure,) = hospital.all("Procedure")
    assert procedure["status"] == "in-progress"
    assert procedure["basedOn"] == [{"reference": request}]
    assert procedure["subject"] == hospital.read(request)["subject"]
    assert procedure["performedPeriod"] == {"start": "2026-01-02T09:31:00+01:00"}
    assert hospital.read(request)["status"] == "active"
    ((status,),) = node.rows("SELECT status FROM performed_step WHERE sop_uid = %s AND told = version", STEP)
    assert status == "IN PROGRESS"
    assert change(dimse_port, ended()) == 0
    hospital.drain()
    (procedure,) = hospital.all("Procedure")
    assert procedure["status"] == "completed"
    assert procedure["performedPeriod"]["end"] == "2026-01-02T09:45:00+01:00"
    assert [one["actor"]["display"] for one in procedure["performer"]] == ["CT1", "Jane Roe", "One Op"]
    assert hospital.read(request)["status"] == "completed"
    assert node.rows("SELECT FROM worklist_step WHERE open") == []
    ((written_at,),) = node.rows("SELECT written_at FROM dicom_outbox")
    assert written_at.year == 1970  # due for the bridge at once
    versions = hospital.versions(request), hospital.versions(f"Procedure/{procedure['id']}")
    execute(node, "UPDATE performed_step SET told = 0")  # killed before it was noted
    hospital.drain()
    assert (hospital.versions(request), hospital.versions(f"Procedure/{procedure['id']}")) == versions


@clause("PS3.15 A.5.3", "a step that begins or changes is told as a Procedure Record, what is refused is not")
def test_who_performed_what_is_told(
    node: Node, hospital: Hospital, ordered: tuple[str, str], dimse_port: int
) -> None:
    _, study_uid = ordered
    assert create(dimse_port, begun(study_uid)) == 0
    assert create(dimse_port, begun(study_uid)) != 0
    assert change(dimse_port, ended()) == 0
    assert change(dimse_port, ended()) != 0
    told = [event for (event,) in node.rows("SELECT event FROM dicom_audit ORDER BY pk")]
    records = [event for event in told if event["kind"] == Kind.PROCEDURE_RECORD.value]
    assert [event["action"] for event in records] == ["C", "U"]
    assert {event["study"]["uid"] for event in records} == {study_uid}
    assert {event["source"]["ae"] for event in records} == {"CT1"}


def test_the_step_in_progress_is_said_in_the_worklist(
    node: Node, hospital: Hospital, ordered: tuple[str, str], dimse_port: int
) -> None:
    from dicom_node.workflow import rows
    from dicom_node.workflow.elements import items, value

    create(dimse_port, begun(ordered[1]))
    with node.engine.connection() as connection:
        (answer,) = rows.matching(rows.candidates(connection, {}), {})
    (scheduled,) = items(answer, "ScheduledProcedureStepSequence")
    assert value(scheduled, "ScheduledProcedureStepStatus") == "STARTED"


@clause("PS3.4 F.7.2.1", "what a new step lacks is refused by name")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"PerformedProcedureStepID": None}, 0x0120),
        ({"Modality": ""}, 0x0121),
        ({"ScheduledStepAttributesSequence": None}, 0x0120),
        ({"ScheduledStepAttributesSequence": []}, 0x0121),
        ({"ScheduledStepAttributesSequence": [Dataset()]}, 0x0121),
        ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        ({"PerformedProcedureStepStartTime": None}, 0x0120),
    ],
)
def test_a_new_step_that_is_refused(
    node: Node, dimse_port: int, changes: dict[str, Any], status: int
) -> None:
    assert create(dimse_port, begun("1.2.3", **changes)) == status
    assert node.rows("SELECT FROM performed_step") == []


@clause("PS3.4 F.7.2.1.3", "a UID that is known already is refused")
def test_a_duplicate(dimse_port: int) -> None:
    assert create(dimse_port, begun("1.2.3")) == 0
    assert create(dimse_port, begun("1.2.3")) == 0x0111


@clause("PS3.7 10.1.5.1.5", "without a SOP Instance UID one is given and told")
def test_a_step_without_a_uid_is_given_one(node: Node, dimse_port: int) -> None:
    with calling(dimse_port) as association:
        status, _ = association.send_n_create(begun("1.2.3"), MPPS, None)
        assert status.Status == 0
    ((uid,),) = node.rows("SELECT sop_uid FROM performed_step")
    assert uid.startswith("2.25.")


@clause("PS3.4 F.7.2.2", "who may be changed, and how a step may end")
def test_what_a_change_may_do(node: Node, dimse_port: int) -> None:
    assert change(dimse_port, ended()) == 0x0112
    assert create(dimse_port, begun("1.2.3")) == 0
    assert change(dimse_port, ended(PerformedProcedureStepEndTime="")) == 0x0121
    assert change(dimse_port, ended(series=0)) == 0x0121
    assert change(dimse_port, ended("FINISHED")) == 0x0106
    ((status,),) = node.rows("SELECT status FROM performed_step")
    assert status == "IN PROGRESS"
    other = Dataset()
    other.PatientID = "P2"
    other.PerformedProcedureStepDescription = "Chest and neck"
    assert change(dimse_port, other) == 0x0107
    ((given,),) = node.rows("SELECT attributes FROM performed_step")
    assert given["00100020"]["Value"] == ["P1"]
    assert given["00400254"]["Value"] == ["Chest and neck"]
    assert change(dimse_port, ended()) == 0
    with calling(dimse_port) as association:
        status, _ = association.send_n_set(ended(), MPPS, STEP)
        assert (status.Status, status.ErrorID) == (0x0110, 0xA710)
        assert status.ErrorComment == "Performed Procedure Step Object may no longer be updated"


@clause("PS3.4 F.8.2.1", "a step is retrieved as it stands")
def test_retrieve(dimse_port: int) -> None:
    create(dimse_port, begun("1.2.3"))
    with calling(dimse_port) as association:
        status, found = association.send_n_get([], RETRIEVE, STEP)
        assert (status.Status, str(found.PatientName)) == (0, "Müller^Jörg")
        assert found.ScheduledStepAttributesSequence[0].StudyInstanceUID == "1.2.3"
        status, found = association.send_n_get([0x00400252, 0x00100020], RETRIEVE, STEP)
        assert (status.Status, len(found)) == (0, 2)
        status, _ = association.send_n_get([0x00400252, 0x00400281], RETRIEVE, STEP)
        assert status.Status == 0x0001
        status, _ = association.send_n_get([], RETRIEVE, "1.2.3")
        assert status.Status == 0x0112
        status, _ = association.send_n_create(begun("1.2.3"), RETRIEVE, "1.2.3.9")
        assert status.Status == 0x0211


def scheduled(hospital: Hospital, kind: str, request: str, subject: str, **more: Any) -> str:
    if kind == "Task":
        about = {"focus": {"reference": request}, "intent": "order", "status": "ready"}
    else:
        about = {
            "basedOn": [{"reference": request}],
            "status": "booked",
            "start": "2026-01-02T08:30:00Z",
            "end": "2026-01-02T08:45:00Z",
            "participant": [{"actor": {"reference": subject}, "status": "accepted"}],
        }
    return hospital.add({"resourceType": kind, **about, **more})


@pytest.mark.parametrize(
    ("kind", "status", "reason", "states"),
    [
        ("Task", "COMPLETED", "", ("in-progress", "completed", "completed", "completed")),
        ("Task", "DISCONTINUED", "110513", ("in-progress", "failed", "on-hold", "stopped")),
        ("Task", "DISCONTINUED", "110514", ("in-progress", "ready", "active", "entered-in-error")),
        ("Appointment", "COMPLETED", "", ("arrived", "fulfilled", "completed", "completed")),
        ("Appointment", "DISCONTINUED", "110500", ("arrived", "cancelled", "on-hold", "stopped")),
        ("Appointment", "DISCONTINUED", "110514", ("arrived", "booked", "active", "entered-in-error")),
    ],
)
def test_what_scheduled_the_step_follows(
    hospital: Hospital, dimse_port: int, kind: str, status: str, reason: str, states: tuple[str, ...]
) -> None:
    subject = hospital.add(patient())
    request = hospital.add(order(subject))
    plan = scheduled(hospital, kind, request, subject)
    hospital.drain()
    create(dimse_port, begun(hospital.study_uid(request)))
    hospital.drain()
    during = hospital.read(plan)["status"]
    assert change(dimse_port, ended(status, reason)) == 0
    hospital.drain()
    (procedure,) = hospital.all("Procedure")
    found = during, hospital.read(plan)["status"], hospital.read(request)["status"], procedure["status"]
    assert found == states
    if states[2] == "on-hold":
        (extension,) = hospital.read(request)["extension"]
        assert extension["valueCodeableConcept"]["coding"][0]["code"] == reason
        assert procedure["statusReason"]["coding"][0]["code"] == reason


def test_an_order_of_two_steps_is_complete_after_both(
    node: Node, hospital: Hospital, dimse_port: int
) -> None:
    subject = hospital.add(patient())
    request = hospital.add(order(subject))
    plans = [
        scheduled(hospital, "Appointment", request, subject, description=text) for text in ("One", "Two")
    ]
    hospital.drain()
    study_uid = hospital.study_uid(request)
    ids = {
        source: f"SPS{pk}"
        for pk, source in node.rows("SELECT pk, source FROM worklist_step WHERE open ORDER BY pk")
    }
    for number, plan in enumerate(plans):
        dataset = begun(study_uid)
        dataset.ScheduledStepAttributesSequence[0].ScheduledProcedureStepID = ids[plan]
        assert create(dimse_port, dataset, f"{STEP}.{number}") == 0
        assert change(dimse_port, ended(), f"{STEP}.{number}") == 0
        hospital.drain()
        assert hospital.read(plan)["status"] == "fulfilled"
        assert hospital.read(request)["status"] == ("active", "completed")[number]


def test_a_discontinued_order_comes_back_when_it_is_active_again(
    node: Node, hospital: Hospital, ordered: tuple[str, str], dimse_port: int
) -> None:
    request, study_uid = ordered
    create(dimse_port, begun(study_uid))
    change(dimse_port, ended("DISCONTINUED", series=0))
    hospital.drain()
    assert hospital.all("Procedure")[0]["status"] == "not-done"
    assert hospital.read(request)["status"] == "on-hold"
    assert node.rows("SELECT FROM worklist_step WHERE open") == []
    hospital.change(request, status="active")
    hospital.drain()
    assert len(node.rows("SELECT FROM worklist_step WHERE open")) == 1


def test_a_step_that_nobody_ordered(node: Node, hospital: Hospital, dimse_port: int) -> None:
    subject = hospital.add(patient())
    assert create(dimse_port, begun("1.2.3.4")) == 0
    hospital.drain()
    (procedure,) = hospital.all("Procedure")
    assert procedure["subject"] == {"reference": subject}
    assert "basedOn" not in procedure
    assert create(dimse_port, begun("1.2.3.5", PatientID="P8"), f"{STEP}.8") == 0
    hospital.drain()
    assert len(hospital.all("Procedure")) == 2
    assert len(hospital.all("Patient")) == 2


def test_what_others_wrote_into_the_procedure_stays(
    hospital: Hospital, ordered: tuple[str, str], dimse_port: int
) -> None:
    create(dimse_port, begun(ordered[1]))
    hospital.drain()
    (procedure,) = hospital.all("Procedure")
    hospital.change(f"Procedure/{procedure['id']}", followUp=[{"text": "Drink a lot"}])
    change(dimse_port, ended())
    hospital.drain()
    (procedure,) = hospital.all("Procedure")
    assert (procedure["status"], procedure["followUp"][0]["text"]) == ("completed", "Drink a lot")


def test_odd_values_do_not_keep_a_step_from_fhir(
    node: Node, hospital: Hospital, ordered: tuple[str, str], dimse_port: int
) -> None:
    dataset = begun(
        ordered[1],
        PerformedProcedureStepDescription="a\x07b",
        PerformedLocation=" ",
        TimezoneOffsetFromUTC="+9999",
        PatientID="P\x01",
    )
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "A  B", "99X", "\x1b[0m"
    dataset.ProcedureCodeSequence = [code]
    assert create(dimse_port, dataset) == 0
    assert change(dimse_port, ended(PerformedProcedureStepEndTime="080000")) == 0  # before its beginning
    hospital.drain()
    (procedure,) = hospital.all("Procedure")
    assert procedure["status"] == "completed"
    assert list(procedure["performedPeriod"]) == ["start"]
    assert procedure["code"]["text"] == "a b"
    assert procedure["code"]["coding"][0]["code"] == "A B"


WORKER = """
import sys, threading
from tests.support.orders import hospital
from fhir_server.config import Config
from pathlib import Path
here = hospital(Config(database_url=sys.argv[1], data_dir=Path(sys.argv[2]), dimse_port=0))
print("up", flush=True)
while True:
    here.orders.drain(); here.procedures.drain()
"""


def test_kill_of_the_worker_loses_and_doubles_nothing(
    node: Node, hospital: Hospital, dimse_port: int
) -> None:
    """Orders and steps come in while the worker is killed again and again."""
    subject = hospital.add(patient())
    requests = [hospital.add(order(subject, f"A{number}")) for number in range(8)]

    def worker() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, node.config.database_url, str(node.config.data_dir)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    def kill(process: subprocess.Popen[str], condition: str) -> None:
        wait_for(lambda: node.rows(condition))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()

    kill(worker(), "SELECT FROM worklist_order OFFSET 2")

    def minted() -> list[str] | None:
        hospital.drain()  # finds nothing as long as the session of the killed worker is open
        found = [hospital.study_uid(request) for request in requests]
        return found if all(found) else None

    uids = wait_for(minted)
    assert len(set(uids)) == 8
    assert {hospital.versions(request) for request in requests} == {2}
    for number, uid in enumerate(uids):
        assert create(dimse_port, begun(uid), f"{STEP}.{number}") == 0
    kill(worker(), "SELECT FROM performed_step WHERE told = version OFFSET 1")
    for number in range(8):
        assert change(dimse_port, ended(), f"{STEP}.{number}") == 0
    kill(worker(), "SELECT FROM performed_step WHERE told = version AND version = 2 OFFSET 2")

    def told() -> bool:
        hospital.drain()
        return node.rows("SELECT count(*) FROM performed_step WHERE told = version") == [(8,)]

    wait_for(told)
    procedures = hospital.all("Procedure")
    assert sorted(one["status"] for one in procedures) == ["completed"] * 8
    assert {one["basedOn"][0]["reference"] for one in procedures} == set(requests)
    assert {hospital.read(request)["status"] for request in requests} == {"completed"}
    assert {hospital.versions(request) for request in requests} == {3}
    assert all(hospital.versions(f"Procedure/{one['id']}") <= 2 for one in procedures)
