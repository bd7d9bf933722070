"""The stages of a run, in the order in which they must come: what is only read first, then what writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.benchmarks import cds, disk, load, memory, plans, targets, workloads
from conformance.benchmarks.data import stream
from conformance.benchmarks.dicom import finding, receive, retrieve, stow
from conformance.benchmarks.dicom.nodes import TMPFS
from conformance.benchmarks.installations import Installed, Places
from conformance.benchmarks.journeys import Journey, Sent, Sizes, hospitals, reading, writing
from conformance.benchmarks.processes import Tree, postmaster_under
from conformance.benchmarks.report import Report
from conformance.benchmarks.rounds import measure
from conformance.benchmarks.targets import Target
from conformance.benchmarks.thirty import asking
from conformance.benchmarks.thirty.questions import Question, deep, searches_of_others, thirty
from conformance.benchmarks.thirty.report import Thirty

PARTS = ("questions", "journeys", "workloads", "disk", "memory", "cds", "dicom")
_HELLO_READS = 500
_CROWD = 16


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, on what, and how long."""

    resources: int = 100_000
    growth: int = 0
    seed: int = 1
    rounds: int = 7
    requests: int = 1000
    question_requests: int = 300
    question_s: float = 0.6
    deep_page: int = 500
    graphs: int = 60
    mixed_requests: int = 100_000
    changed: int = 6000
    decisions: int = 1500
    """CDS Hooks calls in a round."""

    images: int = 0
    """A round over DIMSE; 0: what each way of sending has by itself."""

    studies: int = 10_000
    """In the nodes that C-FIND and QIDO-RS are asked of."""

    workers: int = 2
    threads: int = 4
    parts: Sequence[str] = PARTS
    only: Sequence[str] = ()
    server: str | None = None
    peer: str | None = None
    peer_pid: int | None = None
    peer_database_pid: int | None = None

    def wants(self, name: str) -> bool:
        """Tell whether something of this name was asked for."""
        return not self.only or any(word in name for word in self.only)

    @property
    def sizes(self) -> Sizes:
        """What the journeys need to know."""
        return Sizes(self.requests, self.rounds)


QUICK = Options(
    resources=20_000, rounds=2, requests=100, question_requests=60, question_s=0.15, deep_page=100, graphs=12,
    mixed_requests=4000, changed=1500, decisions=400, images=40, studies=500,
)  # fmt: skip
"""A look, not a proof: below three minutes."""


def run(options: Options, folder: Path, report: Report) -> None:
    """Measure everything that was asked for, and stop all that was started."""
    running: list[Target] = []
    try:
        _Run(options, folder, report, running).all()
    finally:
        for target in reversed(running):
            target.stop()


@dataclass(slots=True)
class _Run:
    options: Options
    folder: Path
    report: Report
    running: list[Target]

    def up(self, target: Target) -> Target:
        self.running.append(target)
        return target

    def all(self) -> None:
        options = self.options
        if set(options.parts) - {"cds", "dicom"}:
            self.fhir()
        if "cds" in options.parts and options.wants("cds"):
            self.cds()
        if "dicom" in options.parts:
            self.dicom()

    def dicom(self) -> None:
        """Measure the DICOM node beside Orthanc."""
        options, found = self.options, self.report.dicom
        if options.wants("receive"):
            say("C-STORE beside Orthanc")
            found["receive"] = receive.measure(self.folder, rounds=options.rounds, images=options.images)
        if options.wants("finding"):
            say("C-FIND and QIDO-RS beside Orthanc")
            found["finding"] = finding.measure(self.folder, studies=options.studies, rounds=options.rounds)
        if options.wants("retrieve"):
            say("WADO-RS beside Orthanc")
            place = TMPFS if TMPFS.is_dir() else self.folder
            found["retrieve"] = retrieve.measure(place, rounds=options.rounds)
        if options.wants("stow"):
            say("STOW-RS beside Orthanc")
            found["stow"] = stow.measure(self.folder, rounds=options.rounds)

    def cds(self) -> None:
        """Measure calls of a decision service on an installation that does nothing else."""
        options = self.options
        say(f"CDS Hooks at {cds.CLIENTS} clients")
        ours = self.up(
            targets.start_ours(self.folder / "cds", "ours", workers=options.workers, threads=options.threads)
        )
        hello = self.up(targets.start_hello(self.folder, workers=options.workers, threads=options.threads))
        self.report.decisions = cds.measure(
            ours, hello, rounds=min(options.rounds, 5), calls=options.decisions
        )

    def fhir(self) -> None:
        """Measure what has to do with resources."""
        options, report = self.options, self.report
        small = self.install(
            options.resources, "", journeys=bool({"journeys", "workloads"} & {*options.parts})
        )
        if small.ours.database is not None:
            report.machine["postgres"] = small.ours.database.value("SHOW server_version")
            report.settings["database settings"] = "the same"
        peer = self.peer(small)
        if "questions" in options.parts:
            self.questions(small, peer)
        chosen = {
            "journeys": self.journeys, "workloads": self.workloads, "disk": self.disk, "memory": self.memory,
        }  # fmt: skip
        for name, stage in chosen.items():
            if name in options.parts:
                stage(small, peer)
        report.processes = {one.name: one.tree.memory() for one in self.running if one.tree.server_pid}

    def install(self, count: int, suffix: str, *, journeys: bool) -> Installed:
        options = self.options
        places = Places(self.folder, options.seed, options.workers, options.threads)
        server = options.server if not suffix else None
        return places.install(count, suffix, self.report, self.up, say, journeys=journeys, server=server)

    def peer(self, small: Installed) -> Target | None:
        """Load another FHIR base by its own REST API."""
        options = self.options
        if options.peer is None:
            return None
        pid = options.peer_pid
        tree = Tree(pid, options.peer_database_pid or (postmaster_under(pid) if pid else None))
        peer = self.up(Target("peer", options.peer, tree=tree))
        say("loading peer over HTTP")
        self.report.loads["peer"] = targets.load_over_http(peer, stream(options.seed, small.count))
        return peer

    # -- what only reads -------------------------------------------------------------------------------------

    def questions(self, small: Installed, peer: Target | None) -> None:
        """Ask the thirty on all sizes in one interleaved run, then the searches of others."""
        installed = [small]
        if self.options.growth:
            installed.append(
                self.install(self.options.growth, f"-{self.options.growth // 1000}k", journeys=False)
            )
        asked = [side for one in installed for side in one.asked()]
        if peer is not None:
            asked.append(asking.Asked(peer, small.floor))
        served = [one.side for one in asked if one.side is not one.floor]
        say("writing what is asked for by _lastUpdated and :in")
        asking.write_value_sets(served)
        moments = asking.recent(served, [one.floor for one in installed], self.options.seed)
        for one in installed:
            for side in (one.ours, one.floor):
                if side.database is not None:
                    side.database.tidy()
        own = [(one.ours.name, one.floor.name) for one in installed]
        self._ask("the thirty questions", thirty(small.facts, self.options.seed, moments), asked, own)
        self._pages_deep(small, installed)
        others = searches_of_others(small.facts, self.options.seed)
        self._ask("searches as servers are publicly compared", others, asked, own)

    def _ask(
        self, title: str, questions: list[Question], asked: list[asking.Asked], pairs: list[tuple[str, str]]
    ) -> None:
        options = self.options
        chosen = [one for one in questions if options.wants(one.name) and one.values]
        part = Thirty(title, pairs)
        self.report.thirty.append(part)
        asking.ask(chosen, asked, part.answered, rounds=options.rounds, count=options.question_requests,
                   longest_s=options.question_s, say=say)  # fmt: skip

    def _pages_deep(self, small: Installed, installed: Sequence[Installed]) -> None:
        question = deep()
        if not self.options.wants(question.name):
            return
        for one in installed:
            if one.ours.database is None:
                continue
            page = self.options.deep_page
            say(f"page {page} of {one.ours.name}")
            pages = {number: asking.page_number(question, one.ours, number) for number in (1, page)}
            sent = {number: path for number, path in pages.items() if path is not None}
            journeys = [Journey(str(number), [("GET", path, b"", ())]) for number, path in sent.items()]
            works = plans.explain(journeys, one.ours)
            self.report.thirty[0].deep[one.ours.name] = dict(zip(sent, works, strict=True))

    # -- what writes -----------------------------------------------------------------------------------------

    def journeys(self, small: Installed, peer: Target | None) -> None:
        """Measure reads and searches at 4 clients and at 16, then writes."""
        options, facts, sizes = self.options, small.facts, self.options.sizes
        sides = [small.ours, small.floor] + ([peer] if peer is not None else [])
        sent: list[Sent] = [
            ("GET", f"/Observation/{one}", b"", ()) for one in facts.observations[:_HELLO_READS]
        ]
        hello = self.up(targets.start_hello(self.folder, workers=options.workers, threads=options.threads))
        say("the floor beside a bare hello")
        self.report.hello = measure(
            Journey("hello", sent, count=sizes.requests * 2),
            (small.floor, hello),
            rounds=min(5, sizes.rounds),
        )
        read = reading(facts, sizes, options.seed)
        for journey in [*read, *(_crowded(one) for one in read[:3])]:
            self._journey(journey, sides)
        small.will_be_written_to()
        synthea = shared("data/synthea")
        for body in hospitals(synthea) if synthea is not None else ():
            for side in sides:
                if side is not small.floor:
                    load.ask(side.address, load.request("POST", side.prefix or "/", body, host=side.host))
        for journey in writing(facts, sizes, options.seed, synthea):
            self._journey(journey, sides)

    def _journey(self, journey: Journey, sides: Sequence[Target]) -> None:
        if self.options.wants(journey.name):
            say(journey.name)
            self.report.outcomes.append(measure(journey, sides, rounds=self.options.rounds))

    def workloads(self, small: Installed, peer: Target | None) -> None:
        """Run crud over nine types on each side, in turns."""
        if not self.options.wants("crud"):
            return
        say("crud over nine types")
        small.will_be_written_to()
        for side in [small.ours, small.floor] + ([peer] if peer is not None else []):
            workloads.crud(side, self.options.seed, graphs=4)
            self.report.crud[side.name] = workloads.crud(side, self.options.seed, graphs=self.options.graphs)

    def disk(self, small: Installed, peer: Target | None) -> None:
        """Change resources again and again, and see what that leaves on disk."""
        del peer
        if small.ours.database is not None and self.options.wants("further version"):
            say("further versions")
            small.will_be_written_to()
            self.report.further_version = disk.further_version(
                small.ours, self.options.seed, self.options.changed
            )

    def memory(self, small: Installed, peer: Target | None) -> None:
        """Send mixed requests and watch the memory of a worker."""
        del peer
        if small.ours.tree.server_pid is None or not self.options.wants("memory"):
            return
        say(f"memory during {self.options.mixed_requests} mixed requests")
        small.will_be_written_to()
        sizes = Sizes(200, 1)
        journeys = [
            *reading(small.facts, sizes, self.options.seed),
            *writing(small.facts, sizes, self.options.seed, None)[:2],
            *(answered.question.journey(count=1) for part in self.report.thirty for answered in part.answered
              if answered.compared[small.ours.name].verdict == "equal" and not answered.question.dense),
        ]  # fmt: skip
        self.report.memory = memory.under_use(small.ours, journeys, self.options.mixed_requests)


def _crowded(journey: Journey) -> Journey:
    return replace(journey, name=f"{journey.name}, {_CROWD} clients", clients=_CROWD, same="", goal=None)


def shared(part: str) -> Path | None:
    """Return material from outside, if it is there."""
    here = Path(os.environ.get("XINGLIN_SHARED", Path.cwd().parent / "shared")) / part
    return here if here.exists() else None


def say(text: str) -> None:
    """Tell on stderr what is being done."""
    print(f"… {text}", file=sys.stderr, flush=True)
