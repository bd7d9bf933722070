"""number, date and quantity: precision and prefixes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.spec.r4_search.conftest import Search
from tests.support.clause import clause


def risk(id: str, probability: Any) -> dict[str, Any]:
    member = "probabilityRange" if isinstance(probability, dict) else "probabilityDecimal"
    return {"resourceType": "RiskAssessment", "id": id, "prediction": [{member: probability}]}


@clause("R4/search.html#number", "a number stands for the interval of its digits; prefixes take it exactly")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("100", ["99.5", "100", "100.49"]),
        ("100.00", ["100"]),
        ("1e2", ["99.5", "100", "100.49", "100.5"]),
        ("lt100", ["99.5", "open"]),
        ("le100", ["99.5", "100", "open"]),
        ("gt100", ["100.49", "100.5", "range"]),
        ("ge100", ["100", "100.49", "100.5", "range"]),
        ("ne100", ["100.5", "range", "open"]),
        ("sa100", ["100.49", "100.5", "range"]),
        ("eb100", ["99.5", "open"]),
        ("eb150", ["99.5", "100", "100.49", "100.5", "open"]),
        ("sa150", []),
        ("ap109", ["99.5", "100", "100.49", "100.5", "range"]),
        ("100,200", ["99.5", "100", "100.49"]),
    ],
)
def test_number(search: Search, query: str, ids: list[str]) -> None:
    points = [risk(text, Decimal(text)) for text in ("99.5", "100", "100.49", "100.5")]
    span = risk("range", {"low": {"value": 110}, "high": {"value": 200}})
    below = risk("open", {"high": {"value": 20}})
    assert sorted(search(f"RiskAssessment?probability={query}", *points, span, below)) == sorted(ids)


def observed(id: str, **value: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": id, **value}


DATES = (
    observed("year", effectiveDateTime="2013"),
    observed("month", effectiveDateTime="2013-01"),
    observed("day", effectiveDateTime="2013-01-14"),
    observed("midnight", effectiveDateTime="2013-01-14T00:00:00Z"),
    observed("ten", effectiveDateTime="2013-01-14T10:00:00Z"),
    observed("offset", effectiveDateTime="2013-01-14T23:30:00-05:00"),
    observed("since", effectivePeriod={"start": "2013-01-20"}),
    observed("until", effectivePeriod={"end": "2013-01-10"}),
    observed("within", effectivePeriod={"start": "2013-01-14", "end": "2013-01-15"}),
)


@clause("R4/search.html#date", "both sides are intervals; the prefix table")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("2013-01-14", ["day", "midnight", "ten"]),
        ("2013-01", ["month", "day", "midnight", "ten", "offset", "within"]),
        ("2013", ["year", "month", "day", "midnight", "ten", "offset", "within"]),
        ("2013-01-14T10:00Z", ["ten"]),
        ("2013-01-14T10:00", ["ten"]),
        ("2013-01-15T04:30Z", ["offset"]),
        ("2013-01-14T23:30:00-05:00", ["offset"]),
        ("ne2013-01", ["year", "since", "until"]),
        ("lt2013-01-14T10:00Z", ["year", "month", "day", "midnight", "until", "within"]),
        ("gt2013-01-14T10:00Z", ["year", "month", "day", "offset", "since", "within"]),
        ("ge2013-01-14", ["year", "month", "day", "midnight", "ten", "offset", "since", "within"]),
        ("le2013-01-14", ["year", "month", "day", "midnight", "ten", "until"]),
        ("sa2013-01-14", ["offset", "since"]),
        ("eb2013-01-14", ["until"]),
        ("eb2013-01-15", ["day", "midnight", "ten", "until"]),
        ("ap2013-01-14", ["year", "month", "day", "midnight", "ten", "offset", "since", "until", "within"]),
    ],
)
def test_date(search: Search, query: str, ids: list[str]) -> None:
    assert sorted(search(f"Observation?date={query}", *DATES)) == sorted(ids)


@clause(
    "R4/search.html#date", "two bounds on one parameter; a value that repeats may meet each by another one"
)
def test_two_bounds(search: Search) -> None:
    goals = (
        {
            "resourceType": "Goal",
            "id": "both",
            "target": [{"dueDate": "2020-01-01"}, {"dueDate": "2022-01-01"}],
        },
        {"resourceType": "Goal", "id": "late", "target": [{"dueDate": "2022-01-01"}]},
    )
    assert search("Goal?target-date=lt2021&target-date=gt2021", *goals) == ["both"]
    found = search("Observation?date=ge2013-01-14&date=lt2013-01-15", *DATES[1:5])
    assert found == ["ten", "midnight", "day", "month"]  # newest first, as they are asked for by dates alone


@clause("R4/search.html#date", "only the outer limits of a Timing matter")
def test_timing(search: Search) -> None:
    events = {"event": ["2013-01-31", "2013-03-24"]}
    bounds = {"repeat": {"boundsPeriod": {"start": "2013-01-31", "end": "2013-03-24"}, "frequency": 1}}
    made = (observed("events", effectiveTiming=events), observed("bounds", effectiveTiming=bounds))
    nowhere = observed("nowhere", effectiveTiming={"repeat": {"frequency": 1}})
    assert search("Observation?date=gt2013-02-01&date=lt2013-02-01", *made, nowhere) == ["bounds", "events"]
    assert search("Observation?date:missing=false") == ["events", "bounds", "nowhere"]


@clause("R4/search.html#lastUpdated", "_lastUpdated is an instant of the resource")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("2026-01-01", ["1", "2"]),
        ("gt2026-01-01", ["3"]),
        ("ge2026-01-01T00:00:00.002Z", ["2", "3"]),
        ("gt2026-01-01T00:00:00.001Z", ["2", "3"]),
        ("2026-01-01T00:00:00.001Z", ["1"]),
        ("le2026-01-01T00:00:00.001Z", ["1"]),
        ("lt2026-01-01T00:00:00.002Z", ["1"]),
        ("ne2026-01-01", ["3"]),
        ("eb2026-01-02", ["1", "2"]),
        ("sa2026-01-01", ["3"]),
        ("ap2026-01-02", ["1", "2", "3"]),
        ("gt2026-01-01&_lastUpdated=lt2027", ["3"]),
    ],
)
def test_last_updated(search: Search, query: str, ids: list[str]) -> None:
    third = {"resourceType": "Basic", "meta": {"lastUpdated": "2026-01-03T00:00:00.000Z"}}
    assert (
        search(f"Basic?_lastUpdated={query}", {"resourceType": "Basic"}, {"resourceType": "Basic"}, third)
        == ids
    )


UCUM = "http://unitsofmeasure.org"


def weighed(id: str, value: str, **unit: str) -> dict[str, Any]:
    return observed(id, valueQuantity={"value": Decimal(value), **unit})


QUANTITIES = (
    weighed("mg", "5.4", system=UCUM, code="mg", unit="milligram"),
    weighed("mg2", "5.44", system=UCUM, code="mg"),
    weighed("g", "5.4", system=UCUM, code="g"),
    weighed("text", "5.4", unit="mg"),
    weighed("bare", "5.4"),
    weighed("below", "5.4", comparator="<", system=UCUM, code="mg"),
    observed(
        "sampled", valueSampledData={"origin": {"value": 2, "code": "mg", "system": UCUM}, "data": "1 2 9"}
    ),
)


@clause(
    "R4/search.html#quantity", "the number by its digits, the unit as system and code, as either, or open"
)
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (f"5.4|{UCUM}|mg", ["mg", "mg2"]),
        (f"5.40|{UCUM}|mg", ["mg"]),
        ("5.4||mg", ["mg", "mg2", "text"]),
        ("5.4||milligram", ["mg"]),
        ("5.4", ["mg", "mg2", "g", "text", "bare"]),
        (f"5.40e0|{UCUM}|mg", ["mg"]),
        (f"gt5.4|{UCUM}|mg", ["mg2", "g", "sampled"]),
        (f"lt5.4|{UCUM}|mg", ["below", "sampled"]),
        (f"eb5.4|{UCUM}|mg", []),
        (f"ap5|{UCUM}|mg", ["mg", "mg2", "below", "sampled"]),
        (f"sa2|{UCUM}|mg", ["mg", "mg2", "g", "sampled"]),
    ],
)
def test_quantity(search: Search, query: str, ids: list[str]) -> None:
    assert sorted(search(f"Observation?value-quantity={query}", *QUANTITIES)) == sorted(ids)


@clause("R4/search.html#quantity", "Money counts by its currency")
def test_money(search: Search) -> None:
    total = {"value": Decimal("12.50"), "currency": "EUR"}
    invoice = {"resourceType": "Invoice", "id": "euro", "totalGross": total}
    assert search("Invoice?totalgross=gt12||EUR", invoice) == ["euro"]
    assert search("Invoice?totalgross=12.50|urn:iso:std:iso:4217|EUR") == ["euro"]
    assert search("Invoice?totalgross=12.50|urn:iso:std:iso:4217|USD") == []
