"""The newest relevant value of a chart, and every way in which there is none."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from cds_hooks.facts.chart import Chart
from cds_hooks.facts.laboratory import (
    BODY_WEIGHT,
    CREATININE_IN_SERUM,
    MEASUREMENTS,
    SYSTOLIC_PRESSURE,
    Measured,
    Measurement,
    Problem,
    history,
    observed,
)
from cds_hooks.facts.units import UCUM, convert
from tests.support.cds import NOW

LOINC = "http://loinc.org"
YEAR = NOW - timedelta(days=365)


def observation(
    value: Any = Decimal("1.2"),
    code: str = "mg/dL",
    *,
    days: float = 1,
    loinc: str = "2160-0",
    number: int = 1,
    **more: Any,
) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": LOINC, "code": loinc}]},
        "effectiveDateTime": (NOW - timedelta(days=days)).isoformat(),
        "valueQuantity": {"value": value, "system": UCUM, "code": code},
    } | more


def read(*resources: dict[str, Any], of: Measurement = CREATININE_IN_SERUM) -> Measured | Problem:
    return observed(Chart.of("p", NOW, resources), of, YEAR)


def test_the_newest_value_counts_with_time_reference_and_what_was_given() -> None:
    found = read(
        observation(Decimal("0.9"), days=30), observation(106, "umol/L", days=2, number=2, loinc="14682-9")
    )
    assert isinstance(found, Measured)
    assert found.value == pytest.approx(106 / 88.42)
    assert (found.unit, found.at, found.reference) == ("mg/dL", NOW - timedelta(days=2), "Observation/o2")
    assert found.given == "106 umol/L"
    assert isinstance(read(observation()), Measured)


def test_a_component_is_read() -> None:
    part = {
        "code": {"coding": [{"system": LOINC, "code": "8480-6"}]},
        "valueQuantity": {"value": 20, "system": UCUM, "code": "kPa"},
    }
    panel = observation(loinc="85354-9", component=[part])
    del panel["valueQuantity"]
    found = read(panel, of=SYSTOLIC_PRESSURE)
    assert isinstance(found, Measured)
    assert found.value == pytest.approx(150.01, abs=0.01)


PROBLEMS: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("nothing", "creatinine-missing", []),
    ("another measurement", "creatinine-missing", [observation(loinc="2823-3")]),
    ("entered in error", "creatinine-missing", [observation(status="entered-in-error")]),
    ("preliminary", "creatinine-missing", [observation(status="preliminary")]),
    ("cancelled", "creatinine-missing", [observation(status="cancelled")]),
    (
        "a local code",
        "creatinine-missing",
        [observation() | {"code": {"text": "creatinine"}}],
    ),
    ("from tomorrow", "creatinine-missing", [observation(days=-1)]),
    ("two years old", "creatinine-old", [observation(days=730)]),
    ("without a time", "creatinine-undated", [observation(effectiveDateTime=None)]),
    ("of a day", "creatinine-undated", [observation(effectiveDateTime=NOW.date().isoformat())]),
    ("of a month", "creatinine-undated", [observation(effectiveDateTime="2026-02")]),
    ("a text for a value", "creatinine-unreadable", [
        observation(valueString="1.2") | {"valueQuantity": None}
    ]),
    ("no unit", "creatinine-unreadable", [observation(valueQuantity={"value": 1.2})]),
    ("below the limit", "creatinine-unreadable", [
        observation(valueQuantity={"value": 0.2, "system": UCUM, "code": "mg/dL", "comparator": "<"})
    ]),
    ("grams per litre are not on the list", "creatinine-unreadable", [observation(Decimal("0.012"), "g/L")]),
    ("zero", "creatinine-implausible", [observation(0)]),
    ("negative", "creatinine-implausible", [observation(Decimal("-1.2"))]),
    ("106 written as mg/dL", "creatinine-implausible", [observation(106)]),
    ("1.2 written as µmol/L", "creatinine-implausible", [observation(Decimal("1.2"), "umol/L")]),
    ("1.2 written as mmol/L", "creatinine-implausible", [observation(Decimal("12.0"), "mmol/L")]),
    ("two values of one time", "creatinine-conflicting", [observation(), observation(2, number=2)]),
    ("a value and an unreadable one of one time", "creatinine-conflicting", [
        observation(), observation(2, "mg", number=2)
    ]),
    ("an older good one does not step in", "creatinine-unreadable", [
        observation(days=30), observation(1, "mg", number=2)
    ]),
    ("nor for an implausible one", "creatinine-implausible", [
        observation(days=30), observation(106, number=2)
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "resources"), PROBLEMS, ids=[name for name, _, _ in PROBLEMS])
def test_what_is_wrong_is_named(name: str, code: str, resources: list[dict[str, Any]]) -> None:
    found = read(*resources)
    assert isinstance(found, Problem), found
    assert found.code == code
    assert "1.2" not in found.text, "the value of a patient stays out of the text"


def test_a_result_that_the_laboratory_could_not_give_is_passed_over() -> None:
    lost = observation(number=2, days=0.1, dataAbsentReason={"text": "haemolysed"})
    del lost["valueQuantity"]
    found = read(observation(days=3), lost)
    assert isinstance(found, Measured)
    assert found.reference == "Observation/o1"


def test_the_same_result_twice_in_two_units_is_one() -> None:
    found = read(observation(Decimal("1.20")), observation(106, "umol/L", number=2))
    assert isinstance(found, Measured)


def test_the_history_holds_what_can_be_read_newest_first() -> None:
    chart = Chart.of("p", NOW, [
        observation(Decimal("1.0"), days=9), observation(Decimal("2.0"), days=1, number=2),
        observation(1, "mg", days=3, number=3),
    ])  # fmt: skip
    assert [entry.value for entry in history(chart, CREATININE_IN_SERUM, YEAR)] == [2.0, 1.0]


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.name)
def test_every_allowed_unit_gives_the_same_value(measurement: Measurement) -> None:
    middle = (measurement.low * measurement.high) ** 0.5
    loinc = measurement.codes.codes[LOINC][0]
    for unit in measurement.allowed:
        given = convert(
            {"value": middle, "system": UCUM, "code": measurement.unit}, unit, analyte=measurement.analyte
        )
        found = read(observation(given, unit, loinc=loinc), of=measurement)
        assert isinstance(found, Measured), (unit, found)
        assert found.value == pytest.approx(middle, rel=1e-9)


def test_a_weight_in_pounds() -> None:
    found = read(observation(154, "[lb_av]", loinc="29463-7"), of=BODY_WEIGHT)
    assert isinstance(found, Measured)
    assert found.value == pytest.approx(69.85, abs=0.01)
