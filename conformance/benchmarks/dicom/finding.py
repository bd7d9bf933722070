"""C-FIND and QIDO-RS beside Orthanc: server CPU a search, with the same studies in both.

    python -m conformance.benchmarks.dicom.finding --studies 10000 --rounds 5

Both nodes get the same small instances, one a study, over the same storescu. A round asks each side the same
searches in turns; CPU is that of all processes of a side, its Postgres included, less what they use in the
same time when nobody asks. What a side found is compared before it is believed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

import conformance
from conformance.benchmarks.processes import Tree, postmaster_under

ORTHANC = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STORESCU, FINDSCU = (
    Path("/usr/bin/storescu"),
    Path("/usr/bin/findscu"),
)  # a virtual environment may hold pynetdicom's, which is another one
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
UID = "1.2.826.0.1.3680043.10.1411.8"
FAMILY = (
    "ABBOTT", "ABRAMSON", "BECKER", "CASTILLO", "ERIKSSON", "FISCHER", "GRUBER", "HANSEN", "KOWALSKI",
    "LARSSON", "MEYER", "NIELSEN", "OLIVEIRA", "PETERSEN", "ROSSI", "SCHMIDT", "TAKAHASHI", "WEBER",
)  # fmt: skip
GIVEN = ("ANNA", "HANS", "JEAN", "JOHANNA", "LUCA", "OLGA", "PETER", "SUSANNA", "TOM")
GOAL = 10.0
_ROOT = Path(conformance.__file__).resolve().parent.parent
_START_S = 120


@dataclass(slots=True)
class Side:
    """A node that is up, and how it is asked."""

    name: str
    title: str
    port: int
    web: str
    tree: Tree
    process: subprocess.Popen[Any]
    idle: float = 0.0
    """Milliseconds of CPU a second when nobody asks."""

    def rest(self, seconds: float = 5.0) -> None:
        """Measure `idle`, once it is quiet."""
        before = self.tree.cpu_when_idle(longest_s=30)
        time.sleep(seconds)
        self.idle = (self.tree.cpu() - before).total_ms / seconds

    def stop(self) -> None:
        """Stop it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass(frozen=True, slots=True)
class Search:
    """One search: its keys with values made anew each time, and how often a round asks it."""

    name: str
    keys: Callable[[random.Random, int], dict[str, str]]
    times: int


SEARCHES = (
    Search("exact Study Instance UID", lambda c, n: {"StudyInstanceUID": f"{UID}.{c.randrange(n)}"}, 20),
    Search("exact Patient ID", lambda c, n: {"PatientID": f"P{c.randrange(n // 2):06d}"}, 20),
    Search("exact Accession Number", lambda c, n: {"AccessionNumber": f"A{c.randrange(n):07d}"}, 20),
    Search("a month", lambda c, n: _month(c), 10),
    Search("PatientName=ABB*", lambda c, n: {"PatientName": "ABB*"}, 4),
    Search("PatientName=*ANNA", lambda c, n: {"PatientName": "*ANNA"}, 4),
)


def _month(chance: random.Random) -> dict[str, str]:
    month = f"{chance.randrange(2011, 2026)}{chance.randrange(1, 13):02d}"
    return {
        "StudyDate": f"{month}01-{month}31" if month[4:] in ("01", "03", "05") else f"{month}01-{month}28"
    }


@dataclass(slots=True)
class Finding:
    """CPU ms and wall ms a search, by (protocol, search, side), a figure a round."""

    studies: int = 0
    absent: str = ""
    loads: list[float] = field(default_factory=list)
    cpu: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    wall: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    matches: dict[tuple[str, str], int] = field(default_factory=dict)

    def text(self) -> str:
        """Return it for people."""
        load = f"{median(self.loads):.1f}" if self.loads else "?"
        lines = ["", f"C-FIND and QIDO-RS, {self.studies} studies, load {load}"]
        if self.absent:
            lines.append(f"  {self.absent}")
        for protocol, search in self.matches:
            ours = median(self.cpu[protocol, search, "ours"])
            wall = median(self.wall[protocol, search, "ours"])
            line = f"  {protocol:5} {search:26} {self.matches[protocol, search]:5} matches"
            line += f"  ours {ours:7.2f} ms CPU, {wall:7.1f} ms"
            if (protocol, search, "Orthanc") in self.cpu:
                theirs = median(self.cpu[protocol, search, "Orthanc"])
                ratio = theirs / max(ours, 1e-9)
                word = "met" if ratio >= GOAL else "MISSED"
                wall = median(self.wall[protocol, search, "Orthanc"])
                line += f"  Orthanc {theirs:7.2f} ms CPU, {wall:7.1f} ms"
                line += f"  {ratio:5.1f} times less: {word}"
            lines.append(line)
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "studies": self.studies,
            "absent": self.absent,
            "load": self.loads,
            "searches": [
                {
                    "protocol": protocol, "search": search, "side": side, "cpu_ms": figures,
                    "wall_ms": self.wall[protocol, search, side],
                }
                for (protocol, search, side), figures in self.cpu.items()
            ],
        }  # fmt: skip


def measure(folder: Path, *, studies: int, rounds: int, seed: int = 5) -> Finding:
    """Fill both nodes and ask them in turns."""
    found = Finding(studies)
    if not STORESCU.exists():
        found.absent = f"skipped: dcmtk is not installed ({STORESCU})"
        return found
    with ExitStack() as stack:
        sides = [start_ours(folder)]
        stack.callback(sides[0].stop)
        if ORTHANC.exists() and PLUGIN.exists():
            sides.append(start_orthanc(folder))
            stack.callback(sides[1].stop)
        else:
            found.absent = "Orthanc or its DICOMweb plug-in is not installed; only ours is measured"
        images = folder / "images"
        write(images, studies)
        for side in sides:
            _fill(side, images, studies)
        shutil.rmtree(images)
        for side in sides:
            side.rest()
        for number in range(rounds):
            found.loads.append(os.getloadavg()[0])
            for search in SEARCHES:
                for protocol, ask in (("FIND", c_find), ("QIDO", qido)):
                    _round(found, sides if number % 2 else sides[::-1], search, protocol, ask, seed + number)
    return found


Ask = Callable[[Side, list[dict[str, str]]], list[int]]


def _round(found: Finding, sides: list[Side], search: Search, protocol: str, ask: Ask, seed: int) -> None:
    counts: dict[str, list[int]] = {}
    for side in sides:
        chance = random.Random(seed)
        asked = [search.keys(chance, found.studies) for _ in range(search.times)]
        before = side.tree.cpu_when_idle()
        begun = time.perf_counter()
        counts[side.name] = ask(side, asked)
        wall = (time.perf_counter() - begun) * 1000 / search.times
        used = (side.tree.cpu_when_idle() - before).total_ms
        cpu = max(0.0, used - side.idle * (time.perf_counter() - begun)) / search.times
        key = (protocol, search.name, side.name)
        found.cpu.setdefault(key, []).append(cpu)
        found.wall.setdefault(key, []).append(wall)
    if len({tuple(each) for each in counts.values()}) > 1:
        raise RuntimeError(f"{protocol} {search.name}: the sides found different numbers: {counts}")
    found.matches[protocol, search.name] = round(sum(counts["ours"]) / search.times)


def c_find(side: Side, asked: list[dict[str, str]]) -> list[int]:
    """Ask over one association; return the number of matches of all of it."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, keys in enumerate(asked):
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "STUDY"
            for keyword in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "StudyInstanceUID"):
                setattr(identifier, keyword, keys.get(keyword, ""))
            files.append(f"{folder}/{number}.dcm")
            identifier.save_as(files[-1], implicit_vr=True, little_endian=True, enforce_file_format=False)
        done = subprocess.run(
            [str(FINDSCU), "-S", "-aec", side.title, "127.0.0.1", str(side.port), *files],
            check=True, capture_output=True, text=True, env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip
    return [len(re.findall(r"Find Response: \d+ \(Pending", done.stdout + done.stderr))]


def qido(side: Side, asked: list[dict[str, str]]) -> list[int]:
    """Ask by HTTP; return the numbers of matches."""
    numbers = []
    for keys in asked:
        address = f"{side.web}/studies?{urlencode({**keys, 'limit': '5000'}, safe='*')}"
        request = urllib.request.Request(address, headers={"Accept": "application/dicom+json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            numbers.append(len(json.load(answer)))
    return numbers


def write(folder: Path, studies: int) -> None:
    """Write the instances, one a study: half as many patients, over fifteen years."""
    folder.mkdir(parents=True)
    chance = random.Random(7)
    for number in range(studies):
        patient = number // 2
        dataset = Dataset()
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{UID}.{number}.1.1"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UID}.{number}", f"{UID}.{number}.1"
        day = f"{chance.randrange(2011, 2026)}{chance.randrange(1, 13):02d}{chance.randrange(1, 29):02d}"
        dataset.StudyDate, dataset.StudyTime = day, f"{chance.randrange(7, 19):02d}0000"
        dataset.AccessionNumber, dataset.Modality = f"A{number:07d}", chance.choice(["CT", "MR", "US"])
        dataset.PatientName = f"{FAMILY[patient % len(FAMILY)]}^{GIVEN[patient % len(GIVEN)]}"
        dataset.PatientID, dataset.PatientBirthDate = f"P{patient:06d}", f"19{patient % 70 + 20}0101"
        dataset.PatientSex, dataset.StudyID = "F", str(number)
        dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / f"{number:06d}.dcm", enforce_file_format=True)


def _fill(side: Side, images: Path, studies: int) -> None:
    command = [str(STORESCU), "-aec", side.title, "+sd", "127.0.0.1", str(side.port), str(images)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TCP_NODELAY": "1"})
    last = {"StudyInstanceUID": f"{UID}.{studies - 1}"}
    until = time.monotonic() + _START_S
    while c_find(side, [last]) != [1]:  # the index may follow the answers
        if time.monotonic() > until:
            raise RuntimeError(f"{side.name} does not know the last study")
        time.sleep(0.2)


def start_ours(folder: Path) -> Side:
    """Start our server, one HTTP worker, without the background worker: it would announce the studies."""
    data = folder / "ours"
    data.mkdir(parents=True)
    with open(folder / "ours.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fhir_server", "serve", "--data-dir", str(data), "--port", "0",
             "--dimse-port", "0", "--workers", "1", "--json"],
            stdout=subprocess.PIPE, stderr=log, cwd=_ROOT, env={**os.environ, "XINGLIN_WORKER": "false"},
        )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the server did not start; see {log.name}")
    facts = json.loads(line)
    tree = Tree(process.pid, postmaster_under(process.pid))
    web = f"http://127.0.0.1:{facts['port']}/dicom-web"
    return Side("ours", "XINGLIN", int(facts["dimse_port"]), web, tree, process)


def start_orthanc(folder: Path) -> Side:
    """Start Orthanc with SQLite and its DICOMweb plug-in; the limits of its answers are taken away."""
    data = folder / "orthanc"
    data.mkdir(parents=True)
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports.append(probe.getsockname()[1])
    settings = {
        "StorageDirectory": str(data), "IndexDirectory": str(data),
        "DicomPort": ports[0], "HttpPort": ports[1], "DicomAet": "ORTHANC",
        "Plugins": [str(PLUGIN)], "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True,
        "LimitFindResults": 0, "LimitFindInstances": 0, "DicomWeb": {"Enable": True},
    }  # fmt: skip
    configured = folder / "orthanc.json"
    configured.write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "ab") as log:
        process = subprocess.Popen([str(ORTHANC), str(configured)], stdout=log, stderr=log)
    until = time.monotonic() + _START_S
    while True:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/statistics", timeout=30):
            break
        if time.monotonic() > until or process.poll() is not None:
            process.kill()
            raise RuntimeError(f"Orthanc did not start; see {log.name}")
        time.sleep(0.05)
    web = f"http://127.0.0.1:{ports[1]}/dicom-web"
    return Side("Orthanc", "ORTHANC", ports[0], web, Tree(process.pid, None), process)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the nodes keep their data (default: a new one)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="xinglin-finding-", dir=arguments.folder))
    folder.chmod(0o755)  # an unprivileged Postgres must find its way through
    try:
        found = measure(folder, studies=arguments.studies, rounds=arguments.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(found.text())
    if arguments.json:
        arguments.json.write_text(json.dumps(found.document(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
