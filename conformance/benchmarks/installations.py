"""Installations of a run: ours and the floor at one size, started, loaded and vacuumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conformance.benchmarks import targets
from conformance.benchmarks.data import Facts, read_facts, sizes_of, stream, write_ndjson
from conformance.benchmarks.disk import disk_of
from conformance.benchmarks.report import Report
from conformance.benchmarks.targets import Target
from conformance.benchmarks.thirty import asking

Up = Callable[[Target], Target]
Say = Callable[[str], None]

_LOADED = "loaded.json"


@dataclass(frozen=True, slots=True)
class Installed:
    """Ours and the floor with the same resources; `folder` keeps what belongs to ours."""

    count: int
    facts: Facts
    ours: Target
    floor: Target
    folder: Path

    def asked(self) -> list[asking.Asked]:
        """Return both as sides of the thirty questions."""
        return [asking.Asked(self.ours, self.floor), asking.Asked(self.floor, self.floor)]

    def will_be_written_to(self) -> None:
        """Note that from here on ours holds what the floor does not: kept data are then loaded anew."""
        (self.folder / "written").touch()


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run keeps its things, and how its sides are started."""

    folder: Path
    seed: int
    workers: int
    threads: int

    def install(
        self, count: int, suffix: str, report: Report, up: Up, say: Say, *, journeys: bool, server: str | None
    ) -> Installed:
        """Start and load both sides; `suffix` ends their names, `journeys` fills all of the floor."""
        size = {"workers": self.workers, "threads": self.threads}
        path = self.folder / f"resources-{self.seed}-{count}.ndjson"
        say(f"making {count} resources")
        if not path.exists():
            facts = write_ndjson(self.seed, count, path)
        else:  # the questions are made from the facts of the first size alone
            facts = sizes_of(path, count) if suffix else read_facts(path)
        home = self.folder / f"ours-{self.seed}-{count}"
        if (home / "written").exists() or not (home / _LOADED).exists():
            shutil.rmtree(home, ignore_errors=True)
        name = f"ours{suffix}"
        if server is None:
            ours = up(targets.start_ours(home, name, **size))
        else:
            home.mkdir(parents=True, exist_ok=True)
            ours = up(Target(name, server))
        floor = up(
            targets.start_floor(self.folder / f"floor-{self.seed}-{count}", ours, f"floor{suffix}", **size)
        )
        installed = Installed(count, facts, ours, floor, home)
        self._load_ours(installed, path, report, say)
        self._load_floor(installed, report, say, journeys)
        return installed

    def _load_ours(self, installed: Installed, path: Path, report: Report, say: Say) -> None:
        ours, count, mark = installed.ours, installed.count, installed.folder / _LOADED
        if ours.database is None:
            say(f"loading {ours.name} over HTTP")
            report.loads[ours.name] = targets.load_over_http(ours, stream(self.seed, count))
            return
        if not mark.exists():
            say(f"loading {count} resources into {ours.name}")
            report.loads[ours.name] = targets.load_ours(ours, installed.folder, path, count)
            mark.write_text(json.dumps(ours.empty_bytes))
        ours.empty_bytes = json.loads(mark.read_text())
        ours.database.tidy()
        report.disk[ours.name] = disk_of(ours, count, installed.facts.json_bytes)

    def _load_floor(self, installed: Installed, report: Report, say: Say, journeys: bool) -> None:
        floor, count = installed.floor, installed.count
        folder = self.folder / f"floor-{self.seed}-{count}"
        assert floor.database is not None
        if journeys and not (folder / "loaded").exists():
            say(f"loading {count} resources into {floor.name}")
            report.loads[floor.name] = targets.load_floor(floor, stream(self.seed, count), count)
            (folder / "loaded").touch()
        if not (folder / "by-hand").exists():
            say(f"loading {count} resources into the tables made by hand of {floor.name}")
            asking.store_by_hand(floor.database, stream(self.seed, count))
            (folder / "by-hand").touch()
        floor.database.tidy()
