"""Odd files over DIMSE, fifty at a time beside an ordinary sender; what our own reader cannot place."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue

import pytest

from dicom_node.files.store import FileStore
from dicom_node.ingest import Ingest, Verdict
from dicom_node.second_reader import START_S, SecondReader
from tests.support import dimse_node
from tests.support.clause import clause
from tests.support.clock import FixedClock
from tests.support.dicom_data import ct, encoded, file_of
from tests.support.dicom_fixtures import Node
from tests.support.server import wait_for
from tests.support.torture import ARCHIVE, Odd, archived, bundled, mutant
from tests.support.wire_dicom import Wire, associate_rq, context, data, pdu, store_rq

STORED, ANSWERED = {0x0000, 0xB007}, {0x0000, 0xB007, 0xA900, 0xC000, 0x0110}
MOST_MEMORY_KIB = 200 * 1024
AT_ONCE = 50


@pytest.fixture
def process(fresh_database_url: str, tmp_path: Path) -> Iterator[tuple[int, int]]:
    room = str(AT_ONCE + 10)
    settings = {"dimse_max_associations": room, "dimse_max_associations_per_ae": room}
    with dimse_node.running(fresh_database_url, tmp_path, **settings) as started:
        yield started


@pytest.fixture
def kept(node: Node, tmp_path: Path) -> Node:
    """The database and the folder of `process`."""
    node.files = FileStore(tmp_path / "dicom")
    return node


def send(port: int, odd: Odd) -> int:
    """Store one data set on an association of its own, cut at odd places; return the status."""
    chance = random.Random(odd.name)
    with Wire(port) as wire:
        wire.send(associate_rq([context(1, odd.sop_class, (odd.transfer_syntax,))], calling="ODD"))
        kind, answer = wire.pdu()
        assert kind == 2, (odd.name, kind, answer)
        wire.send(data(1, 3, store_rq(odd.sop_uid, sop_class=odd.sop_class)))
        at = 0
        while at < len(odd.data):
            size = chance.choice((2, 700, 16372, 60_000))
            wire.send(data(1, 2 if at + size >= len(odd.data) else 0, odd.data[at : at + size]))
            at += size
        if not odd.data:
            wire.send(data(1, 2, b""))
        status = wire.status()
        wire.release()
    return status


def storm(port: int, files: Sequence[Odd]) -> dict[str, int]:
    """Send them all, fifty at a time; return the status of each."""
    left: Queue[Odd] = Queue()
    for odd in files:
        left.put(odd)
    statuses: dict[str, int] = {}
    failures: list[str] = []

    def work() -> None:
        while True:
            try:
                odd = left.get_nowait()
            except Empty:
                return
            try:
                statuses[odd.name] = send(port, odd)
            except (OSError, EOFError, AssertionError) as error:
                failures.append(f"{odd.name}: {error!r}")

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures
    return statuses


def ordinary(port: int, folder: Path, count: int) -> threading.Thread:
    """Start a storescu, or what there is, that sends ordinary images meanwhile."""
    storescu = Path("/usr/bin/storescu")
    if not storescu.exists():
        pytest.skip("dcmtk's storescu is not installed")
    folder.mkdir()
    for number in range(1, count + 1):
        file_of(ct(study=77, number=number, pixels=64), folder)

    def run() -> None:
        command = [str(storescu), "-aec", "XINGLIN", "+sd", "127.0.0.1", str(port), str(folder)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def examine(node: Node, files: Sequence[Odd], statuses: dict[str, int], pid: int) -> Counter[int]:
    """Each is stored byte for byte or in quarantine, as its status said; memory was bounded."""
    assert set(statuses.values()) <= ANSWERED, {hex(each) for each in statuses.values()}
    stored = {odd.name: odd.data for odd in files if statuses[odd.name] in STORED}
    wait_for(lambda: not any("~" in path.name for path in node.files.incoming.rglob("*")), 120)
    contents = {}
    for digest, uid in node.rows("SELECT encode(hash, 'hex'), sop_uid FROM dicom_instance"):
        contents[node.data_set(digest)] = uid
    for name, content in stored.items():
        assert content in contents, name
    refused = [path.read_bytes() for path in node.files.quarantine.rglob("*.dcm")]
    for odd in files:
        if odd.name not in stored and odd.data:
            assert any(raw.endswith(odd.data) for raw in refused), odd.name
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < MOST_MEMORY_KIB, peak
    return Counter(statuses.values())


@pytest.mark.slow
@clause(
    "PS3.4 B.2.3",
    "odd files, fifty at a time, are stored as they came or quarantined",
)
def test_what_pydicom_brings_and_mutants_of_it(process: tuple[int, int], kept: Node, tmp_path: Path) -> None:
    pid, port = process
    small = [odd for odd in bundled() if len(odd.data) < 300_000]
    files = [*small, *(mutant(odd, seed) for seed in (1, 2) for odd in small)]
    sender = ordinary(port, tmp_path / "ordinary", 60)
    statuses = storm(port, files)
    sender.join()
    seen = examine(kept, files, statuses, pid)
    assert seen[0] > len(small), seen
    assert kept.rows("SELECT count(*) FROM dicom_instance WHERE calling_ae = 'STORESCU'") == [(60,)]


@pytest.mark.slow
def test_the_archive(process: tuple[int, int], kept: Node, tmp_path: Path) -> None:
    if not ARCHIVE.exists():
        pytest.skip(f"{ARCHIVE} is not there")
    pid, port = process
    files = list(archived())
    sender = ordinary(port, tmp_path / "ordinary", 60)
    statuses = storm(port, files)
    sender.join()
    seen = examine(kept, files, statuses, pid)
    assert seen[0] + seen[0xB007] == len(files) - 8, seen  # eight have no Study UID


def test_a_connection_cut_in_the_middle_of_a_pdu_leaves_nothing(process: tuple[int, int], kept: Node) -> None:
    _, port = process
    content = encoded(ct(pixels=128))
    whole = data(1, 2, content)
    for cut in (3, 6, 9, 12, 500, 20_000, len(whole) - 1):
        with Wire(port) as wire:
            wire.send(associate_rq([context(1, ct().SOPClassUID, ("1.2.840.10008.1.2.1",))]))
            assert wire.pdu()[0] == 2
            wire.send(data(1, 3, store_rq(ct().SOPInstanceUID)))
            wire.send(whole[:cut])
            if cut == 500:
                wire.send(pdu(7, bytes(4)))  # not even at the border of a PDU
    status = send(port, Odd("whole", content, "1.2.840.10008.1.2.1", ct().SOPClassUID, ct().SOPInstanceUID))
    assert status == 0
    wait_for(lambda: not list(kept.files.incoming.rglob("*.part")), 60)
    wait_for(lambda: kept.rows("SELECT count(*) FROM dicom_instance") == [(1,)], 60)


# -- the second reader --------------------------------------------------------------------------------


def misplaced() -> bytes:
    """A data set with a private element of a high group in front: our reader ends there."""
    return struct.pack("<HH2sH", 0x0099, 0x0010, b"LO", 4) + b"MINE" + encoded(ct())


def test_elements_out_of_place_are_found_by_pydicom(node: Node, tmp_path: Path) -> None:
    (tmp_path / "warm").write_bytes(misplaced())
    assert node.ingest._reader.uids(tmp_path / "warm", START_S)["StudyInstanceUID"] == ct().StudyInstanceUID
    outcome = node.ingest.store([misplaced()], "1.2.840.10008.1.2.1", "CT1")
    assert outcome.verdict is Verdict.STORED_DOUBTFUL
    assert node.kept(ct().SOPInstanceUID) == [misplaced()]
    ((problem,),) = node.rows("SELECT problem FROM dicom_instance")
    assert "pydicom" in problem


def test_a_restart_asks_the_second_reader_again(node: Node, tmp_path: Path, clock: FixedClock) -> None:
    from dicom_node.files.journal import Journal
    from dicom_node.files.part10 import meta_information

    dead = Journal(node.files)
    incoming = dead.incoming()
    incoming.write(meta_information("1.2.840.10008.1.2.1", "", "") + misplaced())
    dead.keep(incoming, incoming.digest(), "CT1", clock())
    dead.close()
    assert node.ingest.recover() == 1
    assert node.kept(ct().SOPInstanceUID) == [misplaced()]


def test_a_second_reader_that_hangs_is_killed_and_comes_back(tmp_path: Path) -> None:
    reader = SecondReader()
    try:
        path = tmp_path / "one.dcm"
        path.write_bytes(misplaced())
        assert reader.uids(path, START_S)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)  # opening it waits for a writer that never comes
        hung = reader._process
        assert hung is not None
        assert reader.uids(pipe) == {}
        assert hung.poll() is not None
        assert reader.uids(path, START_S)["SOPInstanceUID"] == ct().SOPInstanceUID
        assert reader.uids(tmp_path / "absent", START_S) == {}
        nothing = tmp_path / "nothing"
        nothing.write_bytes(random.Random(3).randbytes(5000))
        assert reader.uids(nothing, START_S) == {}
    finally:
        reader.close()


def test_no_hang_and_no_crash_for_any_mutant(node: Node) -> None:
    """What reads them uses less than a second of a core for each, however they are nested or cut."""
    ingest: Ingest = node.ingest
    small = [odd for odd in bundled() if len(odd.data) < 20_000]
    seen: Counter[Verdict] = Counter()
    longest = 0.0
    for seed in (21, 22):
        for odd in small:
            changed = mutant(odd, seed)
            began = time.thread_time()
            outcome = ingest.store(
                [changed.data], changed.transfer_syntax, "ODD", sop_class=odd.sop_class, sop_uid=odd.sop_uid
            )
            longest = max(longest, time.thread_time() - began)
            seen[outcome.verdict] += 1
    assert longest < 1
    assert set(seen) <= set(Verdict) - {Verdict.UNAVAILABLE, Verdict.DISK_FULL}
