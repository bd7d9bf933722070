"""A mistake of any known kind, anywhere in any resource, is told where it is; its right twin passes.

The classes are those by which validators are compared. `pytest -s` prints how many mutants each made.
XINGLIN_MUTANTS=200 takes that many of a class from every resource instead of a few.
"""

from __future__ import annotations

import bz2
import copy
import os
import random
import tarfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fhir_server.definitions import structures
from fhir_server.model import json_format
from fhir_server.outcome import Invalid
from fhir_server.validation.validator import validate
from tests.support import made
from tests.support.mutations.classes import CLASSES, Mutate
from tests.support.mutations.rules import ABSENT, RULES, TWINS
from tests.support.ruled import is_ruled

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
EACH = int(os.environ.get("XINGLIN_MUTANTS", "3"))
ALL: dict[str, Mutate] = {**CLASSES, **RULES}


def rich(type_name: str) -> dict[str, Any]:
    """Return a resource with every element two levels deep and an extension of every type of value."""
    found = made.resource(type_name, 2)
    if structures.is_subtype(type_name, "DomainResource"):
        found |= {
            "id": "an-id",
            "meta": {"versionId": "1", "lastUpdated": "2020-01-01T00:00:00Z", "profile": ["http://x/p"]},
            "language": "en",
            "text": {"status": "generated", "div": made.DIV},
            "contained": [
                {"resourceType": "Organization", "id": "o", "name": "Ward", "active": True, "language": "en"}
            ],
            "extension": [
                {"url": f"http://x/{field.key}", field.key: made.value(field, 1)}
                for field in structures.fields("Extension").values()
                if field.element.name == "value[x]"
            ]
            + [{"url": "http://x/o", "valueReference": {"reference": "#o"}}],
        }
    return found


def errors(resource: Any) -> list[Any]:
    return [issue for issue in validate(resource) if issue.severity == "error"]


def right_ones() -> list[dict[str, Any]]:
    """Return what is valid of the resources made: small ones of all types, rich ones of most."""
    every = [make(name) for name in structures.resource_types() for make in (made.resource, rich)]
    every += [
        {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"fullUrl": "http://x/1", "resource": one}],
        }
        for one in (made.resource("Patient", 2), made.resource("Task", 1))
    ]
    every.append(
        {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": made.resource("Flag")}]}
    )
    return [resource for resource in every if not errors(resource)]


@pytest.fixture(scope="module")
def right() -> list[dict[str, Any]]:
    return right_ones()


def test_there_are_enough_right_ones(right):
    assert len({resource["resourceType"] for resource in right}) > 130
    assert sum(len(json_format.encode(resource)) > 4000 for resource in right) > 60


def caught(
    name: str, resources: list[dict[str, Any]], chance: random.Random, enough: int
) -> tuple[int, set[str]]:
    """Make mutants of a class; return how many, and of which types. Each is told at its place."""
    count, kinds = 0, set()
    for resource in chance.sample(resources, len(resources)):
        if count >= enough * EACH:
            break
        before = copy.deepcopy(resource)
        mutants = list(islice(ALL[name](resource), 400))
        for mutant, path in chance.sample(mutants, min(EACH, len(mutants))):
            found = validate(mutant)
            places = {issue.expression for issue in found if issue.severity == "error"}
            assert path in places, (name, path, places)
            assert [issue for issue in found if not is_ruled(issue)] == []
            if name in RULES:
                key = name.partition(",")[0]
                named = [str(issue.rule) for issue in found if issue.expression == path]
                assert any(text.endswith(f"#{key}") for text in named), (name, path, named)
            kinds.add(resource["resourceType"])
            count += 1
        assert resource == before
    return count, kinds


@pytest.mark.parametrize("name", ALL)
def test_mutants_are_told_where_they_are_broken(name, right):
    chance = random.Random(name)
    count, kinds = caught(name, right, chance, 20 if "1 MB" not in name else 5)
    print(f"{name}: {count} mutants of {len(kinds)} types")
    assert count >= 2, "the resources have no place for this class"


def test_there_are_enough_classes_and_mutants(right):
    chance = random.Random(7)
    counts: Counter[str] = Counter()
    for name in ALL:
        for resource in chance.sample(right, 40):
            counts[name] += sum(1 for _ in islice(ALL[name](resource), EACH))
    assert len(ALL) >= 60
    assert sum(counts.values()) >= 2000


@pytest.mark.parametrize("name", TWINS)
def test_twins_that_are_right_are_accepted(name, right):
    chance = random.Random(name)
    count = 0
    for resource in chance.sample(right, 12 if "1 MB" in name else 60):
        for twin in islice(TWINS[name](resource), EACH):
            assert errors(twin) == [], name
            count += 1
    assert count >= 5


def test_a_status_may_be_extensions_only():
    for type_name in structures.resource_types():
        small = made.resource(type_name)
        if isinstance(small.get("status"), str) and not errors(small):
            twin = {key: value for key, value in small.items() if key != "status"} | {"_status": ABSENT}
            assert errors(twin) == [], type_name
            assert [issue.expression for issue in errors({**twin, "_status": {"id": "a"}})] == [
                f"{type_name}.status"
            ]


def official() -> Iterator[dict[str, Any]]:
    with tarfile.open(SHARED / "data" / "r4-examples.tar.xz") as archive:
        for member in archive:
            if member.name.endswith(".json") and member.size < 20_000:
                data = archive.extractfile(member)
                assert data is not None
                try:
                    yield json_format.parse(data.read())
                except Invalid:
                    continue


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason=f"no examples at {SHARED}; set XINGLIN_SHARED")
def test_mutants_of_official_examples():
    """Two of every type that has one, and resources of a synthetic patient."""
    by_type: dict[str, list[dict[str, Any]]] = {}
    for resource in official():
        listed = by_type.setdefault(resource.get("resourceType", ""), [])
        if len(listed) < 2 and not errors(resource):
            listed.append(resource)
    found = [resource for listed in by_type.values() for resource in listed]
    patient = next(iter(sorted((SHARED / "data" / "synthea").glob("*.bz2"))))
    entries = json_format.parse(bz2.decompress(patient.read_bytes()))["entry"]
    found += [entry["resource"] for entry in entries[:40]]
    chance = random.Random(9)
    total: Counter[str] = Counter()
    for name in ALL:
        count, _ = caught(name, found, chance, 20 if "1 MB" not in name else 5)
        total[name] += count
    print(f"{total.total()} mutants of {len(by_type)} types in {len(ALL)} classes: {dict(total)}")
    assert len(by_type) > 100
    assert total.total() > 5000
