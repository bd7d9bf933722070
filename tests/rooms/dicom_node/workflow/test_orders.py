"""workflow/orders: orders written in FHIR stand in the worklist, each with one study UID."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from dicom_node.attributes import Attributes
from dicom_node.workflow import rows
from dicom_node.workflow.elements import items, value, values
from tests.support.clause import clause
from tests.support.dicom_fixtures import Node
from tests.support.orders import DCM, Hospital, order, patient
from tests.support.orders import hospital as hospital_of

AE = "urn:xinglin:ae-title"
ACTIVE = {
    "system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",
    "code": "active",
}


def worklist(node: Node, identifier: Attributes | None = None) -> list[Attributes]:
    with node.engine.connection() as connection:
        return list(rows.matching(rows.candidates(connection, identifier or {}), identifier or {}))


def step(answer: Attributes) -> Attributes:
    (found,) = items(answer, "ScheduledProcedureStepSequence")
    return found


@clause("PS3.4 K.6.1.2", "an order is told with the attributes of table K.6-1")
def test_an_order_stands_in_the_worklist(node: Node, hospital: Hospital) -> None:
    doctor = hospital.add(
        {
            "resourceType": "Practitioner",
            "name": [{"family": "Lee", "given": ["Ann"], "prefix": ["Dr."]}],
            "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}],
        }
    )
    subject = hospital.add(patient())
    encounter = hospital.add(
        {
            "resourceType": "Encounter",
            "status": "in-progress",
            "class": {"code": "IMP"},
            "subject": {"reference": subject},
            "identifier": [{"system": "urn:oid:1.2.3.4", "value": "V77"}],
            "location": [{"location": {"display": "Ward 3"}}],
        }
    )
    hospital.add(
        {
            "resourceType": "AllergyIntolerance",
            "patient": {"reference": subject},
            "clinicalStatus": {"coding": [ACTIVE]},
            "code": {"text": "Iodine contrast"},
        }
    )
    request = hospital.add(
        order(
            subject,
            requester={"reference": doctor},
            encounter={"reference": encounter},
            authoredOn="2026-01-01T08:00:00Z",
            reasonCode=[{"text": "Cough"}],
            note=[{"text": "Come early"}],
        )
    )
    hospital.drain()
    (answer,) = worklist(node)
    assert values(answer, "PatientName") == [{"Alphabetic": "Müller^Jörg"}]
    assert (value(answer, "PatientID"), value(answer, "PatientSex")) == ("P1", "M")
    assert value(answer, "PatientBirthDate") == "19700131"
    assert value(answer, "IssuerOfPatientID") == ""
    assert values(answer, "Allergies") == ["Iodine contrast"]
    assert value(answer, "AccessionNumber") == "A1"
    (issuer,) = items(answer, "IssuerOfAccessionNumberSequence")
    assert value(issuer, "UniversalEntityID") == "1.2.276.0.76.3.1"
    assert values(answer, "RequestingPhysician") == [{"Alphabetic": "Lee^Ann^^Dr."}]
    assert values(answer, "ReferringPhysicianName") == [{"Alphabetic": "Lee^Ann^^Dr."}]
    assert value(answer, "AdmissionID") == "V77"
    assert value(answer, "CurrentPatientLocation") == "Ward 3"
    assert value(answer, "RequestedProcedureDescription") == "CT of the chest"
    assert value(answer, "RequestedProcedurePriority") == "HIGH"
    assert value(answer, "ReasonForTheRequestedProcedure") == "Cough"
    assert value(answer, "RequestedProcedureComments") == "Come early"
    assert value(answer, "IssueDateOfImagingServiceRequest") == "20260101"
    (code,) = items(answer, "RequestedProcedureCodeSequence")
    assert [value(code, name) for name in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")] == [
        "24627-2",
        "LN",
        "CT Chest",
    ]
    scheduled = step(answer)
    assert value(scheduled, "Modality") == "CT"
    assert value(scheduled, "ScheduledProcedureStepStartDate") == "20260102"
    assert value(scheduled, "ScheduledProcedureStepStartTime") == "093000"
    assert value(scheduled, "ScheduledProcedureStepStatus") == "SCHEDULED"
    assert value(scheduled, "ScheduledProcedureStepID").startswith("SPS")
    assert value(answer, "RequestedProcedureID").startswith("RP")
    assert value(answer, "StudyInstanceUID") == hospital.study_uid(request)


@clause("IHE RAD-5", "the Study Instance UID is minted when the procedure is ordered")
def test_the_study_uid_is_minted_once_and_kept(node: Node, hospital: Hospital) -> None:
    subject = hospital.add(patient())
    request = hospital.add(order(subject))
    assert hospital.study_uid(request) == ""
    hospital.drain()
    uid = hospital.study_uid(request)
    assert uid.startswith("2.25.")
    assert hospital.versions(request) == 2
    before = hospital.read(request)["identifier"][:1]
    hospital.change(request, identifier=before, priority="stat")
    hospital.drain()
    assert hospital.study_uid(request) == uid
    assert hospital.versions(request) == 4
    hospital.drain()
    assert hospital.versions(request) == 4
    (answer,) = worklist(node)
    assert value(answer, "RequestedProcedurePriority") == "STAT"


def test_a_uid_that_an_order_brings_is_kept(node: Node, hospital: Hospital) -> None:
    own = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}
    request = hospital.add(
        order(hospital.add(patient()), identifier=[own], category=None, code={"text": "x"})
    )
    hospital.drain()
    assert hospital.versions(request) == 1
    (answer,) = worklist(node)
    assert value(answer, "StudyInstanceUID") == "1.2.3.4"
    assert value(step(answer), "Modality") == "OT"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "draft"},
        {"status": "on-hold"},
        {"status": "revoked"},
        {"status": "completed"},
        {"status": "entered-in-error"},
        {"intent": "plan"},
        {"doNotPerform": True},
    ],
)
def test_what_is_not_to_be_done_is_not_in_the_worklist(
    node: Node, hospital: Hospital, changes: dict[str, Any]
) -> None:
    subject = hospital.add(patient())
    never = hospital.add(order(subject, **changes))
    request = hospital.add(order(subject, "A2"))
    hospital.drain()
    assert [value(one, "AccessionNumber") for one in worklist(node)] == ["A2"]
    assert hospital.versions(never) == 1
    hospital.change(request, **changes)
    hospital.drain()
    assert worklist(node) == []
    hospital.change(request, status="active", intent="order", doNotPerform=None)
    hospital.drain()
    assert len(worklist(node)) == 1


def test_a_deleted_order_is_gone(node: Node, hospital: Hospital) -> None:
    request = hospital.add(order(hospital.add(patient())))
    hospital.drain()
    hospital.delete(request)
    hospital.drain()
    assert worklist(node) == []


def test_other_orders_are_left_alone(node: Node, hospital: Hospital) -> None:
    laboratory = {
        "coding": [{"system": "http://loinc.org", "code": "5902-2", "display": "PT in Platelet poor plasma"}]
    }
    request = hospital.add(order(hospital.add(patient()), category=None, code=laboratory))
    hospital.drain()
    assert worklist(node) == []
    assert hospital.versions(request) == 1


@pytest.mark.parametrize(
    ("changes", "modality"),
    [
        ({"orderDetail": [{"coding": [{"system": DCM, "code": "MR"}]}]}, "MR"),
        (
            {
                "code": {"text": "x"},
                "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "16310003"}]}],
            },
            "US",
        ),
        (
            {"code": {"coding": [{"system": "http://loinc.org", "code": "36643-5", "display": "XR 2V"}]}},
            "DX",
        ),
        (
            {
                "code": {"text": "x"},
                "category": [
                    {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "NMR"}]}
                ],
            },
            "MR",
        ),
        ({"code": {"text": "x"}}, "OT"),
    ],
)
def test_the_modality(node: Node, hospital: Hospital, changes: dict[str, Any], modality: str) -> None:
    hospital.add(order(hospital.add(patient()), **changes))
    hospital.drain()
    (answer,) = worklist(node)
    assert value(step(answer), "Modality") == modality


def scanner(title: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Device", "identifier": [{"system": AE, "value": title}], **more}


def test_an_appointment_schedules(node: Node, hospital: Hospital) -> None:
    subject = hospital.add(patient())
    device = hospital.add(scanner("CT1", deviceName=[{"name": "Scanner one", "type": "user-friendly-name"}]))
    room = hospital.add({"resourceType": "Location", "name": "Room 7"})
    doctor = hospital.add({"resourceType": "Practitioner", "name": [{"family": "Roe", "given": ["Jane"]}]})
    request = hospital.add(order(subject))
    appointment = hospital.add(
        {
            "resourceType": "Appointment",
            "status": "booked",
            "start": "2026-07-03T06:15:00Z",
            "end": "2026-07-03T06:45:00Z",
            "description": "Chest",
            "comment": "Bring old images",
            "basedOn": [{"reference": request}],
            "participant": [
                {"actor": {"reference": one}, "status": "accepted"} for one in (subject, device, room, doctor)
            ],
        }
    )
    hospital.drain()
    (answer,) = worklist(node)
    scheduled = step(answer)
    assert values(scheduled, "ScheduledStationAETitle") == ["CT1"]
    assert value(scheduled, "ScheduledStationName") == "Scanner one"
    assert value(scheduled, "ScheduledProcedureStepLocation") == "Room 7"
    assert values(scheduled, "ScheduledPerformingPhysicianName") == [{"Alphabetic": "Roe^Jane"}]
    assert value(scheduled, "ScheduledProcedureStepStartDate") == "20260703"
    assert value(scheduled, "ScheduledProcedureStepStartTime") == "081500"
    assert value(scheduled, "ScheduledProcedureStepEndTime") == "084500"
    assert value(scheduled, "ScheduledProcedureStepDescription") == "Chest"
    assert value(scheduled, "CommentsOnTheScheduledProcedureStep") == "Bring old images"
    assert value(answer, "TimezoneOffsetFromUTC") == "+0200"
    first = value(scheduled, "ScheduledProcedureStepID")
    hospital.change(appointment, start="2026-07-04T06:15:00Z", status="arrived")
    hospital.drain()
    (answer,) = worklist(node)
    assert value(step(answer), "ScheduledProcedureStepStartDate") == "20260704"
    assert value(step(answer), "ScheduledProcedureStepStatus") == "ARRIVED"
    assert value(step(answer), "ScheduledProcedureStepID") == first
    hospital.change(device, deviceName=[{"name": "Scanner 1b", "type": "user-friendly-name"}])
    hospital.drain()
    (answer,) = worklist(node)
    assert value(step(answer), "ScheduledStationName") == "Scanner 1b"
    hospital.change(appointment, status="cancelled")
    hospital.drain()
    assert worklist(node) == []


def test_tasks_schedule_where_there_is_no_appointment(node: Node, hospital: Hospital) -> None:
    subject = hospital.add(patient())
    request = hospital.add(order(subject))
    device = hospital.add(scanner("CT2"))
    common = {
        "resourceType": "Task",
        "intent": "order",
        "focus": {"reference": request},
        "for": {"reference": subject},
    }
    ready = hospital.add(
        {
            **common,
            "status": "ready",
            "owner": {"reference": device},
            "restriction": {"period": {"start": "2026-01-05T10:00:00+01:00"}},
        }
    )
    fulfil = {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "approve"}]}
    hospital.add({**common, "status": "requested", "code": fulfil})
    hospital.drain()
    (answer,) = worklist(node)
    scheduled = step(answer)
    assert value(scheduled, "ScheduledStationAETitle") == "CT2"
    assert value(scheduled, "ScheduledProcedureStepStartDate") == "20260105"
    assert value(scheduled, "ScheduledProcedureStepStatus") == "READY"
    hospital.change(ready, status="completed")
    hospital.drain()
    assert worklist(node) == []


def test_what_is_known_of_a_patient_follows(node: Node, hospital: Hospital) -> None:
    subject = hospital.add(patient(gender="female"))
    hospital.add(order(subject))
    hospital.drain()

    def observed(code: str, **more: Any) -> str:
        return hospital.add(
            {
                "resourceType": "Observation",
                "status": "final",
                "subject": {"reference": subject},
                "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                "effectiveDateTime": "2026-01-01",
                **more,
            }
        )

    observed("29463-7", valueQuantity={"value": 70500, "code": "g", "system": "http://unitsofmeasure.org"})
    observed("8302-2", valueQuantity={"value": 171, "code": "cm", "system": "http://unitsofmeasure.org"})
    pregnant = {"coding": [{"system": "http://snomed.info/sct", "code": "77386006"}]}
    observation = observed("82810-3", valueCodeableConcept=pregnant)
    hospital.add(
        {
            "resourceType": "Flag",
            "status": "active",
            "subject": {"reference": subject},
            "code": {"text": "Pacemaker"},
        }
    )
    hospital.drain()
    (answer,) = worklist(node)
    assert values(answer, "PatientWeight") == [70.5]
    assert values(answer, "PatientSize") == [1.71]
    assert values(answer, "PregnancyStatus") == [3]
    assert values(answer, "MedicalAlerts") == ["Pacemaker"]
    hospital.delete(observation)
    hospital.change(subject, name=[{"family": "Meier", "given": ["Anna"]}])
    hospital.drain()
    (answer,) = worklist(node)
    assert values(answer, "PregnancyStatus") == [4]
    assert values(answer, "PatientName") == [{"Alphabetic": "Meier^Anna"}]


def test_weights_of_several_patients_reach_the_orders_of_each(node: Node, hospital: Hospital) -> None:
    subjects = [hospital.add(patient(f"P{number}")) for number in range(3)]

    def weigh(grams: int, *those: str) -> None:
        for subject in those:
            hospital.add(
                {
                    "resourceType": "Observation",
                    "status": "final",
                    "subject": {"reference": subject},
                    "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
                    "effectiveDateTime": f"2026-01-01T00:00:{grams // 1000:02d}Z",
                    "valueQuantity": {
                        "value": grams,
                        "code": "g",
                        "system": "http://unitsofmeasure.org",
                    },
                }
            )

    def weights() -> dict[str, Any]:
        return {value(one, "PatientID"): values(one, "PatientWeight") for one in worklist(node)}

    weigh(50_000, *subjects)
    hospital.drain()  # nobody has an order yet: what is told is looked at when there is one
    for subject in subjects[:2]:
        hospital.add(order(subject))
    hospital.drain()
    assert weights() == {"P0": [50.0], "P1": [50.0]}
    weigh(51_000, *subjects)
    hospital.drain()
    assert weights() == {"P0": [51.0], "P1": [51.0]}


def test_a_merged_patient_is_told_as_the_one_that_stays(node: Node, hospital: Hospital) -> None:
    other = hospital.add(patient("P9", name=[{"family": "Stays"}]))
    subject = hospital.add(patient())
    hospital.add(order(subject))
    hospital.drain()
    hospital.change(subject, active=False, link=[{"other": {"reference": other}, "type": "replaced-by"}])
    hospital.drain()
    (answer,) = worklist(node)
    assert (value(answer, "PatientID"), values(answer, "PatientName")) == ("P9", [{"Alphabetic": "Stays"}])


def test_orders_that_stood_there_before_are_looked_at(node: Node, hospital: Hospital) -> None:
    entry = hospital.entry
    silent = type(hospital)(
        type(entry)(entry.engine, entry.settings, entry.clock), hospital.orders, hospital.procedures
    )
    request = silent.add(order(silent.add(patient())))
    hospital.drain()
    assert worklist(node) == []
    from migrations.versions.m0018_workflow import DOWNGRADE, UPGRADE

    with node.engine.connection() as connection:
        connection.cursor().execute(DOWNGRADE)
        connection.cursor().execute(UPGRADE)
        connection.commit()
    hospital.drain()
    assert len(worklist(node)) == 1
    assert hospital.study_uid(request)


def test_two_workers_mint_one_uid(node: Node, hospital: Hospital) -> None:
    subject = hospital.add(patient())
    addresses = [hospital.add(order(subject, f"A{number}")) for number in range(6)]
    threads = [threading.Thread(target=hospital.orders.drain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hospital.drain()
    assert {hospital.versions(address) for address in addresses} == {2}
    uids = {hospital.study_uid(address) for address in addresses}
    assert len(uids) == 6
    assert {value(one, "StudyInstanceUID") for one in worklist(node)} == uids


def test_an_order_that_fhir_refuses_to_change_stands_in_the_worklist_and_is_tried_again(
    node: Node, hospital: Hospital
) -> None:
    strict = hospital_of(replace(node.config, referential_integrity="enforce"), node.clock)
    request = hospital.add(order(hospital.add(patient()), encounter={"reference": "Encounter/later"}))
    assert strict.orders.drain() == 1
    (answer,) = worklist(node)
    assert hospital.study_uid(request) == ""
    assert strict.orders.drain() == 0
    hospital.add({"resourceType": "Encounter", "id": "later", "status": "planned", "class": {"code": "AMB"}})
    node.clock.advance(seconds=3)
    strict.drain()
    assert hospital.study_uid(request) == value(answer, "StudyInstanceUID")
