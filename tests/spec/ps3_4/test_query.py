"""PS3.4 C.4.1 and C.6: C-FIND, asked by pynetdicom, dcmtk and gdcm on real sockets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE

from dicom_node.dimse import peers
from dicom_node.dimse.application_entity import ApplicationEntity
from dicom_node.dimse.peers import Peer
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_fixtures import Node
from tests.support.query_archive import (
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    archive,
    c_find,
    identifier,
    study,
)
from tests.support.server import wait_for

S1, S2, S3 = (study(number) for number in (1, 2, 3))
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def _kept() -> list[Dataset]:
    request = Dataset()
    request.ScheduledProcedureStepID = "SPS7"
    request.RequestedProcedureID = "RP7"
    return [
        ct(1, 1, 1, pixels=2),
        ct(1, 1, 2, pixels=2),
        ct(1, 2, 1, pixels=2, Modality="SR"),
        ct(2, pixels=2, Modality="MR", SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=JAPANESE,
           StudyDate="20250615", StudyTime="233000", PatientID="P1", TimezoneOffsetFromUTC="+0200"),
        ct(3, pixels=2, StudyDate="19991231", StudyTime="0100", PatientName="Abbott^Ann",
           RequestAttributesSequence=Sequence([request])),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def kept(
    _template: tuple[str, str], worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("query")
    with archive(_template, f"{_template[1]}_{worker_id}_query", folder, _kept()) as node:
        yield node


@pytest.fixture(scope="module")
def port(kept: Node) -> Iterator[int]:
    entity = ApplicationEntity(kept.config, kept.engine, kept.ingest)
    yield entity.start()
    entity.stop()


def uids(found: list[Dataset]) -> set[str]:
    return {one.StudyInstanceUID for one in found}


@pytest.mark.clause(
    "PS3.4 C.4.1.1.3", "an answer holds the keys asked for, level, Retrieve AE Title and unique key"
)
def test_a_study_as_it_is_answered(port: int) -> None:
    asked = identifier(
        "STUDY", PatientID="P1", PatientName="Müller*", StudyDate="", ModalitiesInStudy="", StudyID="",
        ReferringPhysicianName="", NumberOfStudyRelatedSeries="", NumberOfStudyRelatedInstances="",
        NumberOfPatientRelatedStudies="", SOPClassesInStudy="",
    )  # fmt: skip
    (found,), statuses, _ = c_find(port, asked)
    assert statuses == [0xFF00, 0x0000]
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert (found.QueryRetrieveLevel, found.RetrieveAETitle, found.InstanceAvailability) == (
        "STUDY", "XINGLIN", "ONLINE",
    )  # fmt: skip
    assert (found.StudyInstanceUID, str(found.PatientName), found.StudyDate) == (
        S1,
        "Müller^Jörg",
        "20260102",
    )
    assert list(found.ModalitiesInStudy) == ["CT", "SR"]
    assert (found.NumberOfStudyRelatedSeries, found.NumberOfStudyRelatedInstances) == (2, 3)
    assert found.NumberOfPatientRelatedStudies == 2
    assert found.SOPClassesInStudy == "1.2.840.10008.5.1.4.1.1.2"
    assert found["ReferringPhysicianName"].is_empty  # supported, without a value
    assert "SeriesDescription" not in found


@pytest.mark.clause(
    "PS3.4 C.2.2.2", "single value, list of UIDs, universal, wild card, range and sequence matching"
)
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {S1, S2, S3}),
        ({"PatientName": "*"}, {S1, S2, S3}),
        ({"PatientName": "MUELLER*"}, set()),
        ({"PatientName": "muller^j?rg"}, {S1}),
        ({"PatientName": "山田*"}, {S2}),
        ({"PatientName": JAPANESE}, {S2}),
        ({"PatientName": "Yamada^Tarou=山田^花子"}, set()),
        ({"AccessionNumber": "A?"}, {S1, S2, S3}),
        ({"StudyInstanceUID": [S1, S3]}, {S1, S3}),
        ({"StudyDate": "20250101-20251231"}, {S2}),
        ({"StudyDate": "-20250615"}, {S2, S3}),
        ({"StudyTime": "0000-0130"}, {S3}),
        ({"StudyDate": "19990101-20260101", "StudyTime": "0000-0130"}, {S3}),
        ({"ModalitiesInStudy": ["SR", "MR"]}, {S1, S2}),
        ({"PatientBirthDate": "19700131", "StudyDescription": "Tho*x"}, {S1, S2, S3}),
    ],
)  # fmt: skip
def test_matching(port: int, keys: dict[str, Any], expected: set[str]) -> None:
    found, statuses, _ = c_find(port, identifier("STUDY", **keys))
    assert uids(found) == expected
    assert statuses == [0xFF00] * len(expected) + [0]


@pytest.mark.clause("PS3.4 C.6.1.1", "patient, study, series and image level in the patient root")
def test_every_level_of_the_patient_root(port: int) -> None:
    asked = identifier("PATIENT", PatientID="P1", PatientName="", NumberOfPatientRelatedStudies="",
                       NumberOfPatientRelatedSeries="", NumberOfPatientRelatedInstances="")  # fmt: skip
    (patient,), statuses, _ = c_find(port, asked, PATIENT_ROOT)
    assert statuses == [0xFF00, 0]
    assert (patient.NumberOfPatientRelatedStudies, patient.NumberOfPatientRelatedSeries) == (2, 3)
    assert patient.NumberOfPatientRelatedInstances == 4
    found, _, _ = c_find(port, identifier("STUDY", PatientID="P1", StudyInstanceUID=""), PATIENT_ROOT)
    assert uids(found) == {S1, S2}
    asked = identifier("SERIES", PatientID="P1", StudyInstanceUID=S1, SeriesInstanceUID="", Modality="",
                       SeriesNumber="", NumberOfSeriesRelatedInstances="")  # fmt: skip
    found, _, _ = c_find(port, asked, PATIENT_ROOT)
    assert [(one.SeriesNumber, one.Modality, one.NumberOfSeriesRelatedInstances) for one in found] == [
        (1, "CT", 2), (2, "SR", 1),
    ]  # fmt: skip
    asked = identifier("IMAGE", PatientID="P1", StudyInstanceUID=S1, SeriesInstanceUID=f"{S1}.1",
                       SOPInstanceUID="", InstanceNumber="", Rows="")  # fmt: skip
    found, _, _ = c_find(port, asked, PATIENT_ROOT)
    assert [(one.SOPInstanceUID, one.InstanceNumber, one.Rows) for one in found] == [
        (f"{S1}.1.1", 1, 2), (f"{S1}.1.2", 2, 2),
    ]  # fmt: skip


def test_patient_and_study_only(port: int) -> None:
    found, _, _ = c_find(port, identifier("PATIENT", PatientID="*", PatientName=""), PATIENT_STUDY_ONLY)
    assert {one.PatientID for one in found} == {"P1", "P3"}
    _, statuses, _ = c_find(port, identifier("SERIES", StudyInstanceUID=S1), PATIENT_STUDY_ONLY)
    assert statuses == [0xA900]


@pytest.mark.clause("PS3.4 C.4.1.2.1", "hierarchical: unique keys above the level have one value, else A900")
@pytest.mark.parametrize(
    ("root", "level", "keys", "offending"),
    [
        (STUDY_ROOT, "", {}, 0x00080052),
        (STUDY_ROOT, "PATIENT", {"PatientID": "P1"}, 0x00080052),
        (STUDY_ROOT, "FRAME", {}, 0x00080052),
        (PATIENT_ROOT, "STUDY", {"StudyInstanceUID": ""}, 0x00100020),
        (PATIENT_ROOT, "STUDY", {"PatientID": "P*"}, 0x00100020),
        (STUDY_ROOT, "SERIES", {"PatientID": "P1"}, 0x0020000D),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": [S1, S2]}, 0x0020000D),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": S1}, 0x0020000E),
    ],
)
def test_identifiers_of_another_class(
    port: int, root: str, level: str, keys: dict[str, Any], offending: int
) -> None:
    found, statuses, last = c_find(port, identifier(level, **keys), root)
    assert (found, statuses) == ([], [0xA900])
    assert last.OffendingElement == offending
    assert last.ErrorComment


@pytest.mark.clause("PS3.4 C.4.1.2.2", "relational queries, by extended negotiation")
def test_relational(port: int) -> None:
    item = Dataset()
    item.ScheduledProcedureStepID = "SPS?"
    item.RequestedProcedureID = ""
    asked = identifier("SERIES", SeriesInstanceUID="", RequestAttributesSequence=Sequence([item]))
    (found,), statuses, _ = c_find(port, asked, options=b"\1")
    assert (found.SeriesInstanceUID, statuses) == (f"{S3}.1", [0xFF00, 0])
    (answered,) = found.RequestAttributesSequence
    assert (answered.ScheduledProcedureStepID, answered.RequestedProcedureID) == ("SPS7", "RP7")
    item.RequestedProcedureID = "RP8"  # both keys in the same item
    assert c_find(port, asked, options=b"\1")[1] == [0]
    asked = identifier("IMAGE", PatientID="P1", Modality="CT", SOPInstanceUID="", StudyInstanceUID="")
    assert len(c_find(port, asked, options=b"\1")[0]) == 2
    assert c_find(port, asked)[1] == [0xA900]


@pytest.mark.clause("PS3.4 C.2.2.2.5", "date and time as one range, when it is negotiated")
def test_combined_date_and_time(port: int) -> None:
    asked = identifier("STUDY", StudyDate="20250615-20260102", StudyTime="2200-0305", StudyInstanceUID="")
    assert uids(c_find(port, asked, options=b"\0\1")[0]) == {S1, S2}
    assert uids(c_find(port, asked)[0]) == set()  # by themselves no time lies between 22:00 and 03:05


@pytest.mark.clause("PS3.4 C.5.1.1", "time zone query adjustment, when it is negotiated")
def test_time_zones(port: int) -> None:
    asked = identifier("STUDY", StudyDate="20250616", StudyTime="", StudyInstanceUID="",
                       TimezoneOffsetFromUTC="+0300")  # fmt: skip
    (found,), _, _ = c_find(port, asked, options=b"\0\0\0\1")  # 23:30 at +0200 is half past midnight there
    assert (found.StudyInstanceUID, found.StudyDate, found.StudyTime) == (S2, "20250616", "003000")
    assert found.TimezoneOffsetFromUTC == "+0300"
    assert c_find(port, asked)[0] == []


@pytest.mark.clause("PS3.4 C.5.1.1", "fuzzy semantic matching of names, when it is negotiated")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Abot", {S3}), ("Ann^Abbott", {S3}), ("Abbot^An*", {S3}), ("Mueller", {S1}), ("Miller^Jorg", {S1}),
        ("Jamada", {S2}), ("山", {S2}), ("Baker", set()), ("Abbott^Zoe", set()), ("Abbotts", {S3}),
    ],
)  # fmt: skip
def test_fuzzy_names(port: int, name: str, expected: set[str]) -> None:
    asked = identifier("STUDY", PatientName=name, StudyInstanceUID="")
    assert uids(c_find(port, asked, options=b"\0\0\1")[0]) == expected


@pytest.mark.clause("PS3.4 C.4.1.1.4", "FF01 when an optional key is not supported")
def test_keys_that_are_not_known_here(port: int) -> None:
    asked = identifier("STUDY", StudyInstanceUID=S1, RequestedProcedurePriority="", Modality="MR")
    (found,), statuses, _ = c_find(port, asked)
    assert statuses == [0xFF01, 0]
    assert "RequestedProcedurePriority" not in found
    assert "Modality" not in found


def test_a_value_that_is_none_is_refused_in_words(port: int) -> None:
    found, statuses, last = c_find(port, identifier("STUDY", StudyDate="20261340"))
    assert (found, statuses) == ([], [0xC000])
    assert "20261340" in last.ErrorComment


@pytest.mark.clause("PS3.15 A.5.3.10", "a query is written down: who asked, and what")
def test_a_query_is_written_down(port: int, kept: Node) -> None:
    kept.rows("SELECT 1")
    c_find(port, identifier("STUDY", StudyInstanceUID=S3, PatientName=""), title="WHO")
    c_find(port, identifier("SERIES"), title="WHO")
    sql = (
        "SELECT event FROM dicom_audit WHERE event #>> '{source,ae}' = 'WHO' AND event ->> 'kind' = '110112'"
        " ORDER BY pk"
    )
    rows = wait_for(lambda: len(found := kept.rows(sql)) == 2 and found)
    assert rows
    events = [event for (event,) in rows]
    assert [event["query"] for event in events] == [f"STUDY 0020000D={S3}", "SERIES"]
    assert [event["outcome"] for event in events] == ["0", "4"]
    assert events[1]["reason"] == "status A900"
    assert events[0]["sop_class"] == STUDY_ROOT


def test_too_many_matches_end_with_out_of_resources(kept: Node) -> None:
    entity = ApplicationEntity(replace(kept.config, dimse_find_limit=2), kept.engine, kept.ingest)
    try:
        found, statuses, last = c_find(entity.start(), identifier("STUDY", StudyInstanceUID=""))
        assert (len(found), statuses) == (2, [0xFF00, 0xFF00, 0xA700])
        assert "2 matches" in last.ErrorComment
    finally:
        entity.stop()


@pytest.mark.clause("PS3.4 C.4.1.3.2", "C-CANCEL ends the answers with FE00")
def test_cancel(kept: Node) -> None:
    kept.rows("SELECT 1")
    ae = AE("ASKER")
    ae.add_requested_context(STUDY_ROOT)
    entity = ApplicationEntity(kept.config, kept.engine, kept.ingest)
    try:
        association = ae.associate("127.0.0.1", entity.start(), ae_title="XINGLIN")
        association.send_c_cancel(7, context_id=1)  # before the request: it is not forgotten, or too early
        statuses = [
            one.Status for one, _ in association.send_c_find(identifier("STUDY"), STUDY_ROOT, msg_id=7)
        ]
        association.release()
    finally:
        entity.stop()
    assert statuses[-1] in (0x0000, 0xFE00)


def test_the_set_of_the_answer(port: int, kept: Node) -> None:
    asked = identifier("STUDY", StudyInstanceUID=S1, PatientName="", SpecificCharacterSet="ISO_IR 100")
    (found,), _, _ = c_find(port, asked)
    assert (found.SpecificCharacterSet, str(found.PatientName)) == ("ISO_IR 100", "Müller^Jörg")
    asked.StudyInstanceUID = S2  # Latin-1 cannot say it
    (found,), _, _ = c_find(port, asked)
    assert (found.SpecificCharacterSet, str(found.PatientName)) == ("ISO_IR 192", JAPANESE)
    peers.add(kept.engine, Peer("KANJI", "127.0.0.1", character_set=r"\ISO 2022 IR 87"), kept.clock)
    peers.add(kept.engine, Peer("ASKER", "127.0.0.1"), kept.clock)
    try:
        (found,), _, _ = c_find(port, asked, title="KANJI")
        assert list(found.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]
        assert str(found.PatientName) == JAPANESE
    finally:
        peers.remove(kept.engine, "KANJI")
        peers.remove(kept.engine, "ASKER")


@pytest.mark.clause("PS3.3 C.12.1.1.2", "names in every character set: asked in their own, answered in it")
@pytest.mark.parametrize("path", get_charset_files("*.dcm"), ids=lambda path: Path(path).stem)
def test_character_sets(port: int, kept: Node, path: str) -> None:
    source = dcmread(path, force=True)
    name, terms = source.get("PatientName"), source.get("SpecificCharacterSet")
    if not name or terms is None:
        pytest.skip("no name in this file")
    number = 1000 + int.from_bytes(Path(path).stem.encode()[-4:], "big") % 100_000
    made = ct(number, pixels=2, SpecificCharacterSet=terms, PatientName=name)
    kept.ingest.store([encoded(made)], "1.2.840.10008.1.2.1", "CT1")
    try:
        asked = identifier(
            "STUDY", PatientName=str(name), StudyInstanceUID="", SpecificCharacterSet=terms, PatientID=""
        )
        found, _, _ = c_find(port, asked)
        (one,) = [one for one in found if one.StudyInstanceUID == f"{ROOT_UID}.{number}"]
        assert one.SpecificCharacterSet == terms
        assert str(one.PatientName).rstrip("^=") == str(name).rstrip("^=")
    finally:
        with kept.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute("DELETE FROM dicom_instance WHERE study_pk = (SELECT pk FROM dicom_study"
                           " WHERE study_uid = %s)", (made.StudyInstanceUID,))  # fmt: skip
            cursor.execute("DELETE FROM dicom_study WHERE study_uid = %s", (made.StudyInstanceUID,))
            connection.commit()


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def _dcmtk(tool: str) -> str:
    path = f"/usr/bin/{tool}"
    if not os.access(path, os.X_OK):
        pytest.skip(f"dcmtk's {tool} is not installed")
    return path


@pytest.mark.parametrize("syntax", ["-x=", "-xe", "-xb", "-xi", "-xd"])
def test_findscu_of_dcmtk(port: int, tmp_path: Path, syntax: str) -> None:
    done = _run(
        _dcmtk("findscu"), syntax, "-S", "-X", "-od", tmp_path, "-aec", "XINGLIN", "-k", "0008,0052=STUDY",
        "-k", "PatientName=ABB*", "-k", "StudyDate=19990101-20001231", "-k", "StudyInstanceUID",
        "-k", "ModalitiesInStudy", "127.0.0.1", str(port),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = sorted(tmp_path.glob("rsp*.dcm"))
    found = dcmread(file, force=True)
    assert (found.StudyInstanceUID, found.ModalitiesInStudy) == (S3, "CT")


def test_findscu_of_dcmtk_cancels(port: int) -> None:
    done = _run(
        _dcmtk("findscu"), "-v", "-S", "--cancel", "1", "-aec", "XINGLIN", "-k", "0008,0052=STUDY", "-k",
        "StudyInstanceUID", "127.0.0.1", str(port),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_gdcmscu(port: int) -> None:
    done = _run(
        "gdcmscu", "-D", "--find", "--patientroot", "--patient", "--key", "10,20,P3", "--key", "10,10",
        "--call", "XINGLIN", "127.0.0.1", str(port),
    )  # fmt: skip
    # it falls over when it releases the association, after it has told what it got: one match, then success
    assert "C-Find was successful" in done.stderr
    assert re.search(r"\(US\) 65280 ", done.stderr)
