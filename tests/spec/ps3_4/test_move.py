"""PS3.4 C.4.2 (C-MOVE), asked for by dcmtk and pynetdicom."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelMove,
    PatientStudyOnlyQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.dimse import peers
from dicom_node.dimse.peers import Peer
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct, data_set_of
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import Receiver, free_port, program, storescp

PATIENT = PatientRootQueryRetrieveInformationModelMove
STUDY = StudyRootQueryRetrieveInformationModelMove
PATIENT_STUDY = PatientStudyOnlyQueryRetrieveInformationModelMove


@pytest.fixture
def archive(node: Node) -> Node:
    """Two studies of P1 and one of P2: 3 and 2 images in two series of the first, 1 and 1 in the others."""
    node.add(
        *(ct(study=1, series=1, number=number) for number in (1, 2, 3)),
        *(ct(study=1, series=2, number=number) for number in (1, 2)),
        ct(study=2, PatientID="P1"),
        ct(study=3, PatientID="P2"),
    )
    return node


@pytest.fixture
def destination(archive: Node) -> Iterator[Receiver]:
    with storescp() as peer:
        list_(archive, "DEST", peer.port)
        yield peer


def list_(node: Node, title: str, port: int, **changes: Any) -> None:
    peers.add(node.engine, Peer(title, "127.0.0.1", port, **changes), node.clock)
    peers.add(node.engine, Peer("MOVER", "*"), node.clock)


def identifier(level: str, **keys: Any) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    return found


def uid(*parts: int) -> str:
    return ".".join([ROOT_UID, *map(str, parts)])


def move(
    port: int, asked: Dataset, model: Any = STUDY, to: str = "DEST", **options: Any
) -> list[tuple[Dataset, Dataset | None]]:
    """Ask as pynetdicom does and return all responses."""
    ae = AE("MOVER")
    ae.dimse_timeout = 60
    syntax = options.pop("syntax", ExplicitVRLittleEndian)
    association = ae.associate(
        "127.0.0.1", port, contexts=[build_context(model, syntax)], ae_title="XINGLIN", **options
    )
    assert association.is_established
    try:
        return list(association.send_c_move(asked, to, model))
    finally:
        association.release()


def counters(status: Dataset) -> tuple[int, int, int, int]:
    """Return remaining (-1: not said), completed, failed, warning."""
    return (
        status.get("NumberOfRemainingSuboperations", -1),
        status.get("NumberOfCompletedSuboperations", -1),
        status.get("NumberOfFailedSuboperations", -1),
        status.get("NumberOfWarningSuboperations", -1),
    )


@clause("PS3.4 C.4.2.1", "each level of each root moves what it names, and lists of UIDs")
@pytest.mark.parametrize(
    ("model", "asked", "count"),
    [
        (PATIENT, identifier("PATIENT", PatientID="P1"), 6),
        (PATIENT, identifier("STUDY", PatientID="P1", StudyInstanceUID=uid(1)), 5),
        (PATIENT, identifier("STUDY", PatientID="P2", StudyInstanceUID=uid(1)), 0),
        (
            PATIENT,
            identifier("SERIES", PatientID="P1", StudyInstanceUID=uid(1), SeriesInstanceUID=uid(1, 2)),
            2,
        ),
        (STUDY, identifier("STUDY", StudyInstanceUID=[uid(1), uid(3)]), 6),
        (
            STUDY,
            identifier("SERIES", StudyInstanceUID=uid(1), SeriesInstanceUID=[uid(1, 1), uid(1, 2)]),
            5,
        ),
        (
            STUDY,
            identifier(
                "IMAGE",
                StudyInstanceUID=uid(1),
                SeriesInstanceUID=uid(1, 1),
                SOPInstanceUID=[uid(1, 1, 1), uid(1, 1, 3)],
            ),
            2,
        ),
        (PATIENT_STUDY, identifier("PATIENT", PatientID="P1"), 6),
        (PATIENT_STUDY, identifier("STUDY", PatientID="P1", StudyInstanceUID=uid(2)), 1),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_levels(
    dimse_port: int, destination: Receiver, model: Any, asked: Dataset, count: int, syntax: str
) -> None:
    *pending, (final, _) = move(dimse_port, asked, model, syntax=syntax)
    assert final.Status == 0
    assert counters(final) == (-1, count, 0, 0)
    assert {status.Status for status, _ in pending} <= {0xFF00}
    assert len(destination.files()) == count


@clause("PS3.4 C.4.2.3", "what arrives is byte for byte what is stored")
def test_byte_for_byte(archive: Node, dimse_port: int, destination: Receiver) -> None:
    move(dimse_port, identifier("STUDY", StudyInstanceUID=uid(1)))
    kept = {data for number in (1, 2, 3) for data in archive.kept(uid(1, 1, number))}
    assert kept <= {data_set_of(path) for path in destination.files()}


@clause("PS3.4 C.4.2.1.6", "pending responses count what remains down and what is completed up")
def test_pending(dimse_port: int, destination: Receiver) -> None:
    *pending, _ = move(dimse_port, identifier("STUDY", StudyInstanceUID=uid(1)))
    assert [counters(status) for status, _ in pending] == [(4 - n, 1 + n, 0, 0) for n in range(4)]


@clause("PS3.7 9.1.1.1.8", "a C-STORE of a C-MOVE names who asked for it, and with which message")
def test_originator(archive: Node, dimse_port: int) -> None:
    seen: list[tuple[str, int]] = []

    def store(event: Any) -> int:
        request = event.request
        seen.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return 0

    ae = AE("OTHER")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    list_(archive, "OTHER", server.server_address[1])
    move(dimse_port, identifier("STUDY", StudyInstanceUID=uid(2)), to="OTHER")
    server.shutdown()
    assert seen == [("MOVER", 1)]


@clause("PS3.4 C.4.2.1.5", "an unknown destination, and one without a port, is A801")
def test_unknown_destination(archive: Node, dimse_port: int) -> None:
    peers.add(archive.engine, Peer("MOVER", "*"), archive.clock)
    for title in ("NOBODY", "MOVER"):
        [(final, _)] = move(dimse_port, identifier("STUDY", StudyInstanceUID=uid(1)), to=title)
        assert final.Status == 0xA801


@clause(
    "PS3.4 C.4.2.1.4",
    "an identifier without level, of another model's level, or without its key is A900",
)
@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (STUDY, identifier("", StudyInstanceUID=uid(1))),
        (STUDY, identifier("PATIENT", PatientID="P1")),
        (PATIENT_STUDY, identifier("SERIES", PatientID="P1", SeriesInstanceUID=uid(1, 1))),
        (STUDY, identifier("STUDY", PatientID="P1")),
        (STUDY, identifier("STUDY", StudyInstanceUID="")),
        (STUDY, identifier("SERIES", StudyInstanceUID=uid(1))),
        (PATIENT, identifier("PATIENT", PatientID="P*")),
    ],
)
def test_no_identifier(dimse_port: int, destination: Receiver, model: Any, asked: Dataset) -> None:
    [(final, _)] = move(dimse_port, asked, model)
    assert final.Status == 0xA900
    assert final.ErrorComment
    assert not destination.files()


@clause("PS3.4 C.4.2.3.1", "nothing that matches is a success without sub-operations")
def test_no_match(dimse_port: int, destination: Receiver) -> None:
    [(final, _)] = move(dimse_port, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert (final.Status, counters(final)) == (0, (-1, 0, 0, 0))


@clause("PS3.4 C.5.2.1", "relational retrieval is granted, conversion of multi-frame images is not")
@pytest.mark.parametrize("negotiates", [True, False])
def test_relational(dimse_port: int, destination: Receiver, negotiates: bool) -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = PATIENT, b"\1\1"
    ae = AE("MOVER")
    association = ae.associate(
        "127.0.0.1",
        dimse_port,
        contexts=[build_context(PATIENT)],
        ae_title="XINGLIN",
        ext_neg=[item] if negotiates else [],
    )
    answered = dict(association.acceptor.sop_class_extended)
    assert answered == ({PATIENT: b"\1\0"} if negotiates else {})
    asked = identifier("IMAGE", SOPInstanceUID=uid(1, 1, 2))  # the keys above it are not given
    *_, (final, _) = association.send_c_move(asked, "DEST", PATIENT)
    association.release()
    assert (final.Status, len(destination.files())) == (0, 1)


@clause(
    "PS3.4 C.4.2.3.1",
    "a destination that refuses a SOP class fails its instances only: B000 and their UIDs",
)
def test_refused_context(archive: Node, dimse_port: int) -> None:
    archive.add(ct(study=1, series=3, number=1, SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR"))
    ae = AE("OTHER")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)])
    list_(archive, "OTHER", server.server_address[1])
    *_, (final, failed) = move(dimse_port, identifier("STUDY", StudyInstanceUID=uid(1)), to="OTHER")
    server.shutdown()
    assert (final.Status, counters(final)) == (0xB000, (-1, 5, 1, 0))
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == uid(1, 3, 1)


@clause("PS3.4 C.4.2.3.1", "warnings of the destination are counted and make the end B000")
def test_warnings(archive: Node, dimse_port: int) -> None:
    answers = iter([0x0000, 0xB007, 0xB000, 0xC000, 0xA700])
    ae = AE("OTHER")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: next(answers))]
    )
    list_(archive, "OTHER", server.server_address[1])
    *_, (final, failed) = move(dimse_port, identifier("STUDY", StudyInstanceUID=uid(1)), to="OTHER")
    server.shutdown()
    assert (final.Status, counters(final)) == (0xB000, (-1, 1, 2, 2))
    assert failed is not None
    assert len(failed.FailedSOPInstanceUIDList) == 2


@clause("PS3.4 C.4.2.3.1", "when no sub-operation could be performed the end is A702, with all UIDs")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_unreachable(archive: Node, dimse_port: int, syntax: str) -> None:
    list_(archive, "DEAD", free_port())
    asked = identifier("STUDY", StudyInstanceUID=uid(1))
    *_, (final, failed) = move(dimse_port, asked, to="DEAD", syntax=syntax)
    assert (final.Status, counters(final)) == (0xA702, (-1, 0, 5, 0))
    assert "cannot be reached" in final.ErrorComment
    assert failed is not None
    assert len(failed.FailedSOPInstanceUIDList) == 5


@clause("PS3.4 C.4.2.3.1", "a cancel ends the move between two sub-operations: FE00 with what remains")
def test_cancel(archive: Node, dimse_port: int) -> None:
    archive.add(*(ct(study=4, number=number, pixels=16) for number in range(60)))
    with storescp() as peer:
        list_(archive, "DEST", peer.port)
        ae = AE("MOVER")
        association = ae.associate(
            "127.0.0.1", dimse_port, contexts=[build_context(STUDY)], ae_title="XINGLIN"
        )
        final = Dataset()
        for count, (status, _) in enumerate(
            association.send_c_move(identifier("STUDY", StudyInstanceUID=uid(4)), "DEST", STUDY, msg_id=5)
        ):
            if count == 3:
                association.send_c_cancel(5, query_model=STUDY)
            final = status
        assert final.Status == 0xFE00
        remaining, completed, failed, _ = counters(final)
        assert remaining > 0
        assert failed == 0
        assert remaining + completed == 60
        assert len(peer.files()) == completed
        echo = association.send_c_move(identifier("STUDY", StudyInstanceUID=uid(2)), "DEST", STUDY)
        assert [status.Status for status, _ in echo] == [0]  # the association goes on
        association.release()


@clause("PS3.4 C.4.2", "the table of application entities says who may move")
def test_right(archive: Node, dimse_port: int) -> None:
    peers.add(archive.engine, Peer("MOVER", "*", rights=frozenset({"store"})), archive.clock)
    ae = AE("MOVER")
    association = ae.associate("127.0.0.1", dimse_port, contexts=[build_context(STUDY)], ae_title="XINGLIN")
    assert [context.result for context in association.rejected_contexts] == [1]  # user rejection
    association.abort()


@clause("PS3.15 A.5.3.7", "a move is noted for the audit: one row a study, with where it went")
def test_audit(archive: Node, dimse_port: int, destination: Receiver) -> None:
    move(dimse_port, identifier("PATIENT", PatientID="P1"), PATIENT)
    told = [event for (event,) in archive.rows("SELECT event FROM dicom_audit") if event["kind"] == "110104"]
    found = {each["study"]["uid"]: each["study"]["instances"] for each in told}
    assert found == {uid(1): 5, uid(2): 1}
    assert {each["destination"]["ae"] for each in told} == {"DEST"}


def run(*command: str | Path, within_s: int = 60) -> subprocess.CompletedProcess[str]:
    parts = [str(part) for part in command]
    return subprocess.run(parts, capture_output=True, text=True, timeout=within_s, check=False)


@clause("PS3.4 C.4.2", "dcmtk's movescu moves to a third node")
@pytest.mark.parametrize("nodelay", ["0", "1"])
def test_movescu(dimse_port: int, destination: Receiver, nodelay: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("TCP_NODELAY", nodelay)
    done = run(
        program("movescu"), "-v", "-S", "-aet", "MOVER", "-aec", "XINGLIN", "-aem", "DEST",
        "-k", "0008,0052=STUDY", "-k", f"0020,000D={uid(1)}", "127.0.0.1", str(dimse_port),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(destination.files()) == 5


@clause("PS3.4 C.4.2", "dcmtk's movescu moves to itself")
def test_movescu_to_itself(archive: Node, dimse_port: int, tmp_path: Path) -> None:
    port = free_port()
    list_(archive, "MOVER", port)
    peers.add(archive.engine, Peer("MOVER", "127.0.0.1", port), archive.clock)
    done = run(
        program("movescu"), "-v", "-P", "+P", str(port), "-aet", "MOVER", "-aec", "XINGLIN", "-od", tmp_path,
        "-k", "0008,0052=PATIENT", "-k", "0010,0020=P1", "127.0.0.1", str(dimse_port),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("CT")]) == 6


@clause("PS3.4 C.4.2", "a destination that hangs up in the middle fails what it did not take")
@pytest.mark.parametrize("fault", ["--abort-during", "--refuse"])
def test_destination_with_a_fault(archive: Node, dimse_port: int, fault: str) -> None:
    with storescp(fault) as peer:
        list_(archive, "DEST", peer.port)
        *_, (final, failed) = move(dimse_port, identifier("STUDY", StudyInstanceUID=uid(1)))
    assert (final.Status, counters(final)) == (0xA702, (-1, 0, 5, 0))
    assert failed is not None
    assert len(failed.FailedSOPInstanceUIDList) == 5
