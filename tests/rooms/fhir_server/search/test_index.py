"""Resource → keys and rows, type by type."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fhir_server.definitions.structures import resource_types
from fhir_server.search import absence, keys
from fhir_server.search.ast import Parameter
from fhir_server.search.index import Indexer, IndexRows, index
from fhir_server.search.types.protocol import Environment


def texts(rows: IndexRows, type_name: str, code: str, candidates: list[str]) -> list[str]:
    """Return those of the candidates whose keys are there."""
    return [text for text in candidates if keys.key(type_name, code, text) in rows.keys]


def columns(rows: list[tuple[Any, ...]], type_name: str, code: str) -> list[tuple[Any, ...]]:
    """Return the rows of one parameter without its column."""
    return [row[1:] for row in rows if row[0] == keys.column_hash(type_name, code)]


def test_tokens() -> None:
    coding = {"system": "s", "code": "c"}
    rows = index(
        "Observation", {"resourceType": "Observation", "status": "final", "code": {"coding": [coding]}}
    )
    candidates = ["s|c", "c", "s|", "|c", "", "final"]
    assert texts(rows, "Observation", "code", candidates) == ["s|c", "c", "s|", ""]
    assert texts(rows, "Observation", "status", candidates) == ["", "final"]
    assert len(rows.keys) == 6 + 5  # and no patient, subject, encounter, category and date
    # combo-code is answered by the rows of code and component-code
    assert texts(rows, "Observation", "combo-code", candidates) == []


def test_references_and_their_identifiers() -> None:
    subject = {"reference": "http://here/fhir/Patient/7", "identifier": {"system": "s", "value": "v"}}
    indexer = Indexer(environment=Environment(base_urls=("http://here/fhir",)))
    rows = indexer.index("Condition", {"resourceType": "Condition", "subject": subject})
    candidates = [
        "Patient/7",
        "7",
        "http://here/fhir/Patient/7",
        "",
        "\x01identifier\x01s|v",
        "\x01identifier\x01v",
    ]
    assert texts(rows, "Condition", "subject", candidates) == [candidates[0], *candidates[3:]]
    assert texts(rows, "Condition", "patient", candidates) == [candidates[0], *candidates[3:]]
    elsewhere = index("Condition", {"resourceType": "Condition", "subject": subject})
    assert texts(elsewhere, "Condition", "subject", candidates)[0] == "http://here/fhir/Patient/7"


def test_strings() -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "Müller", "given": ["Ana", "ana"]}]}
    rows = index("Patient", patient)
    assert columns(rows.strings, "Patient", "family") == [("muller", None)]
    assert texts(rows, "Patient", "family", ["=Müller", "=muller", ""]) == ["=Müller", ""]
    assert columns(rows.strings, "Patient", "phonetic") == []
    long = index("Patient", {"resourceType": "Patient", "name": [{"text": "x" * 500}]})
    assert columns(long.strings, "Patient", "name") == [("x" * 200, "x" * 500)]


@pytest.mark.parametrize(
    ("value", "row"),
    [
        ({"effectiveDateTime": "2020"}, ("2020-01-01T00:00:00+00:00", "2021-01-01T00:00:00+00:00")),
        (
            {"effectiveInstant": "2020-01-01T00:00:00.25+01:00"},
            ("2019-12-31T23:00:00.250000+00:00", "2019-12-31T23:00:00.260000+00:00"),
        ),
        ({"effectivePeriod": {"start": "2020-01"}}, ("2020-01-01T00:00:00+00:00", "infinity")),
        ({"effectivePeriod": {"end": "2020-01"}}, ("-infinity", "2020-02-01T00:00:00+00:00")),
        ({"effectivePeriod": {}}, None),
        (
            {
                "effectiveTiming": {
                    "event": ["2020-02", "2020-01"],
                    "repeat": {"boundsPeriod": {"start": "2020-01-15"}},
                }
            },
            ("2020-01-01T00:00:00+00:00", "infinity"),
        ),
        ({"effectiveTiming": {"repeat": {"frequency": 1}}}, None),
        ({"effectiveDateTime": "sometime"}, None),
    ],
)
def test_dates(value: dict[str, Any], row: tuple[str, str] | None) -> None:
    rows = index("Observation", {"resourceType": "Observation", **value})
    assert columns(rows.dates, "Observation", "date") == ([row] if row else [])


def test_a_date_without_zone_is_in_the_zone_that_was_set() -> None:
    berlin = Indexer(environment=Environment(ZoneInfo("Europe/Berlin")))
    rows = berlin.index("Patient", {"resourceType": "Patient", "birthDate": "2020-07-01"})
    assert columns(rows.dates, "Patient", "birthdate")[0][0] == "2020-06-30T22:00:00+00:00"


UCUM = "http://unitsofmeasure.org"


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (
            {"valueQuantity": {"value": Decimal("1.50"), "system": UCUM, "code": "mg", "unit": "milligram"}},
            ("1.50", "1.50", keys.unit(UCUM, "mg"), "mg", "milligram"),
        ),
        (
            {"valueQuantity": {"value": 1, "comparator": ">=", "unit": "mg"}},
            ("1", "Infinity", None, "mg", None),
        ),
        ({"valueQuantity": {"unit": "mg"}}, None),
        (
            {"valueSampledData": {"origin": {"value": 10}, "factor": 2, "data": "1 E 4 U", "upperLimit": 40}},
            ("12", "40", None, None, None),
        ),
        ({"valueSampledData": {"origin": {"value": 10}, "data": "E"}}, None),
    ],
)
def test_quantities(value: dict[str, Any], row: tuple[Any, ...] | None) -> None:
    rows = index("Observation", {"resourceType": "Observation", **value})
    assert columns(rows.quantities, "Observation", "value-quantity") == ([row] if row else [])


def test_a_composite_has_one_row_for_each_group() -> None:
    def component(code: str, value: int) -> dict[str, Any]:
        return {"code": {"coding": [{"system": "s", "code": code}]}, "valueQuantity": {"value": value}}

    observation = {"resourceType": "Observation", "component": [component("a", 1), component("b", 2)]}
    rows = columns(
        index("Observation", observation).composites, "Observation", "component-code-value-quantity"
    )
    assert [(row[0], row[1], row[6], row[7]) for row in rows] == [("a", "s", "1", "1"), ("b", "s", "2", "2")]


def test_extension_values_are_indexed_by_their_type() -> None:
    url = "http://hl7.org/fhir/StructureDefinition/observation-geneticsGene"
    gene = {"url": url, "valueCodeableConcept": {"coding": [{"code": "g"}]}}
    rows = index("Observation", {"resourceType": "Observation", "extension": [gene]})
    assert texts(rows, "Observation", "gene-identifier", ["g", "|g", ""]) == ["g", "|g", ""]


def test_stored_parameters_are_indexed_at_once() -> None:
    indexer = Indexer()
    patient = {"resourceType": "Patient", "name": [{"use": "nickname", "given": ["Bo"]}]}
    before = indexer.index("Patient", patient)
    expression = "Patient.name.where(use='nickname').given"
    indexer.registry.put(Parameter("Patient", "nickname", "string", expression))
    after = indexer.index("Patient", patient)
    assert columns(before.strings, "Patient", "nickname") == []
    assert columns(after.strings, "Patient", "nickname") == [("bo", None)]


@pytest.mark.parametrize("type_name", resource_types())
def test_an_empty_resource_of_every_type_is_indexed(type_name: str) -> None:
    rows = index(
        type_name, {"resourceType": type_name, "id": "x", "meta": {"lastUpdated": "2020-01-01T00:00:00Z"}}
    )
    said = set(rows.keys) - {absent for _, absent in absence.pairs(type_name)}
    # Only Patient.deceased has a value where nothing is said.
    assert (len(said), rows.dates) == (2 if type_name == "Patient" else 0, [])
