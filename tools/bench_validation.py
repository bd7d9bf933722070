"""Figures of validation and FHIRPath, as ratios measured side by side: `make bench-validation`.

Per resource type the median time of each step against json.loads of the same bytes, on the resources of
Synthea where ../shared (or XINGLIN_SHARED) has them, else on our own samples; then the search expressions
of these types against fhirpathpy, where it is installed (extra `bench`).

    make bench-validation ARGS="--each 20"
    make bench-validation ARGS="--package hl7.fhir.us.core-6.1.0.tgz"
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
from fhir_server.definitions import package
from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.definitions.search_parameters import for_type
from fhir_server.fhirpath.extract import extractor
from fhir_server.model import json_format
from fhir_server.validation import invariants, validator
from fhir_server.validation.knowledge import Knowledge, Task
from fhir_server.validation.structure import Structure
from terminology.terms import Terms

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / "shared"))
Resource = dict[str, Any]
TASK = Task(in_transaction=True)  # the resources refer to each other by condition, as in their transaction
LIMITS = {"structure": 4.0, "validate": 8.0, "claims": 40.0}
CALLS = 20  # of an extraction at a time, as one takes less than the clock shows


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


class Packaged:
    """The definitions of one package file, as a source that validation looks them up in."""

    def __init__(self, file: Path) -> None:
        found = package.read(file.read_bytes()).definitions
        self._found = {(each.type_name, each.url): json_format.parse(each.content) for each in found}

    def find(self, type_name: str, url: str, version: str | None) -> Resource | None:
        """Return the resource, whatever version is asked for: there is one."""
        return self._found.get((type_name, url))


def claiming(file: Path) -> Task:
    """Return the task that also holds a resource against what it claims, with the package's definitions."""
    conformance = Conformance((Packaged(file), Core()))
    return Task(Knowledge(conformance, Terms(conformance.find)), claims=True, in_transaction=True)


def validation(
    sources: dict[str, list[bytes]], rounds: int, claims: Task | None
) -> Iterator[tuple[str, dict[str, float]]]:
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
        if claims is not None:
            steps["claims"] = lambda number, parsed=parsed: validator.validate(parsed[number], claims)
        medians = side_by_side(steps, len(texts), rounds)
        base = medians["json.loads"]
        yield (
            type_name,
            {name: value if name == "json.loads" else value / base for name, value in medians.items()},
        )


def expressions(sources: dict[str, list[bytes]], rounds: int) -> Iterator[tuple[str, float, float | None]]:
    """Yield (search expression, µs here, times slower with fhirpathpy or None), all of the types at hand.

    What fhirpathpy cannot evaluate (`resolve()`) is left out where it stands beside.
    """
    try:
        from fhirpathpy import compile as compile_there
        from fhirpathpy.models import models

        there = models["r4"]
    except ImportError:
        compile_there, there = None, None
    for type_name, texts in sorted(sources.items()):
        parsed = [json.loads(text) for text in texts]
        for parameter in for_type(type_name).values():
            if parameter.expression is None:
                continue
            extract = extractor(parameter.expression, type_name)
            steps = {"here": _repeated(extract, parsed)}
            if compile_there is not None:
                try:
                    other = compile_there(parameter.expression, there)
                    for resource in parsed:
                        other(resource)
                except Exception:  # whatever it raises: it cannot
                    continue
                steps["there"] = _repeated(other, parsed)
            medians = side_by_side(steps, len(parsed), rounds)
            slower = medians["there"] / medians["here"] if "there" in medians else None
            yield f"{type_name}: {parameter.expression}", medians["here"] / CALLS, slower


def _repeated(function: Callable[[Any], object], parsed: list[Any]) -> Callable[[int], object]:
    def step(number: int) -> None:
        resource = parsed[number]
        for _ in range(CALLS):
            function(resource)

    return step


def main() -> int:
    """Print the figures; return 1 when a median is beyond its limit."""
    parser = argparse.ArgumentParser(description="Measure validation and FHIRPath.")
    parser.add_argument("--each", type=int, default=20, help="resources of every type")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--package", type=Path, help="a .tgz: resources are held against what they claim")
    arguments = parser.parse_args()
    claims = None if arguments.package is None else claiming(arguments.package)
    sources = by_type(synthea(), arguments.each)
    names = ["json.loads", "parse", "structure", "invariants", "validate"]
    names += [] if claims is None else ["claims"]
    print(f"{'type':28}{'bytes':>8}" + "".join(f"{name:>12}" for name in names))
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for type_name, found in validation(sources, arguments.rounds, claims):
        size = statistics.median(map(len, sources[type_name]))
        cells = [f"{found['json.loads']:>9.1f} µs", *(f"{found[name]:>11.1f}×" for name in names[1:])]
        print(f"{type_name:28}{size:>8.0f}" + "".join(cells))
        for name in names:
            ratios[name].append(found[name])
    medians = {name: statistics.median(ratios[name]) for name in names}
    print(f"{'median of the types':36}" + " " * 12 + "".join(f"{medians[n]:>11.1f}×" for n in names[1:]))
    print()
    slower = []
    for text, micros, ratio in expressions({name: found[:5] for name, found in sources.items()}, 3):
        if ratio is None:
            continue
        print(f"{micros:8.2f} µs  {text[:100]}  fhirpathpy takes {ratio:.0f} times as long")
        slower.append(ratio)
    if slower:
        mean = math.exp(statistics.fmean(map(math.log, slower)))
        print(f"geometric mean of {len(slower)}: {mean:.0f} times as long with fhirpathpy")
    else:
        print("fhirpathpy is not installed (pip install -e '.[bench]'), so nothing stands beside")
    beyond = [
        f"{name} {medians[name]:.1f}× > {limit}×"
        for name, limit in LIMITS.items()
        if medians.get(name, 0.0) > limit
    ]
    print("beyond the limits: " + ", ".join(beyond) if beyond else "within the limits")
    return 1 if beyond else 0


if __name__ == "__main__":
    raise SystemExit(main())
