"""PS3.4 C.4.3 (C-GET), asked for by dcmtk and pynetdicom."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelGet,
    PatientStudyOnlyQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelGet,
)

from dicom_node.dimse import peers
from dicom_node.dimse.peers import Peer
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct, data_set_of, encoded
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import program

PATIENT = PatientRootQueryRetrieveInformationModelGet
STUDY = StudyRootQueryRetrieveInformationModelGet
PATIENT_STUDY = PatientStudyOnlyQueryRetrieveInformationModelGet


@pytest.fixture
def archive(node: Node) -> Node:
    """A study of five images in two series, and another."""
    node.add(
        *(ct(study=1, series=1, number=number) for number in (1, 2, 3)),
        *(ct(study=1, series=2, number=number) for number in (1, 2)),
        ct(study=2, PatientID="P1"),
    )
    return node


def identifier(level: str, **keys: Any) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    return found


def uid(*parts: int) -> str:
    return ".".join([ROOT_UID, *map(str, parts)])


class Getter:
    """A client of pynetdicom's that takes what it proposes, and answers it as it is told."""

    def __init__(
        self, port: int, *storage: tuple[str, list[str]], model: Any = STUDY, role: bool = True
    ) -> None:
        self.got: list[Dataset] = []
        self.syntaxes: list[str] = []
        self.answers: list[int] = []
        contexts = [
            build_context(model),
            *(build_context(kind, list(syntaxes)) for kind, syntaxes in storage),
        ]
        roles = [build_role(kind, scp_role=True) for kind, _ in storage] if role else []
        ae = AE("GETTER")
        ae.dimse_timeout = 60
        self.association = ae.associate(
            "127.0.0.1",
            port,
            contexts=contexts,
            ext_neg=roles,
            ae_title="XINGLIN",
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )
        assert self.association.is_established
        self._model = model

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.got.append(dataset)
        self.syntaxes.append(str(event.context.transfer_syntax))
        return self.answers.pop(0) if self.answers else 0

    def get(self, asked: Dataset, **options: Any) -> list[tuple[Dataset, Dataset | None]]:
        return list(self.association.send_c_get(asked, self._model, **options))


CT = (CTImageStorage, [ExplicitVRLittleEndian])


def counters(status: Dataset) -> tuple[int, int, int, int]:
    """Return remaining (-1: not said), completed, failed, warning."""
    return (
        status.get("NumberOfRemainingSuboperations", -1),
        status.get("NumberOfCompletedSuboperations", -1),
        status.get("NumberOfFailedSuboperations", -1),
        status.get("NumberOfWarningSuboperations", -1),
    )


@clause("PS3.4 C.4.3.1", "each level of each root gets what it names, and lists of UIDs")
@pytest.mark.parametrize(
    ("model", "asked", "count"),
    [
        (PATIENT, identifier("PATIENT", PatientID="P1"), 6),
        (PATIENT, identifier("STUDY", PatientID="P1", StudyInstanceUID=uid(1)), 5),
        (STUDY, identifier("SERIES", StudyInstanceUID=uid(1), SeriesInstanceUID=uid(1, 2)), 2),
        (
            STUDY,
            identifier(
                "IMAGE",
                StudyInstanceUID=uid(1),
                SeriesInstanceUID=uid(1, 1),
                SOPInstanceUID=[uid(1, 1, 1), uid(1, 1, 2)],
            ),
            2,
        ),
        (PATIENT_STUDY, identifier("PATIENT", PatientID="P1"), 6),
    ],
)
def test_levels(archive: Node, dimse_port: int, model: Any, asked: Dataset, count: int) -> None:
    getter = Getter(dimse_port, CT, model=model)
    *pending, (final, _) = getter.get(asked)
    getter.association.release()
    assert (final.Status, counters(final)) == (0, (-1, count, 0, 0))
    assert [counters(status) for status, _ in pending] == [(count - n, n, 0, 0) for n in range(1, count)]
    assert len(getter.got) == count


@clause("PS3.4 C.4.3.2", "an instance goes in the transfer syntax of the context that was accepted for it")
@pytest.mark.parametrize(
    ("proposed", "sent"),
    [
        ([[JPEG2000Lossless], [ExplicitVRLittleEndian]], JPEG2000Lossless),
        ([[ExplicitVRLittleEndian], [JPEG2000Lossless]], JPEG2000Lossless),
        ([[ExplicitVRLittleEndian]], ExplicitVRLittleEndian),
        ([[ImplicitVRLittleEndian]], ImplicitVRLittleEndian),
    ],
)
def test_transfer_syntaxes(node: Node, dimse_port: int, proposed: list[list[str]], sent: str) -> None:
    path = Path(str(get_testdata_file("MR_small_jp2klossless.dcm")))
    original = dcmread(path)
    node.ingest.store([data_set_of(path)], JPEG2000Lossless, "CT1")
    getter = Getter(dimse_port, *((MRImageStorage, syntaxes) for syntaxes in proposed))
    *_, (final, _) = getter.get(identifier("STUDY", StudyInstanceUID=original.StudyInstanceUID))
    getter.association.release()
    assert final.Status == 0
    assert getter.syntaxes == [sent]
    plain = dcmread(str(get_testdata_file("MR_small.dcm")))
    assert (getter.got[0].pixel_array == plain.pixel_array).all()


@clause("PS3.4 C.4.3.2", "what no accepted context can carry fails alone: B000 and its UID")
def test_no_context(archive: Node, dimse_port: int) -> None:
    archive.add(ct(study=1, series=3, number=1, SOPClassUID=MRImageStorage, Modality="MR"))
    getter = Getter(dimse_port, CT)
    *_, (final, failed) = getter.get(identifier("STUDY", StudyInstanceUID=uid(1)))
    getter.association.release()
    assert (final.Status, counters(final)) == (0xB000, (-1, 5, 1, 0))
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == uid(1, 3, 1)


@clause("PS3.7 D.3.3.4", "without the role of the SCP nothing is sent to the requestor")
def test_no_role(archive: Node, dimse_port: int) -> None:
    getter = Getter(dimse_port, CT, role=False)
    *_, (final, _) = getter.get(identifier("STUDY", StudyInstanceUID=uid(1)))
    getter.association.release()
    assert (final.Status, counters(final)) == (0xA702, (-1, 0, 5, 0))
    assert getter.got == []


@clause("PS3.4 C.4.3.3", "answers of the requestor are counted: completed, failed, warning")
def test_answers(archive: Node, dimse_port: int) -> None:
    getter = Getter(dimse_port, CT)
    getter.answers = [0x0000, 0xB000, 0xC001, 0xA700, 0x0000]
    *_, (final, failed) = getter.get(identifier("STUDY", StudyInstanceUID=uid(1)))
    getter.association.release()
    assert (final.Status, counters(final)) == (0xB000, (-1, 2, 2, 1))
    assert failed is not None
    assert len(failed.FailedSOPInstanceUIDList) == 2


@clause("PS3.4 C.4.3.3", "an identifier without the key of its level is A900; no match is a success")
def test_identifiers(archive: Node, dimse_port: int) -> None:
    getter = Getter(dimse_port, CT)
    [(refused, _)] = getter.get(identifier("STUDY", PatientID="P1"))
    [(empty, _)] = getter.get(identifier("STUDY", StudyInstanceUID="1.2.3"))
    getter.association.release()
    assert refused.Status == 0xA900
    assert (empty.Status, counters(empty)) == (0, (-1, 0, 0, 0))


@clause("PS3.4 C.4.3.3", "a cancel ends the get between two sub-operations: FE00 with what remains")
def test_cancel(archive: Node, dimse_port: int) -> None:
    archive.add(*(ct(study=4, number=number, pixels=16) for number in range(60)))
    getter = Getter(dimse_port, CT)
    final = Dataset()
    asked = identifier("STUDY", StudyInstanceUID=uid(4))
    for count, (status, _) in enumerate(getter.association.send_c_get(asked, STUDY, msg_id=9)):
        if count == 3:
            getter.association.send_c_cancel(9, query_model=STUDY)
        final = status
    assert final.Status == 0xFE00
    remaining, completed, *_ = counters(final)
    assert remaining > 0
    assert remaining + completed == 60
    assert len(getter.got) == completed
    getter.association.release()


@clause("PS3.4 C.4.3", "a requestor that hangs up in the middle harms nobody")
def test_hang_up(archive: Node, dimse_port: int) -> None:
    archive.add(*(ct(study=4, number=number, pixels=16) for number in range(60)))
    getter = Getter(dimse_port, CT)
    for count, _ in enumerate(
        getter.association.send_c_get(identifier("STUDY", StudyInstanceUID=uid(4)), STUDY)
    ):
        if count == 3:
            getter.association.abort()
            break
    again = Getter(dimse_port, CT)
    *_, (final, _) = again.get(identifier("STUDY", StudyInstanceUID=uid(1)))
    again.association.release()
    assert final.Status == 0


@clause("PS3.4 C.4.3", "dcmtk's getscu gets what is stored, byte for byte")
@pytest.mark.parametrize("nodelay", ["0", "1"])
def test_getscu(archive: Node, dimse_port: int, tmp_path: Path, nodelay: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("TCP_NODELAY", nodelay)
    folder = tmp_path / "got"
    folder.mkdir()
    done = run(dimse_port, folder, "+B")
    assert done.returncode == 0, done.stderr
    kept = {data for number in (1, 2, 3) for data in archive.kept(uid(1, 1, number))}
    assert kept <= {data_set_of(path) for path in folder.iterdir()}
    assert len(list(folder.iterdir())) == 5


@clause("PS3.4 C.4.3", "dcmtk's getscu gets a mixed study in the syntax that it prefers")
@pytest.mark.parametrize(("option", "syntax"), [("+xv", JPEG2000Lossless), ("+x=", ExplicitVRLittleEndian)])
def test_getscu_coded(archive: Node, dimse_port: int, tmp_path: Path, option: str, syntax: str) -> None:
    image = dcmread(str(get_testdata_file("MR_small_jp2klossless.dcm")))
    image.StudyInstanceUID = uid(1)
    archive.ingest.store([encoded(image)], JPEG2000Lossless, "CT1")
    folder = tmp_path / "got"
    folder.mkdir()
    done = run(dimse_port, folder, option)
    assert done.returncode == 0, done.stderr
    found = [dcmread(path) for path in folder.iterdir()]
    assert {str(each.file_meta.TransferSyntaxUID) for each in found} == {syntax}
    assert len(found) == 6
    for each in found:
        original = image if each.Modality == "MR" else ct(1, each.SeriesNumber, each.InstanceNumber)
        assert (each.pixel_array == original.pixel_array).all()


@clause("PS3.4 C.4.3", "the table of application entities says who may get")
def test_right(archive: Node, dimse_port: int) -> None:
    peers.add(archive.engine, Peer("GETTER", "*", rights=frozenset({"store", "move"})), archive.clock)
    ae = AE("GETTER")
    association = ae.associate("127.0.0.1", dimse_port, contexts=[build_context(STUDY)], ae_title="XINGLIN")
    assert [context.result for context in association.rejected_contexts] == [1]
    association.abort()


def run(port: int, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        program("getscu"), "-v", "-S", "-aet", "GETTER", "-aec", "XINGLIN", *options, "-od", str(folder),
        "-k", "0008,0052=STUDY", "-k", f"0020,000D={uid(1)}", "127.0.0.1", str(port),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
