"""A chart reads everything once: what it finds is what a walk through all resources finds each time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from cds_hooks.facts.chart import Chart, active_conditions, drug_events, observations
from cds_hooks.facts.value_sets import (
    ANTICOAGULANT,
    ATRIAL_FIBRILLATION,
    HAEMORRHAGE,
    ICD10,
    LOINC,
    RXNORM,
    SNOMED,
    CodeSet,
    Said,
)

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
CODES = ("8480-6", "85354-9", "70189-6", "70190-4")
SETS = (
    CodeSet("one", {LOINC: CODES[:1]}),
    CodeSet("three", {LOINC: CODES[1:]}),
    CodeSet("none", {LOINC: ("0",)}),
)


def _concept(rng: Random) -> dict[str, Any]:
    return {"coding": [{"system": LOINC, "code": rng.choice(CODES)} for _ in range(rng.randint(0, 3))]}


def _observation(rng: Random, number: int) -> dict[str, Any]:
    made = NOW + timedelta(minutes=rng.choice((-600, -300, -60, 0, 60)))
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": rng.choice(("final", "final", "amended", "preliminary", "entered-in-error")),
        "code": _concept(rng),
        "effectiveDateTime": made.isoformat() if rng.random() < 0.9 else "2026-03-02",
        "component": [{"code": _concept(rng)} for _ in range(rng.randint(0, 3))],
    }


def _parts(resource: Mapping[str, Any]) -> list[Any]:
    return [resource, *resource["component"]]


def _walked(given: list[dict[str, Any]], codes: CodeSet, since: datetime) -> list[tuple[str, int]]:
    """Return (id, which part) of what counts, by a walk that shares nothing with the chart's index."""
    wanted = set(codes.codes[LOINC])
    found = []
    for resource in given:
        if resource["status"] not in ("final", "amended") or "T" not in resource["effectiveDateTime"]:
            continue
        made = datetime.fromisoformat(resource["effectiveDateTime"])
        for place, part in enumerate(_parts(resource)):
            said = {coding["code"] for coding in part["code"]["coding"]}
            if said & wanted and since <= made <= NOW:
                found.append((made, resource["id"], place))
    found.sort(key=lambda entry: entry[0], reverse=True)
    return [(identifier, place) for _made, identifier, place in found]


@pytest.mark.parametrize("seed", range(40))
def test_observations_are_those_that_a_walk_finds_in_the_same_order(seed: int) -> None:
    rng = Random(seed)
    given = [_observation(rng, number) for number in range(rng.randint(0, 12))]
    chart = Chart.of("p", NOW, given)
    for codes in SETS:
        for since in (NOW - timedelta(hours=12), NOW - timedelta(hours=2)):
            told = [
                (resource["id"], next(n for n, each in enumerate(_parts(resource)) if each is part))
                for _made, resource, part in observations(chart, codes, since)
            ]
            assert told == _walked(given, codes, since)


def test_a_condition_and_a_drug_are_held_against_every_set() -> None:
    chart = Chart.of(
        "p",
        NOW,
        [
            {
                "resourceType": "Condition",
                "id": "a",
                "code": {"coding": [{"system": ICD10[0], "code": "I48.0"}]},
            },
            {"resourceType": "Condition", "id": "b", "code": {"text": "Subdural haematoma"}},
            {
                "resourceType": "Condition",
                "id": "c",
                "code": {"coding": [{"system": SNOMED, "code": "49436004"}]},
                "clinicalStatus": {"coding": [{"code": "resolved"}]},
            },
            {
                "resourceType": "MedicationRequest",
                "id": "d",
                "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": "855332"}]},
            },
        ],
    )
    for _again in range(2):
        assert [found["id"] for found, _ in active_conditions(chart, ATRIAL_FIBRILLATION)] == ["a"]
        assert [found["id"] for found, _ in active_conditions(chart, HAEMORRHAGE)] == ["b"]
        drugs = drug_events(chart, ANTICOAGULANT, ("MedicationStatement", "MedicationRequest"))
        assert [found["id"] for found, _at in drugs] == ["d"]  # a product, known by its ingredient


@pytest.mark.parametrize("odd", [None, 7, "x", [], {"coding": 3}, {"coding": [None, {"code": 5}]}])
def test_a_concept_of_another_shape_says_nothing(odd: Any) -> None:
    assert Said.by(odd) == Said(frozenset(), ())
