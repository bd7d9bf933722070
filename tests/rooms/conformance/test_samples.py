"""The synthetic patients: deterministic, whole, coherent, and marked as what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from conformance.samples import TEST_TAG, patients, resources


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def test_the_demo_has_its_patients_with_sixty_resources_each_all_tagged() -> None:
    hospital, *bundles = patients(seed=1, count=20)
    assert len(bundles) == 20
    for bundle in bundles:
        kinds = Counter(entry["resource"]["resourceType"] for entry in bundle["entry"])
        assert kinds["Patient"] == 1
        assert kinds.total() >= 60
        assert {"Encounter", "Observation"} <= set(kinds)
    for bundle in (hospital, *bundles):
        assert all(entry["resource"]["meta"]["tag"] == [TEST_TAG] for entry in bundle["entry"])


def test_every_reference_of_a_bundle_is_in_it_or_in_the_hospital() -> None:
    hospital, *bundles = patients(seed=1, count=5)
    known = {entry["request"]["url"] for entry in hospital["entry"]}
    assert set(references(hospital)) <= known | {entry["fullUrl"] for entry in hospital["entry"]}
    for bundle in bundles:
        assert set(references(bundle)) <= known | {entry["fullUrl"] for entry in bundle["entry"]}


def test_the_same_seed_makes_the_same_resources_and_no_id_twice() -> None:
    first, again = list(resources(seed=3, count=5000)), list(resources(seed=3, count=5000))
    assert first == again
    assert len({(r["resourceType"], r["id"]) for r in first}) == 5000
    assert list(resources(seed=4, count=5000)) != first


def test_the_diseases_shape_the_values() -> None:
    """The sugar of diabetics is higher than that of the others, on average and by a good margin."""
    stream = list(resources(seed=5, count=60_000))
    sick = [r for r in stream if r["resourceType"] == "Condition"]
    diabetics = {c["subject"]["reference"] for c in sick if c["code"]["coding"][0]["code"] == "44054006"}
    sugar: dict[bool, list[float]] = {True: [], False: []}
    for r in stream:
        if r["resourceType"] == "Observation" and r["code"]["coding"][0]["code"] == "2345-7":
            sugar[r["subject"]["reference"] in diabetics].append(r["valueQuantity"]["value"])
    assert sum(sugar[True]) / len(sugar[True]) > 1.2 * sum(sugar[False]) / len(sugar[False])
