"""What is frequent decides how a page is found."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import psycopg2
import pytest

from fhir_server.definitions.structures import type_code
from fhir_server.search import keys
from fhir_server.search.ast import Chain, Query
from fhir_server.search.compile import Statement, compile
from fhir_server.search.frequency import STATISTICS, Frequencies, Judge
from fhir_server.search.parse import parse

OBSERVATION, PATIENT = type_code("Observation"), type_code("Patient")
KNOWN = Frequencies(
    {
        keys.key("Observation", "code", "dense"): 0.3,
        keys.key("Observation", "code", "middling"): 0.02,
        keys.key("Observation", "code", "rare"): 0.001,
        keys.key("Observation", "performer", "Practitioner/busy"): 0.1,
        keys.key("Patient", "gender", "male"): 0.002,
    },
    {OBSERVATION: 0.8, PATIENT: 0.004},
    1_000_000,
)


def parsed(query: str) -> Query:
    type_name, _, pairs = query.partition("?")
    return parse(type_name, parse_qsl(pairs))


@pytest.mark.parametrize(
    ("query", "without", "with_"),
    [
        ("Observation?code=dense", "many", "many"),
        ("Observation?code=rare", "many", "few"),
        ("Observation?code=unheard-of", "many", "few"),
        ("Observation?code=rare,dense", "many", "many"),
        ("Observation?code=rare,middling", "many", "many"),
        ("Observation?code=dense&code=rare", "many", "few"),
        ("Observation?performer=Practitioner/busy", "few", "many"),
        ("Observation?performer=Practitioner/idle", "few", "few"),
        ("Patient?gender=male", "many", "many"),  # of a small type it is half
        ("Patient?_id=7", "few", "few"),
        ("Observation?code:not=rare", None, None),
        ("Patient?family=a", None, None),
    ],
)
def test_what_is_known_goes_before_what_is_usual(query: str, without: str | None, with_: str | None) -> None:
    clauses = parsed(query).clauses
    assert Judge().of(clauses) == without
    assert Judge(KNOWN).of(clauses) == with_


@pytest.mark.parametrize(
    ("query", "looks"),
    [
        ("Observation?code=rare&_sort=-date", []),
        ("Observation?code=dense&_sort=-date", ["w"]),
        ("Observation?code=dense&_sort=-date,status", ["w"]),
        ("Observation?patient=7&code=dense&_sort=-date", ["w"]),
        ("Observation?patient=7&code=middling&_sort=-date", []),
        ("Observation?patient=7&code:not=dense&_sort=-date", []),
        ("Patient?_has:Observation:patient:code=dense", ["w"]),
        ("Patient?_has:Observation:patient:code=unheard-of", ["h", "w"]),
        ("Patient?_has:Observation:patient:date=ge2020", ["h", "w"]),
        ("Observation?patient.name=a&code=rare", []),
    ],
)
def test_a_page_is_looked_for_where_it_may_be(query: str, looks: list[str]) -> None:
    sql = compile(parsed(query), 21, frequencies=KNOWN).sql
    assert re.findall(r"(\w) as materialized", sql) == looks


def test_so_many_targets_of_a_chain_are_followed_as_few_refer_to() -> None:
    (chain,) = parsed("Observation?patient.gender=male").clauses
    assert isinstance(chain, Chain)
    assert Judge(KNOWN).targets_of(chain, 1000) == 5  # each of 4,000 has 200 of 800,000
    assert Judge().targets_of(chain, 1000) == 0
    sql = compile(parsed("Observation?patient.gender=male"), 21, frequencies=KNOWN).sql
    assert "(select count(*) <= 5 from t)" in sql
    (chain,) = parsed("Patient?general-practitioner:Practitioner.name=a").clauses
    assert isinstance(chain, Chain)
    assert Judge(KNOWN).targets_of(chain, 1000) == 0  # nobody knows how many Practitioners there are


def test_a_first_key_and_its_equals_are_in_one_stretch() -> None:
    two = compile(parsed("Patient?gender=male&_sort=family,-birthdate"), 21).sql
    assert "with ties" in two
    assert "with ties" not in compile(parsed("Patient?gender=male&_sort=family"), 21).sql


def test_statistics_of_a_database(fresh_database_url: str) -> None:
    connection = psycopg2.connect(fresh_database_url)
    cursor = connection.cursor()
    cursor.execute(STATISTICS)
    assert Frequencies.of(cursor.fetchall()) is None
    male = keys.key("Patient", "gender", "male")
    cursor.execute(
        "insert into resource (pk, last_updated, rid, version, type, id, keys) "
        "select n, now(), ('00000000' || substr(md5(n::text), 9))::uuid, 1, %s, n::text, "
        "case when n %% 4 = 0 then array[%s::uuid] else '{}' end from generate_series(1, 1000) n",
        (PATIENT, male),
    )
    cursor.execute("analyze resource")
    cursor.execute(STATISTICS)
    statement = Statement(STATISTICS, [])
    assert "%" not in statement.sql
    known = Frequencies.of(cursor.fetchall())
    assert known is not None
    assert known.of_type("Patient") == 1000
    assert known.hits([male]) == pytest.approx(250)
    assert known.hits([keys.key("Patient", "gender", "other")]) == 0
    connection.close()
