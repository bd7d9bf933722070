"""_sort, paging and what else shapes the answer."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import pytest

from fhir_server.outcome import Invalid, NotSupported
from fhir_server.search.compile import compile, compile_count, compile_ids, position_of
from fhir_server.search.order import Position
from fhir_server.search.parse import parse
from tests.spec.r4_search.conftest import Search
from tests.support.clause import clause


def patient(id: str, *families: str, born: str | None = None, gender: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Patient",
        "id": id,
        "name": [{"family": name} for name in families],
    }
    return made | {k: v for k, v in (("birthDate", born), ("gender", gender)) if v is not None}


PEOPLE = (
    patient("1", "Miller", born="1980", gender="male"),
    patient("2", "Abel", "Zorn", born="1970-05-01", gender="female"),
    patient("3", born="1980"),
    patient("4", "miller", gender="male"),
    patient("5", "Baker", "baker", born="1980-01-01", gender="female"),
    patient("6"),
)


@clause(
    "R4/search.html#sort",
    "several keys, either direction; without a value last; the least or greatest counts",
)
@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        ("family", "251436"),
        ("-family", "241563"),
        ("birthdate", "213546"),
        ("birthdate,-family", "215346"),
        ("-birthdate", "531264"),
        ("-birthdate,gender", "513246"),
        ("gender,birthdate", "251436"),
        ("-gender,family", "412563"),
        ("_id", "123456"),
        ("-_id", "654321"),
        ("_lastUpdated", "123456"),
        ("-_lastUpdated", "654321"),
    ],
)
def test_sort(search: Search, sort: str, ids: str) -> None:
    assert "".join(search(f"Patient?_sort={sort}", *PEOPLE)) == ids


@clause("R4/search.html#sort", "one address has several texts and is one match")
def test_sort_by_an_address(search: Search) -> None:
    addresses = (
        {"line": ["B", "Z"], "city": "Y"},
        {"line": ["C"], "city": "A"},
        {"line": ["C"], "city": "C"},
    )
    made = [{"resourceType": "Location", "id": str(n), "address": each} for n, each in enumerate(addresses)]
    assert search("Location?_sort=address", *made, {"resourceType": "Location", "id": "none"}) == [
        "1",
        "0",
        "2",
        "none",
    ]
    assert search("Location?_sort=-address") == ["0", "2", "1", "none"]


@clause("R4/search.html#sort", "a repeating primitive counts by its least and its greatest")
def test_sort_by_a_list(search: Search) -> None:
    profiles = (["http://b"], ["http://a", "http://c"], [])
    made = [
        {"resourceType": "Basic", "id": str(n), "meta": {"profile": each}} for n, each in enumerate(profiles)
    ]
    assert search("Basic?_sort=_profile", *made) == ["1", "0", "2"]
    assert search("Basic?_sort=-_profile") == ["1", "0", "2"]


SORTS = ["", "family", "-family", "birthdate,family", "-gender,-birthdate", "-_lastUpdated", "gender,_id"]


@clause(
    "R4/http.html#paging", "pages meet every match once, forward and backward, whatever the order and size"
)
@pytest.mark.parametrize(("sort", "size"), list(product(SORTS, (1, 2, 4))))
def test_pages(search: Search, connection: Any, sort: str, size: int) -> None:
    whole = search(f"Patient?_sort={sort}" if sort else "Patient", *PEOPLE)
    query = parse("Patient", [("_sort", sort)] if sort else [])
    with connection.cursor() as cursor:

        def page(position: Position | None) -> list[Any]:
            statement = compile(query, size, position)
            cursor.execute(statement.sql, statement.parameters)
            rows = cursor.fetchall()
            return rows[::-1] if statement.backward else rows

        rows = page(None)
        forward = [rows]
        while rows := page(position_of(rows[-1])):
            forward.append(rows)
        assert [row[2] for rows in forward for row in rows] == whole
        for before, rows in pairwise(forward):
            assert page(position_of(rows[0], backward=True)) == before
        assert page(position_of(forward[0][0], backward=True)) == []


@clause("R4/search.html#count", "the number of matches without the matches")
def test_count(search: Search, connection: Any) -> None:
    search("Patient?_id=none", *PEOPLE)
    query = parse("Patient", [("gender", "male"), ("_summary", "count")])
    with connection.cursor() as cursor:
        statement = compile_count(query)
        cursor.execute(statement.sql, statement.parameters)
        assert cursor.fetchall() == [(2,)]
        statement = compile_ids(query, 5)
        cursor.execute(statement.sql, statement.parameters)
        assert sorted(cursor.fetchall()) == [("1",), ("4",)]


@clause("R4/search.html#return", "result parameters that say nothing sensible are refused")
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("_count", "many", "whole number"),
        ("_count", "-1", "whole number"),
        ("_count:exact", "1", "no modifier"),
        ("_sort", "", "no value"),
        ("_sort", "nome", "cannot be sorted by 'nome'"),
        ("_sort", "address-use,", "cannot be sorted by ''"),
        ("_summary", "yes", "true, false, text, data, count"),
        ("_total", "all", "none, estimate, accurate"),
        ("_include", "Patient", "Type:parameter"),
        ("_include", "Patient:nothing", "no such reference parameter"),
        ("_include", "Observation:subject", ":iterate"),
        ("_include", "Patient:organization:Patient", "does not refer to Patient"),
        ("_revinclude", "Observation:encounter", "no such reference parameter"),
    ],
)
def test_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse("Patient", [(name, value)])


@clause("R4/search.html#return", "what is turned off is refused by name, or left out when lenient")
@pytest.mark.parametrize("name", ["_text", "_content"])
def test_turned_off(name: str) -> None:
    with pytest.raises(Invalid, match="is turned off for Patient") as refusal:
        parse("Patient", [(name, "true")])
    assert refusal.value.issues[0].code == NotSupported.code
    query = parse("Patient", [(name, "true"), ("gender", "male")], strict=False)
    assert (len(query.clauses), query.applied) == (1, (("gender", "male"),))
    assert [issue.severity for issue in query.issues] == ["warning"]
