"""Figures of validation and FHIRPath, as ratios measured side by side: `make bench-validation`.

Per resource type the median time of each step against json.loads of the same bytes, on the resources of
Synthea where ../shared (or XINGLIN_SHARED) has them, else on our own samples; then the slowest types for
large resources; then search expressions against fhirpathpy, where it is installed (extra `bench`).

    make bench-validation ARGS="--each 20"
"""

from __future__ import annotations

import argparse
import bz2
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from conformance.samples import streams
from fhir_server.fhirpath.extract import extractor
from fhir_server.model import json_format
from fhir_server.validation import invariants, validator
from fhir_server.validation.knowledge import Task
from fhir_server.validation.structure import Structure

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / "shared"))
Resource = dict[str, Any]
TASK = Task(in_transaction=True)  # the resources refer to each other by condition, as in their transaction
LIMITS = {"structure": 4.0, "validate": 8.0}
EXPRESSIONS = (
    ("Observation", "Observation.code"),
    ("Observation", "Observation.effective"),
    ("Observation", "Observation.code | Observation.component.code"),
    ("Observation", "Observation.value.as(Quantity)"),
    ("Patient", "Patient.name.family"),
    ("Patient", "Patient.telecom.where(system='phone')"),
    ("Patient", "Patient.deceased.exists() and Patient.deceased != false"),
    ("Procedure", "Procedure.performed"),
    ("Encounter", "Encounter.identifier"),
    ("Condition", "Condition.clinicalStatus"),
)


def synthea() -> Iterator[Resource]:
    """Yield the resources of Synthea's patients, or those of our own samples."""
    files = sorted((SHARED / "data" / "synthea").glob("*.bz2"))
    if not files:
        yield from streams.resources(seed=1, count=3000)
    for file in files[:12]:
        for entry in json_format.parse(bz2.decompress(file.read_bytes()))["entry"]:
            yield entry["resource"]


def by_type(resources: Iterable[Resource], each: int) -> dict[str, list[bytes]]:
    """Return up to `each` resources of every type, as bytes."""
    found: dict[str, list[bytes]] = {}
    for resource in resources:
        listed = found.setdefault(resource["resourceType"], [])
        if len(listed) < each:
            listed.append(json_format.encode(resource))
    return found


def side_by_side(steps: dict[str, Callable[[int], object]], count: int, rounds: int) -> dict[str, float]:
    """Return the median µs of each step; every round takes all steps on each item, one after another."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for number in range(count):
            for name, step in steps.items():
                start = time.perf_counter()
                step(number)
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) * 1e6 for name, taken in times.items()}


def validation(sources: dict[str, list[bytes]], rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield (type, step → median): json.loads in µs, the others as ratios to it."""
    structure = Structure(in_transaction=True)
    for type_name, texts in sorted(sources.items()):
        parsed = [json_format.parse(text) for text in texts]
        steps: dict[str, Callable[[int], object]] = {
            "json.loads": lambda number, texts=texts: json.loads(texts[number]),
            "parse": lambda number, texts=texts: json_format.parse(texts[number]),
            "structure": lambda number, parsed=parsed: structure.accepts(parsed[number]),
            "invariants": lambda number, parsed=parsed: list(invariants.check(parsed[number], TASK)),
            "validate": lambda number, parsed=parsed: validator.validate(parsed[number], TASK),
        }
        medians = side_by_side(steps, len(texts), rounds)
        base = medians["json.loads"]
        yield (
            type_name,
            {name: value if name == "json.loads" else value / base for name, value in medians.items()},
        )


def expressions(sources: dict[str, list[bytes]], rounds: int) -> Iterator[tuple[str, float, float | None]]:
    """Yield (search expression, µs here, times slower with fhirpathpy or None)."""
    try:
        from fhirpathpy import compile as compile_there
        from fhirpathpy.models import models

        there = models["r4"]
    except ImportError:
        compile_there, there = None, None
    for type_name, text in EXPRESSIONS:
        parsed = [json.loads(source) for source in sources.get(type_name, ())]
        if not parsed:
            continue
        extract = extractor(text, type_name)
        steps: dict[str, Callable[[int], object]] = {
            "here": lambda number, parsed=parsed, extract=extract: extract(parsed[number])
        }
        if compile_there is not None:
            other = compile_there(text, there)
            steps["there"] = lambda number, parsed=parsed, other=other: other(parsed[number])
        medians = side_by_side(steps, len(parsed), rounds)
        slower = medians["there"] / medians["here"] if "there" in medians else None
        yield text, medians["here"], slower


def main() -> int:
    """Print the figures; return 1 when a median is beyond its limit."""
    parser = argparse.ArgumentParser(description="Measure validation and FHIRPath.")
    parser.add_argument("--each", type=int, default=20, help="resources of every type")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    sources = by_type(synthea(), arguments.each)
    names = ("json.loads", "parse", "structure", "invariants", "validate")
    print(f"{'type':28}{'bytes':>8}" + "".join(f"{name:>12}" for name in names))
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for type_name, found in validation(sources, arguments.rounds):
        size = statistics.median(map(len, sources[type_name]))
        cells = [f"{found['json.loads']:>9.1f} µs", *(f"{found[name]:>11.1f}×" for name in names[1:])]
        print(f"{type_name:28}{size:>8.0f}" + "".join(cells))
        for name in names:
            ratios[name].append(found[name])
    medians = {name: statistics.median(ratios[name]) for name in names}
    print(f"{'median of the types':36}" + " " * 12 + "".join(f"{medians[n]:>11.1f}×" for n in names[1:]))
    print()
    slower = []
    for text, micros, ratio in expressions(sources, arguments.rounds):
        beside = "" if ratio is None else f"  fhirpathpy takes {ratio:.0f} times as long"
        print(f"{micros:8.2f} µs  {text}{beside}")
        slower += [] if ratio is None else [ratio]
    if slower:
        mean = math.exp(statistics.fmean(map(math.log, slower)))
        print(f"geometric mean: {mean:.0f} times as long with fhirpathpy")
    else:
        print("fhirpathpy is not installed (pip install -e '.[bench]'), so nothing stands beside")
    beyond = [
        f"{name} {medians[name]:.1f}× > {limit}×" for name, limit in LIMITS.items() if medians[name] > limit
    ]
    print("beyond the limits: " + ", ".join(beyond) if beyond else "within the limits")
    return 1 if beyond else 0


if __name__ == "__main__":
    raise SystemExit(main())
