"""bridge: merges, decisions of people, removals and corrections reach the ImagingStudy as new versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.bridge.drain import Bridge
from dicom_node.bridge.followed import Followed
from dicom_node.lifecycle import correction, removal, restore
from dicom_node.lifecycle.drain import Lifecycle, Settings
from dicom_node.lifecycle.rejection import rules
from dicom_node.lifecycle.removal import Kind, Order, Target
from fhir_server.authorization.grant import Grant
from tests.rooms.dicom_node.test_bridge import SETTINGS, STUDY, SYSTEM, Fhir, fhir, patient
from tests.support.dicom_data import ct, encoded
from tests.support.dicom_fixtures import Node
from tests.support.server import wait_for

__all__ = ["fhir"]
GRANT = Grant("radiology/desk")
GRACE = timedelta(days=7)


class Strict(Bridge):
    """A bridge that does not wait when FHIR refuses what it writes: no test wants that."""

    def _postpone(self, study_pk: int, error: Exception) -> None:
        raise error


class Worker:
    """The drains of a worker, in their order."""

    def __init__(self, node: Node, fhir: Fhir, **changes: Any) -> None:
        settings = replace(SETTINGS, **changes)
        self.lifecycle = Lifecycle(
            node.engine,
            node.files,
            Settings(GRACE, rules([], ["*"], GRACE)),
            node.clock,
            lambda: node.ingest,
        )
        self.bridge = Strict(fhir.entry, settings, node.files)
        self.followed = Followed(fhir.entry)
        self._node = node
        self._clock = node.clock

    def rest(self) -> None:
        """Work until nothing is left to do."""
        # the change feed shows nothing behind a transaction that is open anywhere in the cluster
        ((last,),) = self._node.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        wait_for(lambda: self._node.rows(oldest)[0][0] >= last)
        for _ in range(30):
            self._clock.advance(seconds=2)
            done = [self.followed.drain(), self.bridge.drain(), self.lifecycle.drain()]
            if not any(done):
                return
        raise AssertionError("the worker does not come to rest")


@pytest.fixture
def worker(node: Node, fhir: Fhir) -> Worker:
    made = Worker(node, fhir)
    made.rest()
    return made


def subject(fhir: Fhir, uid: str = STUDY) -> str:
    return str(fhir.study(uid)["subject"]["reference"])


def test_a_merged_patient_is_followed(node: Node, fhir: Fhir, worker: Worker) -> None:
    first, second = fhir.add(patient()), fhir.add(patient("P-OTHER"))
    node.add(ct())
    worker.rest()
    id_ = fhir.study()["id"]
    assert subject(fhir) == first
    merged = {**fhir.all("Patient", _id=first.partition("/")[2])[0], "active": False}
    merged["link"] = [{"other": {"reference": second}, "type": "replaced-by"}]
    fhir.replace(merged)
    worker.rest()
    assert (subject(fhir), fhir.study()["id"]) == (second, id_)
    assert fhir.versions("ImagingStudy", id_) == 2
    node.add(ct(number=2))
    worker.rest()
    assert subject(fhir) == second
    assert not fhir.all("Task")


def test_two_patients_of_whom_one_was_merged_are_one(node: Node, fhir: Fhir, worker: Worker) -> None:
    survivor = fhir.add(patient())
    link = [{"other": {"reference": survivor}, "type": "replaced-by"}]
    fhir.add(patient(active=False, link=link))
    node.add(ct())
    worker.rest()
    assert subject(fhir) == survivor


def test_links_in_a_circle_end(node: Node, fhir: Fhir, worker: Worker) -> None:
    first = fhir.add(patient())
    second = fhir.add(patient("X", link=[{"other": {"reference": first}, "type": "replaced-by"}]))
    found = fhir.all("Patient", _id=first.partition("/")[2])[0]
    fhir.replace({**found, "link": [{"other": {"reference": second}, "type": "replaced-by"}]})
    node.add(ct())
    worker.rest()
    assert subject(fhir) in (first, second)


def test_the_real_patient_takes_over_as_soon_as_he_is_there(node: Node, fhir: Fhir, worker: Worker) -> None:
    node.add(ct())
    worker.rest()
    placeholder = subject(fhir)
    real = fhir.add(patient())
    worker.rest()
    assert subject(fhir) == real != placeholder


def doubtful(node: Node, fhir: Fhir, worker: Worker) -> tuple[str, str, dict[str, Any]]:
    first, second = fhir.add(patient()), fhir.add(patient())
    node.add(ct(number=1))
    worker.rest()
    (task,) = fhir.all("Task")
    return first, second, task


def test_an_answered_task_decides_and_holds(node: Node, fhir: Fhir, worker: Worker) -> None:
    first, second, task = doubtful(node, fhir, worker)
    placeholder = subject(fhir)
    assert placeholder not in (first, second)
    output = [{"type": {"text": "Patient"}, "valueReference": {"reference": second}}]
    fhir.replace({**task, "status": "completed", "output": output})
    worker.rest()
    assert subject(fhir) == second
    node.add(ct(number=2), ct(number=1, StudyDescription="Corrected"))
    worker.rest()
    assert subject(fhir) == second
    (own,) = fhir.all("Patient", _id=placeholder.partition("/")[2])
    assert (own["active"], own["link"][0]["other"]["reference"]) == (False, second)
    assert len(fhir.all("Task")) == 1


def test_a_subject_that_somebody_changed_holds_and_closes_the_task(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    first, _, _ = doubtful(node, fhir, worker)
    fhir.replace({**fhir.study(), "subject": {"reference": first}})
    worker.rest()
    (task,) = fhir.all("Task")
    assert task["status"] == "completed"
    assert task["output"][0]["valueReference"]["reference"] == first
    node.add(ct(number=2))
    worker.rest()
    assert subject(fhir) == first


def test_a_person_may_also_overrule_what_was_certain(node: Node, fhir: Fhir, worker: Worker) -> None:
    fhir.add(patient())
    other = fhir.add(patient("P-OTHER"))
    node.add(ct(number=1))
    worker.rest()
    fhir.replace({**fhir.study(), "subject": {"reference": other}})
    worker.rest()
    node.add(ct(number=2))
    worker.rest()
    assert subject(fhir) == other
    assert fhir.study()["numberOfInstances"] == 2


def test_a_doubt_that_goes_cancels_its_task_and_one_that_returns_asks_again(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    first, second, task = doubtful(node, fhir, worker)
    other = fhir.all("Patient", _id=second.partition("/")[2])[0]
    fhir.replace({**other, "identifier": [{"system": SYSTEM, "value": "P-NEW"}]})
    node.add(ct(number=2))
    worker.rest()
    assert subject(fhir) == first
    assert [one["status"] for one in fhir.all("Task")] == ["cancelled"]
    fhir.replace({**other, "identifier": [{"system": SYSTEM, "value": "P1"}]})
    worker.rest()
    (again,) = fhir.all("Task")
    assert (again["status"], again["id"]) == ("requested", task["id"])


def remove(node: Node, *targets: Target, kind: Kind = Kind.DELETED) -> int:
    at = node.clock()
    return removal.remove(node.engine, Order(kind, targets, GRANT, "wrong", at, at + GRACE)).pk


def test_deletions_make_new_versions(node: Node, fhir: Fhir, worker: Worker) -> None:
    node.add(ct(number=1), ct(number=2), ct(series=2))
    worker.rest()
    id_ = fhir.study()["id"]
    remove(node, Target(STUDY, f"{STUDY}.1", f"{STUDY}.1.1"))
    worker.rest()
    found = fhir.study()
    assert (found["id"], found["numberOfInstances"], found["numberOfSeries"]) == (id_, 2, 2)
    pk = remove(node, Target(STUDY))
    worker.rest()
    found = fhir.study()
    assert (found["status"], found["numberOfInstances"]) == ("entered-in-error", 0)
    assert "series" not in found
    assert found["subject"]
    restore.lift(node.engine, GRANT, pk, node.clock())
    worker.rest()
    found = fhir.study()
    assert (found["id"], found["status"], found["numberOfInstances"]) == (id_, "available", 2)
    assert fhir.versions("ImagingStudy", id_) == 4


def test_what_ran_out_is_still_registered(node: Node, fhir: Fhir, worker: Worker) -> None:
    node.add(ct())
    worker.rest()
    remove(node, Target(STUDY), kind=Kind.EXPIRED)
    worker.rest()
    assert fhir.study()["status"] == "registered"


def test_a_corrected_patient_is_followed_and_overrules_former_decisions(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    first, _, task = doubtful(node, fhir, worker)
    output = [{"type": {"text": "Patient"}, "valueReference": {"reference": first}}]
    fhir.replace({**task, "status": "completed", "output": output})
    worker.rest()
    assert subject(fhir) == first
    right = fhir.add(patient("P77"))
    wanted = {"PatientID": "P77", "PatientName": "Right^Person"}
    correction.order(node.engine, GRANT, STUDY, wanted, "typed in wrongly", node.clock())
    worker.rest()
    assert subject(fhir) == right
    node.add(ct(number=2))  # the scanner does not know it yet
    worker.rest()
    assert (subject(fhir), fhir.study()["numberOfInstances"]) == (right, 2)
    assert node.rows("SELECT DISTINCT patient_id FROM dicom_study") == [("P77",)]


def note(code: str, *instances: Dataset, number: int = 1) -> Dataset:
    """Return a Rejection Note on instances (PS3.16 TID 2010)."""
    title, found = Dataset(), instances[0]
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", "Rejected"
    series: dict[str, Dataset] = {}
    for one in instances:
        item = series.setdefault(one.SeriesInstanceUID, Dataset())
        item.SeriesInstanceUID = one.SeriesInstanceUID
        reference = Dataset()
        reference.ReferencedSOPClassUID = one.SOPClassUID
        reference.ReferencedSOPInstanceUID = one.SOPInstanceUID
        item.ReferencedSOPSequence = [*item.get("ReferencedSOPSequence", []), reference]
    study = Dataset()
    study.StudyInstanceUID = found.StudyInstanceUID
    study.ReferencedSeriesSequence = Sequence(series.values())
    text, name = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "113012", "DCM", "Key Object Description"
    text.ValueType, text.ConceptNameCodeSequence, text.TextValue = "TEXT", Sequence([name]), "patient moved"
    made = ct(
        1,
        90,
        number,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.59",
        Modality="KO",
        ConceptNameCodeSequence=Sequence([title]),
        CurrentRequestedProcedureEvidenceSequence=Sequence([study]),
        ContentSequence=Sequence([text]),
    )
    made.ValueType = "CONTAINER"
    for name_ in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(made, name_)
    return made


@pytest.mark.parametrize("code", ["113001", "113037", "113038"])
def test_a_rejection_note_hides_its_instances_and_itself(
    node: Node, fhir: Fhir, worker: Worker, code: str
) -> None:
    images = [ct(number=1), ct(number=2), ct(number=3)]
    node.add(*images)
    worker.rest()
    node.add(note(code, *images[:2]))
    worker.rest()
    assert node.rows("SELECT sop_uid FROM dicom_instance") == [(f"{STUDY}.1.3",)]
    assert fhir.study()["numberOfInstances"] == 1
    assert node.rows("SELECT kind, code, reason, purge_at FROM dicom_removal") == [
        ("rejected", code, "patient moved", None)
    ]
    node.clock.advance(days=1000)
    worker.rest()
    assert len(list(node.files.kept.rglob("*.dcm"))) == 4
    ((pk,),) = node.rows("SELECT pk FROM dicom_removal")
    restore.lift(node.engine, GRANT, pk, node.clock())
    worker.rest()  # the note is here again and is not carried out twice
    assert len(node.rows("SELECT FROM dicom_instance WHERE current")) == 4
    assert fhir.study()["numberOfInstances"] == 4


def test_a_note_of_expired_retention_deletes(node: Node, fhir: Fhir, worker: Worker) -> None:
    image = ct()
    node.add(image)
    node.add(note("113039", image))
    worker.rest()
    assert not node.rows("SELECT FROM dicom_instance")
    node.clock.advance(days=8)
    worker.rest()
    assert not list(node.files.kept.rglob("*.dcm"))


def test_a_note_that_comes_first_waits_for_its_instances(node: Node, fhir: Fhir, worker: Worker) -> None:
    image = ct()
    node.add(note("113037", image))
    worker.rest()
    assert node.ingest.store([encoded(image)], "1.2.840.10008.1.2.1", "CT1")
    worker.rest()
    assert not node.rows("SELECT FROM dicom_instance")


def test_quality_issue_marks_and_rejects_nothing(node: Node, fhir: Fhir, worker: Worker) -> None:
    image = ct()
    node.add(image, note("113010", image))
    worker.rest()
    assert len(node.rows("SELECT FROM dicom_instance")) == 2


def test_a_code_may_be_set_to_keep_and_a_sender_may_be_nobody(node: Node, fhir: Fhir) -> None:
    kept = Worker(node, fhir, rejection=rules(["113001=keep"], ["*"], GRACE))
    image = ct()
    node.add(image, note("113001", image))
    kept.rest()
    assert len(node.rows("SELECT FROM dicom_instance")) == 2
    other = Worker(node, fhir, rejection=rules([], ["PACS"], GRACE))
    node.add(note("113037", image, number=2))
    other.rest()
    assert len(node.rows("SELECT FROM dicom_instance")) == 3
    with pytest.raises(ValueError, match="rejection_notes"):
        rules(["113001=maybe"], ["*"], GRACE)


def test_what_others_add_to_an_imaging_study_stays(node: Node, fhir: Fhir, worker: Worker) -> None:
    node.add(ct(number=1))
    worker.rest()
    fhir.replace({**fhir.study(), "note": [{"text": "seen by Dr A"}]})
    node.add(ct(number=2))
    worker.rest()
    assert (fhir.study()["note"], fhir.study()["numberOfInstances"]) == ([{"text": "seen by Dr A"}], 2)


def test_every_study_of_an_order_is_found(node: Node, fhir: Fhir, worker: Worker) -> None:
    address = fhir.add(patient())
    order = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": address},
    }
    ours = fhir.add({**order, "identifier": [{"system": "urn:oid:1.2.3", "value": "A1"}]})
    fhir.add({**order, "identifier": [{"system": "urn:oid:1.9.9", "value": "A1"}]})
    grouped = fhir.add({**order, "identifier": [{"value": "G7"}]})
    issuer, request = Dataset(), Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    request.AccessionNumber = "G7"
    node.add(
        ct(IssuerOfAccessionNumberSequence=Sequence([issuer]), RequestAttributesSequence=Sequence([request]))
    )
    worker.rest()
    assert fhir.study()["basedOn"] == [{"reference": ours}, {"reference": grouped}]
    assert fhir.study()["identifier"][1]["system"] == "urn:oid:1.2.3"
