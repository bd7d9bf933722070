"""PS3.4 Annex B (storage) and Annex A (verification), spoken by dcmtk and pynetdicom on real sockets."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.sop_class import CTImageStorage

from dicom_node.dimse import peers
from fhir_server.config import ConfigError
from fhir_server.database.engine import Engine
from tests.support import dimse_node
from tests.support.clock import FixedClock
from tests.support.dicom_data import ct, data_set_of, encoded, file_of
from tests.support.dicom_fixtures import Node

PRIVATE_STORAGE = "1.3.12.2.1107.5.9.1"


def dcmtk(tool: str) -> str:
    path = f"/usr/bin/{tool}"
    if not os.access(path, os.X_OK):
        pytest.skip(f"dcmtk's {tool} is not installed")
    return path


def run(*command: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def sender(port: int, *contexts: Any, title: str = "SENDER", called: str = "XINGLIN") -> Any:
    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = 200  # every image is synced to a disk that others may keep busy
    return ae.associate("127.0.0.1", port, contexts=list(contexts), ae_title=called)


@pytest.mark.clause("PS3.4 A.4", "C-ECHO is answered with success")
def test_echo(dimse_port: int) -> None:
    assert run(dcmtk("echoscu"), "-aec", "XINGLIN", "127.0.0.1", str(dimse_port)).returncode == 0


@pytest.mark.clause("PS3.8 9.3.4", "an association for another called AE title is rejected")
def test_wrong_called_title_is_rejected(dimse_port: int) -> None:
    answer = run(dcmtk("echoscu"), "-aec", "NOPE", "127.0.0.1", str(dimse_port))
    assert answer.returncode != 0
    assert "Called AE Title Not Recognized" in answer.stderr + answer.stdout


@pytest.mark.clause("PS3.8 9.3.4", "an unknown calling AE title is rejected once titles are listed")
def test_unknown_calling_title_is_rejected(node: Node, dimse_port: int) -> None:
    peers.add(node.engine, peers.Peer("CT1", "localhost", 104), node.clock)
    peers.add(node.engine, peers.Peer("ELSEWHERE", "192.0.2.1"), node.clock)
    echo = dcmtk("echoscu")
    known = run(echo, "-aet", "CT1", "-aec", "XINGLIN", "127.0.0.1", str(dimse_port))
    assert known.returncode == 0, known.stderr
    for stranger in ("CT2", "ELSEWHERE"):
        answer = run(echo, "-aet", stranger, "-aec", "XINGLIN", "127.0.0.1", str(dimse_port))
        assert "Calling AE Title Not Recognized" in answer.stderr + answer.stdout
    peers.remove(node.engine, "CT1")
    assert [peer.title for peer in peers.peers(node.engine)] == ["ELSEWHERE"]


def test_a_listener_open_to_the_network_needs_a_list_of_peers(node: Node) -> None:
    from dataclasses import replace

    from dicom_node.dimse.application_entity import check_exposure

    wide = replace(node.config, dimse_host="0.0.0.0")
    with pytest.raises(ConfigError, match="xinglin ae add"):
        check_exposure(wide, node.engine)
    peers.add(node.engine, peers.Peer("CT1", "10.0.0.7"), node.clock)
    check_exposure(wide, node.engine)


@pytest.mark.clause("PS3.4 B.2.3", "200 instances over 4 associations are all there, byte for byte")
@pytest.mark.parametrize("kind", ["dcmtk", "pynetdicom"])
def test_two_hundred_instances_over_four_associations(
    node: Node, dimse_port: int, tmp_path: Path, kind: str
) -> None:
    groups: list[list[Dataset]] = [
        [ct(study=1 + group // 2, series=1 + group % 2, number=n, pixels=32) for n in range(1, 51)]
        for group in range(4)
    ]
    failures: list[str] = []

    def send_with_dcmtk(group: int) -> None:
        folder = tmp_path / str(group)
        folder.mkdir()
        for dataset in groups[group]:
            file_of(dataset, folder)
        answer = run(dcmtk("storescu"), "-aec", "XINGLIN", "+sd", "127.0.0.1", str(dimse_port), folder)
        if answer.returncode:
            failures.append(answer.stderr)

    def send_with_pynetdicom(group: int) -> None:
        association = sender(dimse_port, build_context(CTImageStorage, ExplicitVRLittleEndian))
        for dataset in groups[group]:
            answer = association.send_c_store(dataset)
            if answer.get("Status") != 0:
                failures.append(str(answer))
        association.release()

    send = send_with_dcmtk if kind == "dcmtk" else send_with_pynetdicom
    if kind == "dcmtk":
        dcmtk("storescu")
    threads = [threading.Thread(target=send, args=(group,)) for group in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for dataset in (dataset for group in groups for dataset in group):
        (kept,) = node.kept(dataset.SOPInstanceUID)
        sent = (
            data_set_of(tmp_path / _folder(dataset) / f"{dataset.SOPInstanceUID}.dcm")
            if kind == "dcmtk"
            else encoded(dataset)
        )
        assert kept == sent
    assert [
        node.rows(f"SELECT count(*) FROM dicom_{level}") for level in ("study", "series", "instance")
    ] == [
        [(2,)],
        [(4,)],
        [(200,)],
    ]


def _folder(dataset: Dataset) -> str:
    return str((int(str(dataset.StudyInstanceUID).rsplit(".", 1)[1]) - 1) * 2 + dataset.SeriesNumber - 1)


@pytest.mark.clause("PS3.4 B.5", "any storage SOP class, private ones included, in any transfer syntax")
def test_private_class_and_syntax_are_stored_as_they_come(node: Node, dimse_port: int) -> None:
    dataset = ct(SOPClassUID=PRIVATE_STORAGE)
    dataset.file_meta.MediaStorageSOPClassUID = PRIVATE_STORAGE
    association = sender(dimse_port, build_context(PRIVATE_STORAGE, ExplicitVRLittleEndian))
    assert association.send_c_store(dataset).Status == 0
    association.release()
    big = ct(number=2)
    big.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    association = sender(dimse_port, build_context(CTImageStorage, ImplicitVRLittleEndian))
    assert association.send_c_store(big).Status == 0
    association.release()
    assert node.kept(big.SOPInstanceUID) == [encoded(big, implicit=True)]
    assert node.rows("SELECT sop_class, transfer_syntax FROM dicom_instance ORDER BY pk") == [
        (PRIVATE_STORAGE, ExplicitVRLittleEndian),
        (CTImageStorage, ImplicitVRLittleEndian),
    ]


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"StudyInstanceUID": None}, 0xA900), ({"SOPInstanceUID": "1.2.3.4"}, 0x0000)],
)
def test_the_status_says_what_became_of_the_instance(
    node: Node, dimse_port: int, changes: dict[str, Any], status: int
) -> None:
    dataset = ct(**changes)
    association = sender(dimse_port, build_context(CTImageStorage, ExplicitVRLittleEndian))
    assert association.send_c_store(dataset).Status == status
    association.release()


def test_an_aborted_transfer_leaves_nothing_and_the_next_one_works(node: Node, dimse_port: int) -> None:
    dataset = ct(pixels=512)
    association = sender(dimse_port, build_context(CTImageStorage, ExplicitVRLittleEndian))
    raw = association.dul.socket.socket
    threading.Timer(0, lambda: raw.shutdown(socket.SHUT_RDWR)).start()
    with contextlib.suppress(RuntimeError, ValueError):
        association.send_c_store(dataset)
    association = sender(dimse_port, build_context(CTImageStorage, ExplicitVRLittleEndian))
    assert association.send_c_store(ct(number=2)).Status == 0
    association.release()
    assert not list(node.ingest.folder.glob("*.part"))


@pytest.fixture
def process(fresh_database_url: str, tmp_path: Path) -> Iterator[tuple[int, int]]:
    with dimse_node.running(fresh_database_url, tmp_path) as started:
        yield started


def test_killed_in_the_middle_nothing_acknowledged_is_lost(
    process: tuple[int, int], fresh_database_url: str, tmp_path: Path, clock: FixedClock
) -> None:
    pid, port = process
    acknowledged: list[str] = []
    enough = threading.Event()

    def send(group: int) -> None:
        association = sender(port, build_context(CTImageStorage, ExplicitVRLittleEndian))
        for number in range(1, 500):
            dataset = ct(series=group, number=number, pixels=32)
            try:
                answer = association.send_c_store(dataset)
            except (RuntimeError, ValueError):
                return
            if answer.get("Status") != 0:
                return
            acknowledged.append(dataset.SOPInstanceUID)
            if len(acknowledged) > random.Random(7).randrange(40, 90):
                enough.set()

    threads = [threading.Thread(target=send, args=(group,)) for group in range(1, 5)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert acknowledged
    with dimse_node.running(fresh_database_url, tmp_path) as (_, again):
        association = sender(again, build_context(CTImageStorage, ExplicitVRLittleEndian))
        assert association.send_c_store(ct(series=9)).Status == 0
        association.release()
    engine = Engine(fresh_database_url)
    node = Node(engine, _files(tmp_path), None, None, clock)  # type: ignore[arg-type]
    for uid in acknowledged:
        _, _, series, number = uid.rsplit(".", 3)
        assert node.kept(uid) == [encoded(ct(series=int(series), number=int(number), pixels=32))]
    indexed = {digest for (digest,) in node.rows("SELECT encode(hash, 'hex') FROM dicom_instance")}
    assert indexed == {path.stem for path in node.files.kept.rglob("*.dcm")}
    assert not list(node.files.incoming.glob("*/*.part"))
    engine.close()


def _files(folder: Path) -> Any:
    from dicom_node.files.store import FileStore

    return FileStore(folder / "dicom")


@pytest.mark.clause("PS3.4 B.2.1", "what is answered with success is on disk: file and record")
@pytest.mark.parametrize("durability", ["journal", "index"])
def test_file_and_record_are_synced_and_only_then_comes_the_answer(
    fresh_database_url: str, tmp_path: Path, durability: str
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    calls = "trace=fdatasync,rename,renameat,renameat2,fsync,sendto,send,write,pwrite64"
    before = (strace, "-f", "-y", "-s", "64", "-e", calls, "-o", str(trace))
    settings = {"dimse_durability": durability}
    with dimse_node.running(fresh_database_url, tmp_path / "data", before, **settings) as (_, port):
        association = sender(port, build_context(CTImageStorage, ExplicitVRLittleEndian))
        for number in (1, 2, 3):
            assert association.send_c_store(ct(number=number)).Status == 0
        association.release()
    rounds = " ".join(_steps(trace.read_text())).split("answer")[:3]
    for steps in rounds:
        said = steps.split()
        assert said.index("record") < min(said.index("file"), said.index("folder")), rounds
        if durability == "index":
            assert said[-1] == "commit", rounds


def _steps(trace: str) -> Iterator[str]:
    """Yield what was done, when it was done, of the steps between the bytes and the answer."""
    unfinished: dict[str, str] = {}
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        if call.endswith("<unfinished ...>"):
            unfinished[thread] = call
            if "COMMIT" not in call:
                continue
        elif "resumed>" in call:
            call = unfinished.pop(thread, "")
        if re.search(r"rename\w*\(.*\.part\".*/incoming/.*~", call):
            yield "record"
        elif re.search(r"fdatasync\(\d+<[^>]*/incoming/[^>]*~", call):
            yield "file"
        elif re.search(r"fsync\(\d+<[^>]*/incoming/[^/>]+>", call):
            yield "folder"
        elif "COMMIT\\0" in call:
            yield "commit"
        elif re.search(r"send(to)?\(\d+<(TCP|socket)[^>]*>, \"\\4\\0\\0\\0", call):  # a P-DATA-TF PDU of ours
            yield "answer"
