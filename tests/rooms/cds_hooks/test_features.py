"""The one feature table: a trial row as FHIR and back is the same vector; gaps and traps of reading."""

from __future__ import annotations

import importlib
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds_hooks.facts.chart import Chart
from cds_hooks.models import features
from conformance.samples import stroke
from tests.support.cds import NOW

LETTERS = {"RCONSC": "FDU", "SEX": "MF", "RXHEP": "NLM"} | dict.fromkeys(features.DEFICITS, "NYC")


def random_row(rng: random.Random) -> dict[str, features.Value]:
    row: dict[str, features.Value] = {}
    for feature in features.FEATURES:
        if feature.name == "STYPE":
            row["STYPE"] = rng.choice(["LACS", "POCS", "PACS", "TACS", "OTH"])
        elif feature.codes is None:
            row[feature.name] = float(rng.randint(int(feature.low or 0), int(feature.high or 0)))
        else:
            row[feature.name] = rng.choice(LETTERS.get(feature.name, "NY"))
        if feature.unknown == features.MISSING and rng.random() < 0.2:
            row[feature.name] = None
    if row["RCT"] == "N":
        row["RVISINF"] = "N"
    return row


def read_back(row: dict[str, features.Value], now: datetime) -> list[float]:
    pytest.importorskip("pandas")
    rows: Any = importlib.import_module("cds_hooks.training.fhir_rows")
    readings = features.read(Chart.of("p", now, rows.resources(row, "p", now)))
    return features.encode({name: reading.value for name, reading in readings.items()})


def same(one: list[float], other: list[float]) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def test_a_row_as_fhir_is_the_same_vector() -> None:
    rng = random.Random(7)
    for _ in range(300):
        row = random_row(rng)
        assert same(read_back(row, NOW), features.encode(row)), row


def test_every_hundredth_patient_of_the_trial_as_fhir_is_the_same_vector(trial: Path) -> None:
    cohorts: Any = importlib.import_module("cds_hooks.training.cohort")
    cohort = cohorts.load(trial)
    records = cohort.table.to_dict("records")
    for number in range(0, len(records), 100):
        row = cohorts.values(records[number], cohort.description)
        assert same(read_back(row, NOW), cohort.x[number].tolist()), number


def test_what_training_reads_is_what_serving_reads() -> None:
    assert features.NAMES[0] == "RDELAY"
    assert len(features.NAMES) == len(set(features.NAMES)) == 22
    assert features.encode({})[features.NAMES.index("NDEF")] == 0.0
    with pytest.raises(ValueError, match="RCONSC is 'X'; known are F, D, U"):
        features.encode({"RCONSC": "X"})


def chart(*changed: dict[str, Any], without: tuple[str, ...] = (), now: datetime = NOW) -> Chart:
    kept = [resource for resource in stroke.resources(NOW) if resource["id"].split("-")[-1] not in without]
    return Chart.of(stroke.PATIENT_ID, now, [*kept, *changed])


def reading(name: str, found: Chart) -> features.Reading:
    return features.read(found)[name]


def pressure(value: Any, **quantity: Any) -> dict[str, Any]:
    unit = {"value": value, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"} | quantity
    return {
        "resourceType": "Observation",
        "id": "newer",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
        "effectiveDateTime": "2026-03-02T14:30:00+00:00",
        "valueQuantity": {key: part for key, part in unit.items() if part is not None},
    }


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ({"value": 150}, 150.0),
        ({"value": 20, "code": "kPa"}, pytest.approx(150.01, abs=0.01)),
        ({"value": 150, "code": None}, None),
        ({"value": 150, "code": None, "unit": "mmHg"}, None),
        ({"value": 150, "system": None}, None),
        ({"value": 150, "code": "mmHg"}, None),
        ({"value": 150, "code": "cm[H2O]"}, pytest.approx(110.33, abs=0.01)),
        ({"value": 150, "code": "mg"}, None),
        ({"value": 150, "comparator": ">"}, None),
        ({"value": "150"}, None),
        ({"value": None}, None),
        ({"value": True}, None),
    ],
)
def test_a_pressure_needs_a_unit_that_we_know(quantity: dict[str, Any], value: Any) -> None:
    assert reading("RSBP", chart(pressure(**quantity))).value == value


def test_the_newest_pressure_counts_and_says_where_it_is_from() -> None:
    found = reading("RSBP", chart(pressure(150)))
    assert (found.value, found.time, found.reference) == (
        150.0,
        "2026-03-02T14:30:00+00:00",
        "Observation/newer",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"status": "preliminary"},
        {"status": "entered-in-error"},
        {"effectiveDateTime": "2026-03-02"},
        {"effectiveDateTime": "2026-03-02T18:00:00Z"},
        {"effectiveDateTime": "2026-02-27T15:00:00Z"},
        {"effectiveDateTime": None},
    ],
)
def test_a_pressure_that_is_not_final_not_timed_not_recent_is_not_used(change: dict[str, Any]) -> None:
    assert reading("RSBP", chart({**pressure(150), **change}, without=("pressure",))).value is None


@pytest.mark.parametrize(
    ("code", "value", "letter"),
    [
        (
            "67775-7",
            {"valueCodeableConcept": {"coding": [{"system": stroke.SNOMED, "code": "300202002"}]}},
            "D",
        ),
        (
            "67775-7",
            {"valueCodeableConcept": {"coding": [{"system": stroke.SNOMED, "code": "422768004"}]}},
            "U",
        ),
        ("70184-7", {"valueInteger": 1}, "D"),
        ("70184-7", {"valueInteger": 3}, "U"),
        ("9269-2", {"valueQuantity": {"value": 15, "code": "{score}"}}, "F"),
        ("9269-2", {"valueInteger": 9}, "D"),
        ("9269-2", {"valueInteger": 8}, "U"),
        ("9269-2", {"valueInteger": 1}, None),
    ],
)
def test_consciousness_from_four_scales(code: str, value: dict[str, Any], letter: str | None) -> None:
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "effectiveDateTime": NOW.isoformat(),
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        **value,
    }
    assert reading("RCONSC", chart(observation, without=("consciousness", "nihss"))).value == letter


def test_deficits_come_from_the_stroke_scale_or_from_a_plain_statement() -> None:
    readings = features.read(chart())
    assert "".join(str(readings[name].value) for name in features.DEFICITS) == "YYYYNNNY"
    assert readings["NDEF"].value == 5.0
    later = {
        "resourceType": "Observation",
        "status": "final",
        "effectiveDateTime": NOW.isoformat(),
        "code": {"coding": [{"system": features.OWN, "code": "deficit-arm"}]},
        "valueCodeableConcept": {"coding": [{"system": stroke.SNOMED, "code": "373067005"}]},
    }
    assert reading("RDEF2", chart(later)).value == "N"


def test_age_on_the_birthday_and_the_day_before() -> None:
    patient = {"resourceType": "Patient", "id": "p", "birthDate": "1950-03-02"}
    for now, age in ((NOW, 76.0), (datetime(2026, 3, 1, 23, 59, tzinfo=UTC), 75.0)):
        assert reading("AGE", Chart.of("p", now, [patient])).value == age
    assert reading("AGE", Chart.of("p", NOW, [{**patient, "birthDate": "1950"}])).value is None


def test_a_letter_is_assumed_only_where_the_table_says_so() -> None:
    values, assumed = features.assume(dict.fromkeys(features.NAMES, None))
    assert set(assumed) == {"RSLEEP", "RXHEP", *features.DEFICITS}
    assert values["RDEF1"] == "C"
    assert values["RSBP"] is None
