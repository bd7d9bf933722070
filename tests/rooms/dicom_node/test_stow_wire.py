"""STOW-RS over the wire: real clients, chunks, bodies of gigabytes, odd files, processes that are killed."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset

from dicom_node.files.part10 import meta_information
from dicom_node.files.store import FileStore
from tests.support.clause import clause
from tests.support.dicom_data import ROOT_UID, ct, encoded, file_of
from tests.support.dicom_peers import program
from tests.support.orthanc import orthanc
from tests.support.server import Server, wait_for
from tests.support.torture import Odd, bundled, mutant

STUDY = f"{ROOT_UID}.1"
MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'
INSERTED = (b"\r\n--b\r\n", b"\r\n--b--\r\n", b"\r\n\r\n", b"\xff" * 12)


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server in a folder that the account of the embedded Postgres can reach."""
    with tempfile.TemporaryDirectory(prefix="xinglin-stow-") as name:
        Path(name).chmod(0o755)
        server = Server(Path(name) / "data", "--workers", "1")
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def file(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def message(*parts: bytes) -> bytes:
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part + b"\r\n" for part in parts) + b"--b--\r\n"


def post(
    server: Server, body: Any, content_type: str = MULTIPART, *, chunked: bool = False
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.facts["port"], timeout=120)
    try:
        connection.request(
            "POST",
            "/dicom-web/studies",
            body=body,
            headers={"Content-Type": content_type, "Accept": "application/dicom+json"},
            encode_chunked=chunked,
        )
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
    finally:
        connection.close()


def retrieved(server: Server, dataset: Dataset) -> bytes:
    """Return the kept file of an instance."""
    connection = http.client.HTTPConnection("127.0.0.1", server.facts["port"], timeout=60)
    series = f"/dicom-web/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
    connection.request(
        "GET", f"{series}/instances/{dataset.SOPInstanceUID}", headers={"Accept": "application/dicom"}
    )
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    assert answer.status == 200, raw[:500]
    return raw


def test_dicomweb_client_stores_whole_and_in_chunks(server: Server) -> None:
    web = pytest.importorskip("dicomweb_client.web")
    datasets = [ct(11, 1, number, pixels=256) for number in range(1, 6)]
    for chunk_size, some in ((10**7, datasets[:2]), (30_000, datasets[2:])):
        client = web.DICOMwebClient(f"{server.url}/dicom-web", chunk_size=chunk_size)
        answer = client.store_instances(some)
        assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
            one.SOPInstanceUID for one in some
        ]
        assert "FailedSOPSequence" not in answer
    for one in datasets:
        assert retrieved(server, one).endswith(encoded(one))
    found = client.search_for_instances(study_instance_uid=datasets[0].StudyInstanceUID)
    assert len(found) == 5


def test_orthanc_stores_to_us(server: Server, tmp_path: Path) -> None:
    datasets = [ct(12, 1, number, pixels=128) for number in range(1, 8)]
    with orthanc(tmp_path / "orthanc", servers={"NODE": f"{server.url}/dicom-web/"}) as peer:
        ids = [peer.call("/instances", file(one), "application/dicom")["ID"] for one in datasets]
        answer = peer.call("/dicom-web/servers/NODE/stow", {"Resources": ids})
    assert answer, "Orthanc's job says what it sent"
    for one in datasets:
        assert retrieved(server, one).endswith(encoded(one)[-2 * 128 * 128 :])


def test_a_body_in_chunks_of_any_size(server: Server) -> None:
    random_ = random.Random(20260102)
    datasets = [ct(13, 1, number) for number in (1, 2, 3)]
    body = message(*map(file, datasets))

    def chunks() -> Iterator[bytes]:
        at = 0
        while at < len(body):
            size = random_.choice([1, 2, 7, 1000, 20_000])
            yield body[at : at + size]
            at += size

    status, answer = post(server, chunks(), chunked=True)
    assert status == 200
    assert len(answer["00081199"]["Value"]) == 3


def _pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith("Pss:")]
    return int(found.split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "film"])
def test_a_body_of_gigabytes_needs_no_more_memory_than_a_small_one(server: Server, kind: str) -> None:
    size = int(os.environ.get("XINGLIN_TEST_LARGE_MB", "300")) * 2**20
    if kind == "file":
        dataset = ct(14, 1, 1, PixelData=None)
        head = file(dataset) + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little")
        before, content_type = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + head, MULTIPART
    else:
        dataset = ct(14, 1, 2, PixelData=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.1.1")
        metadata = json.loads(dataset.to_json())
        metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": "film"}
        before = b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + json.dumps(metadata).encode()
        before += b"\r\n--b\r\nContent-Type: video/mp4\r\nContent-Location: film\r\n\r\n"
        content_type = 'multipart/related; type="application/dicom+json"; boundary=b'
    post(server, message(file(ct(14, 1, 3))))
    pid = server.pid("http-1")
    least = _pss_mb(pid)
    most = [least]
    piece = random.Random(5).randbytes(2**20)

    def chunks() -> Iterator[bytes]:
        yield before
        for number in range(size // 2**20):
            yield piece
            if number % 16 == 0:
                most.append(_pss_mb(pid))
        yield b"\r\n--b--\r\n"

    status, answer = post(server, chunks(), content_type, chunked=True)
    most.append(_pss_mb(pid))
    assert (status, "00081198" in answer) == (200, False)
    assert max(most) < least + 40, most


def test_many_store_at_once_and_all_is_found_when_they_are_answered(server: Server) -> None:
    studies = range(20, 28)

    def send(study: int) -> None:
        for each in range(1, 4):
            body = message(*(file(ct(study, each, number)) for number in range(1, 6)))
            status, _ = post(server, body)
            path = f"/dicom-web/studies/{ROOT_UID}.{study}/series/{ROOT_UID}.{study}.{each}/instances"
            found.append((status, len(json.loads(server.get(path)[1]))))

    found: list[tuple[int, int]] = []
    threads = [threading.Thread(target=send, args=(study,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(200, 5)] * 24


def odd_files() -> list[tuple[str, bytes]]:
    folder = Path(pydicom.data.__file__).parent
    found = [*folder.glob("test_files/**/*"), *folder.glob("charset_files/*.dcm")]
    return [
        (path.name, path.read_bytes())
        for path in sorted(found)
        if path.is_file() and path.suffix not in (".json", ".xml", ".txt", ".py", ".pyc", ".zip")
    ]


def outcomes(answer: Any) -> int:
    return sum(len(answer.get(tag, {}).get("Value", [])) for tag in ("00081198", "00081199", "0008119A"))


@pytest.mark.slow
def test_every_odd_file_has_an_outcome_alone_and_among_others(server: Server) -> None:
    files = odd_files()
    seen: dict[int, int] = {}
    for name, raw in files:
        status, answer = post(server, raw, "application/dicom") if raw else (400, None)
        seen[status] = seen.get(status, 0) + 1
        assert status in (200, 202, 400, 409), (name, status, answer)
        if status != 400:
            assert outcomes(answer) == 1, (name, answer)
    assert seen[200] > 100, seen
    status, answer = post(server, message(*(raw for _, raw in files)))
    assert status == 202
    assert outcomes(answer) == len(files)


MOST_MEMORY_MB = 200
AT_ONCE = 50


@pytest.mark.slow
@clause(
    "PS3.18 10.5", "odd files, fifty at a time beside a scanner, are stored as they came or refused by name"
)
def test_odd_files_and_mutants_fifty_at_a_time_beside_a_scanner(server: Server, tmp_path: Path) -> None:
    small = [odd for odd in bundled() if odd.data and len(odd.data) < 100_000]
    files = [odd for odd in (*small, *(mutant(odd, seed) for seed in (31, 32) for odd in small)) if odd.data]
    images = tmp_path / "images"
    images.mkdir()
    for number in range(1, 41):
        file_of(ct(77, 1, number), images)
    statuses: dict[str, int] = {}

    def send(odd: Odd) -> None:
        raw = meta_information(odd.transfer_syntax, odd.sop_class, odd.sop_uid) + odd.data
        statuses[odd.name], answer = post(server, message(raw))
        assert statuses[odd.name] == 400 or outcomes(answer) == 1, (odd.name, answer)

    port = str(server.facts["dimse_port"])
    scanner = subprocess.Popen(
        [program("storescu"), "-aec", "XINGLIN", "+sd", "127.0.0.1", port, str(images)]
    )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(send, files))
    assert scanner.wait(120) == 0
    assert set(statuses.values()) <= {200, 202, 400, 409}, Counter(statuses.values())
    store = FileStore(Path(server.facts["data_dir"]) / "dicom")
    kept = [path.read_bytes() for path in store.kept.rglob("*.dcm")]
    kept += [path.read_bytes() for path in store.quarantine.rglob("*.dcm")]
    for odd in files:
        assert statuses[odd.name] == 400 or any(raw.endswith(odd.data) for raw in kept), odd.name
    assert Counter(statuses.values())[200] > len(small)
    assert len(json.loads(server.get(f"/dicom-web/studies/{ROOT_UID}.77/instances?limit=100")[1])) == 40
    assert _pss_mb(server.pid("http-1")) < MOST_MEMORY_MB
    assert not server.lines("crashed")


@pytest.mark.slow
def test_damaged_bodies_are_answered_and_the_server_goes_on(server: Server) -> None:
    random_ = random.Random(20260103)
    whole = message(file(ct(15, 1, 1, pixels=8)), file(ct(15, 1, 2, pixels=8)))
    for _ in range(150):
        body = bytearray(whole)
        for _ in range(random_.randint(1, 8)):
            at = random_.randrange(len(body))
            match random_.randrange(4):
                case 0:
                    body[at] = random_.randrange(256)
                case 1:
                    del body[at : at + random_.randint(1, 200)]
                case 2:
                    body[at:at] = random_.choice(INSERTED)
                case _:
                    body[at:at] = body[: random_.randint(1, 300)]
        status, answer = post(server, bytes(body))
        assert status in (200, 202, 400, 409), (status, answer)
    assert post(server, message(file(ct(15, 2, 1))))[0] == 200
    assert not server.lines("crashed")


@pytest.mark.slow
def test_what_was_answered_is_there_after_a_worker_is_killed_in_mid_store() -> None:
    with serving() as server:
        _killed_in_mid_store(server)


def _killed_in_mid_store(server: Server) -> None:
    answered: list[Dataset] = []
    stop = threading.Event()

    def send(series: int) -> None:
        for number in range(1, 400):
            if stop.is_set():
                return
            some = [ct(16, series, 10 * number + each, pixels=64) for each in range(3)]
            try:
                status, _ = post(server, message(*map(file, some)))
            except (OSError, http.client.HTTPException):
                continue
            if status == 200:
                answered.extend(some)

    threads = [threading.Thread(target=send, args=(series,)) for series in (1, 2)]
    try:
        for thread in threads:
            thread.start()
        for round_ in range(1, 4):
            wait_for(lambda goal=round_ * 12: len(answered) >= goal)
            pid = server.pid("http-1")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda killed=pid: server.pid("http-1") != killed)
        enough = len(answered) + 6
        wait_for(lambda: len(answered) >= enough)
        stop.set()
        for thread in threads:
            thread.join()
        assert len(answered) >= 40
        for dataset in answered:
            assert retrieved(server, dataset).endswith(encoded(dataset))
    finally:
        stop.set()
