"""WADO-RS beside Orthanc: CPU and time of a request, in alternating rounds.

    python -m conformance.benchmarks.dicom.retrieve --rounds 5

Both nodes get the same six series of 50 CT of 0.53 MB by storescu and are asked the same questions over
one connection that stays open. CPU is that of all processes of a side, its Postgres included, less what
they use while nobody asks; Orthanc is Debian's with its DICOMweb plug-in. It keeps 128 MB of files in
memory: `each another one` goes through all 300 images, as an archive is used, `the same again` does not.
Browsers, requests and OHIF accept gzip, curl and libcurl do not: so both are asked. (Orthanc then compresses
whatever it sends; we compress metadata once, and pixels never.) What metadata says is compared.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file

import conformance
from conformance.benchmarks.processes import Tree, postmaster_under

ORTHANC = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STORESCU = Path("/usr/bin/storescu")
IMAGES, SERIES_SIZE = 300, 50
STUDY = "1.2.826.0.1.3680043.10.1411.900001"
SERIES = f"{STUDY}.1"
_IDLE_S = 4.0
_ROOT = Path(conformance.__file__).resolve().parent.parent
_START_S = 120
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True, slots=True)
class Question:
    """A request of either side, how often it is asked in a round, and the ratio of CPU that is wanted.

    A path with a gap is asked for another instance each time.
    """

    name: str
    path: str
    accept: str
    count: int
    wanted: float = 0.0
    gzip: bool = False


_FRAME = 'multipart/related; type="application/octet-stream"'
_OF_SERIES = f"/studies/{STUDY}/series/{SERIES}"
_OF_INSTANCE = f"{_OF_SERIES}/instances/{SERIES}.7"
QUESTIONS = (
    Question("series metadata of 50", f"{_OF_SERIES}/metadata", "application/dicom+json", 40, 50.0),
    Question("the same, compressed", f"{_OF_SERIES}/metadata", "application/dicom+json", 40, 50.0, gzip=True),
    Question("instance metadata", f"{_OF_INSTANCE}/metadata", "application/dicom+json", 40),
    Question("instance, gzip accepted", "{}", _DICOM, 40, 10.0, gzip=True),
    Question("instance, each another one", "{}", _DICOM, 60),
    Question("instance, the same again", _OF_INSTANCE, _DICOM, 60),
    Question("series of 50", _OF_SERIES, _DICOM, 4),
    Question("frame, each another one", "{}/frames/1", _FRAME, 60),
    Question("rendered JPEG", f"{_OF_INSTANCE}/rendered", "image/jpeg", 20),
)


@dataclass(slots=True)
class Side:
    """A server: its address, its processes, and for each question CPU and time of a request by round."""

    name: str
    port: int
    tree: Tree
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    wall_ms: dict[str, list[float]] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)
    idle: float = 0.0  # CPU milliseconds a second while nobody asks
    asked: int = 0

    def rest(self) -> None:
        """Find out what the side uses while nobody asks."""
        before = self.tree.cpu_when_idle()
        time.sleep(_IDLE_S)
        self.idle = (self.tree.cpu() - before).total_ms / _IDLE_S

    def ask(self, question: Question) -> None:
        """Ask a question as often as a round does, and note what that cost."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self._once(connection, question)
        before, begun = self.tree.cpu(), time.monotonic()
        for _ in range(question.count):
            self.size[question.name] = len(self._once(connection, question))
        took = time.monotonic() - begun
        time.sleep(0.1)
        spent = (self.tree.cpu() - before).total_ms - self.idle * (time.monotonic() - begun)
        connection.close()
        self.cpu_ms.setdefault(question.name, []).append(spent / question.count)
        self.wall_ms.setdefault(question.name, []).append(took * 1000 / question.count)

    def metadata(self, question: Question) -> dict[str, Any]:
        """Return the metadata that a question gives, by instance."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = self._once(connection, question)
        connection.close()
        found = json.loads(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
        return {one["00080018"]["Value"][0]: one for one in found}

    def _once(self, connection: http.client.HTTPConnection, question: Question) -> bytes:
        headers = {"Accept": question.accept, **({"Accept-Encoding": "gzip"} if question.gzip else {})}
        path = question.path
        if "{}" in path:
            self.asked = self.asked % IMAGES + 1
            path = path.format(_address(self.asked))
        connection.request("GET", f"/dicom-web{path}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{self.name} answered {answer.status} to {question.path}: {body[:300]!r}")
        return body


def main() -> int:
    """Run the benchmark; 1 when a ratio that is wanted is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where both keep their files (a new one in /dev/shm)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    arguments = parser.parse_args()
    for needed in (ORTHANC, PLUGIN, STORESCU):
        if not needed.exists():
            raise SystemExit(f"{needed} is not there")
    folder = Path(tempfile.mkdtemp(prefix="xinglin-bench-", dir=arguments.folder or "/dev/shm"))
    folder.chmod(0o755)
    try:
        with _ours(folder) as ours, _orthanc(folder) as orthanc:
            _compare(ours, orthanc)
            ours.rest()
            orthanc.rest()
            for number in range(arguments.rounds):
                for question in QUESTIONS:
                    for side in (ours, orthanc) if number % 2 == 0 else (orthanc, ours):
                        side.ask(question)
            return _report(ours, orthanc, arguments.rounds, arguments.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _report(ours: Side, orthanc: Side, rounds: int, out: Path | None) -> int:
    load = os.getloadavg()
    print(f"idle: ours {ours.idle:.1f} ms CPU a second, Orthanc {orthanc.idle:.1f}; taken off")
    print(f"{rounds} rounds, medians, load {load[0]:.1f} on {os.cpu_count()} cores")
    print(
        f"{'':28}{'ours: CPU ms':>14}{'wall':>9}{'bytes':>12}{'Orthanc: CPU ms':>18}{'wall':>9}{'ratio':>8}"
    )
    missed = []
    for question in QUESTIONS:
        name = question.name
        ratio = median(b / a for a, b in zip(ours.cpu_ms[name], orthanc.cpu_ms[name], strict=True))
        print(
            f"{name:28}{median(ours.cpu_ms[name]):14.2f}{median(ours.wall_ms[name]):9.1f}{ours.size[name]:12}"
            f"{median(orthanc.cpu_ms[name]):18.2f}{median(orthanc.wall_ms[name]):9.1f}{ratio:7.1f}x"
        )
        if ratio < question.wanted:
            missed.append(f"{name}: {ratio:.1f} times less CPU, {question.wanted:.0f} is wanted")
    print("\n".join(["MISSED", *missed]) if missed else "all that is wanted is met")
    if out is not None:
        sides = {side.name: {"cpu_ms": side.cpu_ms, "wall_ms": side.wall_ms} for side in (ours, orthanc)}
        out.write_text(json.dumps({"rounds": rounds, "load": load, **sides}, indent=1) + "\n")
    return 1 if missed else 0


def _compare(ours: Side, orthanc: Side) -> None:
    """Make sure that both tell the same: instances, and the tags of the first of them."""
    mine, theirs = ours.metadata(QUESTIONS[0]), orthanc.metadata(QUESTIONS[0])
    packed = ours.metadata(QUESTIONS[1])
    if mine != packed or mine.keys() != theirs.keys() or len(mine) != SERIES_SIZE:
        raise SystemExit(
            f"the sides tell of {len(mine)} and {len(theirs)} instances; {SERIES_SIZE} were sent"
        )
    for uid, one in mine.items():
        shown = {tag for tag in one if int(tag[:4], 16) % 2 == 0}
        missing = {tag for tag in theirs[uid] if int(tag[:4], 16) % 2 == 0} - shown
        if missing:
            raise SystemExit(f"Orthanc tells of {sorted(missing)[:5]}, which we leave out")


@contextmanager
def _ours(folder: Path) -> Iterator[Side]:
    with open(folder / "ours.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fhir_server", "serve", "--data-dir", str(folder / "ours"), "--port", "0",
             "--dimse-port", "0", "--workers", "1", "--json"],
            stdout=subprocess.PIPE, stderr=log, cwd=_ROOT,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _START_S)
        facts = json.loads(process.stdout.readline() if ready else b"{}")
        if "port" not in facts:
            raise SystemExit(f"the server did not start: {(folder / 'ours.log').read_text()[-500:]}")
        _send(folder, facts["dimse_port"], "XINGLIN")
        side = Side("ours", facts["port"], Tree(process.pid, postmaster_under(process.pid)))
        _await(lambda: _count(side.port) == IMAGES)
        yield side
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def _orthanc(folder: Path) -> Iterator[Side]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    dicom, port = (probe.getsockname()[1] for probe in probes)
    for probe in probes:
        probe.close()
    settings = {
        "StorageDirectory": str(folder / "orthanc"), "IndexDirectory": str(folder / "orthanc"),
        "DicomPort": dicom, "HttpPort": port, "DicomAet": "ORTHANC", "Plugins": [str(PLUGIN)],
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True,
        "StorageCompression": False, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _await(lambda: socket.create_connection(("127.0.0.1", dicom), 1) is not None)
        _send(folder, dicom, "ORTHANC")
        yield Side("Orthanc", port, Tree(process.pid, None))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _address(number: int) -> str:
    series = f"{STUDY}.{(number - 1) // SERIES_SIZE + 1}"
    return f"/studies/{STUDY}/series/{series}/instances/{series}.{number}"


def _count(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", f"/dicom-web/studies/{STUDY}/instances?limit={2 * IMAGES}")
    found = json.loads(connection.getresponse().read())
    connection.close()
    return len(found)


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            if condition():
                return
        except (OSError, SystemExit):
            pass
        if time.monotonic() > until:
            raise SystemExit("a server did not become ready")
        time.sleep(0.05)


def _send(folder: Path, port: int, title: str) -> None:
    images = folder / "images"
    if not images.exists():
        images.mkdir()
        _write(images)
    subprocess.run(
        [STORESCU, "-aec", title, "+sd", "127.0.0.1", str(port), images],
        check=True, timeout=_START_S, env={**os.environ, "TCP_NODELAY": "1"},
    )  # fmt: skip


def _write(folder: Path) -> None:
    """Write a series with the header of a real scanner and pixels that fill half a megabyte each."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    dataset.Rows = dataset.Columns = 512
    dataset.StudyInstanceUID = STUDY
    chance = np.random.default_rng(1)
    for number in range(1, IMAGES + 1):
        series = f"{STUDY}.{(number - 1) // SERIES_SIZE + 1}"
        dataset.InstanceNumber = number
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
        dataset.PixelData = chance.integers(0, 4096, 512 * 512, np.uint16).tobytes()
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        (folder / f"{number:03}.dcm").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    raise SystemExit(main())
