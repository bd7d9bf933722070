"""STOW-RS of 1 and of 50 CT beside Orthanc: wall time and CPU an image, in alternating rounds.

    python -m conformance.benchmarks.dicom.stow --server http://127.0.0.1:8080/dicom-web --pid 4711

Starts Orthanc (Debian, with its DICOMweb plugin) on loopback ports, its storage beside ours if --folder
names a folder of the same disk. Every request brings instances that neither side has; what each side has
afterwards is counted. CPU is that of all processes of a side, the embedded Postgres included.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import http.client
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from pydicom.dataset import Dataset

from conformance.benchmarks.processes import Tree, postmaster_under
from conformance.samples import ct

COUNTS = (1, 50)
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
AFTERWARDS_S = 9.0
"""So long after a store may its study be told to FHIR and its metadata be written (quiet after 5 s)."""

_TYPE = 'multipart/related; type="application/dicom"; boundary=xinglin'


@dataclass(slots=True)
class Side:
    """A server: where its DICOMweb is, its processes, and what was measured: (images, seconds, CPU ms)."""

    name: str
    base: str
    tree: Tree
    idle_ms: float = 0.0
    measured: dict[int, list[tuple[int, float, float]]] = field(default_factory=dict)

    def store(self, body: bytes) -> None:
        """Send one request; anything but a plain success ends the run."""
        address = urlsplit(self.base)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        headers = {"Content-Type": _TYPE, "Accept": "application/dicom+json"}
        connection.request("POST", f"{address.path}/studies", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"{self.name} answered {answer.status}: {said[:300]!r}")

    def instances(self, study_uid: str) -> int:
        """Return how many instances of a study this side has."""
        address = urlsplit(self.base)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        path = f"{address.path}/studies/{study_uid}/instances?limit=5000"
        connection.request("GET", path, headers={"Accept": "application/dicom+json"})
        answer = connection.getresponse()
        found = json.loads(answer.read() or b"[]")
        connection.close()
        return len(found)


def images(count: int, run: str) -> list[bytes]:
    """Return CT files of 0.5 MB, 512 x 512, each with UIDs of its own within the study of the run."""
    patient = {"identifier": [{"value": f"BENCH-{run}"}]}
    template = next(iter(ct.study(patient, slices=1)))
    pixels = np.frombuffer(template.PixelData, "<u2").reshape(template.Rows, template.Columns)
    template.Rows = template.Columns = 512
    large = np.tile(pixels, (2, 2))
    found = []
    for number in range(1, count + 1):
        one: Dataset = copy.deepcopy(template)
        one.StudyInstanceUID = f"2.25.{run}"
        one.SeriesInstanceUID = f"2.25.{run}.1"
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"2.25.{run}.1.{number}"
        one.InstanceNumber = number
        one.PixelData = np.roll(large, number).tobytes()
        buffer = BytesIO()
        one.save_as(buffer, enforce_file_format=True)
        found.append(buffer.getvalue())
    return found


def message(files: list[bytes]) -> bytes:
    """Return the body of one store."""
    head = b"--xinglin\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + file + b"\r\n" for file in files) + b"--xinglin--\r\n"


def measure(sides: list[Side], rounds: int, seed: int) -> None:
    """Run the rounds: A B, B A, A B …; the first is for warming up and is not counted."""
    before = [side.tree.cpu() for side in sides]
    time.sleep(AFTERWARDS_S)
    for side, used_ms in zip(sides, before, strict=True):
        side.idle_ms = (side.tree.cpu() - used_ms).total_ms / AFTERWARDS_S
    for number in range(rounds + 1):
        for count in COUNTS:
            requests = 20 if count == 1 else 2
            order = sides if number % 2 else sides[::-1]
            run = f"{seed}{number:03d}{count:03d}"
            files = images(count * requests, run)
            bodies = [message(files[at : at + count]) for at in range(0, len(files), count)]
            for side in order:
                before, begun = side.tree.cpu(), time.monotonic()
                for body in bodies:
                    side.store(body)
                seconds = time.monotonic() - begun
                time.sleep(AFTERWARDS_S)  # what a store leaves to be done belongs to it, being idle does not
                spent = (side.tree.cpu() - before).total_ms
                used = spent - side.idle_ms * (time.monotonic() - begun)
                if (kept := side.instances(f"2.25.{run}")) != len(files):
                    raise SystemExit(f"{side.name} has {kept} of {len(files)} instances")
                if number:
                    side.measured.setdefault(count, []).append((len(files), seconds, used))


def table(sides: list[Side]) -> str:
    """Return the medians of all rounds, and ours as a ratio to the peer's."""
    lines = ["| STOW-RS of | side | images/s | CPU ms an image |", "|---|---|---|---|"]
    for count in COUNTS:
        medians = []
        for side in sides:
            rows = side.measured[count]
            rate = statistics.median(images_ / seconds for images_, seconds, _ in rows)
            cpu = statistics.median(used / images_ for images_, _, used in rows)
            medians.append((rate, cpu))
            lines.append(f"| {count} CT | {side.name} | {rate:.0f} | {cpu:.2f} |")
        (rate, cpu), (peer_rate, peer_cpu) = medians
        lines.append(f"| {count} CT | ratio | {rate / peer_rate:.1f}x faster | {peer_cpu / cpu:.1f}x less |")
    return "\n".join(lines)


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Side]:
    """Run Orthanc with its defaults for durability; its files are not compressed."""
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    settings = {
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": ports[0],
        "DicomPort": ports[1],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [PLUGIN],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{ports[0]}/dicom-web"
        side = Side("Orthanc", base, Tree(process.pid, None))
        until = time.monotonic() + 60
        while True:
            try:
                side.instances("2.25.0")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit((folder / "orthanc.log").read_text()[-2000:]) from None
                time.sleep(0.05)
        yield side
    finally:
        process.terminate()
        process.wait(30)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="our DICOMweb address")
    parser.add_argument("--pid", type=int, required=True, help="pid of our server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="new UIDs for a server that has data"
    )
    parser.add_argument("--folder", type=Path, help="where Orthanc keeps its data (default: a temporary one)")
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, orthanc(Path(name)) as peer:
        ours = Side(
            "ours", arguments.server.rstrip("/"), Tree(arguments.pid, postmaster_under(arguments.pid))
        )
        measure([ours, peer], arguments.rounds, arguments.seed)
        print(table([ours, peer]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
