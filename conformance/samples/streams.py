"""The two ways out: transaction Bundles of whole patients, and an endless-looking stream for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import count as numbers
from random import Random
from typing import Any

from conformance.samples.people import Hospital, Resource, hospital
from conformance.samples.record import Record

TEST_TAG = {"system": "urn:xinglin:tag", "code": "test-data", "display": "Test data"}


def patients(seed: int = 1, count: int = 20, *, at_least: int = 60) -> Iterator[dict[str, Any]]:
    """Transaction Bundles: first the hospital itself, then one Bundle a patient with `at_least` resources.

    Every entry is a PUT to an id that follows from the seed, so that loading twice changes nothing. Inside a
    Bundle resources point at each other by `urn:uuid:`; they point at the hospital by `Type/id`. All carry
    `TEST_TAG`.

    >>> [len(bundle["entry"]) >= 60 for bundle in list(patients(seed=1, count=2))[1:]]
    [True, True]
    """
    house = hospital(seed)
    yield _bundle(deepcopy(list(house.resources)))
    found, number = 0, 0
    while found < count:
        number += 1
        record = [resource for batch in Record(seed, number, house).encounters() for resource in batch]
        if len(record) >= at_least:
            found += 1
            yield _bundle(deepcopy(record))  # the resources of a record share parts; a reader may change his


def resources(seed: int = 1, count: int = 1_000_000, *, side_by_side: int = 500) -> Iterator[Resource]:
    """`count` resources in the order a busy hospital writes them: `side_by_side` patients are open at a time
    and take turns by encounter, so one patient's resources lie scattered, as they do in life.

    The dicts share parts (a patient's `subject` is one object): treat them as read-only.

    >>> first = next(resources(seed=1, count=1)); first["resourceType"]
    'Organization'
    """
    left = count
    for resource in _endless(hospital(seed), seed, side_by_side):
        if left == 0:
            return
        left -= 1
        yield resource


def _endless(house: Hospital, seed: int, side_by_side: int) -> Iterator[Resource]:
    yield from house.resources
    rng, next_number = Random(f"turns-{seed}"), numbers(1)

    def opened() -> Iterator[list[Resource]]:
        return Record(seed, next(next_number), house).encounters()

    open_records = [opened() for _ in range(side_by_side)]
    while True:
        turn = int(rng.random() * side_by_side)
        batch = next(open_records[turn], None)
        if batch is None:
            open_records[turn] = opened()
        else:
            yield from batch


def _bundle(made: list[Resource]) -> dict[str, Any]:
    inside = {f"{r['resourceType']}/{r['id']}": f"urn:uuid:{r['id']}" for r in made}
    entries = []
    for resource in made:
        _point_inside(resource, inside)
        resource["meta"]["tag"] = [TEST_TAG]
        entries.append({
            "fullUrl": f"urn:uuid:{resource['id']}", "resource": resource,
            "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
        })  # fmt: skip
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _point_inside(value: Any, inside: dict[str, str]) -> None:
    """References to resources of the same Bundle become their `urn:uuid:`."""
    if isinstance(value, dict):
        target = value.get("reference")
        if isinstance(target, str) and target in inside:
            value["reference"] = inside[target]
        for child in value.values():
            _point_inside(child, inside)
    elif isinstance(value, list):
        for child in value:
            _point_inside(child, inside)
