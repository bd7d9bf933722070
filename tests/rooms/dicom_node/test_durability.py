"""ingest with the index behind it: the database goes away, processes are killed, the disk is full."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psycopg2
import pytest

from dicom_node.files.store import FileStore
from dicom_node.ingest import Durability, Ingest, Verdict
from fhir_server.database.engine import Engine
from tests.support import dimse_node, ingest_process
from tests.support.clause import clause
from tests.support.clock import FixedClock
from tests.support.dicom_data import ct, encoded
from tests.support.dicom_fixtures import Node
from tests.support.ingest_process import EXPLICIT, instance
from tests.support.server import wait_for
from tests.support.wire_dicom import Wire, associate_rq, context, data, store_rq

KEPT = {"STORED", "DUPLICATE", "NEW_VERSION"}


@pytest.fixture
def behind(node: Node) -> Iterator[Ingest]:
    """An ingest that answers when the file is durable, with room for twenty instances without a row."""
    ingest = Ingest(node.files, node.engine, node.clock, Durability.JOURNAL, backlog=20)
    yield ingest
    ingest.close()


class Door:
    """Shuts a database: its sessions are ended and no new one is let in."""

    def __init__(self, url: str) -> None:
        parts = psycopg2.extensions.parse_dsn(url)
        self.name = parts["dbname"]
        self._connection = psycopg2.connect(**{**parts, "dbname": "postgres"})
        self._connection.autocommit = True

    def shut(self) -> None:
        cursor = self._connection.cursor()
        cursor.execute(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false')
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.name,)
        )

    def open(self) -> None:
        self._connection.cursor().execute(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS true')

    def close(self) -> None:
        self.open()
        self._connection.close()


@pytest.fixture
def door(fresh_database_url: str) -> Iterator[Door]:
    door = Door(fresh_database_url)
    yield door
    door.close()


def test_the_row_follows_the_answer(node: Node, behind: Ingest) -> None:
    for number in range(1, 6):
        uid, data = instance(1, number)
        assert behind.store([data], EXPLICIT, "CT1").verdict is Verdict.STORED
    assert behind.settle(60)
    assert node.kept(uid) == [data]
    assert node.rows("SELECT count(*) FROM dicom_instance") == [(5,)]
    assert len(node.rows("SELECT FROM dicom_outbox")) <= 5
    assert not [path for path in behind.folder.iterdir() if path.name != "lock"]
    assert behind.store([data], EXPLICIT, "CT1").verdict is Verdict.DUPLICATE


def test_versions_in_one_batch_keep_their_order(node: Node, behind: Ingest) -> None:
    said = [encoded(ct(StudyDescription=text, pixels=8)) for text in ("one", "two", "one", "three")]
    for one in said:
        assert behind.store([one], EXPLICIT, "CT1").verdict is Verdict.STORED
    assert behind.settle(60)
    assert node.kept(ct().SOPInstanceUID) == [said[0], said[1], said[3]]
    assert node.rows("SELECT attributes #>> '{00081030,Value,0}' FROM dicom_study") == [("three",)]


@clause("PS3.15 A.5.3.7", "what replaced another is told at once, with its row")
def test_what_replaced_another_is_written_down_for_the_audit(node: Node) -> None:
    ingest = Ingest(node.files, node.engine, node.clock, Durability.JOURNAL, title="XINGLIN")
    for number in range(1, 4):
        ingest.store([instance(1, number)[1]], EXPLICIT, "CT1")
    ingest.settle(60)
    ingest.store([instance(1, 2, StudyDescription="Right")[1]], EXPLICIT, "CT2")
    ingest.settle(60)
    ingest.close()
    assert node.rows(
        "SELECT event #>> '{source,ae}', event ->> 'action', event #> '{study,instances}' FROM dicom_audit"
    ) == [("CT2", "U", 1)]


@clause("PS3.4 B.2.3", "without its database the node keeps what it can, then says A7xx, then goes on")
def test_the_database_goes_away_and_comes_back(node: Node, behind: Ingest, door: Door) -> None:
    _, first = instance(2, 1)
    assert behind.store([first], EXPLICIT, "CT1").verdict is Verdict.STORED
    assert behind.settle(60)
    door.shut()
    verdicts = [behind.store([instance(1, n)[1]], EXPLICIT, "CT1").verdict for n in range(1, 31)]
    assert Counter(verdicts) == {Verdict.STORED: 20, Verdict.UNAVAILABLE: 10}
    assert verdicts[:20] == [Verdict.STORED] * 20
    assert "20 instances" in behind.congested()
    door.open()
    wait_for(lambda: not behind.congested(), 60)
    assert behind.settle(60)
    assert behind.store([instance(1, 21)[1]], EXPLICIT, "CT1").verdict is Verdict.STORED
    assert behind.settle(60)
    for number in range(1, 22):
        uid, data = instance(1, number)
        assert node.kept(uid) == [data]


@clause("PS3.4 B.2.3", "an association that goes on while the database is away: 0000, A701, 0000")
def test_over_dimse_the_database_goes_away_and_comes_back(node: Node, door: Door, tmp_path: Path) -> None:
    def stored(wire: Wire, number: int) -> int:
        uid, content = instance(1, number)
        wire.send(data(1, 3, store_rq(uid, number)))
        wire.send(data(1, 2, content))
        return wire.status()

    with dimse_node.running(node.engine.url, tmp_path / "node", dimse_backlog="5") as (_, port):
        with Wire(port) as wire:
            wire.associate([context(1, ct().SOPClassUID, (EXPLICIT,))])
            assert stored(wire, 1) == 0
            wait_for(lambda: node.rows("SELECT count(*) FROM dicom_instance") == [(1,)], 60)
            door.shut()
            assert [stored(wire, number) for number in range(2, 9)] == [0] * 5 + [0xA701] * 2
            with Wire(port) as other:  # and nobody new is let in
                other.send(associate_rq([context(1, ct().SOPClassUID, (EXPLICIT,))]))
                kind, body = other.pdu()
                assert (kind, body[1]) == (3, 2)  # A-ASSOCIATE-RJ, transient
            door.open()
            wait_for(lambda: stored(wire, 7) == 0, 60)
            wire.release()
        wait_for(lambda: node.rows("SELECT count(*) FROM dicom_instance") == [(7,)], 60)
    node.files = FileStore(tmp_path / "node" / "dicom")
    for number in range(1, 8):
        uid, content = instance(1, number)
        assert node.kept(uid) == [content]


def test_commit_first_says_so_when_there_is_no_row_and_makes_it_later(node: Node, door: Door) -> None:
    uid, data = instance(1, 1)
    door.shut()
    assert node.ingest.store([data], EXPLICIT, "CT1").verdict is Verdict.UNAVAILABLE
    door.open()
    assert node.ingest.store([data], EXPLICIT, "CT1").verdict in (Verdict.DUPLICATE, Verdict.STORED)
    assert node.ingest.settle(60)
    assert node.kept(uid) == [data]


def test_a_node_that_ends_without_its_database_leaves_its_journal(node: Node, door: Door) -> None:
    ingest = Ingest(node.files, node.engine, node.clock, Durability.JOURNAL)
    door.shut()
    uid, data = instance(1, 1)
    assert ingest.store([data], EXPLICIT, "CT1").verdict is Verdict.STORED
    ingest.close()
    door.open()
    assert node.ingest.recover() == 1
    assert node.kept(uid) == [data]


def test_a_living_process_takes_over_what_a_dead_one_left(
    node: Node, behind: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicom_node import indexer

    monkeypatch.setattr(indexer, "ADOPT_S", 0.2)
    behind.recover()
    with ingest_process.running(node.engine.url, node.files.root, series=5, count=1000, threads=2) as (
        process,
        output,
    ):
        acknowledged = [output.readline().split() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [
            line.split() for line in output.read().splitlines(keepends=True) if line.endswith("\n")
        ]
    wait_for(lambda: len(list(node.files.incoming.iterdir())) == 2, 60)  # node.ingest's folder and ours
    check(node, [line for line in acknowledged if len(line) == 2])


@pytest.mark.slow
@clause("PS3.4 B.2.1", "kill -9 of any process in a thousand stores: all that was acknowledged is there")
def test_processes_are_killed_again_and_again(node: Node) -> None:
    acknowledged: list[list[str]] = []
    chance = random.Random(11)

    def one(series: int) -> None:
        plan = {"series": series, "count": 180, "threads": 3}
        with ingest_process.running(node.engine.url, node.files.root, **plan) as (process, output):
            enough = chance.randrange(20, 180)
            for count, line in enumerate(told(output)):
                acknowledged.append(line)
                if count == enough:
                    process.send_signal(signal.SIGKILL)
            process.kill()

    for first in range(0, 6, 2):
        threads = [threading.Thread(target=one, args=(first + each,)) for each in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert len(acknowledged) > 100
    node.ingest.recover()
    check(node, acknowledged)
    indexed = {digest for (digest,) in node.rows("SELECT encode(hash, 'hex') FROM dicom_instance")}
    assert indexed == {path.stem for path in node.files.kept.rglob("*.dcm")}
    assert len(list(node.files.incoming.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("rename", 9),
        ("fdatasync", 9),
        ("fsync", 12),
        ("link", 9),
        ("unlink", 9),
        ("sendto", 14),
        ("sendto", 17),
    ],
)
def test_killed_at_a_system_call(node: Node, call: str, when: int) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    inject = f"inject={call}:signal=KILL:when={when}"
    before = (strace, "-f", "-qq", "-e", f"trace={call}", "-e", inject, "-o", "/dev/null")
    plan = {"series": 1, "count": 60, "threads": 2}
    with ingest_process.running(node.engine.url, node.files.root, before, **plan) as (_, output):
        lines = list(told(output))
    node.ingest.recover()
    check(node, lines)


def told(output: IO[str]) -> Iterator[list[str]]:
    """Yield verdict and UID as a process tells them, up to its end; half a line is none."""
    for line in output:
        if line.startswith("END") or not line.endswith("\n"):
            return
        yield line.split()


def check(node: Node, acknowledged: list[list[str]]) -> None:
    """Every acknowledged instance is in the index, byte for byte."""
    assert acknowledged
    for verdict, uid in acknowledged:
        assert verdict in KEPT, verdict
        _, _, series, number = uid.rsplit(".", 3)
        assert node.kept(uid) == [instance(int(series), int(number))[1]]


def test_two_processes_get_the_same_instances_at_once(node: Node) -> None:
    lines: list[list[str]] = []

    def one() -> None:
        plan = {"series": 1, "count": 60, "threads": 2}
        with ingest_process.running(node.engine.url, node.files.root, **plan) as (_, output):
            lines.extend(told(output))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(lines) == 120
    check(node, lines)
    assert node.rows("SELECT count(*), max(version) FROM dicom_instance") == [(60, 1)]
    assert len(list(node.files.kept.rglob("*.dcm"))) == 60


FULL = """
import json, os, sys
from datetime import UTC, datetime
from pathlib import Path
from dicom_node.files.store import FileStore
from dicom_node.ingest import Durability, Ingest
from fhir_server.database.engine import Engine
from tests.support.ingest_process import EXPLICIT, instance

root = Path(sys.argv[2])
ingest = Ingest(FileStore(root / "dicom"), Engine(sys.argv[1]), lambda: datetime.now(UTC), Durability.JOURNAL)
(root / "filler").write_bytes(bytes(1024 * 1024))
seen = []
for number in range(1, 1500):
    data = instance(1, number)[1]
    outcome = ingest.store([data], EXPLICIT, "CT1")
    seen.append(outcome.verdict.name)
    if seen[-3:] == ["DISK_FULL"] * 3:
        break
(root / "filler").unlink()
again = ingest.store([data], EXPLICIT, "CT1").verdict.name
settled = ingest.settle(60)
kept = sum(path.stat().st_size > 0 for path in (root / "dicom" / "store").rglob("*.dcm"))
parts = len(list((root / "dicom").rglob("*.part")))
ingest.close()
print(json.dumps([seen.count("STORED"), seen.count("DISK_FULL"), len(seen), again, settled, kept, parts]))
"""


@clause("PS3.4 B.2.3", "a full disk is A700; what was acknowledged stays, and with room it goes on")
def test_a_full_disk(node: Node, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    folder = tmp_path / "small"
    folder.mkdir()
    apart = "-m" if os.geteuid() == 0 else "-Urm"  # as root of another user namespace root owns nothing here
    mount = f"mount -t tmpfs -o size=4m none {folder}"
    if unshare is None or subprocess.run([unshare, apart, "sh", "-c", mount], check=False).returncode:
        pytest.skip("no namespaces here, so no small file system can be mounted")
    ran = subprocess.run(
        [unshare, apart, "sh", "-c", f'{mount} && exec {sys.executable} -c "$FULL" "$URL" {folder}'],
        cwd=ingest_process.ROOT,
        env={**os.environ, "FULL": FULL, "URL": node.engine.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    stored, full, count, again, settled, kept, parts = json.loads(ran.stdout)
    assert (full, stored + full, again, settled) == (3, count, "STORED", True)
    assert stored > 100
    assert (kept, parts) == (stored + 1, 0)
    assert node.rows("SELECT count(*) FROM dicom_instance") == [(stored + 1,)]


def test_a_file_larger_than_is_allowed_is_a_full_disk(node: Node, tmp_path: Path, clock: FixedClock) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from pathlib import Path; from datetime import UTC, datetime\n"
        "from dicom_node.files.store import FileStore; from dicom_node.ingest import Ingest\n"
        "from fhir_server.database.engine import Engine\n"
        "from tests.support.ingest_process import EXPLICIT, instance\n"
        "ingest = Ingest(FileStore(Path(sys.argv[2])), Engine(sys.argv[1]), lambda: datetime.now(UTC))\n"
        "data = instance(1, 1)[1] * 40\n"
        "outcome = ingest.store([data[:9000], data[9000:]], EXPLICIT, 'CT1')\n"
        "print(outcome.verdict.name, *ingest.folder.iterdir())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, node.engine.url, str(tmp_path / "limited")],
        cwd=ingest_process.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.startswith("DISK_FULL"), ran.stderr
    assert ".part" not in ran.stdout


def test_a_store_of_a_former_release_is_taken_over(node: Node) -> None:
    left = node.files.incoming / "1-abcd"
    left.mkdir()
    (left / "journal").write_text(
        '{"name": "1.part", "digest": "ab", "calling_ae": "A", "received_at": ""}\n'
    )
    (left / "1.part").write_bytes(b"never acknowledged")
    assert node.ingest.recover() == 0
    assert not left.exists()
    assert FileStore(node.files.root).holds("ab", 1) is False


def test_the_engine_is_not_needed_to_receive(tmp_path: Path, clock: FixedClock) -> None:
    ingest = Ingest(FileStore(tmp_path), Engine("host=/nowhere dbname=none"), clock, Durability.JOURNAL)
    assert ingest.store([instance(1, 1)[1]], EXPLICIT, "CT1").verdict is Verdict.STORED
    ingest.close()
    assert [path for path in ingest.folder.iterdir() if "~" in path.name]
