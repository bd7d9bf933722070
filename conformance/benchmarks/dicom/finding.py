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
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from conformance.benchmarks.dicom.nodes import FINDSCU, OTHER, OURS, STORESCU, Node, absent, pair
from conformance.benchmarks.rounds import Differ

UID = "1.2.826.0.1.3680043.10.1411.8"
FAMILY = (
    "ABBOTT", "ABRAMSON", "BECKER", "CASTILLO", "ERIKSSON", "FISCHER", "GRUBER", "HANSEN", "KOWALSKI",
    "LARSSON", "MEYER", "NIELSEN", "OLIVEIRA", "PETERSEN", "ROSSI", "SCHMIDT", "TAKAHASHI", "WEBER",
)  # fmt: skip
GIVEN = ("ANNA", "HANS", "JEAN", "JOHANNA", "LUCA", "OLGA", "PETER", "SUSANNA", "TOM")
GOAL = 10.0
SENDERS = 10
"""Associations that fill a node; Orthanc takes twenty images a second over one."""


@dataclass(frozen=True, slots=True)
class Search:
    """One search: its keys with values made anew each time, and how often a round asks it."""

    name: str
    keys: Callable[[random.Random, int], dict[str, str]]
    times: int
    wanted: float = 0.0
    """How many times less CPU than Orthanc's is wanted; 0: nothing is."""


SEARCHES = (
    Search(
        "exact Study Instance UID", lambda c, n: {"StudyInstanceUID": f"{UID}.{c.randrange(n)}"}, 20, GOAL
    ),
    Search("exact Patient ID", lambda c, n: {"PatientID": f"P{c.randrange(n // 2):06d}"}, 20, GOAL),
    Search("exact Accession Number", lambda c, n: {"AccessionNumber": f"A{c.randrange(n):07d}"}, 20, GOAL),
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
            ours = median(self.cpu[protocol, search, OURS])
            wall = median(self.wall[protocol, search, OURS])
            line = f"  {protocol:5} {search:26} {self.matches[protocol, search]:5} matches"
            line += f"  ours {ours:7.2f} ms CPU, {wall:7.1f} ms"
            if (protocol, search, OTHER) in self.cpu:
                ratio = self.less(protocol, search)
                line += f"  Orthanc {median(self.cpu[protocol, search, OTHER]):7.2f} ms CPU,"
                line += f" {median(self.wall[protocol, search, OTHER]):7.1f} ms  {ratio:5.1f} times less"
                if wanted := _WANTED.get(search):
                    line += f": {'met' if ratio >= wanted else 'MISSED'} ({wanted:g})"
            lines.append(line)
        return "\n".join(lines)

    def less(self, protocol: str, search: str) -> float:
        """Return the median over the rounds of Orthanc's CPU to ours."""
        pairs = zip(self.cpu[protocol, search, OTHER], self.cpu[protocol, search, OURS], strict=True)
        return median(theirs / max(ours, 1e-9) for theirs, ours in pairs)

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


_WANTED = {search.name: search.wanted for search in SEARCHES}


def measure(
    folder: Path, *, studies: int, rounds: int, only: str = "", keep: bool = False, seed: int = 5
) -> Finding:
    """Fill both nodes, whose data are in `folder`, and ask them in turns."""
    found = Finding(studies, absent(web=True))
    if not STORESCU.exists():
        return found
    with pair(folder, web=True, keep=keep) as nodes:
        empty = [node for node in nodes if node.stored() < studies]
        if empty:
            with tempfile.TemporaryDirectory(dir=folder) as images:
                folders = write(Path(images), studies)
                for node in empty:
                    node.receive(folders)
        for node in nodes:
            node.rest()
        for number in range(rounds):
            found.loads.append(os.getloadavg()[0])
            for search in (each for each in SEARCHES if only in each.name):
                for protocol, ask in (("FIND", c_find), ("QIDO", qido)):
                    _round(found, nodes if number % 2 else nodes[::-1], search, protocol, ask, seed + number)
    return found


Ask = Callable[[Node, list[dict[str, str]]], list[int]]


def _round(found: Finding, nodes: Sequence[Node], search: Search, protocol: str, ask: Ask, seed: int) -> None:
    counts: dict[str, list[int]] = {}
    for node in nodes:
        chance = random.Random(seed)
        asked = [search.keys(chance, found.studies) for _ in range(search.times)]
        before = node.tree.cpu_when_idle()
        begun = time.perf_counter()
        counts[node.name] = ask(node, asked)
        wall = (time.perf_counter() - begun) * 1000 / search.times
        used = (node.tree.cpu_when_idle() - before).total_ms
        cpu = max(0.0, used - node.idle * (time.perf_counter() - begun)) / search.times
        key = (protocol, search.name, node.name)
        found.cpu.setdefault(key, []).append(cpu)
        found.wall.setdefault(key, []).append(wall)
    if len({tuple(each) for each in counts.values()}) > 1:
        raise Differ(f"{protocol} {search.name}: the sides found different numbers: {counts}")
    found.matches[protocol, search.name] = round(sum(counts[OURS]) / search.times)


def c_find(node: Node, asked: list[dict[str, str]]) -> list[int]:
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
            [str(FINDSCU), "-S", "-aec", node.title, "127.0.0.1", str(node.port), *files],
            check=True, capture_output=True, text=True, env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip
    return [len(re.findall(r"Find Response: \d+ \(Pending", done.stdout + done.stderr))]


def qido(node: Node, asked: list[dict[str, str]]) -> list[int]:
    """Ask by HTTP; return the numbers of matches."""
    numbers = []
    for keys in asked:
        address = f"{node.web}/studies?{urlencode({**keys, 'limit': '5000'}, safe='*')}"
        request = urllib.request.Request(address, headers={"Accept": "application/dicom+json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            numbers.append(len(json.load(answer)))
    return numbers


def write(folder: Path, studies: int) -> list[Path]:
    """Write the instances, one a study: half as many patients, over fifteen years; return their folders."""
    folders = [folder / str(number) for number in range(SENDERS)]
    for each in folders:
        each.mkdir(parents=True)
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
        dataset.save_as(folders[number % SENDERS] / f"{number:06d}.dcm", enforce_file_format=True)
    return folders


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the nodes keep their data (default: a new one)")
    parser.add_argument("--keep", type=Path, help="a folder that stays; what is there is not stored again")
    parser.add_argument("--only", default="", help="searches whose names have this in them")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    folder = given.keep or given.folder or Path(tempfile.gettempdir())
    found = measure(
        folder, studies=given.studies, rounds=given.rounds, only=given.only, keep=given.keep is not None
    )
    print(found.text())
    if given.json:
        given.json.write_text(json.dumps(found.document(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
