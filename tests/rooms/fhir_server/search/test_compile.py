"""(query string, SQL): what conditions, orders and pages are made of."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

import pytest

from fhir_server.search import keys
from fhir_server.search.ast import Clause, Criterion, Either, Query
from fhir_server.search.compile import Statement, compile, compile_count, compile_ids, position_of
from fhir_server.search.conditions import LONG
from fhir_server.search.order import Position
from fhir_server.search.parse import parse
from fhir_server.search.several import parse_several
from fhir_server.search.types.token import TokenValue


def parsed(query: str) -> Query:
    type_name, _, pairs = query.partition("?")
    return parse(type_name, parse_qsl(pairs))


def where(query: str) -> tuple[str, list[Any]]:
    """Return the condition of a search on Observation or Patient, without what is always there."""
    statement = compile_count(parsed(query))
    text = re.sub(r"^select count\(\*\) from resource r where ", "", statement.sql)
    text = re.sub(r"(r|[th]\d+)\.tenant = 0 and \1\.type = (\d+) and not \1\.deleted", r"\1 is \2", text)
    text = re.sub(r"(r|[th]\d+)\.tenant = 0 and not \1\.deleted", r"\1 lives", text)  # a key says the type
    return re.sub(r"param = -?\d+", "param = P", text), statement.parameters


def k(code: str, text: str, type_name: str = "Observation") -> str:
    return keys.key(type_name, code, text)


@pytest.mark.parametrize(
    ("query", "sql", "parameters"),
    [
        ("Observation?code=a", "r lives and r.keys @> %s::uuid[]", [[k("code", "a")]]),
        ("Observation?code=a,b", "r lives and r.keys && %s::uuid[]", [[k("code", "a"), k("code", "b")]]),
        (
            "Observation?code=a&status=final,amended&patient=7",
            "r lives and r.keys @> %s::uuid[] and r.keys && %s::uuid[]",
            [
                [k("code", "a"), k("patient", "Patient/7")],
                [k("status", "final"), k("status", "amended")],
            ],
        ),
        ("Observation?code:not=a", "r is 96 and not (r.keys @> %s::uuid[])", [[k("code", "a")]]),
        ("Observation?method:missing=true", "r is 96 and not (r.keys @> %s::uuid[])", [[k("method", "")]]),
        ("Observation?code:missing=true", "r lives and r.keys @> %s::uuid[]", [[k("code", keys.ABSENT)]]),
        ("Observation?code:missing=false", "r lives and r.keys @> %s::uuid[]", [[k("code", "")]]),
        (
            "Observation?combo-code=a",
            "r lives and r.keys && %s::uuid[]",
            [[k("code", "a"), k("component-code", "a")]],
        ),
        ("Patient?_id=7", "r is 103 and r.rid = %s::uuid", [keys.rid("Patient", "7")]),
        ("Patient?gender=http://x|male", "r is 103 and false", []),
        (
            "Patient?family=Mül",
            "r is 103 and exists (select from idx_string i1 where i1.tenant = 0 and i1.pk = r.pk "
            "and i1.param = P and value >= %s and value < %s)",
            ["mul", "mum"],
        ),
        (
            "Patient?family:contains=50%25",
            "r is 103 and exists (select from idx_string i1 where i1.tenant = 0 and i1.pk = r.pk "
            "and i1.param = P and (value like %s or length(value) = 200 "
            "and (select bool_or(coalesce(l.w, l.v) like %s) "
            "from (select tenant as t, param as m, pk as k, value as v, long as w from idx_string) l "
            "where l.t = tenant and l.m = param and l.v = value and l.k = pk)))",
            ["%50\\%%", "%50\\%%"],
        ),
        (
            "Observation?value-quantity=gt5||mg,lt1",
            "r is 96 and exists (select from idx_quantity i1 where i1.tenant = 0 and i1.pk = r.pk "
            "and i1.param = P and ((unit_code = %s or unit_text = %s) "
            "and (low > %s or sign(high - low) = 1 and high > %s) or low < %s))",
            None,
        ),
        (
            "Observation?code-value-quantity=a$gt5",
            "r is 96 and exists (select from idx_composite i1 where i1.tenant = 0 and i1.pk = r.pk "
            "and i1.param = P and (code = %s) and ((low > %s or sign(high - low) = 1 and high > %s)))",
            None,
        ),
        (
            "Observation?patient.gender=male",
            "r lives and r.keys && array(select ('cff99c62' || substr(t1.rid::text, 9))::uuid "
            "from resource t1 where t1 lives and t1.keys @> %s::uuid[])",
            [[k("gender", "male", "Patient")]],
        ),
        (
            "Patient?_has:Observation:patient:code=a",
            "r is 103 and r.rid = any(array(select h1.chart from resource h1 "
            "where h1 lives and h1.keys @> %s::uuid[]))",
            [[k("code", "a")]],
        ),
        (
            "Practitioner?_has:Observation:performer:code=a",
            "r is 108 and r.rid in (select ('00000000' || substr(k::text, 9))::uuid from resource h1 "
            "cross join unnest(h1.keys) k where h1 lives and h1.keys @> %s::uuid[] and k between "
            f"'{keys.prefix('Observation', 'performer')}{'0' * 24}' "
            f"and '{keys.prefix('Observation', 'performer')}{'f' * 24}' and k <> '{k('performer', '')}')",
            [[k("code", "a")]],
        ),
    ],
)
def test_a_search_is_this_condition(query: str, sql: str, parameters: list[Any] | None) -> None:
    made, values = where(query)
    assert made == sql
    assert parameters is None or values == parameters


def test_two_bounds_on_one_value_are_one_range() -> None:
    made, _ = where("Observation?date=ge2020&date=lt2021&patient=7")
    assert made.count("exists") == 1
    made, _ = where("Goal?target-date=ge2020&target-date=lt2021")
    assert made.count("exists") == 2


def test_dense_dates_are_counted_by_stretches_with_two_ends() -> None:
    made, _ = where("Observation?date=ge2020&date=lt2021&status=final")
    assert made.count("select count(*) from resource") == made.count("exists") == 5
    assert "low > %s and high > %s and (low >= %s or high > %s) and low < %s" in made
    assert where("Observation?date=lt2021")[0].count("exists") == 1  # one end is enough for one index


def test_nothing_of_a_client_stands_in_the_text() -> None:
    marker = "xmarkerx'; drop table resource; --"
    queries = (
        f"Patient?name={marker}&gender:not={marker}&_id={marker}&identifier={marker}|{marker}",
        f"Observation?subject:Patient.name={marker}&value-quantity=5||{marker}&code-value-string=a${marker}",
        f"ValueSet?url:below=http://{marker}&url:above=http://{marker}&_profile={marker}",
    )
    for query in queries:
        statement = compile(parsed(query), 5)
        assert "xmarkerx" not in statement.sql
        assert statement.sql.count("%s") == len(statement.parameters)


def test_a_percent_sign_of_ours_would_be_a_placeholder() -> None:
    sorts = "name,-date,status,-value-quantity,_id,-_lastUpdated,subject"
    for sort in sorts.replace("name,", "").split(","):
        statement = compile(
            parsed(f"Observation?_sort={sort}&subject:Patient.name=a"), 5, Position(3, ("x",))
        )
        assert statement.sql.replace("%s", "").count("%") == 0
        assert statement.sql.count("%s") == len(statement.parameters)


def test_the_default_order_is_by_pk() -> None:
    statement = compile(parsed("Patient"), 21, Position(40))
    assert statement.sql.endswith("and (r.pk > %s) order by r.pk limit %s) r")
    assert statement.parameters == [40, 21]
    back = compile(parsed("Patient"), 21, Position(40, backward=True))
    assert back.backward
    assert back.sql.endswith("and (r.pk < %s) order by r.pk desc limit %s) r")


def test_the_first_key_is_walked_and_what_has_none_comes_last() -> None:
    first = compile(parsed("Observation?_sort=-date"), 21)
    assert first.sql.count("union all") == 1
    assert "order by d.low desc, d.pk desc" in first.sql
    assert "e.ctid" not in first.sql  # an Observation has one effective time
    assert "e.ctid" in compile(parsed("Patient?_sort=name"), 21).sql
    within = compile(parsed("Observation?_sort=-date"), 21, Position(4, ("2020-01-01",)))
    assert "d.low <= %s::timestamptz" in within.sql
    behind = compile(parsed("Observation?_sort=-date"), 21, Position(4, (None,)))
    assert "union all" not in behind.sql


def test_bounds_on_the_first_sort_key_are_a_range_of_its_index() -> None:
    statement = compile(parsed("Observation?date=ge2024&date=lt2025&status:not=final&_sort=-date"), 21)
    assert "exists" not in statement.sql
    assert "d.low desc" in statement.sql
    assert "with p" not in statement.sql
    whole = compile(parsed("Observation?date=lt2025&_sort=-date"), 21)
    assert "union all" not in whole.sql


def test_dates_alone_are_answered_in_their_order() -> None:
    alone, sorted_ = (
        compile(parsed(f"Observation?date=ge2024&date=lt2025{rest}"), 21) for rest in ("", "&_sort=-date")
    )
    assert alone == sorted_
    going_on = compile(parsed("Observation?date=ge2024&date=lt2025"), 21, Position(4))
    assert "d.low" not in going_on.sql  # the position is one of an earlier release


def test_what_is_longer_than_a_day_comes_first_where_the_dates_rise() -> None:
    rising = compile(parsed("Encounter?date=ge2024&date=lt2025&_sort=date"), 21).sql
    falling = compile(parsed("Encounter?date=ge2024&date=lt2025&_sort=-date"), 21).sql
    assert rising.index("span = 1") < rising.rindex("from idx_date d cross join lateral")
    assert falling.index("from idx_date d cross join lateral") < falling.index("span = 1")


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("Patient?family=a", None),
        ("Patient?family=a,b", "idx_string"),
        ("Patient?family=a&birthdate=ge2020", "idx_string"),
        ("Observation?date=ge2020&date=lt2021", None),
        ("Observation?date=ge2020&date=lt2021&status=final", "idx_date"),
        ("Goal?target-date=ge2020", "idx_date"),
        ("Observation?date=ge2020&code-value-quantity=a$gt5&status:not=final", "idx_composite"),
        ("Patient?family=a&gender=male", "idx_string"),
        ("Patient?family=a&identifier=7", None),
        ("Patient?family:exact=a", None),
        ("Patient?family:missing=true", None),
        ("Patient?family=a&_id=7", None),
        ("Patient?family=a&organization.name=b", "idx_string"),
        ("Patient", None),
    ],
)
def test_rows_alone_are_counted_first(query: str, table: str | None) -> None:
    statement = compile(parsed(query), 21)
    sql = (statement.first or statement).sql
    start = f"with p as materialized (select i.pk from {table} i where "
    assert sql.startswith(start) == (table is not None)
    assert ("from p)" in sql) == (table is not None)


def test_what_is_asked_if_there_are_more_does_not_look_again() -> None:
    for query in (
        "Patient?family=a,b",
        "RiskAssessment?probability=gt0.5,lt0.1",
        "Observation?value-quantity=gt5||mg",
    ):
        statement = compile(parsed(query), 21)
        assert statement.first is not None, query
        assert statement.first.settled, query
        assert "from p)" not in statement.sql, query
    assert compile(parsed("Observation?date=ge2020&status=final"), 21).first is None


@pytest.mark.parametrize(
    ("query", "looks", "by_keys"),
    [
        ("Observation?patient=7", [], 1),
        ("Observation?patient=7&status=final", [], 1),
        ("Patient?identifier=a|7", [], 1),
        ("Patient?_id=7", [], 1),
        ("Observation?status=final&code=a", ["w"], 1),
        ("Observation?status=final&_sort=-_lastUpdated", ["w"], 1),
        ("Observation?status=final&_sort=-date", ["w"], 1),
        ("Observation?status=final&_sort=code", [], 0),
        ("Observation?status=final&_sort=-date,code", ["w"], 1),
        ("Observation?patient.name=a", ["t", "c", "w"], 1),
        ("Observation?patient.name=a&value-quantity=gt5", ["p", "t", "c", "w"], 1),
        ("Observation?patient.name=a&encounter=7", [], 1),
        ("Provenance?target.identifier=a", [], 1),
        ("Observation?status:not=final", [], 0),
        ("Observation", [], 0),
    ],
)
def test_a_page_has_the_plan_that_its_criteria_ask_for(query: str, looks: list[str], by_keys: int) -> None:
    sql = compile(parsed(query), 21).sql
    assert re.findall(r"(\w) as materialized", sql) == looks
    assert sql.count("r.pk + 0") == by_keys


def test_the_chart_of_a_patient_is_walked() -> None:
    alone = compile(parsed("Observation?patient=7&_sort=-date"), 21).sql
    assert "r.chart = %s::uuid order by r.chart_date desc nulls last, r.pk desc" in alone
    assert "keys" not in alone
    more = compile(parsed("Observation?subject=Patient/7&code=a&_sort=-date"), 21).sql
    assert "r.keys @> %s::uuid[] order by r.chart_date desc nulls last, r.pk desc" in more
    dated = compile(parsed("Observation?subject=Patient/7&date=gt2020&_sort=-date"), 21).sql
    assert "r.chart = %s::uuid order by" in dated
    rising = compile(parsed("Observation?patient=7&_sort=date"), 21).sql
    assert "r.chart = " not in rising  # the index has its nulls at the other end
    assert "order by r.chart_date nulls last" in rising


@pytest.mark.parametrize(
    ("query", "settled"),
    [
        ("Observation?code=a&patient=7", True),
        ("Observation?code=a&patient=7&_sort=-date", True),
        ("Observation?date=ge2020&date=lt2021", True),
        ("Observation?code:not=a&_sort=_lastUpdated", False),
        ("Observation?patient=7&date=gt2020&_sort=-date", False),
        ("Observation?patient=7&date=gt2020&code=a&_sort=-date", True),
        ("Observation?patient=7&date=gt2020&code:not=a&_sort=-date", False),
        ("Observation?patient=7&date=gt2020", True),
        ("Patient?family=a", True),
        ("Patient?family=a,b", False),
        ("Patient?_lastUpdated=gt2020", False),
        ("Observation?patient.name=a", False),
        ("Observation?patient.gender=male", True),
        ("Patient?_has:Observation:patient:code=a", True),
        ("Patient?_has:Observation:patient:date=ge2020", False),
        ("Patient?gender=male&_sort=family,-birthdate", True),
        ("Observation?patient=7&subject:Patient.gender=male&_sort=-date", False),
    ],
)
def test_what_has_one_best_plan_may_keep_it(query: str, settled: bool) -> None:
    assert compile(parsed(query), 21).settled is settled


def test_a_row_gives_the_next_position() -> None:
    row = (9, 96, "id", 1, "2020-01-01 00:00:00+00", "{}", None, "a", None)
    assert position_of(row) == Position(9, ("a", None))
    assert position_of(row[:7], backward=True) == Position(9, (), True)


def test_who_may_not_see_a_type_meets_it_nowhere() -> None:
    gender = parsed("Patient?gender=x").clauses[0]
    assert isinstance(gender, Clause)
    own = Clause(gender.parameter, None, (TokenValue(None, "own", ("own",)),))

    def visible(type_name: str) -> Criterion | None:
        return own if type_name == "Patient" else None

    for query in (
        "Patient",
        "Observation?patient.name=a",
        "Practitioner?_has:Patient:general-practitioner:name=a",
    ):
        statement = compile_ids(parsed(query), 5, visible)
        assert [keys.key("Patient", "gender", "own")] in statement.parameters


def test_a_compartment_is_one_condition() -> None:
    members = [parsed(f"Observation?{code}=Patient/7").clauses[0] for code in ("subject", "performer")]
    statement: Statement = compile_count(parsed("Observation?code=a").also(Either(tuple(members))))
    assert statement.sql.endswith("r.keys @> %s::uuid[] and r.keys && %s::uuid[]")
    assert statement.parameters[1] == [k("subject", "Patient/7"), k("performer", "Patient/7")]


def test_an_or_is_a_union_of_what_indexes_find() -> None:
    sql, parameters = where('Patient?_filter=given eq "a" or identifier eq b')
    union = r"r is 103 and r\.pk in \(select (e\d)\.pk from .* union all select (?!\1)e\d\.pk from "
    assert re.match(union, sql)
    assert parameters == ["a", [k("identifier", "b", "Patient")]]
    assert " or " in where("Patient?_filter=given eq a or not (identifier eq b)")[0]
    assert where("Observation?_filter=code eq a or (code eq b or code eq c)") == where(
        "Observation?code=a,b,c"
    )


def test_a_deep_filter_is_said_once_and_not_twice_a_level() -> None:
    deep = "given eq a"
    for number in range(15):
        deep = f"(({deep} or birthdate gt {2000 + number}) and identifier eq b)"
    sql = compile(parsed(f"Patient?_filter={deep}"), 21).sql
    assert sql.count("idx_date") < 15 * 4


def test_a_long_list_is_hashed_where_no_index_serves() -> None:
    many = ",".join(f"c{number}" for number in range(LONG + 1))
    assert "k = any(%s::uuid[])" in where(f"Observation?code:not={many}")[0]
    assert where(f"Observation?code={many}")[0] == "r lives and r.keys && %s::uuid[]"
    assert where("Observation?code:not=a,b")[0] == "r is 96 and not (r.keys && %s::uuid[])"


def test_several_types_are_one_page_each_and_one_of_all() -> None:
    query = parse_several(("Patient", "Group"), ("Patient", "Group"), [("_sort", "-_lastUpdated")])
    sql = compile(query, 21).sql
    assert sql.count("limit %s") == 3
    assert sql.endswith("order by k1 desc nulls last, pk desc limit %s) r")
    assert compile_count(query).sql.count(" union all ") == 1
    nothing = parse_several(("Patient",), (), [("_id", "7")])
    assert compile(nothing, 21).sql.endswith("where false")
    assert compile_count(nothing).parameters == []


def test_a_whole_type_is_counted_by_the_primary_key_and_what_is_deleted_by_gin() -> None:
    sql = compile_count(parsed("Patient?_summary=count")).sql
    heads, deleted = sql.split(" - ")
    assert "keys" not in heads
    assert "deleted" not in heads
    assert "r.deleted and r.keys = '{}'" in deleted
    limited = compile_count(parsed("Patient?_summary=count"), lambda type_name: None).sql
    assert limited.count("count(*)") == 1
    assert "not r.deleted" in limited
