"""bridge: structured reports, documents and key objects become resources, once, and follow their versions."""

from __future__ import annotations

import base64
import hashlib
import random
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.lifecycle.removal import Target
from dicom_node.structured_report import content
from dicom_node.structured_report.measurements import MOST_MEASUREMENTS, found
from tests.rooms.dicom_node.test_bridge import STUDY, Fhir, fhir
from tests.rooms.dicom_node.test_bridge_decisions import Worker, remove, worker
from tests.support import dicom_reports as made
from tests.support.dicom_data import ROOT_UID, ct, file_of
from tests.support.dicom_fixtures import ADDRESS, Node

__all__ = ["fhir", "worker"]


def by_code(fhir: Fhir, value: str) -> dict[str, Any]:
    (one,) = [each for each in fhir.all("Observation") if each["code"]["coding"][0]["code"] == value]
    return one


def test_a_measurement_report_becomes_a_report_with_its_measurements(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    node.add(ct(), made.measurement_report())
    worker.rest()
    (report,) = fhir.all("DiagnosticReport")
    study = f"ImagingStudy/{fhir.study()['id']}"
    assert report["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}.50.1"}]
    assert (report["status"], report["code"]["coding"][0]["code"]) == ("final", "126000")
    assert report["imagingStudy"] == [{"reference": study}]
    assert report["conclusion"] == "Lesion of the liver <grown> & stable"
    assert report["resultsInterpreter"] == [{"display": "Rita Reader"}]
    assert report["performer"] == [{"display": "Hospital"}]
    assert report["issued"].startswith("2026-01-02T04:05:06")
    assert report["presentedForm"][0]["url"].endswith(f"/instances/{STUDY}.50.1")
    assert "Lesion of the liver &lt;grown&gt; &amp; stable" in report["text"]["div"]
    long_axis = by_code(fhir, "103339001")
    assert long_axis["valueQuantity"] == {
        "value": Decimal("12.5"),
        "unit": "millimeter",
        "system": "http://unitsofmeasure.org",
        "code": "mm",
    }
    assert long_axis["bodySite"]["coding"][0] == {
        "system": "http://snomed.info/sct",
        "code": "10200004",
        "display": "Liver",
    }
    assert long_axis["component"][0]["valueCodeableConcept"]["coding"][0]["code"] == "24028007"
    assert long_axis["method"]["coding"][0]["code"] == "126401"
    assert long_axis["derivedFrom"][0] == {"reference": study}
    assert long_axis["derivedFrom"][1]["identifier"]["value"] == f"urn:oid:{ROOT_UID}.1.1.1"
    assert long_axis["status"] == "final"
    mean = by_code(fhir, "112031")
    assert mean["valueQuantity"]["value"] == -17
    assert [one["code"]["coding"][0]["code"] for one in mean["component"]] == ["272741003", "121401"]
    assert by_code(fhir, "246112005")["valueCodeableConcept"]["text"] == "Severe"
    failed = by_code(fhir, "118565006")
    assert failed["dataAbsentReason"]["coding"][0]["code"] == "error"
    group = by_code(fhir, "121071")
    assert group["valueCodeableConcept"]["coding"][0]["code"] == "52988006"
    assert len(group["hasMember"]) == 3
    assert {"value": "Lesion 1", "type": {"text": "Tracking Identifier"}} in group["identifier"]
    assert len(report["result"]) == 2
    assert len(fhir.all("Observation")) == 6
    subjects = {one["subject"]["reference"] for one in (*fhir.all("Observation"), report)}
    assert subjects == {fhir.study()["subject"]["reference"]}


def test_a_new_version_updates_and_what_it_lacks_is_in_error(node: Node, fhir: Fhir, worker: Worker) -> None:
    node.add(ct(), made.measurement_report())
    worker.rest()
    before = {one["id"] for one in fhir.all("Observation")}
    later = made.measurement_report(longest="13.5")
    groups = later.ContentSequence[1].ContentSequence
    later.ContentSequence[1].ContentSequence = Sequence(groups[:1])
    node.add(later)
    worker.rest()
    assert {one["id"] for one in fhir.all("Observation")} == before
    assert by_code(fhir, "103339001")["valueQuantity"]["value"] == Decimal("13.5")
    states = sorted(one["status"] for one in fhir.all("Observation"))
    assert states == ["entered-in-error"] * 2 + ["final"] * 4
    assert len(fhir.all("DiagnosticReport")) == 1


def test_the_same_again_writes_nothing(node: Node, fhir: Fhir, worker: Worker) -> None:
    node.add(ct(), made.measurement_report(), made.pdf(), made.key_object())
    worker.rest()
    (report,) = fhir.all("DiagnosticReport")
    with node.engine.connection() as connection:  # as if nobody remembered that it was told
        connection.cursor().execute("DELETE FROM dicom_told_document")
        connection.cursor().execute(
            "INSERT INTO dicom_outbox (study_pk, written_at) SELECT pk, now() FROM dicom_study"
        )
        connection.commit()
    node.clock.advance(days=10_000)
    worker.rest()
    assert fhir.versions("DiagnosticReport", report["id"]) == 1
    for kind in ("Observation", "DocumentReference"):
        assert all(fhir.versions(kind, one["id"]) == 1 for one in fhir.all(kind))


def test_cad_findings_are_grouped_and_what_is_not_for_presentation_is_left_out(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    node.add(ct(), made.mammography_cad())
    worker.rest()
    feature, finding, certainty = (by_code(fhir, value) for value in ("111015", "111059", "111012"))
    assert feature["valueCodeableConcept"]["text"] == "Mass"
    assert feature["hasMember"] == [{"reference": f"Observation/{finding['id']}"}]
    assert finding["hasMember"] == [{"reference": f"Observation/{certainty['id']}"}]
    assert certainty["valueQuantity"] == {
        "value": 80,
        "unit": "percent",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    assert finding["derivedFrom"][1]["identifier"]["value"] == f"urn:oid:{ROOT_UID}.1.1.1"
    (report,) = fhir.all("DiagnosticReport")
    assert report["result"] == [{"reference": f"Observation/{feature['id']}"}]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "final"),
        ({"VerificationFlag": "UNVERIFIED"}, "preliminary"),
        ({"CompletionFlag": "PARTIAL"}, "partial"),
        ({"VerificationFlag": "UNVERIFIED", "PreliminaryFlag": "FINAL"}, "final"),
        ({"PreliminaryFlag": "PRELIMINARY"}, "preliminary"),
        ({"PredecessorDocumentsSequence": Sequence([Dataset()])}, "amended"),
    ],
)
def test_a_basic_text_report_has_its_conclusion_and_status(
    node: Node, fhir: Fhir, worker: Worker, changes: dict[str, Any], status: str
) -> None:
    node.add(ct(), made.basic_text(**changes))
    worker.rest()
    (report,) = fhir.all("DiagnosticReport")
    assert (report["status"], report["conclusion"]) == (status, "Normal")
    assert report["code"]["coding"][0] == {
        "system": "http://loinc.org",
        "code": "11528-7",
        "display": "Radiology Report",
    }
    assert "Nothing to be seen" in report["text"]["div"]
    assert not fhir.all("Observation")


@pytest.mark.parametrize("content_", [b"%PDF-1.4 hello", b"%PDF-1.4 odd!!"])
def test_a_pdf_becomes_a_document_that_can_be_fetched_and_verified(
    node: Node, fhir: Fhir, worker: Worker, web: Any, content_: bytes
) -> None:
    node.add(ct(), made.pdf(content_))
    worker.rest()
    (document,) = fhir.all("DocumentReference")
    attachment = document["content"][0]["attachment"]
    assert document["masterIdentifier"]["value"] == f"urn:oid:{STUDY}.60.1"
    assert document["type"]["coding"][0]["code"] == "18748-4"
    assert (attachment["contentType"], attachment["size"], attachment["title"]) == (
        "application/pdf",
        len(content_),
        "Letter",
    )
    assert attachment["hash"] == base64.b64encode(hashlib.sha1(content_).digest()).decode()
    path = attachment["url"].removeprefix(ADDRESS.removesuffix("/dicom-web"))
    answer = web.get(path, headers={"Accept": "*/*"})
    assert answer.status_code == 200
    assert content_ in answer.data
    assert document["context"]["related"] == [{"reference": f"ImagingStudy/{fhir.study()['id']}"}]


def test_key_objects_become_a_document_that_names_what_they_select(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    node.add(ct(), made.key_object())
    worker.rest()
    (document,) = fhir.all("DocumentReference")
    assert document["type"]["coding"][0]["code"] == "113000"
    assert document["description"] == "the lesion"
    assert document["context"]["related"][1]["identifier"]["value"] == f"urn:oid:{ROOT_UID}.1.1.1"
    assert document["content"][0]["attachment"]["contentType"] == "application/dicom"


def test_what_was_deleted_or_rejected_is_in_error_and_comes_back(
    node: Node, fhir: Fhir, worker: Worker
) -> None:
    node.add(ct(), made.measurement_report(), made.pdf())
    worker.rest()
    remove(node, Target(STUDY, f"{STUDY}.50"))
    worker.rest()
    assert {one["status"] for one in fhir.all("Observation")} == {"entered-in-error"}
    assert [one["status"] for one in fhir.all("DiagnosticReport")] == ["entered-in-error"]
    assert [one["status"] for one in fhir.all("DocumentReference")] == ["current"]
    pk = remove(node, Target(STUDY))
    worker.rest()
    assert [one["status"] for one in fhir.all("DocumentReference")] == ["entered-in-error"]
    from dicom_node.lifecycle import restore
    from tests.rooms.dicom_node.test_bridge_decisions import GRANT

    restore.lift(node.engine, GRANT, pk, node.clock())
    worker.rest()
    assert [one["status"] for one in fhir.all("DocumentReference")] == ["current"]


def test_a_subject_that_changes_changes_everywhere(node: Node, fhir: Fhir, worker: Worker) -> None:
    from tests.rooms.dicom_node.test_bridge import patient

    node.add(ct(), made.measurement_report(), made.pdf())
    worker.rest()
    real = fhir.add(patient())
    worker.rest()
    for kind in ("DiagnosticReport", "Observation", "DocumentReference", "ImagingStudy"):
        assert {one["subject"]["reference"] for one in fhir.all(kind)} == {real}


def random_item(seed: random.Random, depth: int) -> Dataset:
    kind = seed.choice(["CONTAINER", "TEXT", "CODE", "NUM", "UIDREF", "IMAGE", "SCOORD", ""])
    names = [
        ("125007", "DCM", "Measurement Group"), ("121071", "DCM", "Finding"), ("111059", "DCM", "x"),
        ("363698007", "SCT", "Site"), ("112040", "DCM", "t"), ("A b", "99X", ""), ("", "", "words"), None,
        ("121072", "DCM", "Impressions"), ("1234567", "LN", "\x1b odd <&>"),
    ]  # fmt: skip
    values = {
        "TEXT": seed.choice(["", "words", "x" * 3000, "<b>&\x0b"]),
        "CODE": seed.choice([("1", "SCT", "one"), ("", "", ""), ("x y", "99LOCAL", "local")]),
        "NUM": seed.choice(
            [("1", made.MM), ("-1.5e-3", ("1", "UCUM", "no units")), (None, ("114000", "DCM", "NaN"))]
        ),
        "UIDREF": seed.choice(["1.2.3", "not a uid"]),
        "IMAGE": "1.2.3.4",
        "SCOORD": [1.0, 2.0],
    }
    children = [random_item(seed, depth - 1) for _ in range(seed.randrange(4) if depth else 0)]
    one = made.item(kind, seed.choice(names), values.get(kind), *children)
    if seed.random() < 0.1:
        one.ReferencedContentItemIdentifier = [1, 1]
    if seed.random() < 0.1:
        one.ObservationDateTime = seed.choice(["2026", "20260102030405+0100", "bad", "20261399"])
    return one


@pytest.mark.filterwarnings("ignore")
def test_whatever_a_report_holds_what_is_written_is_valid(node: Node, fhir: Fhir, worker: Worker) -> None:
    seed = random.Random(5)
    for number in range(1, 26):
        children = [random_item(seed, 4) for _ in range(seed.randrange(1, 6))]
        node.add(
            made.report(
                seed.choice([("126000", "DCM", "r"), ("", "", ""), ("x", "99Y", "y\x00")]),
                *children,
                last=seed.choice(["11", "22", "33", "34", "50", "65", "67"]),
                number=number,
            )
        )
    worker.rest()
    assert len(fhir.all("DiagnosticReport", _count="100")) == 25
    assert not node.rows("SELECT FROM dicom_outbox")


def test_a_tree_without_end_is_cut() -> None:
    one: dict[str, Any] = {"0040A040": {"Value": ["NUM"]}, "0040A010": {"Value": ["CONTAINS"]}}
    tree = content.read({"0040A730": {"Value": [one] * 50_000}})
    assert tree.cut
    measured = found(tree)
    assert measured.cut
    assert len(measured.single) <= content.MOST_ITEMS
    assert len(measured.single) >= MOST_MEASUREMENTS


def test_our_reading_of_a_report_agrees_with_dcsrdump(tmp_path: Path) -> None:
    path = file_of(made.measurement_report(), tmp_path)
    try:
        dumped = subprocess.run(["/usr/bin/dcsrdump", str(path)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("dicom3tools is not installed")
    from dicom_node.attributes import read
    from dicom_node.files.content import opened

    with opened(path) as opened_:
        tree = content.read(read(opened_.data, opened_.syntax).attributes)
    kinds = [item.kind for item in tree.root.walk()]
    words = [word for line in dumped.stderr.splitlines() for word in line.replace(":", " ").split()]
    assert sorted(word for word in words if word in kinds) == sorted(kinds)
