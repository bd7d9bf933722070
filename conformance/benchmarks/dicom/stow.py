"""STOW-RS of 1 and of 50 CT beside Orthanc: wall time and CPU an image, in alternating rounds.

    python -m conformance.benchmarks.dicom.stow --rounds 5

Every request brings instances that neither side has; what each side has afterwards is counted. CPU is that
of all processes of a side, its Postgres included, until nothing runs any more, less what they use while
nobody asks. Ours is there twice: without the background worker, as Orthanc has none, and with it: then FHIR
resources, metadata and audit of what came are in the figure too.
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from pydicom.dataset import Dataset

from conformance.benchmarks.dicom.nodes import OTHER, OURS, Node, absent, pair
from conformance.benchmarks.rounds import Differ
from conformance.samples import ct

WITH_WORKER = "with worker"
SIZES = {1: 20, 50: 2}
"""Images a request, and how many such requests a round has."""

AFTERWARDS_S = 9.0
"""So long after a store may its study be told to FHIR and its metadata be written (quiet after 5 s)."""

_TYPE = 'multipart/related; type="application/dicom"; boundary=xinglin'


@dataclass(frozen=True, slots=True)
class Stored:
    """One side of one round."""

    per_second: float
    cpu_ms: float
    database_ms: float


@dataclass(slots=True)
class Stowing:
    """All rounds, by images a request and side; `absent` says why there is no Orthanc."""

    absent: str = ""
    load: float = 0.0
    rounds: dict[int, dict[str, list[Stored]]] = field(default_factory=dict)

    def less(self, size: int, side: str = OURS) -> float:
        """Return the median over the rounds of Orthanc's CPU to that of a side; nan without Orthanc."""
        found = self.rounds.get(size, {})
        if OTHER not in found:
            return float("nan")
        pairs = zip(found[OTHER], found[side], strict=True)
        return median(theirs.cpu_ms / max(ours.cpu_ms, 1e-9) for theirs, ours in pairs)

    def text(self) -> str:
        """Return it for people."""
        lines = ["", f"STOW-RS, load {self.load:.1f}"]
        if self.absent:
            lines.append(f"  {self.absent}")
        for size, sides in self.rounds.items():
            for name, rounds in sides.items():
                rate = median(each.per_second for each in rounds)
                cpu = median(each.cpu_ms for each in rounds)
                database = median(each.database_ms for each in rounds)
                line = f"  {size:2} a request  {name:12} {rate:7.1f} images/s  {cpu:6.2f} ms CPU an image,"
                line += f" {database:.2f} of it the database"
                if name != OTHER and OTHER in sides:
                    line += f"  {self.less(size, name):4.1f} times less"
                if name == OURS and OTHER in sides:
                    line += f": {'met' if self.less(size) >= 1 else 'MISSED'} (1)"
                lines.append(line)
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "absent": self.absent,
            "load": self.load,
            "sizes": {
                size: {
                    name: {
                        "per_second": [each.per_second for each in rounds],
                        "cpu_ms": [each.cpu_ms for each in rounds],
                        "database_ms": [each.database_ms for each in rounds],
                    }
                    for name, rounds in sides.items()
                }
                for size, sides in self.rounds.items()
            },
        }


def measure(folder: Path, *, rounds: int) -> Stowing:
    """Run the rounds: A B C, C B A, A B C …; the first is for warming up and is not counted."""
    found = Stowing(absent(web=True))
    seed = random.randrange(10**9)
    with pair(folder, web=True) as nodes, pair(folder, worker=True, alone=True) as (complete,):
        complete.name = WITH_WORKER
        nodes.append(complete)
        for node in nodes:
            node.rest()
        for number in range(rounds + 1):
            for size, requests in SIZES.items():
                run = f"{seed}{number:03d}{size:03d}"
                files = images(size * requests, run)
                bodies = [message(files[at : at + size]) for at in range(0, len(files), size)]
                for node in nodes if number % 2 else nodes[::-1]:
                    stored = _store(node, bodies, len(files))
                    if number:
                        found.rounds.setdefault(size, {}).setdefault(node.name, []).append(stored)
        found.load = os.getloadavg()[0]
    return found


def _store(node: Node, bodies: list[bytes], count: int) -> Stored:
    """Send the requests of a round to a node, one after the other."""
    address = urlsplit(node.web)
    there, before, begun = node.stored(), node.tree.cpu_when_idle(), time.monotonic()
    for body in bodies:
        connection = http.client.HTTPConnection(address.netloc, timeout=120)
        headers = {"Content-Type": _TYPE, "Accept": "application/dicom+json"}
        connection.request("POST", f"{address.path}/studies", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status != 200:
            raise Differ(f"{node.name} answered {answer.status}: {said[:300]!r}")
    seconds = time.monotonic() - begun
    if node.name == WITH_WORKER:
        time.sleep(AFTERWARDS_S)  # what a store leaves to be done belongs to it
    used = node.tree.cpu_when_idle() - before
    idle = node.idle * (time.monotonic() - begun)
    node.wait_for(there + count)
    return Stored(count / seconds, max(0.0, used.total_ms - idle) / count, used.database_ms / count)


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


def main() -> int:
    """Run this part alone; 1 when an image costs more than it costs Orthanc."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk meant")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    given = parser.parse_args()
    found = measure(given.folder, rounds=given.rounds)
    print(found.text())
    if given.json:
        given.json.write_text(json.dumps(found.document(), indent=1) + "\n")
    return int(any(found.less(size) < 1 for size in SIZES))


if __name__ == "__main__":
    sys.exit(main())
