"""A search by one range of one index: each match once, in one order, page by page and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

import pytest

from fhir_server.interactions.stored import StoredValues
from fhir_server.search.compile import compile, position_of
from fhir_server.search.order import Position
from fhir_server.search.parse import parse
from tests.spec.r4_search.conftest import Search
from tests.support.clause import clause

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"


def named(id: str, *families: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, "name": [{"family": each} for each in families]}


def risk(id: str, *predictions: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "RiskAssessment", "id": id, "status": "final", "subject": {"reference": "Patient/1"},
        "prediction": list(predictions),
    }  # fmt: skip


def weighed(id: str, number: float, code: str, **more: Any) -> dict[str, Any]:
    value = {"value": number, "system": UCUM, "code": code, **more}
    return {"resourceType": "Observation", "id": id, "valueQuantity": value}


def pressed(id: str, *numbers: float) -> dict[str, Any]:
    code = {"coding": [{"system": LOINC, "code": "8480-6"}]}
    parts = [
        {"code": code, "valueQuantity": {"value": each, "system": UCUM, "code": "mm[Hg]"}} for each in numbers
    ]
    return {"resourceType": "Observation", "id": id, "component": parts}


STORED = (
    named("twice", "Smith", "Smith"),
    named("late", "Smythe", "Smart"),
    named("other", "Jones", "Smitt"),
    named("none", "Jones"),
    named("same", "Smith"),
    risk("two", {"probabilityDecimal": 0.9}, {"probabilityDecimal": 0.6}),
    risk("equal", {"probabilityDecimal": 0.6}, {"probabilityDecimal": 0.6}),
    risk("span", {"probabilityRange": {"low": {"value": 0.1}, "high": {"value": 0.8}}}),
    risk("both", {"probabilityRange": {"low": {"value": 0.2}}}, {"probabilityDecimal": 0.7}),
    risk("low", {"probabilityDecimal": 0.1}),
    weighed("mg", 7000, "mg"),
    weighed("mg too", 7000, "mg"),
    weighed("g", 6, "g"),
    weighed("more", 2, "g", comparator=">"),
    weighed("less", 2, "g"),
    pressed("high", 150, 170),
    pressed("again", 160, 160),
    pressed("normal", 120),
)


@clause("R4/search.html#sort", "without _sort the order is the server's: that of the range that is asked for")
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("Patient?family=sm", ["late", "twice", "same", "other"]),
        ("Patient?family:contains=mit", ["twice", "same", "other"]),
        ("RiskAssessment?probability=gt0.5", ["two", "equal", "both", "span"]),
        ("RiskAssessment?probability=lt0.7", ["span", "low", "both", "two", "equal"]),
        (f"Observation?value-quantity=gt5|{UCUM}|g", ["g", "mg", "mg too", "more"]),
        ("Observation?value-quantity=gt1&value-quantity=lt7", ["less", "more", "g"]),
        (
            f"Observation?component-code-value-quantity={LOINC}|8480-6$gt140|{UCUM}|mm[Hg]",
            ["high", "again"],
        ),
    ],
)
def test_pages(search: Search, connection: Any, query: str, ids: list[str], size: int) -> None:
    search("Patient?_id=nobody", *STORED)
    type_name, _, pairs = query.partition("?")

    def looked_up(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    asked = parse(type_name, parse_qsl(pairs), stored=StoredValues(looked_up))
    with connection.cursor() as cursor:

        def page(position: Position | None) -> list[Any]:
            statement = compile(asked, size, position)
            assert statement.settled
            cursor.execute(statement.sql, statement.parameters)
            rows: list[Any] = cursor.fetchall()
            return rows[::-1] if statement.backward else rows

        rows = page(None)
        forward = [rows]
        while rows := page(position_of(rows[-1])):
            forward.append(rows)
        assert [row[2] for rows in forward for row in rows] == ids
        for before, rows in pairwise(forward):
            assert page(position_of(rows[0], backward=True)) == before
        assert page(position_of(forward[0][0], backward=True)) == []


@clause("docs/search.md", "a page link from before, which knows no order but that of creation, goes on in it")
def test_a_link_without_keys(search: Search, connection: Any) -> None:
    search("Patient?_id=nobody", *STORED)
    with connection.cursor() as cursor:
        statement = compile(parse("Patient", [("family", "sm")]), 10, Position(0))
        cursor.execute(statement.sql, statement.parameters)
        assert [row[2] for row in cursor.fetchall()] == ["twice", "late", "other", "same"]
