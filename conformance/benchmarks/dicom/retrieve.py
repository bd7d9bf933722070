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
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pydicom
from pydicom.data import get_testdata_file

from conformance.benchmarks.dicom.nodes import OTHER, OURS, TMPFS, Node, absent, pair
from conformance.benchmarks.rounds import Differ

IMAGES, SERIES_SIZE = 300, 50
STUDY = "1.2.826.0.1.3680043.10.1411.900001"
SERIES = f"{STUDY}.1"
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
class Asked:
    """What the requests of one side took: for each question CPU and time of a request by round."""

    node: Node
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    wall_ms: dict[str, list[float]] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)
    asked: int = 0

    def ask(self, question: Question) -> None:
        """Ask a question as often as a round does, and note what that cost."""
        connection = self._connection()
        self._once(connection, question)
        before, begun = self.node.tree.cpu(), time.monotonic()
        for _ in range(question.count):
            self.size[question.name] = len(self._once(connection, question))
        took = time.monotonic() - begun
        time.sleep(0.1)
        spent = (self.node.tree.cpu() - before).total_ms - self.node.idle * (time.monotonic() - begun)
        connection.close()
        self.cpu_ms.setdefault(question.name, []).append(spent / question.count)
        self.wall_ms.setdefault(question.name, []).append(took * 1000 / question.count)

    def metadata(self, question: Question) -> dict[str, Any]:
        """Return the metadata that a question gives, by instance."""
        connection = self._connection()
        body = self._once(connection, question)
        connection.close()
        found = json.loads(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
        return {one["00080018"]["Value"][0]: one for one in found}

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.node.web).netloc, timeout=120)

    def _once(self, connection: http.client.HTTPConnection, question: Question) -> bytes:
        headers = {"Accept": question.accept, **({"Accept-Encoding": "gzip"} if question.gzip else {})}
        path = question.path
        if "{}" in path:
            self.asked = self.asked % IMAGES + 1
            path = path.format(_address(self.asked))
        connection.request("GET", f"{urlsplit(self.node.web).path}{path}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            said = f"{self.node.name} answered {answer.status} to {question.path}: {body[:300]!r}"
            raise Differ(said)
        return body


@dataclass(slots=True)
class Retrieving:
    """What the part found; `absent` says why there is no Orthanc, or no run at all."""

    rounds: int = 0
    absent: str = ""
    load: float = 0.0
    sides: dict[str, Asked] = field(default_factory=dict)

    def less(self, question: Question) -> float:
        """Return the median over the rounds of Orthanc's CPU to ours; nan without Orthanc."""
        if len(self.sides) < 2:
            return float("nan")
        pairs = zip(*(self.sides[name].cpu_ms[question.name] for name in (OTHER, OURS)), strict=True)
        return median(theirs / max(ours, 1e-9) for theirs, ours in pairs)

    def text(self) -> str:
        """Return it for people."""
        lines = ["", f"WADO-RS, {self.rounds} rounds, load {self.load:.1f} on {os.cpu_count()} cores"]
        if self.absent:
            lines.append(f"  {self.absent}")
        if not self.sides:
            return "\n".join(lines)
        idle = (f"{name} {side.node.idle:.1f}" for name, side in self.sides.items())
        lines.append(f"  ms CPU a second while nobody asks, taken off: {', '.join(idle)}")
        for question in QUESTIONS:
            line = f"  {question.name:26}"
            for name, side in self.sides.items():
                line += f"  {name} {median(side.cpu_ms[question.name]):7.2f} ms CPU,"
                line += f" {median(side.wall_ms[question.name]):6.1f} ms, {side.size[question.name]} bytes"
            if len(self.sides) > 1:
                less = self.less(question)
                line += f"  {less:6.1f} times less"
                if question.wanted:
                    line += f": {'met' if less >= question.wanted else 'MISSED'} ({question.wanted:g})"
            lines.append(line)
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "rounds": self.rounds,
            "absent": self.absent,
            "load": self.load,
            **{name: {"cpu_ms": side.cpu_ms, "wall_ms": side.wall_ms} for name, side in self.sides.items()},
        }


def measure(folder: Path, *, rounds: int) -> Retrieving:
    """Fill both nodes, whose data are in `folder`, and ask them in turns."""
    found = Retrieving(rounds, absent(web=True))
    if "dcmtk" in found.absent:
        return found
    with pair(folder, web=True, worker=True) as nodes:
        with tempfile.TemporaryDirectory(dir=folder) as images:
            folders = _write(Path(images))
            for node in nodes:
                node.receive(folders)
        sides = [Asked(node) for node in nodes]
        _compare(sides)
        for node in nodes:
            node.rest()
        for number in range(rounds):
            for question in QUESTIONS:
                for side in sides if number % 2 == 0 else sides[::-1]:
                    side.ask(question)
        found.load = os.getloadavg()[0]
        found.sides = {side.node.name: side for side in sides}
    return found


def _compare(sides: Sequence[Asked]) -> None:
    """Make sure that both tell the same: instances, and the tags of the first of them."""
    mine, packed = sides[0].metadata(QUESTIONS[0]), sides[0].metadata(QUESTIONS[1])
    for side in sides[1:]:
        theirs = side.metadata(QUESTIONS[0])
        if mine != packed or mine.keys() != theirs.keys() or len(mine) != SERIES_SIZE:
            raise Differ(
                f"the sides tell of {len(mine)} and {len(theirs)} instances; {SERIES_SIZE} were sent"
            )
        for uid, one in mine.items():
            shown = {tag for tag in one if int(tag[:4], 16) % 2 == 0}
            missing = {tag for tag in theirs[uid] if int(tag[:4], 16) % 2 == 0} - shown
            if missing:
                raise Differ(f"Orthanc tells of {sorted(missing)[:5]}, which we leave out")


def _address(number: int) -> str:
    series = f"{STUDY}.{(number - 1) // SERIES_SIZE + 1}"
    return f"/studies/{STUDY}/series/{series}/instances/{series}.{number}"


def _write(folder: Path) -> list[Path]:
    """Write series with the header of a real scanner and pixels that fill half a megabyte each."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    dataset.Rows = dataset.Columns = 512
    dataset.StudyInstanceUID = STUDY
    chance = np.random.default_rng(1)
    folders = []
    for number in range(1, IMAGES + 1):
        series = f"{STUDY}.{(number - 1) // SERIES_SIZE + 1}"
        if (number - 1) % SERIES_SIZE == 0:
            folders.append(folder / series)
            folders[-1].mkdir()
        dataset.InstanceNumber = number
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
        dataset.PixelData = chance.integers(0, 4096, 512 * 512, np.uint16).tobytes()
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        (folders[-1] / f"{number:03}.dcm").write_bytes(buffer.getvalue())
    return folders


def main() -> int:
    """Run this part alone; 1 when a ratio that is wanted is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=TMPFS, help="where both keep their files")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    given = parser.parse_args()
    found = measure(given.folder, rounds=given.rounds)
    print(found.text())
    if given.json:
        given.json.write_text(json.dumps(found.document(), indent=1) + "\n")
    return int(any(question.wanted > found.less(question) for question in QUESTIONS))


if __name__ == "__main__":
    sys.exit(main())
