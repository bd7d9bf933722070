"""Kidney function: published examples, what never changes, and every reason to compute nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks.facts.chart import Chart
from cds_hooks.facts.renal import Kidney, ckd_epi_2021, cockcroft_gault, kidney
from tests.support.cds import NOW
from tests.support.prescribing import SUBJECT, creatinine, observation, patient, weight

SNOMED = "http://snomed.info/sct"
CREATININES = st.floats(0.1, 30)
AGES = st.integers(18, 110)
SEXES = st.sampled_from(["male", "female"])


def read(*resources: dict[str, Any]) -> Kidney:
    return kidney(Chart.of("p", NOW, resources))


def test_the_example_of_the_national_kidney_foundation() -> None:
    assert round(ckd_epi_2021(1.2, 55, "male"), 1) == 71.4


@pytest.mark.parametrize(
    ("creatinine_", "age", "sex", "expected"),
    # by hand: 142 · min(c/k, 1)^a · max(c/k, 1)^-1.2 · 0.9938^age (· 1.012)
    [
        (0.9, 40, "male", 110.7),
        (0.7, 40, "female", 112.1),
        (0.5, 30, "female", 129.3),
        (3.0, 70, "female", 16.2),
    ],
)
def test_ckd_epi_by_hand(creatinine_: float, age: int, sex: str, expected: float) -> None:
    assert ckd_epi_2021(creatinine_, age, sex) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("creatinine_", "age", "sex", "kg", "expected"),
    [(1.0, 40, "male", 72, 100.0), (1.0, 40, "female", 72, 85.0), (2.0, 80, "male", 60, 25.0)],
)
def test_cockcroft_and_gault_by_hand(
    creatinine_: float, age: int, sex: str, kg: float, expected: float
) -> None:
    assert cockcroft_gault(creatinine_, age, sex, kg) == pytest.approx(expected, abs=0.01)


@given(CREATININES, CREATININES, AGES, SEXES)
def test_more_creatinine_is_less_filtration(one: float, other: float, age: int, sex: str) -> None:
    low, high = sorted((one, other))
    assert ckd_epi_2021(low, age, sex) >= ckd_epi_2021(high, age, sex)


@given(CREATININES, AGES, AGES, SEXES)
def test_more_years_are_less_filtration(value: float, one: int, other: int, sex: str) -> None:
    young, old = sorted((one, other))
    assert ckd_epi_2021(value, young, sex) >= ckd_epi_2021(value, old, sex)


def test_a_sex_that_no_equation_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="female and male only"):
        ckd_epi_2021(1.0, 50, "other")


@given(
    st.decimals("0.30", "9.00", places=2),
    st.sampled_from([("mg/dL", 1), ("mg/L", 10), ("umol/L", "88.42"), ("mmol/L", "0.08842")]),
    st.sampled_from([("kg", 1), ("g", 1000)]),
)
def test_the_unit_of_a_value_changes_nothing(value: Decimal, unit: Any, mass: Any) -> None:
    other = read(
        patient(), creatinine(value * Decimal(unit[1]), unit[0]), weight(Decimal(72) * mass[1], mass[0])
    )
    same = read(patient(), creatinine(value), weight())
    assert (other.egfr, other.clearance) == (same.egfr, same.clearance)
    assert same.egfr is not None


# Nothing is computed ----------------------------------------------------------------------------
def condition(text: str, **more: Any) -> dict[str, Any]:
    code = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": text}], "text": text}
    return {"resourceType": "Condition", "id": "c", "subject": SUBJECT, "code": code} | more


def procedure(code: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Procedure",
        "id": "d",
        "subject": SUBJECT,
        "status": "completed",
        "code": {"coding": [{"system": SNOMED, "code": code}]},
        "performedDateTime": (NOW - timedelta(days=3)).isoformat(),
    } | more


WELL = (patient(), creatinine(1), weight())
REFUSALS: list[tuple[str, str, tuple[dict[str, Any], ...]]] = [
    ("no creatinine", "creatinine-missing", (patient(), weight())),
    ("a creatinine of last year", "creatinine-old", (patient(), creatinine(1, days=400), weight())),
    ("no unit", "creatinine-unreadable", (patient(), creatinine(1, ""), weight())),
    ("µmol/L written as mg/dL", "creatinine-implausible", (patient(), creatinine(106), weight())),
    ("a date without a time", "creatinine-undated", (
        patient(), creatinine(1, effectiveDateTime="2026-03-01"), weight()
    )),
    ("two at one time", "creatinine-conflicting", (*WELL, creatinine(3, number="b"))),
    ("no birth date", "age-unknown", (patient(birthDate=None), *WELL[1:])),
    ("the year of birth", "age-unknown", (patient(birthDate="1966"), *WELL[1:])),
    ("seventeen years old", "not-an-adult", (patient(birthDate="2008-06-01"), *WELL[1:])),
    ("sex not said", "sex-unknown", (patient(gender="unknown"), *WELL[1:])),
    ("another sex", "sex-unknown", (patient(gender="other"), *WELL[1:])),
    ("on dialysis", "dialysis", (*WELL, procedure("302497006"))),
    ("end stage on dialysis", "dialysis", (*WELL, condition("Dependence on renal dialysis"))),
    ("acute kidney injury", "acute-kidney-injury", (*WELL, condition("N17.9"))),
    ("acute renal failure in words", "acute-kidney-injury", (*WELL, condition("Acute renal failure"))),
    ("0.3 more within 48 hours", "creatinine-unsteady", (
        patient(), weight(), creatinine(1, days=2), creatinine(Decimal("1.3"), days=0.5, number="b")
    )),
    ("1.5 times within a week", "creatinine-unsteady", (
        patient(), weight(), creatinine(Decimal("0.8"), days=6), creatinine(Decimal("1.2"), number="b")
    )),
    ("falling as fast", "creatinine-unsteady", (
        patient(), weight(), creatinine(3, days=3), creatinine(Decimal("1.9"), days=1, number="b")
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "resources"), REFUSALS, ids=[name for name, _, _ in REFUSALS])
def test_nothing_is_computed(name: str, code: str, resources: tuple[dict[str, Any], ...]) -> None:
    found = read(*resources)
    assert code in found.refusals
    assert found.egfr is None
    assert found.clearance is None


def test_without_a_weight_there_is_an_egfr_and_no_clearance() -> None:
    found = read(patient(), creatinine(1))
    assert found.egfr is not None
    assert found.clearance is None
    assert set(found.clearance_refusals) == {"weight-missing"}


def test_a_slow_change_is_steady() -> None:
    found = read(patient(), weight(), creatinine(1, days=30), creatinine(2, days=1, number="b"))
    assert found.egfr is not None


def test_an_old_dialysis_or_one_that_was_not_done_is_none() -> None:
    long_ago = procedure("302497006", performedDateTime=(NOW - timedelta(days=60)).isoformat())
    assert read(*WELL, long_ago).egfr is not None
    assert read(*WELL, procedure("302497006", status="not-done")).egfr is not None


def test_a_creatinine_of_a_hundred_days_is_used_and_said() -> None:
    found = read(patient(), weight(), creatinine(1, days=100))
    assert found.egfr is not None
    assert found.cautions == ("The creatinine is 100 days old: measure again before relying on it.",)


def test_a_resolved_injury_is_over() -> None:
    over = condition("N17.9", clinicalStatus={"coding": [{"code": "resolved"}]})
    assert read(*WELL, over).egfr is not None


def test_another_measurement_is_no_creatinine() -> None:
    assert "creatinine-missing" in read(patient(), weight(), observation("2161-8", 1, "mg/dL")).refusals
