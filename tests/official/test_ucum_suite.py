"""The functional tests of UCUM: validation, names, conversion, multiplication and division."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from decimal import Context, Decimal
from pathlib import Path

import pytest

from terminology import ucum

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
FILE = SHARED / "suites" / "ucum" / "UcumFunctionalTests.xml"
if not FILE.exists():
    pytest.skip(f"the UCUM suite is not at {FILE}; set XINGLIN_SHARED", allow_module_level=True)
SUITE = ElementTree.parse(FILE).getroot()


def cases(chapter):
    return [pytest.param(case.attrib, id=case.get("id")) for case in SUITE.find(chapter)]


def agrees(found, wanted):
    """Say whether a number is `wanted` to the digits that the suite writes."""
    wanted = Decimal(wanted)
    return found is not None and Context(prec=len(wanted.as_tuple().digits)).create_decimal(found) == wanted


@pytest.mark.parametrize("case", cases("validation"))
def test_validation(case):
    assert (ucum.problem(case["unit"]) is None) == (case["valid"] == "true")


@pytest.mark.parametrize("case", cases("displayNameGeneration"))
def test_display_name(case):
    assert ucum.display(case["unit"]) == case["display"]


@pytest.mark.parametrize("case", cases("conversion"))
def test_conversion(case):
    found = ucum.convert(Decimal(case["value"]), case["srcUnit"], case["dstUnit"])
    assert agrees(found, case["outcome"])


@pytest.mark.parametrize("case", cases("multiplication"))
def test_multiplication(case):
    unit = ucum.product(case["u1"], case["u2"])
    found = ucum.convert(Decimal(case["v1"]) * Decimal(case["v2"]), unit, case["uRes"] or "1")
    assert agrees(found, case["vRes"])


@pytest.mark.parametrize("case", cases("division"))
def test_division(case):
    unit = ucum.quotient(case["u1"], case["u2"])
    found = ucum.convert(Decimal(case["v1"]) / Decimal(case["v2"]), unit, case["uRes"] or "1")
    assert agrees(found, case["vRes"])
