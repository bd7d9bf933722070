"""C-STORE beside Orthanc: images a second and CPU an image, in alternating rounds.

    python -m conformance.benchmarks.dicom.receive --rounds 5

Both nodes are started anew for each place (tmpfs, disk). Every round sends images that neither side has,
with dcmtk's storescu, over one association or four; what each side has afterwards is counted, and
waited for: a round's CPU is that of all processes of a side, its Postgres included, until nothing runs any
more, less what they use in such a time when nobody sends. `unmodified` is storescu as Debian ships it
(Nagle's algorithm on), the rest has TCP_NODELAY.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from conformance.benchmarks.dicom.images import Images
from conformance.benchmarks.dicom.nodes import OTHER, OURS, STORESCU, TMPFS, Node, absent, pair, sending
from conformance.benchmarks.rounds import Differ

_SYNCS = 200
_MEGABYTE = bytes(1024 * 1024)


@dataclass(frozen=True, slots=True)
class Way:
    """One way of sending: where the nodes keep their files, how many associations, what is wanted."""

    name: str
    disk: bool
    associations: int
    nodelay: bool
    images: int
    faster: float
    """How many times Orthanc's images a second are wanted; 0: nothing is."""

    cpu_ms: float = 0.0
    """What an image may cost; 0: whatever it does."""


WAYS = (
    Way("unmodified storescu, tmpfs", False, 1, False, 100, 10.0),
    Way("tmpfs, 1 association", False, 1, True, 200, 0.0, 2.5),
    Way("tmpfs, 4 associations", False, 4, True, 200, 0.0, 3.5),
    Way("durable on disk, 1 association", True, 1, True, 200, 4.0, 2.5),
    Way("durable on disk, 4 associations", True, 4, True, 200, 6.0, 3.5),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One side of one round."""

    per_second: float
    cpu_ms: float
    database_ms: float
    load: float


@dataclass(slots=True)
class Received:
    """All rounds of one way, by side."""

    way: Way
    rounds: dict[str, list[Sent]] = field(default_factory=dict)

    def middle(self, side: str, name: str) -> float:
        """Return the median over the rounds of one figure."""
        return float(median(getattr(each, name) for each in self.rounds[side]))

    def faster(self) -> float:
        """Return the median of the ratios within each round: our images a second to Orthanc's."""
        pairs = zip(self.rounds.get(OURS, ()), self.rounds.get(OTHER, ()), strict=False)
        found = [ours.per_second / other.per_second for ours, other in pairs]
        return median(found) if found else float("nan")

    def lines(self) -> list[str]:
        """Return it for people."""
        found = [f"  {self.way.name}"]
        for side, rounds in self.rounds.items():
            spread = [each.per_second for each in rounds]
            found.append(
                f"    {side:8} {self.middle(side, 'per_second'):7.1f} images/s"
                f" ({min(spread):.1f} to {max(spread):.1f})"
                f"  {self.middle(side, 'cpu_ms'):6.2f} ms CPU an image,"
                f" {self.middle(side, 'database_ms'):.2f} of it the database"
                f"  load {self.middle(side, 'load'):.1f}"
            )
        if OTHER in self.rounds:
            ratio = self.middle(OTHER, "cpu_ms") / max(self.middle(OURS, "cpu_ms"), 1e-9)
            found.append(f"    {self.faster():.1f} times Orthanc's images/s, {ratio:.1f} times less CPU")
        return found + [f"    {line}" for line in self._goals()]

    def _goals(self) -> Iterator[str]:
        way, cpu_ms = self.way, self.middle(OURS, "cpu_ms")
        if way.faster and OTHER in self.rounds:
            word = "met   " if self.faster() >= way.faster else "MISSED"
            yield f"{word} {self.faster():.1f} times Orthanc (goal {way.faster:g} or more)"
        if way.cpu_ms:
            word = "met   " if cpu_ms <= way.cpu_ms else "MISSED"
            yield f"{word} {cpu_ms:.2f} ms CPU an image (goal {way.cpu_ms:g} or less)"


@dataclass(slots=True)
class Receiving:
    """What the part found; `absent` says why there is no Orthanc, or no run at all."""

    syncs_per_second: float = 0.0
    absent: str = ""
    found: list[Received] = field(default_factory=list)

    def text(self) -> str:
        """Return it for people."""
        lines = ["", f"C-STORE; the disk makes {self.syncs_per_second:.0f} fdatasyncs a second"]
        if self.absent:
            lines.append(f"  {self.absent}")
        return "\n".join([*lines, *(line for each in self.found for line in each.lines())])

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "syncs_per_second": self.syncs_per_second,
            "absent": self.absent,
            "ways": [{**asdict(each), "times_orthanc": each.faster()} for each in self.found],
        }


def measure(folder: Path, *, rounds: int, ways: Sequence[Way] = WAYS, images: int = 0) -> Receiving:
    """Measure the ways of sending; `folder` lies on the disk that is meant."""
    found = Receiving(syncs_per_second(folder))
    found.absent = absent(web=False)
    if not STORESCU.exists():
        return found
    pattern = Images()
    number = 0
    for disk in (False, True):
        chosen = [way for way in ways if way.disk is disk]
        place = folder if disk else TMPFS
        if not chosen or not place.is_dir():
            continue
        with pair(place) as nodes:
            for node in nodes:
                node.rest()
            for way in chosen:
                received = Received(way)
                found.found.append(received)
                for turn in range(rounds + 1):
                    number += 1
                    count = images or way.images
                    with images_of(pattern, number, count, way.associations) as folders:
                        for node in nodes if turn % 2 else reversed(nodes):
                            sent = send(node, way, folders, count)
                            if turn:  # the first one warms up
                                received.rounds.setdefault(node.name, []).append(sent)
    return found


def send(node: Node, way: Way, folders: Sequence[Path], count: int) -> Sent:
    """Send the images in some folders, an association each, and return what that took of a node."""
    before_count, before = node.stored(), node.tree.cpu_when_idle()
    warm(sum(file.stat().st_size for folder in folders for file in folder.iterdir()))
    begun = time.perf_counter()
    senders = [sending(node, folder, nodelay=way.nodelay) for folder in folders]
    failed = [sender.communicate()[1] for sender in senders]
    seconds = time.perf_counter() - begun
    load = os.getloadavg()[0]
    if any(sender.returncode for sender in senders):
        raise Differ(f"storescu to {node.name} failed: {b' '.join(failed)[:300]!r}")
    node.wait_for(before_count + count)
    used = node.tree.cpu_when_idle() - before
    idle = node.idle * (time.perf_counter() - begun)
    return Sent(count / seconds, max(0.0, used.total_ms - idle) / count, used.database_ms / count, load)


@contextmanager
def images_of(pattern: Images, number: int, count: int, parts: int) -> Iterator[list[Path]]:
    """Give folders with the images of a round, in memory, so that reading them costs the senders little."""
    folder = Path(tempfile.mkdtemp(prefix="xinglin-images-", dir=TMPFS if TMPFS.is_dir() else None))
    try:
        folders = [folder / str(part) for part in range(parts)]
        for part, each in enumerate(folders):
            pattern.write(each, number * 10 + part, count // parts)
        yield folders
    finally:
        shutil.rmtree(folder)


def warm(size_bytes: int, folder: Path = TMPFS) -> float:
    """Use so much memory twice and give it back; return how many times the first use took the second.

    A virtual machine's host takes idle memory away, and giving it back costs several times what writing to
    it does. That belongs to nobody's software: what is received finds memory that was just in use.
    """
    took = []
    for _ in range(2):
        begun = time.thread_time()
        with tempfile.TemporaryFile(dir=folder if folder.is_dir() else None, buffering=0) as file:
            for _ in range(size_bytes // len(_MEGABYTE) + 1):
                file.write(_MEGABYTE)
        took.append(time.thread_time() - begun)
    return took[0] / took[1]


def syncs_per_second(folder: Path) -> float:
    """Return how often 4 KiB of a file in `folder` can be made durable in a second."""
    path = folder / "synced"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        begun = time.perf_counter()
        for _ in range(_SYNCS):
            os.pwrite(file, bytes(4096), 0)
            os.fdatasync(file)
        return _SYNCS / (time.perf_counter() - begun)
    finally:
        os.close(file)
        path.unlink()


def main() -> int:
    """Run this part alone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=0, help="images a round, in place of each way's own")
    parser.add_argument("--only", default="", help="only ways with this word in their name")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk meant")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    ways = [way for way in WAYS if given.only in way.name]
    found = measure(given.folder, rounds=given.rounds, ways=ways, images=given.images)
    print(found.text())
    if given.json:
        given.json.write_text(json.dumps(found.document(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
