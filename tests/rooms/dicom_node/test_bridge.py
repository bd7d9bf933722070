"""bridge: quiet studies become one ImagingStudy each, for the right Patient."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.bridge.drain import GRANT, Bridge, BridgeSettings
from dicom_node.bridge.imaging_study import study_identifier
from fhir_server.app import create_entry
from fhir_server.interactions.context import Context
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.history import history
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.update import update
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_fixtures import Node

SYSTEM = "urn:hospital:mrn"
SETTINGS = BridgeSettings(
    quiet_s=0.0,
    quiet_max_s=30.0,
    patient_id_system=SYSTEM,
    address="http://node.example/dicom-web",
    issuers={"HOSPITAL": "urn:hospital:other", "AE:CT9": "urn:clinic:mrn"},
)
STUDY = f"{ROOT_UID}.1"


class Fhir:
    """The FHIR side of a test: what is there, and what is put there."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def all(self, type_name: str, **parameters: str) -> list[dict[str, Any]]:
        pairs = [(name.replace("__", ":"), value) for name, value in parameters.items()]
        return self.entry.read(GRANT, lambda context: resources(context, type_name, pairs))

    def add(self, resource: dict[str, Any]) -> str:
        result = self.entry.write(GRANT, lambda context: create(context, resource["resourceType"], resource))
        assert result.version is not None
        return result.version.address

    def replace(self, resource: dict[str, Any]) -> None:
        kind, id_ = resource["resourceType"], resource["id"]
        self.entry.write(GRANT, lambda context: update(context, kind, id_, resource))

    def study(self, uid: str = STUDY) -> dict[str, Any]:
        (found,) = self.all("ImagingStudy", identifier=f"urn:dicom:uid|{study_identifier(uid)}")
        return found

    def versions(self, type_name: str, id_: str) -> int:
        def count(context: Context) -> int:
            text = history(context, type_name, id_, []).text
            return len(json.loads(text or "{}")["entry"])

        return self.entry.read(GRANT, count)


@pytest.fixture
def fhir(node: Node) -> Fhir:
    entry = create_entry(node.config, node.config.database_url, connections=8)
    return Fhir(Entry(entry.engine, entry.settings, node.clock))


@pytest.fixture
def bridge(node: Node, fhir: Fhir) -> Callable[..., Bridge]:
    return lambda **changes: Bridge(fhir.entry, replace(SETTINGS, **changes), node.files)


def patient(value: str = "P1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}], **more}


def test_a_study_becomes_an_imaging_study(node: Node, fhir: Fhir, bridge: Callable[..., Bridge]) -> None:
    address = fhir.add(patient(name=[{"family": "Müller", "given": ["Jörg"]}], birthDate="1970-01-31"))
    node.add(ct(number=1), ct(number=2), ct(series=2, number=1, Modality="SR", PatientName="Mueller^Joerg"))
    assert bridge().drain() == 1
    found = fhir.study()
    assert found["subject"] == {"reference": address}
    assert found["status"] == "available"
    assert found["started"] == "2026-01-02T03:04:05+00:00"
    assert found["description"] == "Thorax"
    assert [one["code"] for one in found["modality"]] == ["CT", "SR"]
    assert (found["numberOfSeries"], found["numberOfInstances"]) == (2, 3)
    assert found["identifier"] == [
        {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"},
        {
            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]},
            "value": "A1",
        },
    ]
    first, second = found["series"]
    assert (first["uid"], first["number"], first["numberOfInstances"]) == (f"{STUDY}.1", 1, 2)
    assert first["instance"][1] == {
        "uid": f"{STUDY}.1.2",
        "sopClass": {"system": "urn:ietf:rfc3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
        "number": 2,
        "title": "ORIGINAL PRIMARY AXIAL",
    }
    assert second["modality"]["code"] == "SR"
    (endpoint,) = fhir.all("Endpoint")
    assert found["endpoint"] == [{"reference": f"Endpoint/{endpoint['id']}"}]
    assert endpoint["address"] == SETTINGS.address
    assert not node.rows("SELECT FROM dicom_outbox")
    assert not fhir.all("Task")


def test_late_images_make_a_new_version_and_nothing_new_makes_none(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    node.add(ct(number=1))
    told = bridge()
    assert told.drain() == 1
    id_ = fhir.study()["id"]
    assert told.drain() == 0
    node.add(ct(number=2))
    assert bridge().drain() == 1
    assert (fhir.study()["id"], fhir.study()["numberOfInstances"]) == (id_, 2)
    with node.engine.connection() as connection:  # the row of an outbox that was told, but not forgotten
        connection.cursor().execute(
            "INSERT INTO dicom_outbox (study_pk, written_at) SELECT pk, now() FROM dicom_study"
        )
        connection.commit()
    node.clock.advance(days=10_000)
    assert told.drain() == 1
    assert fhir.versions("ImagingStudy", id_) == 2


def test_a_study_is_told_when_it_is_quiet_or_has_waited_long_enough(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    told = bridge(quiet_s=5.0, quiet_max_s=12.0)
    for number in range(1, 5):  # an image every four seconds: never quiet
        node.add(ct(number=number))
        if number < 4:
            assert told.drain() == 0
            node.clock.advance(seconds=4)
    assert told.drain() == 1
    node.add(ct(number=9))
    assert told.drain() == 0
    node.clock.advance(seconds=5)
    assert told.drain() == 1
    assert fhir.study()["numberOfInstances"] == 5


def test_without_a_patient_there_is_a_placeholder_and_only_one(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    node.add(ct(1), ct(2, PatientID="P1"))
    assert bridge().drain() == 2
    (made,) = fhir.all("Patient")
    assert made["meta"]["tag"] == [{"system": "urn:xinglin:tag", "code": "placeholder"}]
    assert made["identifier"] == [{"system": SYSTEM, "value": "P1"}]
    assert (made["name"][0]["family"], made["gender"], made["birthDate"]) == ("Müller", "male", "1970-01-31")
    assert {one["subject"]["reference"] for one in fhir.all("ImagingStudy")} == {f"Patient/{made['id']}"}
    assert not fhir.all("Task")


def test_the_real_patient_is_preferred_to_his_placeholder(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    node.add(ct(1))
    told = bridge()
    told.drain()
    address = fhir.add(patient())
    node.add(ct(1, number=2))
    told.drain()
    assert fhir.study()["subject"]["reference"] == address


@pytest.mark.parametrize(
    ("present", "images", "reason"),
    [
        ([patient(), patient()], [ct()], "several Patients"),
        ([patient(birthDate="1970-01-30")], [ct()], "birth date"),
        ([patient(name=[{"family": "Smith", "given": ["Ann"]}])], [ct()], "name"),
        ([patient()], [ct(number=1), ct(number=2, PatientID="P2")], "several patients"),
        ([patient()], [ct(PatientID="")], "no PatientID"),
    ],
)
def test_in_doubt_there_is_a_placeholder_and_a_task(
    node: Node,
    fhir: Fhir,
    bridge: Callable[..., Bridge],
    present: list[dict[str, Any]],
    images: list[Dataset],
    reason: str,
) -> None:
    real = {fhir.add(one) for one in present}
    node.add(*images)
    told = bridge()
    assert told.drain() == 1
    subject = fhir.study()["subject"]["reference"]
    assert subject not in real
    (task,) = fhir.all("Task")
    assert reason in task["description"]
    assert (task["status"], task["for"]["reference"]) == ("requested", subject)
    assert task["focus"]["reference"] == f"ImagingStudy/{fhir.study()['id']}"
    assert len(fhir.all("Patient", identifier=f"{SYSTEM}|P1")) == len(present)
    node.add(ct(number=7, **({"PatientID": ""} if reason == "no PatientID" else {})))
    told.drain()
    assert len(fhir.all("Task")) == 1
    assert len(fhir.all("Patient")) == len(present) + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"name": [{"family": "Müller-Schmidt", "given": ["J."]}]},
        {"name": [{"family": "Meier", "given": ["Jörg"]}]},
        {"name": [{"family": "Other", "given": ["Name"]}], "birthDate": "1970-01-31"},
        {"birthDate": "1970"},
        {},
    ],
)
def test_names_and_dates_that_may_be_his_are_no_contradiction(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge], changes: dict[str, Any]
) -> None:
    address = fhir.add(patient(**changes))
    node.add(ct())
    bridge().drain()
    assert fhir.study()["subject"]["reference"] == address


def test_a_decision_that_somebody_took_is_not_undone_by_a_late_image(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    first, _ = fhir.add(patient()), fhir.add(patient())
    node.add(ct(number=1))
    told = bridge()
    told.drain()
    fhir.replace({**fhir.study(), "subject": {"reference": first}})
    node.add(ct(number=2))
    told.drain()
    assert fhir.study()["subject"]["reference"] == first
    assert fhir.study()["numberOfInstances"] == 2


@pytest.mark.parametrize(
    ("changes", "system"),
    [
        ({"IssuerOfPatientID": "HOSPITAL"}, "urn:hospital:other"),
        ({"IssuerOfPatientID": "UNHEARD OF"}, "urn:xinglin:issuer:UNHEARD%20OF"),
        ({"IssuerOfPatientIDQualifiersSequence": ("1.2.3", "ISO")}, "urn:oid:1.2.3"),
        ({}, SYSTEM),
    ],
)
def test_the_issuer_decides_whose_number_it_is(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge], changes: dict[str, Any], system: str
) -> None:
    if "IssuerOfPatientIDQualifiersSequence" in changes:
        item = Dataset()
        item.UniversalEntityID, item.UniversalEntityIDType = changes["IssuerOfPatientIDQualifiersSequence"]
        changes = {"IssuerOfPatientIDQualifiersSequence": Sequence([item])}
    node.add(ct(**changes))
    bridge().drain()
    (made,) = fhir.all("Patient")
    assert made["identifier"] == [{"system": system, "value": "P1"}]


def test_the_calling_ae_may_have_an_issuer_of_its_own(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    node.ingest.store([encoded(ct())], "1.2.840.10008.1.2.1", "CT9")
    bridge().drain()
    (made,) = fhir.all("Patient")
    assert made["identifier"][0]["system"] == "urn:clinic:mrn"


def test_without_a_system_studies_wait(node: Node, fhir: Fhir, bridge: Callable[..., Bridge]) -> None:
    node.add(ct())
    waiting = bridge(patient_id_system="")
    assert waiting.drain() == 0
    assert waiting.drain() == 0
    assert not fhir.all("Patient")
    assert not fhir.all("ImagingStudy")
    assert len(node.rows("SELECT FROM dicom_outbox")) == 1
    assert bridge().drain() == 1


def test_the_order_is_found_by_its_uid_or_its_accession_number(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    address = fhir.add(patient())
    order = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": address},
    }
    by_uid = fhir.add(
        {**order, "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{ROOT_UID}.1"}]}
    )
    by_accession = fhir.add({**order, "identifier": [{"system": "urn:orders", "value": "A2"}]})
    fhir.add({**order, "identifier": [{"value": "A3"}]})
    fhir.add({**order, "identifier": [{"system": "urn:orders", "value": "A3"}]})
    node.add(*(ct(number, PatientID="P1") for number in (1, 2, 3)))
    bridge().drain()
    assert fhir.study(f"{ROOT_UID}.1")["basedOn"] == [{"reference": by_uid}]
    assert fhir.study(f"{ROOT_UID}.2")["basedOn"] == [{"reference": by_accession}]
    assert "basedOn" not in fhir.study(f"{ROOT_UID}.3")


def test_odd_values_do_not_keep_a_study_from_fhir(
    node: Node, fhir: Fhir, bridge: Callable[..., Bridge]
) -> None:
    node.add(
        ct(
            StudyDescription="a\x1b[0mb\x07",
            StudyDate="not a date",
            PatientID="A|B,C$D",
            AccessionNumber="X|,Y",
            SeriesNumber=-3,
            Modality="",
            SeriesInstanceUID="1." * 50 + "1",
            PatientSex="?",
            TimezoneOffsetFromUTC="+9999",
        )
    )
    assert bridge().drain() == 1
    found = fhir.study()
    assert (found["numberOfSeries"], "series" in found, "started" in found) == (1, False, False)
    (made,) = fhir.all("Patient")
    assert made["identifier"][0]["value"] == "A|B,C$D"


def test_two_workers_tell_of_each_study_once(node: Node, fhir: Fhir, bridge: Callable[..., Bridge]) -> None:
    node.add(*(ct(study) for study in range(1, 7)))
    told: list[int] = []
    workers = [bridge(), bridge()]

    def work(worker: Bridge) -> None:
        for _ in range(4):
            told.append(worker.drain())

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fhir.all("ImagingStudy")) == 6
    assert all(fhir.versions("ImagingStudy", one["id"]) == 1 for one in fhir.all("ImagingStudy"))


def test_peers_are_notified_when_a_study_has_changed_for_fhir(node: Node, fhir: Fhir) -> None:
    told: list[int] = []
    bridge = Bridge(fhir.entry, SETTINGS, node.files, lambda cursor, study: told.append(study.instance_count))
    node.add(ct(number=1))
    assert bridge.drain() == 1
    node.add(ct(number=2))
    assert bridge.drain() == 1
    with node.engine.connection() as connection:  # told again, and nothing is new
        connection.cursor().execute(
            "INSERT INTO dicom_outbox (study_pk, written_at) SELECT pk, %s FROM dicom_study", (node.clock(),)
        )
        connection.commit()
    assert bridge.drain() == 1
    assert told == [1, 2]
