"""What is asked: each journey as a list of ready-made requests, the same ones for both sides."""

from __future__ import annotations

import bz2
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import quote

from conformance.benchmarks import goals, load
from conformance.benchmarks.data import (
    Facts,
    Resource,
    compact,
    new_resources,
    stream,
    transactions,
)

OK = frozenset({200})
CREATED = frozenset({201})
UPDATED = frozenset({200, 201})
VITAL_SIGNS = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"

Sent = tuple[str, str, bytes, Sequence[tuple[str, str]]]  # method, path below the base, body, headers


@dataclass(frozen=True, slots=True)
class Goal:
    """What a journey may cost: a ratio to the floor's CPU, or CPU milliseconds a resource."""

    limit: float
    per_resource_ms: bool = False


@dataclass(slots=True)
class Journey:
    """One kind of request. `same` says how the answers of two sides are compared before measuring.

    `same` is "entries" (the same resources), "order" (the same effective times in this order),
    "size" (as many entries) or "" (not at all). `units` is how many resources a request carries.
    """

    name: str
    sent: list[Sent]
    expected: frozenset[int] = OK
    count: int = 1000
    clients: int = 4
    same: str = ""
    units: float = 1.0
    goal: Goal | None = None
    hits: list[int] = field(default_factory=list)

    def requests(self, host: str, prefix: str) -> list[bytes]:
        """Return the requests for a server at `host` whose base is at `prefix`."""
        return [
            load.request(method, prefix + path, body, host=host, headers=headers)
            for method, path, body, headers in self.sent
        ]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is sent: requests a round (a journey scales it), and rounds."""

    requests: int
    rounds: int

    def needed(self, count: int) -> int:
        """Return how many different requests all rounds and the warm-up use."""
        return count * self.rounds + max(20, count // 5)


def reading(facts: Facts, sizes: Sizes, seed: int) -> list[Journey]:
    """Return the journeys that change nothing."""
    rng = Random(f"journeys-{seed}")
    ids = [("Patient", one) for one in rng.sample(facts.patients, min(100, len(facts.patients)))]
    ids += [("Observation", one) for one in rng.sample(facts.observations, min(400, len(facts.observations)))]
    rng.shuffle(ids)
    times = sorted(facts.effective)
    starts = [rng.randrange(max(1, len(times) - 21)) for _ in range(200)]
    windows = [(times[at], times[min(at + 20, len(times) - 1)]) for at in starts]
    search = Goal(goals.SEARCH)
    half = max(50, sizes.requests // 2)
    return [
        Journey("read by id", [_get(f"/{kind}/{one}") for kind, one in ids], count=sizes.requests,
                goal=Goal(goals.READ)),
        Journey("search patient+code, newest first, 20", patient_and_code(facts), count=half, same="order",
                goal=search),
        Journey("search patient+category, newest first, 20", patient_and_category(facts), count=half,
                same="order", goal=search),
        Journey("search identifier", [_get(f"/Patient?identifier={_q(f'{system}|{value}')}")
                for system, value in facts.identifiers[:300]], count=half, same="entries", goal=search),
        Journey("search family prefix, 20", [_get(f"/Patient?family={prefix}&_count=20")
                for prefix in facts.at_least(facts.families, 20)], count=half, same="size", goal=search),
        Journey("search date range, 20", [_get(f"/Observation?date=ge{_q(low)}&date=lt{_q(high)}&_count=20")
                for low, high in windows if low < high], count=half, same="size", goal=search),
        Journey("page of 100", [_get(f"/Observation?patient={patient}&_count=100")
                for patient in facts.at_least(facts.by_patient, 100)], count=half, same="size",
                goal=Goal(goals.PAGE)),
    ]  # fmt: skip


def patient_and_code(facts: Facts) -> list[Sent]:
    """Return searches for one measure of one patient, newest first, that fill a page of 20."""
    return [
        _get(f"/Observation?patient={patient}&code={_q(code)}&_sort=-date&_count=20")
        for patient, code in facts.at_least(facts.by_code, 20)
        if not code.endswith("|59408-5")
    ]


def patient_and_category(facts: Facts) -> list[Sent]:
    """Return searches for the vital signs of one patient, newest first, that fill a page of 20."""
    return [
        _get(f"/Observation?patient={patient}&category={_q(category)}&_sort=-date&_count=20")
        for patient, category in facts.at_least(facts.by_category, 20)
        if category == VITAL_SIGNS
    ]


def writing(facts: Facts, sizes: Sizes, seed: int, synthea: Path | None) -> list[Journey]:
    """Return the journeys that store something; each request of a run is a different one."""
    some = max(40, sizes.requests // 3)
    needed = sizes.needed(some)
    create = Goal(goals.CREATE)
    observations = [compact(one) for one in new_resources(seed, "Observation", min(needed, 500), facts)]
    patients = new_resources(seed, "Patient", min(needed, 100), facts)
    conditional: list[Sent] = []
    run = f"{time.time_ns():x}"  # kept data may hold what earlier runs created
    for number in range(needed):
        patient = dict(patients[number % len(patients)])
        own = {"system": "urn:xinglin:bench", "value": f"{run}-{number}"}
        patient["identifier"] = [own, *patient["identifier"][1:]]
        condition = ("If-None-Exist", f"identifier={own['system']}|{own['value']}")
        conditional.append(("POST", "/Patient", compact(patient), (condition,)))
    bundles = transactions(seed, 4)
    found = [
        Journey("create Observation", [("POST", "/Observation", body, ()) for body in observations], CREATED,
                some, goal=create),
        Journey("create Patient", [("POST", "/Patient", compact(one), ()) for one in patients], CREATED, some,
                goal=create),
        Journey("conditional create, no match", conditional, CREATED, some),
        Journey("update Observation", _updates(seed, needed, run), UPDATED, some),
        _bundles("transaction bundle", bundles, sizes, Goal(goals.IMPORT_MS, per_resource_ms=True)),
    ]  # fmt: skip
    if synthea is not None:
        found.append(_bundles("transaction bundle, Synthea", synthea_bundles(synthea, 4), sizes, None))
    return found


def synthea_bundles(folder: Path, count: int) -> list[Resource]:
    """Return `count` of the smaller Synthea transactions, without the ids that a POST ignores."""
    files = [path for path in sorted(folder.glob("*.json.bz2")) if "Information" not in path.name]
    files.sort(key=lambda path: path.stat().st_size)
    bundles = [json.loads(bz2.decompress(path.read_bytes())) for path in files[8 : 8 + count]]
    for bundle in bundles:
        for entry in bundle["entry"]:
            entry["resource"].pop("id", None)
    return bundles


def hospitals(folder: Path) -> list[bytes]:
    """Return the batches that the Synthea transactions refer to."""
    return [bz2.decompress(path.read_bytes()) for path in sorted(folder.glob("*Information*.json.bz2"))]


def _bundles(name: str, bundles: list[Resource], sizes: Sizes, goal: Goal | None) -> Journey:
    mean = sum(len(bundle["entry"]) for bundle in bundles) / len(bundles)
    count = max(4, sizes.requests // 100)
    sent: list[Sent] = [("POST", "", compact(bundle), ()) for bundle in bundles]
    return Journey(f"{name} ({mean:.0f} resources)", sent, OK, count, clients=2, units=mean, goal=goal)


def _updates(seed: int, count: int, run: str) -> list[Sent]:
    found: list[Sent] = []
    known = [one for one in stream(seed, 3000) if one["resourceType"] == "Observation"]
    for number in range(count):
        changed = {**known[number % len(known)], "note": [{"text": f"Read again, number {number} of {run}"}]}
        found.append(("PUT", f"/Observation/{changed['id']}", compact(changed), ()))
    return found


def _get(path: str) -> Sent:
    return ("GET", path, b"", ())


def _q(text: str) -> str:
    return quote(text, safe="")


def compared(same: str) -> Callable[[Resource], object]:
    """Return what of a searchset Bundle must be equal on both sides."""

    def found(bundle: Resource) -> object:
        entries = [entry["resource"] for entry in bundle.get("entry", ())]
        if same == "entries":
            return sorted(one["id"] for one in entries)
        if same == "order":
            return [one["effectiveDateTime"] for one in entries]
        return len(entries)

    return found
