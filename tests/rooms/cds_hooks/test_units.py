"""Units as hospitals write them: what is converted, and every trap that is refused."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks.facts.laboratory import MEASUREMENTS
from cds_hooks.facts.units import (
    CHOLESTEROL,
    CREATININE,
    GLUCOSE,
    POTASSIUM,
    TRIGLYCERIDES,
    UCUM,
    UREA,
    UREA_NITROGEN,
    UnitError,
    convert,
    shown,
)


def quantity(value: Any, code: str | None, **more: Any) -> dict[str, Any]:
    return {"value": value, "system": UCUM, "code": code} | more


CONVERTED: list[tuple[Any, str, str, Any, float]] = [
    (Decimal("1.0"), "mg/dL", "umol/L", CREATININE, 88.42),
    (Decimal("88.42"), "umol/L", "mg/dL", CREATININE, 1.0),
    (106, "umol/L", "mg/dL", CREATININE, 1.19882),
    (Decimal("0.106"), "mmol/L", "mg/dL", CREATININE, 1.19882),
    (12, "mg/L", "mg/dL", CREATININE, 1.2),
    (Decimal("0.012"), "g/L", "mg/dL", CREATININE, 1.2),
    (Decimal("1.2"), "mg/dl", "mg/dL", CREATININE, 1.2),
    (Decimal("1.2"), "mg/(100.mL)", "mg/dL", CREATININE, 1.2),
    (106, "umol/l", "mg/dL", CREATININE, 1.19882),
    (Decimal("5.17"), "mmol/L", "mg/dL", CHOLESTEROL, 199.9),
    (Decimal("1.7"), "mmol/L", "mg/dL", TRIGLYCERIDES, 150.569),
    (Decimal("5.5"), "mmol/L", "mg/dL", GLUCOSE, 99.09),
    (60, "mg/dL", "mmol/L", UREA, 9.99),
    (28, "mg/dL", "mmol/L", UREA_NITROGEN, 9.995),
    (Decimal("4.1"), "meq/L", "mmol/L", POTASSIUM, 4.1),
    (Decimal("16.03"), "mg/dL", "mmol/L", POTASSIUM, 4.1),
    (20, "kPa", "mm[Hg]", None, 150.01),
    (Decimal("98.6"), "[degF]", "Cel", None, 37.0),
    (Decimal("310.15"), "K", "Cel", None, 37.0),
    (-40, "[degF]", "Cel", None, -40.0),
    (0, "Cel", "[degF]", None, 32.0),
    (154, "[lb_av]", "kg", None, 69.853),
    (70, "[in_i]", "cm", None, 177.8),
    (70_000, "g", "kg", None, 70.0),
    (60, "U/L", "ukat/L", None, 1.0),
    (Decimal("0.42"), "1", "%", None, 42.0),
]


@pytest.mark.parametrize(("value", "code", "unit", "analyte", "expected"), CONVERTED)
def test_a_value_means_the_same_in_another_unit(
    value: Any, code: str, unit: str, analyte: Any, expected: float
) -> None:
    assert convert(quantity(value, code), unit, analyte=analyte) == pytest.approx(expected, rel=2e-4)


CREATININE_UNITS = ("mg/dL", "mg/L", "umol/L", "mmol/L")

TRAPS: list[tuple[str, Any, str]] = [
    ("no quantity", None, "no number"),
    ("a text for a quantity", "1.2 mg/dL", "no number"),
    ("a quantity without a value", {"system": UCUM, "code": "mg/dL"}, "no number"),
    ("a text for a number", quantity("1.2", "mg/dL"), "no number"),
    ("true for a number", quantity(True, "mg/dL"), "no number"),
    ("not a number", quantity(math.nan, "mg/dL"), "none that a measurement"),
    ("not a number, as a decimal", quantity(Decimal("NaN"), "mg/dL"), "none that a measurement"),
    ("infinity", quantity(math.inf, "mg/dL"), "none that a measurement"),
    ("10 to the 400", quantity(Decimal("1E+400"), "mg/dL"), "none that a measurement"),
    ("10 to a thousand million", quantity(Decimal("1E+999999"), "mg/dL"), "none that a measurement"),
    ("a thousand digits", quantity(Decimal("1." + "1" * 1000), "mg/dL"), "none that a measurement"),
    ("below the limit of detection", quantity(Decimal("0.2"), "mg/dL", comparator="<"), "bound"),
    ("above the range", quantity(15, "mg/dL", comparator=">="), "bound"),
    ("no unit at all", {"value": 1.2}, "no UCUM code"),
    ("the unit as text only", {"value": 1.2, "unit": "mg/dL"}, "no UCUM code"),
    ("the code in `unit`", {"value": 1.2, "unit": "mg/dL", "system": UCUM}, "no UCUM code"),
    ("a code without system", {"value": 1.2, "code": "mg/dL"}, "no UCUM code"),
    ("an empty code", quantity(1.2, ""), "no UCUM code"),
    ("a number as code", {"value": 1.2, "system": UCUM, "code": 1}, "no UCUM code"),
    (
        "the unit of another system",
        {"value": 1.2, "system": "http://snomed.info/sct", "code": "258797006"},
        "no UCUM code",
    ),
    (
        "UCUM under the address of its home page",
        {"value": 1.2, "system": "https://ucum.org", "code": "mg/dL"},
        "no UCUM code",
    ),
    ("capitals", quantity(1.2, "MG/DL"), "MG/DL"),
    ("a megagram", quantity(1.2, "Mg/dL"), "Mg/dL"),
    ("a micro sign", quantity(106, "µmol/L"), "mol/L"),
    ("a Greek mu", quantity(106, "\u03bcmol/L"), "mol/L"),
    ("mcmol", quantity(106, "mcmol/L"), "mcmol/L"),
    ("a blank in it", quantity(1.2, "mg / dL"), "mg / dL"),
    ("a blank behind it", quantity(1.2, "mg/dL "), "mg/dL "),
    ("per decilitre in words", quantity(1.2, "mg per dL"), "mg per dL"),
    ("mg% as it was written once", quantity(1.2, "mg%"), "mg%"),
    ("a percentage", quantity(1.2, "%"), "%"),
    ("a pure number", quantity(1.2, "1"), "'1'"),
    ("a mass", quantity(1.2, "mg"), "'mg'"),
    ("an amount", quantity(106, "umol"), "'umol'"),
    ("a clearance", quantity(71, "mL/min"), "mL/min"),
    ("a rate for a body surface", quantity(71, "mL/min/{1.73_m2}"), "1.73_m2"),
    ("creatinine in urine over a day", quantity(12, "mmol/d"), "mmol/d"),
    ("a ratio to creatinine", quantity(30, "mg/g{creat}"), "creat"),
    ("equivalents", quantity(1.2, "meq/L"), "meq/L"),
    ("osmoles", quantity(1.2, "mosm/L"), "mosm/L"),
    ("enzyme units", quantity(1.2, "U/L"), "U/L"),
    ("international units", quantity(1.2, "[iU]/L"), "[iU]/L"),
    ("an annotation that may mean anything", quantity(1.2, "mg/dL{fasting}"), "fasting"),
    ("an annotation alone", quantity(1.2, "{creatinine}"), "{creatinine}"),
    ("a unit of 400 letters", quantity(1.2, "m" * 400), "mmm"),
    ("a unit that would break a table", quantity(1.2, "mg|dL\n| x"), "mg"),
]


@pytest.mark.parametrize(("name", "given_quantity", "says"), TRAPS, ids=[name for name, _, _ in TRAPS])
def test_a_creatinine_that_cannot_be_trusted_is_refused(name: str, given_quantity: Any, says: str) -> None:
    with pytest.raises(UnitError) as refusal:
        convert(given_quantity, "mg/dL", analyte=CREATININE, allowed=CREATININE_UNITS)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "|" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


KINDS: list[tuple[str, str, Any]] = [
    ("mmol/L", "mg/dL", None),  # of what?
    ("mg/dL", "mmol/L", None),
    ("mmol/L", "/L", None),  # to UCUM a mole is a number
    ("10*9/L", "mmol/L", GLUCOSE),
    ("meq/L", "mmol/L", GLUCOSE),  # glucose has no valence
    ("meq/L", "mmol/L", None),
    ("mosm/L", "mmol/L", GLUCOSE),
    ("mmol/mol", "%", None),  # HbA1c: two scales with an offset between them
    ("mL/min", "mL/min/{1.73_m2}", None),
    ("mL/min/{1.73_m2}", "mL/min", None),
    ("{score}", "1", None),
    ("mmHg", "mm[Hg]", None),
    ("mm[hg]", "mm[Hg]", None),
    ("cm[H2O]", "kg", None),
    ("F", "Cel", None),  # a farad
    ("C", "Cel", None),  # a coulomb
    ("degF", "Cel", None),
    ("[pH]", "mol/L", None),
    ("dB", "1", None),
    ("[iU]", "mg", None),
    ("10*400/L", "/L", None),
    ("mmol/mmol", "mg/mg", CREATININE),
]


@pytest.mark.parametrize(("code", "unit", "analyte"), KINDS)
def test_units_of_another_kind_are_refused(code: str, unit: str, analyte: Any) -> None:
    with pytest.raises(UnitError):
        convert(quantity(5, code), unit, analyte=analyte)


def test_a_pressure_in_centimetres_of_water_is_a_pressure() -> None:
    assert convert(quantity(100, "cm[H2O]"), "mm[Hg]") == pytest.approx(73.556, rel=1e-4)


def test_what_is_not_on_the_list_is_refused_though_it_measures_the_same() -> None:
    with pytest.raises(UnitError, match=r"accepted are kPa, mm\[Hg\]"):
        convert(quantity(100, "cm[H2O]"), "mm[Hg]", allowed=("mm[Hg]", "kPa"))


def test_zero_and_negative_numbers_are_numbers_here_and_judged_by_the_plausible_range() -> None:
    assert convert(quantity(0, "mg/dL"), "mg/dL") == 0.0
    assert convert(quantity(Decimal("-1.5"), "mmol/L"), "mmol/L") == -1.5


@pytest.mark.parametrize("value", [Decimal("1.2"), 1.2, Decimal("0.1"), 0.3, 7, Decimal("1.20")])
def test_the_unit_itself_changes_no_digit(value: Any) -> None:
    assert convert(quantity(value, "mg/dL"), "mg/dL", analyte=CREATININE) == float(value)


def test_a_foreign_unit_is_shown_short_and_on_one_line() -> None:
    assert shown("µ\n" + "x" * 100) == "'\\xb5\\n" + "x" * 28 + "'"


@given(
    st.sampled_from(MEASUREMENTS).flatmap(
        lambda one: st.tuples(
            st.just(one), st.sampled_from(one.allowed), st.decimals(int(one.low) + 1, int(one.high))
        )
    )
)
def test_there_and_back_is_where_it_began(drawn: Any) -> None:
    measurement, code, value = drawn
    there = convert(quantity(value, measurement.unit), code, analyte=measurement.analyte)
    back = convert(quantity(there, code), measurement.unit, analyte=measurement.analyte)
    assert back == pytest.approx(float(value), rel=1e-9, abs=1e-9)
