"""What highdicom makes: a TID 1500 report, a key object selection, a segmentation; stored and understood."""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tests.rooms.dicom_node.test_bridge import Fhir, fhir
from tests.rooms.dicom_node.test_bridge_decisions import Worker, worker
from tests.support.dicom_data import ct, encoded, file_of
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import program
from tests.support.peers import run

hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
__all__ = ["fhir", "worker"]


def images() -> list[Dataset]:
    """Three slices that can be segmented."""
    made = []
    for number in (1, 2, 3):
        image = ct(number=number, pixels=64, FrameOfReferenceUID="1.2.826.0.1.3680043.10.1411.99")
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [1, 1], 1
        buffer = BytesIO()
        image.save_as(buffer, enforce_file_format=True)
        buffer.seek(0)
        made.append(dcmread(buffer))
    return made


def measurement_report(source: list[Dataset]) -> Dataset:
    """Return a TID 1500 report with one length in the liver."""
    context = hd.sr.ObservationContext(
        observer_person_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name="Reader^Rita"),
        )
    )
    region = hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array([[10.0, 10.0], [22.5, 10.0]]),
        source_image=hd.sr.SourceImageForRegion(source[0].SOPClassUID, source[0].SOPInstanceUID),
    )
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=region,
        tracking_identifier=hd.sr.TrackingIdentifier(uid="1.2.3.4.5", identifier="lesion"),
        finding_type=codes.SCT.Neoplasm,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Liver)],
        measurements=[hd.sr.Measurement(name=codes.SCT.Length, value=12.5, unit=codes.UCUM.Millimeter)],
    )
    report = hd.sr.MeasurementReport(
        observation_context=context,
        procedure_reported=codes.cid100.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
    )
    return hd.sr.Comprehensive3DSR(
        evidence=source, content=report, series_instance_uid="1.2.826.0.1.3680043.10.1411.1.50",
        sop_instance_uid="1.2.826.0.1.3680043.10.1411.1.50.1", series_number=50, instance_number=1,
        manufacturer="Test", is_complete=True, is_verified=True, verifying_observer_name="Reader^Rita",
        verifying_organization="Hospital",
    )  # fmt: skip


def key_objects(source: list[Dataset]) -> Dataset:
    """Return a selection of the second slice."""
    content = hd.ko.KeyObjectSelection(codes.DCM.OfInterest, [source[1]], description="look here")
    return hd.ko.KeyObjectSelectionDocument(
        evidence=[source[1]], content=content, series_instance_uid="1.2.826.0.1.3680043.10.1411.1.51",
        sop_instance_uid="1.2.826.0.1.3680043.10.1411.1.51.1", series_number=51, instance_number=1,
        manufacturer="Test", institution_name="Hospital",
    )  # fmt: skip


def segmentation(source: list[Dataset]) -> Dataset:
    """Return a binary segmentation of one region."""
    mask = np.zeros((3, source[0].Rows, source[0].Columns), dtype=np.uint8)
    mask[:, 2:5, 2:5] = 1
    described = hd.seg.SegmentDescription(
        1, "liver", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    return hd.seg.Segmentation(
        source, mask, hd.seg.SegmentationTypeValues.BINARY, [described],
        series_instance_uid="1.2.826.0.1.3680043.10.1411.1.52",
        sop_instance_uid="1.2.826.0.1.3680043.10.1411.1.52.1", series_number=52, instance_number=1,
        manufacturer="Test", manufacturer_model_name="Test", software_versions="1", device_serial_number="1",
    )  # fmt: skip


def test_a_study_with_what_highdicom_derived(node: Node, fhir: Fhir, worker: Worker, tmp_path: Path) -> None:
    source = images()
    derived = [measurement_report(source), key_objects(source), segmentation(source)]
    node.add(*source, *derived)
    worker.rest()
    for each in (*source, *derived):
        assert node.kept(str(each.SOPInstanceUID)) == [encoded(each)]
    study = fhir.study()
    assert {one["modality"]["code"] for one in study["series"]} == {"CT", "SR", "KO", "SEG"}
    found = {one["code"]["coding"][0]["display"]: one for one in fhir.all("Observation")}
    assert found.keys() == {"Finding", "Length"}
    length = found["Length"]
    assert (length["valueQuantity"]["value"], length["valueQuantity"]["code"]) == (Decimal("12.5"), "mm")
    assert length["bodySite"]["coding"][0]["display"] == "Liver"
    assert found["Finding"]["valueCodeableConcept"]["coding"][0]["display"] == "Neoplasm"
    assert found["Finding"]["hasMember"] == [{"reference": f"Observation/{length['id']}"}]
    (report,) = fhir.all("DiagnosticReport")
    assert report["status"] == "preliminary"  # as highdicom marks what it is not told to be final
    checked = run(program("dcentvfy"), *(file_of(each, tmp_path) for each in (*source, *derived)))
    assert checked.returncode == 0, checked.stderr
