"""The thirty questions by hand: every statement runs, finds what it should, and can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from conformance.benchmarks import floor
from conformance.benchmarks.data import Facts, compact, stream
from conformance.benchmarks.memory import Memory
from conformance.benchmarks.page import page
from conformance.benchmarks.plans import Work
from conformance.benchmarks.postgres import Database
from conformance.benchmarks.report import Report
from conformance.benchmarks.rounds import Figures, Outcome
from conformance.benchmarks.targets import Target
from conformance.benchmarks.thirty import asking
from conformance.benchmarks.thirty.queries import HANDS, app
from conformance.benchmarks.thirty.questions import VALUE_SETS, searches_of_others, thirty, value_set
from conformance.benchmarks.thirty.report import Thirty
from conformance.benchmarks.workloads import ORDER, changed, graph

COUNT = 3000
MOMENT = "2026-01-02T03:04:05.678Z"


@pytest.fixture
def by_hand(blank_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    monkeypatch.setenv("FLOOR_DATABASE", blank_database_url)
    monkeypatch.setenv("FLOOR_THREADS", "1")
    database = Database(blank_database_url)
    assert asking.store_by_hand(database, stream(1, COUNT)) == COUNT
    floor._pool.cache_clear()
    yield Target("floor", "http://127.0.0.1:1/fhir", database=database)
    floor._pool().closeall()
    floor._pool.cache_clear()


@pytest.fixture(scope="module")
def facts() -> Facts:
    found = Facts()
    for one in stream(1, COUNT):
        found.add(one, len(compact(one)))
    return found


def test_every_question_is_answered_by_hand(by_hand: Target, facts: Facts) -> None:
    assert by_hand.database is not None
    client, without = app.test_client(), set()
    for question in [*thirty(facts, 1, [MOMENT]), *searches_of_others(facts, 1)]:
        ids = dict[str, None]()
        for method, path, _, headers in question.sent():
            answer = client.open(f"/fhir{path}", method=method, headers=list(headers))
            entries = json.loads(answer.data)["entry"]
            matches = [one["resource"]["id"] for one in entries if one["search"]["mode"] == "match"]
            parts = urlsplit(path)
            values = HANDS[question.key].read(parse_qs(parts.query), "/fhir" + parts.path)
            rows = by_hand.database.rows(HANDS[question.key].everything(), {**values, "count": COUNT})
            assert len(matches) == min(20, len(rows)), path
            assert {*matches} <= {row[0] for row in rows}, path
            ids.update(dict.fromkeys(matches))
        assert asking.work_by_hand(question, by_hand.database).statements >= 1
        if not ids:
            without.add(question.name)
    assert without == {":missing=true, no hit", "_lastUpdated walk"}


def test_a_refusal_is_reported_and_not_left_out(facts: Facts) -> None:
    question = thirty(facts, 1, [MOMENT])[0]
    answered = asking.Answered(question, {"ours": asking.Compared("refused", detail="400 not yet"),
                                          "floor": asking.Compared("equal", 20)})  # fmt: skip
    part = Thirty("the thirty", [("ours", "floor")], [answered])
    assert "refused: 400 not yet" in "\n".join(part.text())
    assert part.worst("ours", "floor")[0].endswith("refused | 400 not yet")
    refused = part.verdicts()[0]
    assert (refused.found, refused.met) == (1, False)


def test_growth_and_ratios_are_judged_per_question(facts: Facts) -> None:
    question = thirty(facts, 1, [MOMENT])[0]
    answered = asking.Answered(question)
    answered.outcome = Outcome(question.journey(count=1))
    for side, ms, buffers in (
        ("ours", 1.0, 30),
        ("floor", 1.0, 10),
        ("large", 5.0, 90),
        ("floor-large", 1.0, 10),
    ):
        answered.compared[side] = asking.Compared("equal", 20)
        answered.outcome.rounds[side] = [Figures(10, 1, ms, ms, ms, ms, 0, 0, 0)] * 3
        answered.work[side] = Work(1, 20, buffers)
    part = Thirty("the thirty", [("ours", "floor"), ("large", "floor-large")], [answered])
    missed = {one.what: one.unit for one in part.verdicts() if not one.met}
    assert missed == {
        "the thirty, above 2 times the CPU by hand": f"{question.name} 5.0",
        "the thirty, buffers grown beyond 1.3 times": f"{question.name} 3.0",
        "the thirty, time grown beyond 2 times": f"{question.name} 5.0",
    }
    report = Report("ours", "floor", {}, thirty=[part], memory=Memory(100, 0, [90.0, 100.0, 100.0, 120.0]))
    assert "MISSED  memory, last quarter against the second: 1.20" in report.text()
    assert f"| {question.name} | 20 | 1.00, 1.00, 1.00 | 20 / 30 | 20 | 5.00, " in page(report)
    assert (
        json.loads(json.dumps(report.document()))["thirty"][0]["questions"][0]["sides"]["large"]["hits"] == 20
    )


def test_a_page_is_compared_with_all_that_matches() -> None:
    judged = asking._judge("/X", ["a", "c"], None, {"a": 1, "b": 2})
    assert judged == asking.Compared("differs", detail="/X: 1 of 2 do not match, as c")
    assert asking._judge("/X", ["b", "a"], None, {"a": 1, "b": 2}).detail == "/X: in another order"
    assert asking._judge("/X", ["a", "a"], None, {"a": 1}).detail == "/X: a resource twice"
    assert asking._judge("/X", ["a"], 2, {"a": None}).detail == "/X: a total of 2, not 1"


def test_crud_writes_nine_types_that_point_at_each_other() -> None:
    made = graph(1)
    assert [one["resourceType"] for one in made] == list(ORDER)
    assert all("id" not in one for one in made)
    for number, one in enumerate(made):
        text = json.dumps(one)
        assert not any(f"{{{later}}}" in text for later in ORDER[number:])
    assert changed(made[0], 0) != changed(made[0], 1)


def test_value_sets_name_codes_of_the_data(facts: Facts) -> None:
    for name in VALUE_SETS:
        (include,) = value_set(name)["compose"]["include"]
        assert any(f"{include['system']}|{one['code']}" in facts.codes for one in include["concept"])
