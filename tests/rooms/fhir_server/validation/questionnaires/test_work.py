"""The work is in proportion to the form and the response, whatever they are made of."""

from __future__ import annotations

import time

import pytest

from fhir_server.validation.questionnaires import check
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import (
    SDC,
    coding,
    extension,
    form,
    given,
    group,
    held,
    item,
    response,
    when,
)

TEXT = ("String", "x")


def flat(count):
    conditions = [when("q0", "=", answerString="x")]
    items = [item(f"q{n}", required=True, enableWhen=conditions if n else []) for n in range(count)]
    return form(*items), response(*[given(f"q{n}", TEXT) for n in range(count)])


def missing(count):
    return flat(count)[0], response(given("q0", TEXT))


def unknown(count):
    return flat(count)[0], response(*[given(f"p{n}", TEXT) for n in range(count)])


def rows(count):
    row = group(
        "row",
        item("a"),
        item("b", required=True, enableWhen=[when("a", "=", answerString="x")]),
        repeats=True,
    )
    return form(row), response(*[held("row", given("a", TEXT), given("b", TEXT)) for _ in range(count)])


def options(count):
    codes = [f"c{n}" for n in range(count)]
    asked = item(
        "q", "choice", repeats=True, answerOption=[{"valueCoding": coding(code)[1]} for code in codes]
    )
    return form(asked), response(given("q", *[coding(code) for code in codes]))


def members(count):
    codes = [{"code": f"c{n}"} for n in range(count)]
    value_set = {
        "resourceType": "ValueSet",
        "id": "v",
        "compose": {"include": [{"system": "http://x", "concept": codes}]},
    }
    asked = item("q", "choice", repeats=True, answerValueSet="#v")
    answers = [coding(code["code"], "http://x") for code in codes]
    return form(asked, contained=[value_set]), response(given("q", *answers))


def many_answers(count):
    conditions = [when("q", "=", answerInteger=-1)]
    items = [item(f"p{n}", enableWhen=conditions) for n in range(count)]
    answers = [("Integer", n) for n in range(count)]
    return form(item("q", "integer", repeats=True), *items), response(
        given("q", *answers), *[given(f"p{n}", TEXT) for n in range(count)]
    )


def expressions(count):
    value = {
        "language": "text/fhirpath",
        "expression": "%resource.repeat(item).where(linkId = 'q0').answer.exists()",
    }
    asked = extension(f"{SDC}enableWhenExpression", valueExpression=value)
    items = [item(f"q{n}", "string", asked) for n in range(count)]
    return form(*items), response(*[given(f"q{n}", TEXT) for n in range(count)])


def empty_groups(count):
    inner = [item(f"q{n}", required=True) for n in range(count)]
    return form(group("g", *inner, repeats=True)), response(*[held("g")] * count)


def _seconds(made):
    questionnaire, answered = made
    known = task(questionnaire)
    start = time.thread_time()
    for _ in check(answered, known):
        pass
    for _ in check(questionnaire, known):
        pass
    return time.thread_time() - start


@pytest.mark.parametrize(
    "make", [flat, missing, unknown, rows, options, members], ids=lambda make: make.__name__
)
def test_linear(make):
    _seconds(make(100))
    few = min(_seconds(make(1_000)) for _ in range(3))
    many = min(_seconds(make(5_000)) for _ in range(2))
    print(f"{make.__name__}: {few * 1000:.0f} ms for 1,000, {many * 1000:.0f} ms for 5,000")
    assert many < 12 * few + 0.5


@pytest.mark.parametrize("make", [many_answers, expressions, empty_groups], ids=lambda make: make.__name__)
def test_bounded(make):
    took = _seconds(make(5_000))
    print(f"{make.__name__}: {took:.1f} s for 5,000")
    assert took < 20


def test_what_is_left_open_is_said():
    questionnaire, answered = expressions(2_000)
    found = [issue.code for issue in check(answered, task(questionnaire))]
    assert "too-costly" in found


def test_deep():
    depth = 150
    inner, answer = item("deep"), given("deep", TEXT)
    for level in range(depth):
        inner, answer = group(f"g{level}", inner), held(f"g{level}", answer)
    assert list(check(response(answer), task(form(inner)))) == []
