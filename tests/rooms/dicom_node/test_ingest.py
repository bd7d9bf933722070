"""ingest: bytes → kept, indexed, a status; the same again, other bytes, odd bytes, a crash between."""

from __future__ import annotations

import io
import subprocess
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom.data
import pytest
from blake3 import blake3
from flask.testing import FlaskClient
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.files.journal import Journal
from dicom_node.files.part10 import meta_information, read_meta
from dicom_node.files.store import FileStore
from dicom_node.ingest import Ingest, Verdict
from dicom_node.quarantine import refused
from dicom_node.reception import LOOKS_BYTES
from tests.support.dicom_data import SHARED, ct, data_set_of, encoded
from tests.support.dicom_fixtures import Node

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
CT = "1.2.840.10008.5.1.4.1.1.2"


def pieces(data: bytes, size: int = 4096) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"), [(EXPLICIT, False, True), (IMPLICIT, True, True), (BIG, False, False)]
)
def test_an_instance_is_kept_byte_for_byte_and_indexed(
    node: Node, syntax: str, implicit: bool, little: bool
) -> None:
    dataset = ct(pixels=256)
    data = encoded(dataset, implicit=implicit, little=little)
    outcome = node.ingest.store(pieces(data), syntax, "CT1")
    assert outcome.verdict is Verdict.STORED
    assert node.kept(dataset.SOPInstanceUID) == [data]
    assert node.rows(
        "SELECT study_uid, patient_id, issuer, name_alphabetic, birth_date::text, accession,"
        " study_date::text, study_time::text FROM dicom_study"
    ) == [
        (
            dataset.StudyInstanceUID,
            "P1",
            "ae:CT1",
            "muller^jorg",
            "1970-01-31",
            "A1",
            "2026-01-02",
            "03:04:05",
        )
    ]
    assert node.rows("SELECT series_uid, modality, number FROM dicom_series") == [
        (dataset.SeriesInstanceUID, "CT", 1)
    ]
    assert node.rows(
        "SELECT sop_class, transfer_syntax, calling_ae, current, version, frames FROM dicom_instance"
    ) == [(CT, syntax, "CT1", True, 1, 1)]
    assert len(node.rows("SELECT FROM dicom_outbox")) == 1
    (digest,) = (path.stem for path in node.files.kept.rglob("*.dcm"))
    assert blake3(node.files.path(digest).read_bytes()).hexdigest() == digest


def test_the_kept_file_is_one_that_dcmtk_reads(node: Node, tmp_path: Path) -> None:
    node.ingest.store([encoded(ct())], EXPLICIT, "CT1")
    (path,) = node.files.kept.rglob("*.dcm")
    try:
        checked = subprocess.run(
            ["/usr/bin/dcmftest", str(path)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("dcmtk is not installed")
    assert checked.stdout.startswith("yes:"), checked.stdout
    assert data_set_of(path) == encoded(ct())


def test_the_same_bytes_again_are_a_success_that_writes_nothing(node: Node) -> None:
    data = encoded(ct())
    node.ingest.store([data], EXPLICIT, "CT1")
    outcome = node.ingest.store([data], EXPLICIT, "CT2")
    assert outcome.verdict is Verdict.DUPLICATE
    assert len(list(node.files.kept.rglob("*.dcm"))) == 1
    assert (
        node.rows("SELECT count(*) FROM dicom_instance")
        == node.rows("SELECT count(*) FROM dicom_outbox")
        == [(1,)]
    )
    assert not list(node.ingest.folder.glob("*.part"))


def test_other_bytes_under_the_same_uid_are_kept_as_a_version_and_served(node: Node) -> None:
    first, second = ct(StudyDescription="Wrong"), ct(StudyDescription="Right", PatientID="P2")
    node.ingest.store([encoded(first)], EXPLICIT, "CT1")
    outcome = node.ingest.store([encoded(second)], EXPLICIT, "CT1")
    assert outcome.verdict is Verdict.NEW_VERSION
    assert node.kept(first.SOPInstanceUID) == [encoded(first), encoded(second)]
    assert node.rows("SELECT version, current FROM dicom_instance ORDER BY version") == [
        (1, False),
        (2, True),
    ]
    assert node.rows("SELECT attributes #>> '{00081030,Value,0}', patient_id FROM dicom_study") == [
        ("Right", "P2")
    ]


def test_the_same_uid_in_another_study_hides_nobodys_image(node: Node) -> None:
    mine, other = ct(study=1), ct(study=2, SOPInstanceUID=ct(study=1).SOPInstanceUID)
    node.ingest.store([encoded(mine)], EXPLICIT, "CT1")
    node.ingest.store([encoded(other)], EXPLICIT, "CT1")
    assert node.rows("SELECT count(*) FROM dicom_instance WHERE current") == [(2,)]


def test_gaps_of_a_study_are_filled_and_nothing_said_is_overwritten(node: Node) -> None:
    node.ingest.store([encoded(ct(number=1, AccessionNumber="", StudyDescription="First"))], EXPLICIT, "CT1")
    node.ingest.store(
        [encoded(ct(number=2, AccessionNumber="A77", StudyDescription="Second"))], EXPLICIT, "CT1"
    )
    assert node.rows("SELECT accession, attributes #>> '{00081030,Value,0}' FROM dicom_study") == [
        ("A77", "First")
    ]


def test_two_patients_in_one_study_are_both_remembered(node: Node) -> None:
    node.ingest.store([encoded(ct(number=1))], EXPLICIT, "CT1")
    node.ingest.store([encoded(ct(number=2, PatientID="SOMEBODY-ELSE"))], EXPLICIT, "CT1")
    assert node.rows("SELECT count(DISTINCT patient_pk) FROM dicom_instance WHERE current") == [(2,)]
    assert node.rows("SELECT patient_id FROM dicom_study") == [("P1",)]


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_instance_that_cannot_be_placed_goes_to_quarantine_with_the_reason(
    node: Node, missing: str
) -> None:
    data = encoded(ct(**{missing: None}))
    outcome = node.ingest.store([data], EXPLICIT, "CT1")
    assert outcome.verdict is Verdict.NOT_IDENTIFIED
    (note,) = refused(node.files)
    assert (note.calling_ae, note.transfer_syntax) == ("CT1", EXPLICIT)
    assert missing in note.reason
    (path,) = node.files.quarantine.rglob("*.dcm")
    assert path.read_bytes().endswith(data)
    assert not node.rows("SELECT FROM dicom_study")


def test_a_sop_uid_that_only_the_command_gives_is_used_with_a_warning(node: Node) -> None:
    outcome = node.ingest.store(
        [encoded(ct(SOPInstanceUID=None))], EXPLICIT, "CT1", sop_class=CT, sop_uid="1.2.3.4"
    )
    assert outcome.verdict is Verdict.STORED_DOUBTFUL
    assert node.kept("1.2.3.4") == [encoded(ct(SOPInstanceUID=None))]


def test_a_command_that_names_another_class_is_answered_with_a_warning(node: Node) -> None:
    outcome = node.ingest.store(
        [encoded(ct())], EXPLICIT, "CT1", sop_class="1.2.840.10008.5.1.4.1.1.4", sop_uid="1"
    )
    assert outcome.verdict is Verdict.STORED_DOUBTFUL
    assert len(node.kept(ct().SOPInstanceUID)) == 1


def test_noise_goes_to_quarantine(node: Node) -> None:
    outcome = node.ingest.store([b"this is not a data set at all, really"], EXPLICIT, "CT1")
    assert outcome.verdict in (Verdict.NOT_UNDERSTOOD, Verdict.NOT_IDENTIFIED)
    assert len(list(refused(node.files))) == 1
    assert node.ingest.store([], EXPLICIT, "CT1").verdict is Verdict.NOT_IDENTIFIED


def test_text_that_no_database_takes_is_stored_all_the_same(node: Node) -> None:
    odd = ct(
        PatientID="A" * 5000,
        AccessionNumber="\0\0A",
        StudyDescription="lone \udc80".encode("utf-8", "ignore").decode(),
    )
    outcome = node.ingest.store([encoded(odd)], EXPLICIT, "CT1")
    assert outcome.verdict is Verdict.STORED


@pytest.mark.parametrize("sequence", [b"\x08\x00\x40\x11", b"\x08\x00\x32\x10"], ids=["passed over", "kept"])
def test_a_hundred_thousand_nested_items_are_stored_and_served(
    node: Node, web: FlaskClient, sequence: bytes
) -> None:
    opening = sequence + b"SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    deep = opening * 100_000 + closing * 100_000
    whole = encoded(ct())
    at = whole.index(b"\x10\x00\x10\x00PN")
    data = whole[:at] + deep + whole[at:]
    outcome = node.ingest.store([data], EXPLICIT, "CT1")
    assert outcome.verdict is Verdict.STORED
    assert node.kept(ct().SOPInstanceUID) == [data]
    study = ct().StudyInstanceUID
    (found,) = web.get(f"/dicom-web/studies/{study}/metadata").json
    assert found["00100020"]["Value"] == ["P1"]
    assert len(web.get(f"/dicom-web/studies?StudyInstanceUID={study}&includefield=all").json) == 1


def test_uids_behind_a_large_private_sequence_are_found(node: Node) -> None:
    dataset = ct()
    block = dataset.private_block(0x0009, "MAKER", create=True)
    item = Dataset()
    item.PatientComments = "x" * 9000
    block.add_new(0x01, "SQ", Sequence([item] * 40))
    data = encoded(dataset)
    assert data.index(b"\x20\x00\x0d\x00UI") > max(LOOKS_BYTES)
    assert node.ingest.store(pieces(data), EXPLICIT, "CT1").verdict is Verdict.STORED


def test_concurrent_senders_of_the_same_instance_leave_one_row(node: Node) -> None:
    data = encoded(ct())
    verdicts: list[Verdict] = []
    threads = [
        threading.Thread(target=lambda: verdicts.append(node.ingest.store([data], EXPLICIT, "CT1").verdict))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(verdicts) == {Verdict.STORED: 1, Verdict.DUPLICATE: 7}
    assert node.rows("SELECT count(*) FROM dicom_instance") == [(1,)]


def test_a_sender_that_breaks_off_leaves_nothing(node: Node) -> None:
    def broken() -> object:
        yield encoded(ct())[:2000]
        raise ConnectionResetError("the peer went away")

    with pytest.raises(ConnectionResetError):
        node.ingest.store(broken(), EXPLICIT, "CT1")  # type: ignore[arg-type]
    assert not list(node.ingest.folder.glob("*.part"))
    assert not list(node.files.kept.rglob("*.dcm"))


@pytest.mark.parametrize("linked", [False, True])
def test_a_restart_indexes_what_a_dead_process_had_kept(node: Node, linked: bool) -> None:
    data = encoded(ct())
    content = meta_information(EXPLICIT, CT, ct().SOPInstanceUID) + data
    digest = blake3(content).hexdigest()
    dead = Journal(node.files)
    incoming = dead.incoming()
    incoming.write(content)
    entry = dead.keep(incoming, digest, "CT 9~/", node.clock())
    if linked:
        node.files.admit(entry.path, digest)
    (dead.folder / "2.part").write_bytes(b"half an inst")
    assert node.ingest.recover() == 0  # it lives
    dead.close()  # its lock is free, as that of a killed process; the entry keeps the folder
    assert node.ingest.recover() == 1
    assert node.kept(ct().SOPInstanceUID) == [data]
    assert node.rows("SELECT calling_ae FROM dicom_instance") == [("CT 9~/",)]
    assert [path.name for path in node.files.incoming.iterdir()] == [node.ingest.folder.name]
    assert node.ingest.recover() == 0


def test_what_a_power_failure_has_torn_is_not_taken_for_an_instance(node: Node) -> None:
    digest = blake3(b"what was to come").hexdigest()
    dead = Journal(node.files)
    for content in (b"what was to", b""):
        incoming = dead.incoming()
        incoming.write(content)
        dead.keep(incoming, digest, "CT1", node.clock())
    (dead.folder / "lock").write_bytes(b"another boot")
    dead.close()
    assert node.ingest.recover() == 0
    (note,) = refused(node.files)
    assert "went down" in note.reason
    assert not node.rows("SELECT FROM dicom_study")
    assert [path.name for path in node.files.incoming.iterdir()] == [node.ingest.folder.name]


def test_without_a_database_nothing_is_acknowledged_and_nothing_is_lost(node: Node, tmp_path: Path) -> None:
    from fhir_server.database.engine import Engine

    away = Ingest(node.files, Engine("host=/nowhere dbname=none"), node.clock)
    assert away.store([encoded(ct())], EXPLICIT, "CT1").verdict is Verdict.UNAVAILABLE
    away.close()
    assert node.ingest.recover() == 1
    assert len(node.kept(ct().SOPInstanceUID)) == 1


def test_odd_files_are_stored_byte_for_byte_or_in_quarantine(node: Node) -> None:
    archive = SHARED / "data" / "dicom" / "pydicom-data.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is not there")
    seen: Counter[Verdict] = Counter()
    with tarfile.open(archive) as members:
        for member in members:
            if not member.isfile():
                continue
            stream = members.extractfile(member)
            assert stream is not None
            raw = stream.read()
            meta = read_meta(raw)
            data = raw[meta.data_set_at :]
            outcome = node.ingest.store(
                pieces(data, 16_000),
                meta.transfer_syntax,
                "ODD",
                sop_class=meta.sop_class,
                sop_uid=meta.sop_uid,
            )
            seen[outcome.verdict] += 1
            if outcome.verdict in (Verdict.NOT_UNDERSTOOD, Verdict.NOT_IDENTIFIED):
                assert any(
                    path.read_bytes().endswith(data) for path in node.files.quarantine.rglob("*.dcm")
                ), member.name
            else:
                assert outcome.instance is not None
                assert data in node.kept(outcome.instance.sop_uid), member.name
    assert sum(seen.values()) == 79
    assert (seen[Verdict.NOT_UNDERSTOOD], seen[Verdict.NOT_IDENTIFIED]) == (0, 8), seen  # no Study UID


def test_every_file_that_pydicom_brings_is_stored_or_in_quarantine_and_can_be_asked_for(
    node: Node, web: FlaskClient
) -> None:
    folder = Path(pydicom.data.__file__).parent
    for path in sorted([*folder.glob("test_files/**/*"), *folder.glob("charset_files/*.dcm")]):
        raw = path.read_bytes() if path.is_file() else b""
        if not raw or path.suffix in (".json", ".xml", ".txt", ".py"):
            continue
        meta = read_meta(raw)
        data = raw[meta.data_set_at :]
        begun = time.monotonic()
        outcome = node.ingest.store(
            pieces(data), meta.transfer_syntax, "ODD", sop_class=meta.sop_class, sop_uid=meta.sop_uid
        )
        assert time.monotonic() - begun < 5, path.name  # one second, on a machine that does nothing else
        if outcome.verdict in (Verdict.NOT_UNDERSTOOD, Verdict.NOT_IDENTIFIED):
            continue
        assert outcome.instance is not None
        assert data in node.kept(outcome.instance.sop_uid), path.name
        found = outcome.instance
        address = f"/dicom-web/studies/{found.study_uid}/series/{found.series_uid}/instances/{found.sop_uid}"
        assert web.get(f"{address}/metadata").status_code == 200, path.name
        assert web.get(f"{address}/rendered").status_code in (200, 422), path.name
        assert web.get(f"{address}/frames/1").status_code in (200, 422), path.name
    assert node.rows("SELECT count(*) > 100 FROM dicom_instance") == [(True,)]


def test_the_file_meta_of_a_bare_data_set_is_guessed_from_its_first_element() -> None:
    assert read_meta(encoded(ct())).transfer_syntax == EXPLICIT
    assert read_meta(encoded(ct(), implicit=True)).transfer_syntax == IMPLICIT
    assert read_meta(encoded(ct(), little=False)).transfer_syntax == BIG
    assert read_meta(io.BytesIO().getvalue()).data_set_at == 0


def test_two_processes_do_not_take_each_others_folders(tmp_path: Path, node: Node) -> None:
    other = Ingest(FileStore(node.files.root), node.engine, node.clock)
    (other.folder / "7.part").write_bytes(b"being received")
    assert node.ingest.recover() == 0
    assert (other.folder / "7.part").exists()
    other.close()


def test_a_node_that_stops_finishes_what_it_has_begun_and_takes_nothing_new(node: Node) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        data = encoded(ct())
        yield data[:3000]
        begun.set()
        assert go_on.wait(60)
        yield data[3000:]

    verdicts: list[Verdict] = []
    sender = threading.Thread(
        target=lambda: verdicts.append(node.ingest.store(slow(), EXPLICIT, "CT1").verdict)
    )
    sender.start()
    assert begun.wait(60)
    assert not node.ingest.finish(0)
    assert node.ingest.store([encoded(ct(number=2))], EXPLICIT, "CT1").verdict is Verdict.UNAVAILABLE
    go_on.set()
    assert node.ingest.finish(60)
    sender.join()
    assert verdicts == [Verdict.STORED]
