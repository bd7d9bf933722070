"""terminology.ucum: scales that are no ratios, arbitrary units, and what must be refused quickly."""

from __future__ import annotations

from decimal import Decimal

import pytest

from terminology import ucum


@pytest.mark.parametrize(
    ("value", "source", "target", "found"),
    [
        ("37", "Cel", "[degF]", "98.6"),
        ("98.6", "[degF]", "Cel", "37"),
        ("0", "K", "Cel", "-273.15"),
        ("1000", "mCel", "Cel", "1"),
        ("7", "[pH]", "nmol/L", "100"),
        ("20", "dB", "B", "2"),
        ("1", "[lb_av]", "kg", "0.45359237"),
        ("5.5", "mmol/L", "umol/mL", "5.5"),
        ("1", "a", "d", "365.25"),
        ("1", "10*3/uL", "10*9/L", "1"),
        ("2", "m2", "cm2", "20000"),
        ("1", "1", "%", "100"),
    ],
)
def test_conversion(value, source, target, found):
    assert round(ucum.convert(Decimal(value), source, target), 12) == Decimal(found)


@pytest.mark.parametrize(
    ("source", "target"),
    [("g", "m"), ("[iU]", "U"), ("mg", "nonsense"), ("[iU]/L", "[arb'U]/L"), ("Cel", "s")],
)
def test_what_does_not_measure_the_same_is_not_converted(source, target):
    assert ucum.convert(1, source, target) is None


@pytest.mark.parametrize(
    "code",
    [
        *("", " ", "m/", "m//s", "(m", "m)", "m{", "m{a}b", "mmm", "kk", "ccg", "m0", "0", "m²", "Cel2"),
        *("Cel.m", "(" * 100 + "m" + ")" * 100, "m.", "m" * 300, "m999999999999", "10*99999"),
    ],
)
def test_what_is_no_unit_is_named(code):
    assert ucum.problem(code)


def test_annotations_do_not_count():
    assert ucum.canonical(3, "g{creatinine}") == ucum.canonical(3, "g")
    assert ucum.canonical(3, "{cells}") == ucum.canonical(3, "1")
