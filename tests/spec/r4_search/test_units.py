"""Quantities in another unit than they were written in: UCUM's canonical units."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fhir_server.search.parse import parse
from tests.spec.r4_search.conftest import Search
from tests.support.builders import observation
from tests.support.clause import clause

UCUM = "http://unitsofmeasure.org"


def weighed(id: str, value: str, code: str, name: str = "a", **more: Any) -> dict[str, Any]:
    made = observation("Patient/1", code=name)
    del made["valueString"]
    quantity = {"value": Decimal(value), "system": UCUM, "code": code, **more}
    return {**made, "id": id, "valueQuantity": quantity}


MASSES = (
    weighed("mg", "5.4", "mg"),
    weighed("g", "0.0054", "g"),
    weighed("kg", "0.0000054", "kg"),
    weighed("near", "0.00544", "g"),
    weighed("more", "0.00546", "g"),
    weighed("less", "5", "mg", comparator="<"),
    weighed("length", "5.4", "mm"),
    weighed("none", "5.4", "spoon"),
    {**weighed("text", "5.4", "mg"), "valueQuantity": {"value": Decimal("5.4"), "unit": "mg"}},
)


@clause("R4/search.html#quantity", "a unit finds what is stored in another that measures the same")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (f"5.4|{UCUM}|mg", ["mg", "g", "kg", "near"]),
        (f"5.40|{UCUM}|mg", ["mg", "g", "kg"]),
        (f"0.0054|{UCUM}|g", ["mg", "g", "kg", "near"]),
        (f"5400|{UCUM}|ug", ["mg", "g", "kg"]),
        (f"5.4e3|{UCUM}|ug", ["mg", "g", "kg", "near"]),
        (f"gt5.4|{UCUM}|mg", ["near", "more"]),
        (f"ge5.4|{UCUM}|mg", ["mg", "g", "kg", "near", "more"]),
        (f"lt5.4|{UCUM}|mg", ["less"]),
        (f"ne5.4|{UCUM}|mg", ["more", "less"]),
        (f"ap6|{UCUM}|mg", ["mg", "g", "kg", "near", "more"]),
        (f"ap6.1|{UCUM}|mg", []),
        (f"sa0.00545|{UCUM}|g", ["more"]),
        (f"5.4|{UCUM}|mm", ["length"]),
        (f"0.54|{UCUM}|cm", ["length"]),
        (f"5.4|{UCUM}|spoon", ["none"]),
        ("5.4||g", []),
        ("5.4||mg", ["mg", "text"]),
        (f"5.4|{UCUM}|mg,0.54|{UCUM}|cm", ["mg", "g", "kg", "near", "length"]),
    ],
)
def test_another_unit(search: Search, query: str, ids: list[str]) -> None:
    assert sorted(search(f"Observation?value-quantity={query}", *MASSES)) == sorted(ids)


@clause("R4/search.html#quantity", "scales with a zero of their own; pH is not turned round into mol/L")
def test_scales(search: Search) -> None:
    made = (
        weighed("fever", "38.5", "Cel"),
        weighed("kelvin", "311.65", "K"),
        weighed("fahrenheit", "101.3", "[degF]"),
        weighed("cool", "36.0", "Cel"),
        weighed("acid", "7.4", "[pH]"),
        weighed("amount", "7.4", "mmol/L"),
    )
    hot = {"fever", "kelvin", "fahrenheit"}
    assert set(search(f"Observation?value-quantity=38.5|{UCUM}|Cel", *made)) == hot
    assert set(search(f"Observation?value-quantity=gt100.4|{UCUM}|[degF]")) == hot
    assert search(f"Observation?value-quantity=le36|{UCUM}|Cel") == ["cool"]
    # A tenth of 41 °C is 4.1 °C; in kelvin it would be 31, and all of them near.
    assert set(search(f"Observation?value-quantity=ap41|{UCUM}|Cel")) == hot
    assert search(f"Observation?value-quantity=gt7|{UCUM}|[pH]") == ["acid"]
    assert search(f"Observation?value-quantity=gt7|{UCUM}|mmol/L") == ["amount"]


@clause("R4/search.html#composite", "a quantity inside of a composite, through either parameter of both")
@pytest.mark.parametrize("code", ["code-value-quantity", "combo-code-value-quantity"])
def test_in_a_composite(search: Search, code: str) -> None:
    made = (weighed("a", "0.0054", "g"), weighed("b", "0.0054", "g", "b"), weighed("c", "70", "kg"))
    assert search(f"Observation?{code}=a$5.4|{UCUM}|mg", *made) == ["a"]
    assert search(f"Observation?{code}=a$gt1|{UCUM}|mg") == ["a", "c"]
    assert search(f"Observation?combo-value-quantity=5.4|{UCUM}|mg") == ["a", "b"]


@clause("R4/search.html#quantity", "Age, Duration and a Range whose ends have different units")
def test_kinds_of_quantities(search: Search) -> None:
    def condition(id: str, **onset: Any) -> dict[str, Any]:
        return {"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/1"}, **onset}

    def age(value: int, code: str) -> dict[str, Any]:
        return {"value": value, "system": UCUM, "code": code}

    made = (
        condition("months", onsetAge=age(24, "mo")),
        condition("years", onsetAge=age(2, "a")),
        condition("range", onsetRange={"low": age(1, "a"), "high": age(36, "mo")}),
        condition("odd", onsetRange={"low": age(1, "a"), "high": {"value": 3, "unit": "springs"}}),
    )
    assert set(search(f"Condition?onset-age=2|{UCUM}|a", *made)) == {"months", "years"}
    assert search(f"Condition?onset-age=gt2|{UCUM}|a") == ["range"]
    assert set(search(f"Condition?onset-age=sa11|{UCUM}|mo")) == {"months", "years", "range"}
    stay = {"resourceType": "Encounter", "id": "stay", "length": age(90, "min")}
    assert search(f"Encounter?length=1.5|{UCUM}|h", stay) == ["stay"]


@clause("R4/search.html#quantity", "what was asked for is the same, whatever units are stored at the moment")
def test_criteria_are_equal(search: Search) -> None:
    class Grams:
        def units(self, parameter: Any) -> list[str]:
            return ["g"]

        below = above = None

    pairs = [("value-quantity", f"5.4|{UCUM}|mg")]
    one, two = parse("Observation", pairs), parse("Observation", pairs, stored=Grams())  # type: ignore[arg-type]
    assert one.canonical() == two.canonical()
    assert one.clauses == two.clauses
