"""Which items a response may have, where, how often and in which order."""

from __future__ import annotations

import pytest

from fhir_server.validation.questionnaires import check
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import (
    CORE,
    URL,
    errors,
    extension,
    form,
    given,
    group,
    held,
    issues,
    item,
    response,
)
from tests.support.clause import clause

YES = ("Boolean", True)
TEXT = ("String", "x")
FORM = form(
    item("name", required=True),
    group("history", item("smoker", "boolean", item=[item("packs", "integer")]), item("since", "date")),
    group("drug", item("dose", "decimal"), repeats=True),
    item("thanks", "display"),
)
NAME = given("name", TEXT)
HISTORY = held("history", given("smoker", YES), given("since", ("Date", "2020")))

RIGHT = [
    response(NAME),
    response(NAME, HISTORY, held("drug", given("dose", ("Decimal", 1.5))), held("drug"), held("thanks")),
    response(
        NAME,
        held("history", given("smoker", {"valueBoolean": True, "item": [given("packs", ("Integer", 3))]})),
    ),
    response(NAME, held("history", given("since", ("Date", "2020-01")))),
    response(NAME, status="amended"),
    response(status="in-progress"),
    response(status="stopped"),
    response(status="entered-in-error"),
]

WRONG = [
    ("unknown linkId", response(NAME, given("nme", TEXT)), ["item[1].linkId"]),
    ("under the wrong parent", response(NAME, given("since", ("Date", "2020"))), ["item[1]"]),
    (
        "question out of its question",
        response(NAME, held("history", given("packs", ("Integer", 1)))),
        ["item[1].item[0]"],
    ),
    ("out of order", response(HISTORY, NAME), ["item[1]"]),
    (
        "out of order in a group",
        response(NAME, held("history", given("since", ("Date", "2020")), given("smoker", YES))),
        ["item[1].item[1]"],
    ),
    ("required missing", response(HISTORY), [""]),
    ("required without an answer", response(held("name")), ["item[0]"]),
    ("required with an empty answer", response(given("name", {"id": "a"})), ["item[0]"]),
    ("question twice", response(NAME, NAME), ["item[1]", "item[0]"]),
    ("two answers", response(given("name", TEXT, TEXT)), ["item[0]"]),
    ("two answers in progress", response(given("name", TEXT, TEXT), status="in-progress"), ["item[0]"]),
    ("group twice", response(NAME, HISTORY, HISTORY), ["item[2]"]),
    ("display twice", response(NAME, held("thanks"), held("thanks")), ["item[2]"]),
    ("display answered", response(NAME, given("thanks", TEXT)), ["item[1].answer"]),
    (
        "display holding",
        response(NAME, held("thanks", given("since", ("Date", "2020")))),
        ["item[1].item[0]", "item[1].item"],
    ),
    ("group answered", response(NAME, given("history", YES)), ["item[1].answer"]),
    (
        "items beside the answer of a question",
        response(NAME, held("history", held("smoker", given("packs", ("Integer", 3))))),
        ["item[1].item[0].item"],
    ),
    (
        "items in the answer of a group",
        response(NAME, given("history", {"item": [given("smoker", YES)]})),
        ["item[1].answer"],
    ),
]


@clause("R4/questionnaireresponse.html", "a response with the structure of its Questionnaire is right")
@pytest.mark.parametrize("answered", RIGHT)
def test_right(answered):
    assert errors(FORM, answered) == []


@clause("R4/questionnaireresponse.html", "the structure is consistent with the Questionnaire's")
@pytest.mark.parametrize(("answered", "places"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_wrong(answered, places):
    assert sorted(errors(FORM, answered)) == sorted(places)


def test_the_nearest_link_id_is_named():
    found = [
        issue for issue in check(response(NAME, given("nme", TEXT)), task(FORM)) if issue.severity == "error"
    ]
    assert "did you mean 'name'?" in found[0].diagnostics


def test_the_rule_is_the_item_of_the_questionnaire():
    found = list(check(response(), task(FORM)))
    assert [issue.rule for issue in found] == [f"{URL}#name"]


OCCURS = [
    extension("questionnaire-minOccurs", valueInteger=2),
    extension("questionnaire-maxOccurs", valueInteger=3),
]
TIMES = form(
    item("one", "string", *OCCURS, repeats=True),
    group("many", item("x"), repeats=True, extension=OCCURS),
)


@pytest.mark.parametrize(
    ("answers", "groups", "places"),
    [
        (2, 2, []),
        (3, 3, []),
        (1, 2, ["item[0]"]),
        (4, 2, ["item[0]"]),
        (2, 1, ["item[1]"]),
        (2, 4, ["item[4]"]),
    ],
)
@clause("R4/extension-questionnaire-minoccurs.html", "so many answers, or groups")
def test_occurrences(answers, groups, places):
    answered = response(given("one", *[TEXT] * answers), *[held("many", given("x", TEXT))] * groups)
    assert errors(TIMES, answered) == places


def test_fewer_are_no_error_in_progress():
    assert errors(TIMES, response(given("one", TEXT), status="in-progress")) == []


def test_minimum_of_an_optional_item_that_is_not_there_is_advice():
    assert issues(TIMES, response()) == [("warning", ""), ("warning", "")]


@clause("R4/questionnaire-definitions.html#Questionnaire.item.required", "a required group holds something")
def test_required_group():
    questionnaire = form(group("g", item("a"), required=True))
    assert errors(questionnaire, response()) == [""]
    assert errors(questionnaire, response(held("g"))) == ["item[0]"]
    assert errors(questionnaire, response(held("g", held("a")))) == []


def test_required_in_a_group_that_is_left_out_is_not_missing():
    questionnaire = form(group("g", item("a", required=True), item("b")))
    assert errors(questionnaire, response()) == []
    assert errors(questionnaire, response(held("g", given("b", TEXT)))) == ["item[0]"]


def test_required_in_each_answer():
    questionnaire = form(item("q", "boolean", repeats=True, item=[item("a", required=True)]))
    there = {"valueBoolean": True, "item": [given("a", TEXT)]}
    assert errors(questionnaire, response(given("q", there, there))) == []
    assert errors(questionnaire, response(given("q", there, YES))) == ["item[0].answer[1]"]


def test_an_answer_that_says_why_it_is_missing_is_an_answer():
    reason = {"url": CORE + "data-absent-reason", "valueCode": "asked-declined"}
    for answer in ({"_valueString": {"extension": [reason]}}, {"extension": [reason]}):
        assert errors(FORM, response(given("name", answer))) == []


def test_several_items_of_a_repeating_question_are_advice():
    questionnaire = form(item("q", repeats=True))
    assert issues(questionnaire, response(given("q", TEXT), given("q", TEXT))) == [("warning", "item[1]")]


GERMAN = [{"url": "lang", "valueCode": "de"}, {"url": "content", "valueString": "Wie geht es?"}]
TRANSLATED = {"extension": [{"url": f"{CORE}translation", "extension": GERMAN}]}
TEXTS = form(item("q", text="How are you?", _text=TRANSLATED))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("How are you?", []),
        ("How  are you? ", []),
        ("Wie geht es?", []),
        ("How old are you?", [("warning", "item[0].text")]),
    ],
)
def test_text(text, found):
    assert issues(TEXTS, response(given("q", TEXT, text=text))) == found


def test_text_that_is_made_by_an_expression():
    made = {"extension": [{"url": CORE + "cqf-expression", "valueExpression": {"language": "text/fhirpath"}}]}
    questionnaire = form(item("q", text="Hello", _text=made))
    assert issues(questionnaire, response(given("q", TEXT, text="Hello Anna"))) == []
