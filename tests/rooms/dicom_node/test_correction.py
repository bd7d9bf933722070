"""correction: the study of a wrong patient becomes that of the right one, and what came stays."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.ingest import Verdict
from dicom_node.lifecycle import correction
from dicom_node.lifecycle.drain import Lifecycle, Settings
from dicom_node.lifecycle.rejection import rules
from fhir_server.authorization.grant import Grant
from fhir_server.outcome import Invalid, NotFound
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_fixtures import Node

GRANT = Grant("radiology/desk")
STUDY = f"{ROOT_UID}.1"
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RIGHT = {"PatientName": "Right^Person", "PatientID": "P77", "PatientBirthDate": "19800229"}


@pytest.fixture
def correct(node: Node) -> Callable[..., int]:
    settings = Settings(timedelta(days=7), rules([], ["*"], timedelta(days=7)))
    lifecycle = Lifecycle(node.engine, node.files, settings, node.clock, lambda: node.ingest)

    def made(wanted: dict[str, str] | None = None, study: str = STUDY) -> int:
        node.clock.advance(seconds=1)
        if wanted is not None:
            correction.order(node.engine, GRANT, study, wanted, "typed in wrongly", node.clock())
        return lifecycle.correct(study)

    return made


def served(node: Node, sop_uid: str = f"{STUDY}.1.1") -> Dataset:
    (row,) = node.rows(
        "SELECT encode(hash, 'hex') FROM dicom_instance WHERE current AND sop_uid = %s", sop_uid
    )
    return pydicom.dcmread(node.files.path(row[0]))


def with_extras() -> Dataset:
    other, request = Dataset(), Dataset()
    other.PatientID, other.TypeOfPatientID = "OLD1", "TEXT"
    request.RequestedProcedureDescription = "Schädel"
    dataset = ct(number=1)
    dataset.OtherPatientIDsSequence = Sequence([other])
    dataset.RequestAttributesSequence = Sequence([request])
    dataset.add_new(0x00091010, "OB", b"\1\2\3\4")
    dataset.add_new(0x00090010, "LO", "MAKER")
    return dataset


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_every_instance_says_the_right_patient_and_all_else_is_as_it_was(
    node: Node, correct: Callable[..., int], syntax: str
) -> None:
    before = with_extras()
    raw = encoded(before, implicit=syntax == IMPLICIT, little=syntax != BIG)
    if syntax == DEFLATED:
        import zlib

        stream = zlib.compressobj(wbits=-15)
        raw = stream.compress(raw) + stream.flush()
    node.ingest.store([raw], syntax, "CT1")
    correct({**RIGHT, "IssuerOfPatientID": "CLINIC"})
    after = served(node)
    assert (str(after.PatientName), after.PatientID, after.PatientBirthDate) == (
        "Right^Person",
        "P77",
        "19800229",
    )
    assert (after.IssuerOfPatientID, after.PatientSex) == ("CLINIC", "M")
    assert "OtherPatientIDsSequence" not in after
    assert after.PixelData == before.PixelData
    assert after[0x00091010].value == b"\1\2\3\4"
    assert after.RequestAttributesSequence[0].RequestedProcedureDescription == "Schädel"
    (item,) = after.OriginalAttributesSequence
    (was,) = item.ModifiedAttributesSequence
    assert (was.PatientID, str(was.PatientName), was.PatientBirthDate) == ("P1", "Müller^Jörg", "19700131")
    assert was.OtherPatientIDsSequence[0].PatientID == "OLD1"
    assert was.IssuerOfPatientID in ("", None)
    assert (item.ModifyingSystem, item.ReasonForTheAttributeModification) == ("XINGLIN", "CORRECT")
    assert item.AttributeModificationDateTime == f"{node.clock():%Y%m%d%H%M%S.%f}+0000"
    changed = {"PatientName", "PatientID", "PatientBirthDate", "IssuerOfPatientID"}
    gone = {"OtherPatientIDsSequence", "OriginalAttributesSequence"}
    for element in before:
        if element.keyword not in changed | gone:
            assert after[element.tag].value == element.value, element.keyword
    assert node.kept(f"{STUDY}.1.1")[0] == raw  # what came is the older version
    assert node.rows(
        "SELECT patient_id, issuer, name_alphabetic, birth_date::text, attributes ? '00101002',"
        " attributes #>> '{00100020,Value,0}' FROM dicom_study"
    ) == [("P77", "local:CLINIC", "right^person", "1980-02-29", False, "P77")]
    assert [row[0] for row in node.rows("SELECT applied_at IS NOT NULL FROM dicom_correction")] == [True]


def test_a_correction_is_made_once(node: Node, correct: Callable[..., int]) -> None:
    node.add(ct(number=1), ct(number=2))
    assert correct(RIGHT) == 4  # two are stored anew, and two are found to be right
    assert correct() == 0
    assert node.rows("SELECT count(*), max(version) FROM dicom_instance") == [(4, 2)]
    assert correct(RIGHT) == 2
    assert node.rows("SELECT count(*), max(version) FROM dicom_instance") == [(4, 2)]


def test_a_second_correction_adds_to_what_stood_there(node: Node, correct: Callable[..., int]) -> None:
    node.add(ct())
    correct(RIGHT)
    correct({"PatientID": "P88"})
    after = served(node)
    assert (after.PatientID, str(after.PatientName)) == ("P88", "Right^Person")
    assert [one.ModifiedAttributesSequence[0].PatientID for one in after.OriginalAttributesSequence] == [
        "P1",
        "P77",
    ]


def test_instances_that_come_later_are_corrected_too(node: Node, correct: Callable[..., int]) -> None:
    node.add(ct(number=1))
    correct(RIGHT)
    node.add(ct(number=2))
    with node.engine.connection() as connection:
        assert correction.reopen(connection.cursor(), STUDY)
        connection.commit()
    correct()
    assert served(node, f"{STUDY}.1.2").PatientID == "P77"
    with node.engine.connection() as connection:
        assert not correction.reopen(connection.cursor(), STUDY)
    outcome = node.ingest.store([encoded(ct(number=1))], EXPLICIT, "CT1")  # what came first, once more
    assert outcome.verdict is Verdict.DUPLICATE
    assert served(node).PatientID == "P77"


@pytest.mark.parametrize(
    ("declared", "text"),
    [("ISO_IR 100", "李^明"), (None, "Müller^Jörg"), ("ISO_IR 192", "李^明"), ("GB18030", "李^明")],
)
def test_a_name_that_the_character_set_cannot_hold_makes_the_data_set_unicode(
    node: Node, correct: Callable[..., int], declared: str | None, text: str
) -> None:
    plain = {} if declared else {"PatientName": "Plain^Name"}
    dataset = ct(
        SpecificCharacterSet=declared, StudyDescription="Knie" if declared is None else "Knie ä"[:6], **plain
    )
    if declared in ("ISO_IR 100", None):
        dataset.RequestAttributesSequence = Sequence([Dataset()])
        dataset.RequestAttributesSequence[0].RequestedProcedureDescription = (
            "Kopf" if declared is None else "Schädel"
        )
    if declared == "GB18030":
        dataset.StudyDescription = "膝盖"
    node.ingest.store([encoded(dataset)], EXPLICIT, "CT1")
    correct({"PatientName": f"Li^Ming={text}"})
    after = served(node)
    assert str(after.PatientName) == f"Li^Ming={text}"
    assert after.SpecificCharacterSet == ("GB18030" if declared == "GB18030" else "ISO_IR 192")
    assert after.StudyDescription == dataset.StudyDescription
    assert after.PixelData == dataset.PixelData
    was = after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert str(was.PatientName) == str(dataset.PatientName)


def test_what_is_corrected_passes_dciodvfy_as_before(
    node: Node, correct: Callable[..., int], tmp_path: Path
) -> None:
    def complaints(path: Path) -> list[str]:
        try:
            found = subprocess.run(
                ["/usr/bin/dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            pytest.skip("dicom3tools is not installed")
        return sorted(line for line in found.stderr.splitlines() if "rror" in line)

    node.add(ct())
    (path,) = node.files.kept.rglob("*.dcm")
    before = complaints(path)
    correct(RIGHT)
    (after,) = set(node.files.kept.rglob("*.dcm")) - {path}
    assert complaints(after) == before


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"StudyDescription": "x"},
        {"PatientID": ""},
        {"PatientID": "a\\b"},
        {"PatientSex": "W"},
        {"PatientBirthDate": "19801340"},
        {"PatientName": "x" * 65},
    ],
)
def test_what_cannot_be_corrected_is_refused(
    node: Node, correct: Callable[..., int], wanted: dict[str, str]
) -> None:
    node.add(ct())
    with pytest.raises(Invalid):
        correct(wanted)


def test_a_study_that_is_not_here_cannot_be_corrected(node: Node, correct: Callable[..., int]) -> None:
    with pytest.raises(NotFound):
        correct(RIGHT, study="9.9")


def test_a_value_that_is_cleared_is_gone_everywhere(node: Node, correct: Callable[..., int]) -> None:
    node.add(ct())
    correct({"PatientBirthDate": "", "AccessionNumber": ""})
    after = served(node)
    assert (after.PatientBirthDate, after.AccessionNumber) == ("", "")
    assert node.rows("SELECT birth_date, accession FROM dicom_study") == [(None, "")]


def test_the_rewritten_bytes_read_back_by_pydicom(node: Node, correct: Callable[..., int]) -> None:
    node.add(ct())
    correct(RIGHT)
    (row,) = node.rows("SELECT encode(hash, 'hex') FROM dicom_instance WHERE current")
    raw = node.data_set(row[0])
    again = pydicom.dcmread(io.BytesIO(raw), force=True)
    assert encoded(again) == raw
