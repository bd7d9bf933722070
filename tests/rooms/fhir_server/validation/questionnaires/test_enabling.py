"""enableWhen: the operators, all and any, which answers count, and what disabled means."""

from __future__ import annotations

import pytest

from fhir_server.validation.questionnaires import check
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import (
    COLOURS,
    SDC,
    coding,
    errors,
    extension,
    form,
    given,
    group,
    held,
    issues,
    item,
    quantity,
    response,
    when,
)
from tests.support.clause import clause

TEXT = ("String", "x")


def asked(kind, operator, answer):
    """Return a form whose required item `then` is enabled by an answer to `if`."""
    name, value = answer
    condition = when("if", operator, **{f"answer{name}": value})
    return form(item("if", kind, repeats=True), item("then", required=True, enableWhen=[condition]))


NOTHING = None
# kind, operator, answer of the condition, answers given, is it enabled (None: left open)
CONDITIONS = [
    ("boolean", "exists", ("Boolean", True), [("Boolean", False)], True),
    ("boolean", "exists", ("Boolean", True), [], False),
    ("boolean", "exists", ("Boolean", False), [], True),
    ("boolean", "exists", ("Boolean", False), [("Boolean", False)], False),
    ("boolean", "=", ("Boolean", True), [("Boolean", True)], True),
    ("boolean", "=", ("Boolean", True), [("Boolean", False)], False),
    ("boolean", "=", ("Boolean", False), [], False),
    ("integer", "=", ("Integer", 1), [("Integer", 2), ("Integer", 1)], True),
    ("integer", "!=", ("Integer", 1), [("Integer", 2)], True),
    ("integer", "!=", ("Integer", 1), [("Integer", 2), ("Integer", 1)], False),
    ("integer", "!=", ("Integer", 1), [], None),
    ("integer", ">", ("Integer", 1), [("Integer", 1)], False),
    ("integer", ">", ("Integer", 1), [("Integer", 1), ("Integer", 2)], True),
    ("integer", ">=", ("Integer", 1), [("Integer", 1)], True),
    ("integer", "<", ("Integer", 1), [("Integer", 1)], False),
    ("integer", "<=", ("Integer", 1), [("Integer", 1)], True),
    ("integer", "<", ("Integer", 1), [], False),
    ("decimal", "=", ("Decimal", 1.0), [("Decimal", 1)], True),
    ("decimal", ">", ("Integer", 1), [("Decimal", 1.01)], True),
    ("date", "=", ("Date", "2020"), [("Date", "2020")], True),
    ("date", ">", ("Date", "2020"), [("Date", "2021-01")], True),
    ("date", ">", ("Date", "2020"), [("Date", "2020-01")], None),
    ("date", "<", ("Date", "2020"), [("Date", "2021-01")], False),
    (
        "dateTime",
        "=",
        ("DateTime", "2020-01-01T10:00:00Z"),
        [("DateTime", "2020-01-01T11:00:00+01:00")],
        True,
    ),
    ("time", ">=", ("Time", "10:00:00"), [("Time", "09:59:59")], False),
    ("string", "=", ("String", "a"), [("String", "a")], True),
    ("string", "=", ("String", "a"), [("String", "A")], False),
    ("text", "!=", ("String", "a"), [("String", "A")], True),
    ("choice", "=", coding("red"), [coding("red", display="Red")], True),
    ("choice", "=", coding("red"), [coding("blue")], False),
    ("choice", "=", coding("red"), [coding("red", "http://example.org/flags")], False),
    ("choice", "=", coding("red"), [("Coding", {"code": "red"})], None),
    ("open-choice", "=", coding("red"), [("String", "red")], False),
    ("open-choice", "=", ("String", "violet"), [("String", "violet")], True),
    ("quantity", "=", quantity(1, "kg"), [quantity(1000, "g")], True),
    ("quantity", ">", quantity(1, "kg"), [quantity(1001, "g")], True),
    ("quantity", ">", quantity(1, "kg"), [quantity(999, "g")], False),
    ("quantity", ">", quantity(1, "kg"), [quantity(1, "m")], None),
    (
        "reference",
        "=",
        ("Reference", {"reference": "Patient/1"}),
        [("Reference", {"reference": "Patient/1"})],
        True,
    ),
    (
        "reference",
        "=",
        ("Reference", {"reference": "Patient/1"}),
        [("Reference", {"reference": "Patient/2"})],
        False,
    ),
]


@clause("R4/questionnaire.html#enableWhen", "an enabled item may be demanded, a disabled one has no answers")
@pytest.mark.parametrize(("kind", "operator", "answer", "values", "enabled"), CONDITIONS)
def test_conditions(kind, operator, answer, values, enabled):
    questionnaire = asked(kind, operator, answer)
    before = [given("if", *values)] if values else []
    left_out, answered = response(*before), response(*before, given("then", TEXT))
    assert errors(questionnaire, left_out) == ([""] if enabled else [])
    assert errors(questionnaire, answered) == ([f"item[{len(before)}]"] if enabled is False else [])
    assert errors(questionnaire, response(*before, held("then"))) == (
        [f"item[{len(before)}]"] if enabled else []
    )


ONE, TWO = when("a", "=", answerInteger=1), when("b", "=", answerInteger=1)


@pytest.mark.parametrize(
    ("behavior", "a", "b", "enabled"),
    [
        ("all", 1, 1, True),
        ("all", 1, 0, False),
        ("any", 1, 0, True),
        ("any", 0, 0, False),
        (None, 1, 1, True),
        (None, 0, 0, False),
        (None, 1, 0, None),
    ],
)
@clause("R4/questionnaire-definitions.html#Questionnaire.item.enableBehavior", "all conditions, or any")
def test_behavior(behavior, a, b, enabled):
    members = {"enableBehavior": behavior} if behavior else {}
    questionnaire = form(
        item("a", "integer"),
        item("b", "integer"),
        item("then", required=True, enableWhen=[ONE, TWO], **members),
    )
    before = [given("a", ("Integer", a)), given("b", ("Integer", b))]
    assert errors(questionnaire, response(*before)) == ([""] if enabled else [])
    assert errors(questionnaire, response(*before, given("then", TEXT))) == (
        ["item[2]"] if enabled is False else []
    )


def test_what_is_below_a_disabled_group_is_disabled():
    inner = group("inner", item("deep", required=True), required=True)
    questionnaire = form(item("a", "integer"), group("g", inner, enableWhen=[ONE]))
    there = held("g", held("inner", given("deep", TEXT)))
    assert errors(questionnaire, response(given("a", ("Integer", 1)), there)) == []
    assert errors(questionnaire, response(given("a", ("Integer", 0)), there)) == ["item[1].item[0].item[0]"]
    assert errors(questionnaire, response(given("a", ("Integer", 0)), held("g", held("inner")))) == []
    assert errors(questionnaire, response(given("a", ("Integer", 0)), held("g"))) == []


def test_an_answer_of_a_disabled_question_does_not_count():
    questionnaire = form(
        item("a", "integer"),
        item("b", "integer", enableWhen=[ONE]),
        item("then", required=True, enableWhen=[TWO]),
    )
    found = errors(questionnaire, response(given("a", ("Integer", 0)), given("b", ("Integer", 1))))
    assert found == ["item[1]"]


ROW = [item("kind", "integer"), item("more", required=True, enableWhen=[when("kind", "=", answerInteger=1)])]


@clause("R4/questionnaire-definitions.html#Questionnaire.item.enableWhen.question", "the nearest question")
def test_each_occurrence_of_a_group_asks_its_own_answers():
    questionnaire = form(group("row", *ROW, repeats=True))
    one, other = given("kind", ("Integer", 1)), given("kind", ("Integer", 2))
    assert errors(questionnaire, response(held("row", one, given("more", TEXT)), held("row", other))) == []
    assert errors(questionnaire, response(held("row", one), held("row", other))) == ["item[0]"]
    wrong = response(held("row", one, given("more", TEXT)), held("row", other, given("more", TEXT)))
    assert errors(questionnaire, wrong) == ["item[1].item[1]"]
    # an occurrence without the question does not look into its neighbour
    assert errors(questionnaire, response(held("row", one, given("more", TEXT)), held("row"))) == []
    assert errors(
        questionnaire, response(held("row", one, given("more", TEXT)), held("row", given("more", TEXT)))
    ) == ["item[1].item[0]"]


def test_groups_in_groups():
    inner = group("inner", item("deep", enableWhen=[when("top", "=", answerInteger=1)]), repeats=True)
    questionnaire = form(group("outer", item("top", "integer"), inner, repeats=True))
    deep = held("inner", given("deep", TEXT))
    answered = response(
        held("outer", given("top", ("Integer", 1)), deep, deep),
        held("outer", given("top", ("Integer", 2)), held("inner"), deep),
    )
    assert errors(questionnaire, answered) == ["item[1].item[2].item[0]"]


def test_a_question_above():
    questionnaire = form(item("a", "integer", item=[item("then", required=True, enableWhen=[ONE])]))
    with_it = {"item": [given("then", TEXT)]}
    assert errors(questionnaire, response(given("a", {"valueInteger": 1, **with_it}))) == []
    assert errors(questionnaire, response(given("a", ("Integer", 1)))) == ["item[0].answer[0]"]
    assert errors(questionnaire, response(given("a", ("Integer", 0)))) == []
    assert errors(questionnaire, response(given("a", {"valueInteger": 0, **with_it}))) == [
        "item[0].answer[0].item[0]"
    ]


def test_one_of_several_answers_above_is_left_open():
    questionnaire = form(
        item("a", "integer", repeats=True, item=[item("then", required=True, enableWhen=[ONE])])
    )
    mixed = given("a", {"valueInteger": 1, "item": [given("then", TEXT)]}, ("Integer", 0))
    assert errors(questionnaire, response(mixed)) == []


def test_a_question_that_follows():
    questionnaire = form(
        item("then", enableWhen=[when("late", "=", answerInteger=1)]), item("late", "integer")
    )
    then = given("then", TEXT)
    assert errors(questionnaire, response(then, given("late", ("Integer", 1)))) == []
    assert errors(questionnaire, response(then, given("late", ("Integer", 0)))) == ["item[0]"]
    assert errors(questionnaire, response(then)) == ["item[0]"]


@pytest.mark.parametrize("question", ["nowhere", "then"])
def test_conditions_that_make_no_sense_are_left_open(question):
    questionnaire = form(item("then", required=True, enableWhen=[when(question, "=", answerString="x")]))
    assert errors(questionnaire, response()) == []
    assert errors(questionnaire, response(given("then", TEXT))) == []


def by_expression(text, language="text/fhirpath"):
    value = {"language": language, "expression": text}
    return form(
        item("a", "integer"),
        item("then", "string", extension(f"{SDC}enableWhenExpression", valueExpression=value), required=True),
    )


@pytest.mark.parametrize(
    ("text", "enabled"),
    [
        ("%resource.item.where(linkId = 'a').answer.value > 3", True),
        ("%resource.item.where(linkId = 'a').answer.value > 5", False),
        ("%resource.item.where(linkId = 'b').answer.value", False),
        ("%questionnaire.item.count() = 2 and %qitem.linkId = 'then'", True),
        ("%patient.active", None),
        ("((", None),
    ],
)
@clause("SDC/expressions.html#enableWhenExpression", "an expression decides")
def test_expressions(text, enabled):
    before = given("a", ("Integer", 4))
    assert errors(by_expression(text), response(before)) == ([""] if enabled else [])
    assert errors(by_expression(text), response(before, given("then", TEXT))) == (
        ["item[1]"] if enabled is False else []
    )


def test_expressions_in_another_language_are_left_open():
    questionnaire = by_expression("false", "text/cql")
    assert issues(questionnaire, response(given("then", TEXT))) == []
    assert issues(questionnaire, response()) == []


def test_the_message_says_what_would_enable_it():
    questionnaire = asked("choice", "=", coding("red"))
    found = check(response(given("if", coding("blue")), given("then", TEXT)), task(questionnaire))
    (said,) = [issue.diagnostics for issue in found if issue.severity == "error"]
    assert f"that takes 'if' = {COLOURS}#red" in said
