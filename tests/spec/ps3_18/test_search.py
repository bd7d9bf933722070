"""PS3.18 10.6 and 8.3.4: QIDO-RS, with the matching of PS3.4 C.2.2.2."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask.testing import FlaskClient
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import ADDRESS, Node
from tests.support.server import wait_for

S1, S2, S3 = (f"{ROOT_UID}.{n}" for n in (1, 2, 3))


@pytest.fixture
def archive(node: Node) -> Node:
    """Three studies: 1 with two series, 2 in Japanese with an MR series, 3 of long ago."""
    node.add(ct(1, 1, 1), ct(1, 1, 2), ct(1, 2, 1, Modality="SR"))
    node.add(
        ct(
            2,
            Modality="MR",
            SpecificCharacterSet=["", "ISO 2022 IR 87"],
            PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
            StudyDate="20250615",
            StudyTime="120000.5",
            PatientBirthDate="",
        )
    )
    request = Dataset()
    request.ScheduledProcedureStepID = "SPS7"
    request.RequestedProcedureID = "RP7"
    node.add(
        ct(3, StudyDate="19991231", PatientName="Abbott^Ann", RequestAttributesSequence=Sequence([request]))
    )
    return node


def search(web: FlaskClient, path: str, **parameters: str) -> list[dict[str, Any]]:
    answer = web.get(f"/dicom-web{path}?{urlencode(parameters)}")
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "application/dicom+json"
    results: list[dict[str, Any]] = answer.json
    return results


def uids(results: list[dict[str, Any]]) -> list[str]:
    return [one["0020000D"]["Value"][0] for one in results]


@pytest.mark.clause("PS3.18 10.6.3.3", "a study's answer holds the attributes of table 10.6.3-3")
def test_a_study_as_it_is_answered(archive: Node, web: FlaskClient) -> None:
    (study,) = search(web, "/studies", StudyInstanceUID=S1)
    assert study == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20260102"]},
        "00080030": {"vr": "TM", "Value": ["030405"]},
        "00080050": {"vr": "SH", "Value": ["A1"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00080090": {"vr": "PN"},
        "00081030": {"vr": "LO", "Value": ["Thorax"]},
        "00081190": {"vr": "UR", "Value": [f"{ADDRESS}/studies/{S1}"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00100030": {"vr": "DA", "Value": ["19700131"]},
        "00100040": {"vr": "CS", "Value": ["M"]},
        "0020000D": {"vr": "UI", "Value": [S1]},
        "00200010": {"vr": "SH", "Value": ["1"]},
        "00201206": {"vr": "IS", "Value": [2]},
        "00201208": {"vr": "IS", "Value": [3]},
    }


@pytest.mark.clause("PS3.4 C.2.2.2", "single value, wild card, range, list of UIDs, universal matching")
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, [S1, S2, S3]),
        ({"PatientID": "P2"}, [S2]),
        ({"00100020": "P2"}, [S2]),
        ({"PatientID": "P?"}, [S1, S2, S3]),
        ({"PatientID": "p2"}, []),
        ({"PatientID": "*"}, [S1, S2, S3]),
        ({"PatientID": "P_"}, []),
        ({"PatientName": "abb*"}, [S3]),
        ({"PatientName": "muller^jorg"}, [S1]),
        ({"PatientName": "MÜLLER*"}, [S1]),
        ({"PatientName": "*an*"}, [S3]),
        ({"PatientName": "山田*"}, [S2]),
        ({"PatientName": "やまだ^たろう"}, [S2]),
        ({"PatientName": "Yamada"}, []),
        ({"StudyDate": "20260102"}, [S1]),
        ({"StudyDate": "20250101-20251231"}, [S2]),
        ({"StudyDate": "-20250615"}, [S2, S3]),
        ({"StudyDate": "20250615-"}, [S1, S2]),
        ({"StudyTime": "1200-1230"}, [S2]),
        ({"StudyTime": "0304"}, [S1, S3]),
        ({"StudyInstanceUID": f"{S1},{S3}"}, [S1, S3]),
        ({"StudyInstanceUID": f"{S1}\\{S3}"}, [S1, S3]),
        ({"AccessionNumber": "A3"}, [S3]),
        ({"ModalitiesInStudy": "MR"}, [S2]),
        ({"ModalitiesInStudy": "SR\\MR"}, [S1, S2]),
        ({"PatientBirthDate": "19700131"}, [S1, S3]),
        ({"StudyDescription": "Tho*"}, [S1, S2, S3]),
        ({"PatientSex": "F"}, []),
        ({"PatientSex": ""}, [S1, S2, S3]),
        ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.2"}, [S1, S2, S3]),
        ({"PatientID": "P2", "StudyDate": "19991231"}, []),
        ({"PatientName": "'; DROP TABLE dicom_study; --"}, []),
        ({"PatientName": "100%"}, []),
    ],
)
def test_matching_of_studies(
    archive: Node, web: FlaskClient, parameters: dict[str, str], expected: list[str]
) -> None:
    assert uids(search(web, "/studies", **parameters)) == expected


def test_names_come_out_in_all_their_groups(archive: Node, web: FlaskClient) -> None:
    (study,) = search(web, "/studies", PatientID="P2")
    assert study["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]


@pytest.mark.parametrize(
    ("path", "parameters", "expected"),
    [
        (f"/studies/{S1}/series", {}, [1, 2]),
        (f"/studies/{S1}/series", {"Modality": "SR"}, [2]),
        (f"/studies/{S1}/series", {"SeriesNumber": "1"}, [1]),
        (f"/studies/{S1}/series", {"SeriesDescription": "*2"}, [2]),
        ("/series", {"PatientID": "P1"}, [1, 2]),
        ("/series", {"RequestAttributesSequence.ScheduledProcedureStepID": "SPS?"}, [1]),
        ("/series", {"00400275.00401001": "RP8"}, []),
    ],
)
def test_matching_of_series(
    archive: Node, web: FlaskClient, path: str, parameters: dict[str, str], expected: list[int]
) -> None:
    found = search(web, path, **parameters)
    assert [one["00200011"]["Value"][0] for one in found] == expected


def test_a_series_within_its_study_does_not_repeat_the_study(archive: Node, web: FlaskClient) -> None:
    within = search(web, f"/studies/{S1}/series")[0]
    anywhere = search(web, "/series", SeriesInstanceUID=f"{S1}.1")[0]
    assert "00100020" not in within
    assert anywhere["00100020"]["Value"] == ["P1"]
    assert within["00201209"]["Value"] == [2]
    assert within["00081190"]["Value"] == [f"{ADDRESS}/studies/{S1}/series/{S1}.1"]


def test_instances(archive: Node, web: FlaskClient) -> None:
    found = search(web, f"/studies/{S1}/series/{S1}.1/instances")
    assert [one["00200013"]["Value"][0] for one in found] == [1, 2]
    assert found[0]["00280010"]["Value"] == [64]
    assert found[0]["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    assert len(search(web, f"/studies/{S1}/instances")) == 3
    assert len(search(web, "/instances", SOPInstanceUID=f"{S1}.1.2")) == 1
    assert len(search(web, "/instances", Rows="64", PatientName="abbott*")) == 1


@pytest.mark.clause("PS3.18 8.3.4.4", "limit and offset give pages in a stable order")
def test_pages_do_not_overlap(archive: Node, web: FlaskClient) -> None:
    pages = [uids(search(web, "/studies", limit="1", offset=str(offset))) for offset in range(4)]
    assert pages == [[S1], [S2], [S3], []]
    answer = web.get("/dicom-web/studies?limit=1")
    assert "There are 2 additional results" in answer.headers["Warning"]
    assert answer.headers["X-Total-Count"] == "3"


@pytest.mark.clause("PS3.18 8.3.4.2", "fuzzymatching finds names by sound, beginning and likeness")
def test_fuzzymatching(archive: Node, web: FlaskClient) -> None:
    assert uids(search(web, "/studies", PatientName="abot")) == []
    assert uids(search(web, "/studies", PatientName="abot", fuzzymatching="true")) == [S3]
    assert uids(search(web, "/studies", PatientName="Joerg Mueller", fuzzymatching="true")) == [S1]
    assert uids(search(web, "/studies", PatientName="abot", fuzzymatching="false")) == []
    assert web.get("/dicom-web/studies?fuzzymatching=perhaps").status_code == 400


@pytest.mark.clause("PS3.18 8.3.4", "date and time are matched together")
def test_dates_with_times(archive: Node, web: FlaskClient) -> None:
    span = {"StudyDate": "20250615-20260102", "StudyTime": "110000-030405"}
    assert uids(search(web, "/studies", **span)) == [S1, S2]
    assert uids(search(web, "/studies", **{**span, "StudyTime": "120001-030404"})) == []
    there = {"StudyDate": "20250615", "StudyTime": "1400-1401", "TimezoneOffsetFromUTC": "+0200"}
    assert uids(search(web, "/studies", **there)) == [S2]
    assert web.get("/dicom-web/studies?TimezoneOffsetFromUTC=MEZ").status_code == 400


def test_pages_go_on_behind_the_last_row(archive: Node, web: FlaskClient) -> None:
    for path, count in (("/instances", 5), ("/series", 4), ("/studies", 3)):
        whole = search(web, path, limit="100")
        assert len(whole) == count
        pages = [search(web, path, limit="2", offset=str(offset)) for offset in range(0, count, 2)]
        assert [one for page in pages for one in page] == whole
        assert search(web, path, limit="2", offset=str(count + 3)) == []


def test_the_same_answer_is_not_sent_twice(archive: Node, web: FlaskClient) -> None:
    first = web.get("/dicom-web/studies")
    again = web.get("/dicom-web/studies", headers={"If-None-Match": f'"x", W/{first.headers["ETag"]}'})
    assert (again.status_code, again.data) == (304, b"")
    assert first.headers["X-Total-Count"] == "3"
    archive.add(ct(4))
    other = web.get("/dicom-web/studies", headers={"If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200
    assert other.headers["ETag"] != first.headers["ETag"]


def test_parts_of_sequences_are_included_and_matched_in_one_item(archive: Node, web: FlaskClient) -> None:
    path = "RequestAttributesSequence"
    (found,) = search(
        web, "/instances", SeriesInstanceUID=f"{S3}.1", includefield=f"{path}.RequestedProcedureID"
    )
    assert found["00400275"]["Value"] == [{"00401001": {"vr": "SH", "Value": ["RP7"]}}]
    both = {f"{path}.ScheduledProcedureStepID": "SPS7", f"{path}.RequestedProcedureID": "RP7"}
    assert len(search(web, "/series", **both)) == 1
    assert search(web, "/series", **{**both, f"{path}.RequestedProcedureID": "RP6"}) == []


def test_what_is_counted_is_included_when_it_is_asked_for(archive: Node, web: FlaskClient) -> None:
    (found,) = search(
        web, "/studies", StudyInstanceUID=S1, includefield="NumberOfPatientRelatedStudies,SOPClassesInStudy"
    )
    assert found["00201200"]["Value"] == [1]
    assert found["00080062"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]


def test_a_limit_that_is_too_high_is_lowered_and_said(archive: Node, web: FlaskClient) -> None:
    answer = web.get("/dicom-web/studies?limit=1000000&includefield=PixelData")
    assert len(answer.json) == 3
    warnings = answer.headers.getlist("Warning")
    assert any("lowered to 5000" in one for one in warnings)
    assert any("PixelData cannot be included" in one for one in warnings)


@pytest.mark.clause("PS3.18 8.3.4.3", "includefield adds attributes; all gives everything of the level")
def test_includefield(archive: Node, web: FlaskClient) -> None:
    (plain,) = search(web, "/series", SeriesInstanceUID=f"{S3}.1")
    assert "00080070" not in plain
    (more,) = search(web, "/series", SeriesInstanceUID=f"{S3}.1", includefield="Manufacturer,00080080")
    assert more["00080070"] == {"vr": "LO"}
    (everything,) = search(web, "/instances", SOPInstanceUID=f"{S3}.1.1", includefield="all")
    assert everything["00281052"]["Value"] == [-1024]


def test_a_key_of_a_lower_level_is_left_out_and_said(archive: Node, web: FlaskClient) -> None:
    answer = web.get("/dicom-web/studies?Modality=MR")
    assert len(answer.json) == 3
    assert "Modality is not matched" in answer.headers["Warning"]


@pytest.mark.parametrize(
    "query",
    [
        "Nonsense=1",
        "limit=ten",
        "offset=-1",
        "StudyDate=yesterday",
        "StudyTime=99",
        "SeriesNumber=x",
        "a.b.c=1",
    ],
)
def test_what_cannot_be_understood_is_a_400_that_says_why(
    archive: Node, web: FlaskClient, query: str
) -> None:
    answer = web.get(f"/dicom-web/instances?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json["resourceType"] == "OperationOutcome"
    assert query.partition("=")[2] in answer.text or query.partition("=")[0] in answer.text


def test_no_match_is_an_empty_list(archive: Node, web: FlaskClient) -> None:
    assert search(web, "/studies", PatientID=quote("nobody")) == []
    assert web.get("/dicom-web/studies", headers={"Accept": "text/html"}).status_code == 406
    assert web.get("/dicom-web/nonsense").status_code == 404


@pytest.mark.clause("PS3.15 A.5.3.10", "a query is written down: who asked, and what")
def test_a_search_is_written_down(archive: Node, web: FlaskClient) -> None:
    search(web, "/studies", PatientID="WRITTEN")
    sql = "SELECT event FROM dicom_audit WHERE event ->> 'query' = '/dicom-web/studies PatientID=WRITTEN'"
    ((event,),) = wait_for(lambda: archive.rows(sql))
    assert event["kind"] == "110112"
    assert event["source"] == {"address": "127.0.0.1", "requestor": True}


@pytest.mark.clause("PS3.18 10.6.3.2", "results as XML, one part each")
def test_results_as_xml(archive: Node, web: FlaskClient) -> None:
    wanted = {"Accept": 'multipart/related; type="application/dicom+xml", application/dicom+json;q=0.5'}
    answer = web.get("/dicom-web/studies?PatientID=P*", headers=wanted)
    assert answer.content_type.startswith('multipart/related; type="application/dicom+xml"; boundary=')
    boundary = answer.content_type.rpartition("boundary=")[2].encode()
    parts = answer.data.split(b"--" + boundary)[1:-1]
    found = [part.partition(b"\r\n\r\n")[2] for part in parts]
    assert len(found) == 3
    assert all(b"<NativeDicomModel" in document for document in found)
    assert S1.encode() in found[0]
    again = web.get(
        "/dicom-web/studies?PatientID=P*", headers={**wanted, "If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304
