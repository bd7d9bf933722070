"""Results of QIDO-RS that nobody parsed on the way say what those say that were made of parsed rows."""

from __future__ import annotations

import json

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.dicomweb import qido
from dicom_node.dicomweb.archive import Archive
from dicom_node.instance import Level
from fhir_server.authorization.grant import Grant
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import ADDRESS, Node

STUDY = f"{ROOT_UID}.1"
SERIES = f"{STUDY}.1"

SEARCHES: list[tuple[Level, list[tuple[str, str]], str, str]] = [
    (Level.STUDY, [], "", ""),
    (Level.STUDY, [("PatientName", "*")], "", ""),
    (Level.STUDY, [("includefield", "SOPClassesInStudy,NumberOfPatientRelatedInstances")], "", ""),
    (Level.STUDY, [("includefield", "StudyDescription"), ("OtherPatientNames", "")], "", ""),
    (Level.STUDY, [("limit", "1"), ("offset", "1")], "", ""),
    (Level.STUDY, [("TimezoneOffsetFromUTC", "+0200"), ("StudyDate", "20250101-")], "", ""),
    (Level.SERIES, [], "", ""),
    (Level.SERIES, [("Modality", "CT"), ("includefield", "PatientName")], "", ""),
    (Level.SERIES, [("includefield", "RequestAttributesSequence")], STUDY, ""),
    (Level.INSTANCE, [], "", ""),
    (Level.INSTANCE, [("includefield", "00280010,SeriesDescription")], STUDY, ""),
    (Level.INSTANCE, [("includefield", "ImageType"), ("StudyInstanceUID", STUDY)], STUDY, SERIES),
]


@pytest.fixture
def archive(node: Node) -> Archive:
    request = Dataset()
    request.ScheduledProcedureStepID = "SPS7"
    node.add(ct(1, 1, 1), ct(1, 1, 2, ImageType=None), ct(1, 2, 1, Modality="SR", SeriesNumber=None))
    node.add(
        ct(
            2,
            SpecificCharacterSet=["", "ISO 2022 IR 87"],
            PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
            StudyDescription='quoted "so", with a \\ and a\ttab',
            StudyDate="20250615",
            PatientBirthDate=None,
            RequestAttributesSequence=Sequence([request]),
        )
    )
    return Archive(node.engine, node.files, ADDRESS, Grant.anonymous)


@pytest.mark.parametrize(("level", "parameters", "study", "series"), SEARCHES)
def test_both_ways_give_the_same(
    archive: Archive, level: Level, parameters: list[tuple[str, str]], study: str, series: str
) -> None:
    parsed = qido.search(archive, level, parameters, study, series)
    told = qido.search(archive, level, parameters, study, series, as_text=True)
    assert told.texts is not None
    assert [json.loads(text) for text in told.texts] == parsed.results != []
    assert [list(json.loads(text)) for text in told.texts] == [list(one) for one in parsed.results]
    assert (told.total, told.warnings) == (parsed.total, parsed.warnings)


@pytest.mark.parametrize("field", ["all", "RequestAttributesSequence.ScheduledProcedureStepID"])
def test_what_is_wanted_in_parts_is_parsed(archive: Archive, field: str) -> None:
    told = qido.search(archive, Level.SERIES, [("includefield", field)], as_text=True)
    assert told.texts is None
    assert told.results
