"""(a search, another one of its shape): what is kept of the first gives the statement of the second."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from fhir_server.search import kept
from fhir_server.search.ast import Query
from fhir_server.search.compile import compile
from fhir_server.search.conditions import keys_of
from fhir_server.search.frequency import Frequencies
from fhir_server.search.kept import Kept
from fhir_server.search.order import Position
from fhir_server.search.parse import parse
from fhir_server.search.several import parse_several


def parsed(query: str) -> Query:
    path, _, text = query.partition("?")
    pairs = parse_qsl(text, keep_blank_values=True)
    types = path.split(",")
    if path.startswith("Patient/"):
        types = ["Patient", "Observation", "Condition", "Encounter"]
        return parse_several(types, types, pairs, compartment=("Patient", path[len("Patient/") :]))
    return parse(path, pairs) if len(types) == 1 else parse_several(types, types, pairs)


def refused(*_: object, **__: object) -> None:
    raise AssertionError("it was compiled again")


SAME = [
    ("Patient?identifier=urn:a|1", "Patient?identifier=urn:b|2"),
    ("Observation?status=final", "Observation?status=amended"),
    ("Observation?code=a,b&status:not=final", "Observation?code=c,d&status:not=x"),
    ("Observation?patient=7&category=a&_sort=-date", "Observation?patient=Patient/8&category=b&_sort=-date"),
    ("Observation?subject=7&_sort=-date", "Observation?subject=8&_sort=-date"),
    ("Observation?code=a&category=a", "Observation?code=b&category=b"),
    ("Observation?code=a&category=b", "Observation?code=b&category=a"),
    ("Observation?combo-code=a", "Observation?combo-code=b"),
    ("Observation?encounter:missing=true&code=a", "Observation?encounter:missing=true&code=b"),
    ("Patient?_id=7,8", "Patient?_id=9,10"),
    ("Patient?family:exact=A&_sort=family,-birthdate", "Patient?family:exact=B&_sort=family,-birthdate"),
    ("Observation?subject:Patient.identifier=a|1", "Observation?subject:Patient.identifier=b|2"),
    ("Observation?subject.identifier=a|1", "Observation?subject.identifier=b|2"),
    ("Condition?patient.general-practitioner:Practitioner.identifier=a|1",
     "Condition?patient.general-practitioner:Practitioner.identifier=b|2"),
    ("Patient?_has:Condition:patient:code=a", "Patient?_has:Condition:patient:code=b"),
    ("Patient?_has:Encounter:patient:_has:Condition:encounter:code=a",
     "Patient?_has:Encounter:patient:_has:Condition:encounter:code=b"),
    ("Patient?_filter=gender eq male or active eq true",
     "Patient?_filter=gender eq female or active eq false"),
    ("Observation,Condition?patient=7&_sort=-_lastUpdated",
     "Observation,Condition?patient=8&_sort=-_lastUpdated"),
    ("Patient/7?", "Patient/8?"),
]  # fmt: skip

OTHER = [
    ("Observation?code=a&category=a", "Observation?code=a&category=b"),
    ("Observation?code=a&category=b", "Observation?code=a&category=a"),
    ("Observation?code=a", "Observation?code=a,b"),
    ("Observation?code=a", "Observation?code:not=a"),
    ("Observation?code=a", "Observation?category=a"),
    ("Observation?code=a", "Observation?code=a&_sort=-date"),
    ("Observation?code=a&_sort=-date", "Observation?code=a&_sort=date"),
    ("Observation?subject=Patient/7&_sort=-date", "Observation?subject=Group/7&_sort=-date"),
    ("Observation?encounter:missing=true", "Observation?encounter:missing=false"),
    ("Observation?value-quantity=5", "Observation?value-quantity=6"),
    ("Observation?date=2020", "Observation?date=2021"),
    ("Patient?family=a", "Patient?family=b"),
    ("Patient?_id=7", "Patient?_id=urn:a|7"),
    ("Patient?_filter=gender eq male and active eq true", "Patient?_filter=gender eq male or active eq true"),
    ("Observation?subject:Patient.identifier=a", "Observation?subject.identifier=a"),
    ("Observation,Condition?patient=7", "Condition,Observation?patient=7"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_another_search_of_the_shape_is_not_compiled(
    first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Kept()
    expected = compile(parsed(second), 21)
    assert known.statement(parsed(first), 21, None, None) == compile(parsed(first), 21)
    monkeypatch.setattr(kept, "compile", refused)
    assert known.statement(parsed(second), 21, None, None) == expected


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_a_search_of_another_shape_has_a_statement_of_its_own(first: str, second: str) -> None:
    known = Kept()
    for query in (first, second, first, second):
        assert known.statement(parsed(query), 21, None, None) == compile(parsed(query), 21), query


def test_pages_of_another_length_and_behind_the_first_have_statements_of_their_own() -> None:
    known, query = Kept(), parsed("Observation?code=a&_sort=-date")
    for limit, position in ((21, None), (101, None), (21, Position(7, ("2020-01-01",))), (21, None)):
        assert known.statement(query, limit, position, None) == compile(query, limit, position)


def test_a_frequent_text_has_another_statement_than_a_rare_one() -> None:
    known = Kept()
    queries = [parsed(f"Observation?code={code}&_sort=-date") for code in ("rare", "often")]
    often = keys_of(queries[1].clauses[0])  # type: ignore[arg-type]
    frequencies = Frequencies({often[0]: 0.2}, {96: 0.7}, 100_000.0)
    found = [known.statement(query, 21, None, frequencies) for query in queries]
    assert found == [compile(query, 21, frequencies=frequencies) for query in queries]
    assert found[0].sql != found[1].sql


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 2)
    known = Kept()
    for code in ("code", "status", "category", "method", "code"):
        query = parsed(f"Observation?{code}=a")
        assert known.statement(query, 21, None, None) == compile(query, 21)
    assert len(known._known) <= 2
