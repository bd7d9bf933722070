"""What associations leave in the audit: one row an association and study."""

from __future__ import annotations

from fhir_server.database.engine import Engine
from tests.support.clause import clause
from tests.support.dicom_data import ct, encoded
from tests.support.dicom_fixtures import Node
from tests.support.server import wait_for
from tests.support.wire_dicom import CT, EXPLICIT, Wire, context, data, store_rq


def send(port: int, *datasets: object) -> list[int]:
    with Wire(port) as wire:
        wire.associate([context(1, CT, [EXPLICIT])], calling="CT1")
        statuses = []
        for dataset in datasets:
            wire.send(data(1, 3, store_rq(str(dataset.SOPInstanceUID))) + data(1, 2, encoded(dataset)))  # type: ignore[attr-defined, arg-type]
            statuses.append(wire.status())
        wire.release()
    return statuses


@clause(
    "PS3.15 A.5.3.7",
    "what an association brought is told once a study, with what was refused or here already",
)
def test_a_row_an_association_and_study(node: Node, dimse_port: int) -> None:
    first = [ct(study=1, number=n, pixels=8) for n in (1, 2, 3)]
    second = [ct(study=2, number=1, pixels=8), ct(study=2, number=2, pixels=8, SeriesInstanceUID=None)]
    assert send(dimse_port, *first, *second) == [0, 0, 0, 0, 0xA900]
    assert send(dimse_port, first[0]) == [0]
    noted = wait_for(
        lambda: len(found := node.rows("SELECT event FROM dicom_audit ORDER BY pk")) >= 3 and found
    )
    said = [event for (event,) in noted]
    assert [(one["kind"], one["action"], one["outcome"]) for one in said] == [
        ("110104", "C", "0"), ("110104", "C", "4"), ("110104", "R", "0"),
    ]  # fmt: skip
    assert [one["study"].get("instances") for one in said] == [3, 1, 1]
    assert said[0]["study"]["uid"] == first[0].StudyInstanceUID
    assert said[0]["study"]["patient_id"] == first[0].PatientID
    assert said[0]["study"]["sop_classes"] == {CT: 3}
    assert said[0]["source"] == {"ae": "CT1", "address": "127.0.0.1", "requestor": True}
    assert said[0]["destination"] == {"ae": "XINGLIN"}
    assert "1 refused" in said[1]["reason"]
    assert "reason" not in said[2]  # R says that all of it was here already


def test_what_cannot_be_written_is_written_with_the_next(node: Node) -> None:
    from dicom_node.audit import Party
    from dicom_node.dimse.trail import Trail

    engine = Engine("host=/nowhere dbname=none")
    trail = Trail(engine, node.clock, "XINGLIN")
    trail.refused(Party("CT1"), "XINGLIN", "not known")
    engine.url = node.engine.url
    trail.refused(Party("CT2"), "XINGLIN", "not known")
    assert node.rows("SELECT event->'source'->>'ae' FROM dicom_audit ORDER BY pk") == [("CT1",), ("CT2",)]
    engine.close()
