"""answerValueSet: contained, in the same Bundle, known by terminology, or not known at all."""

from __future__ import annotations

import pytest

from fhir_server.validation.questionnaires import check
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import (
    COLOURS,
    coding,
    errors,
    extension,
    form,
    given,
    issues,
    item,
    quantity,
    response,
)
from tests.support.clause import clause

VS = "http://example.org/ValueSet/colours"
TYPES = "http://hl7.org/fhir/item-type"
PLACE = "item[0].answer[0].value"


def value_set(*include, url=VS, **members):
    return {
        "resourceType": "ValueSet",
        "id": "v",
        "url": url,
        "status": "active",
        "compose": {"include": list(include)},
        **members,
    }


LISTED = {"system": COLOURS, "concept": [{"code": "red"}, {"code": "blue", "display": "Blue"}]}
EXPANDED = {
    "resourceType": "ValueSet",
    "id": "v",
    "url": VS,
    "status": "active",
    "expansion": {
        "timestamp": "2020",
        "contains": [
            {
                "system": COLOURS,
                "code": "all",
                "abstract": True,
                "contains": [{"system": COLOURS, "code": "red"}],
            }
        ],
    },
}


BLIND = {"compose": {"include": [{"system": COLOURS}]}}
PART = {**EXPANDED["expansion"], "total": 1000}


def asks(reference=VS, kind="choice", **members):
    return form(item("q", kind, repeats=True, answerValueSet=reference), **members)


SETS = [
    ("listed", value_set(LISTED), coding("red"), []),
    ("listed, another", value_set(LISTED), coding("green"), ["error"]),
    ("listed, another system", value_set(LISTED), coding("red", "http://example.org/flags"), ["error"]),
    ("listed, no system", value_set(LISTED), ("Coding", {"code": "red"}), ["warning"]),
    ("listed, no system, another", value_set(LISTED), ("Coding", {"code": "green"}), ["error"]),
    ("no code", value_set(LISTED), ("Coding", {"display": "red"}), ["error"]),
    ("a string", value_set(LISTED), ("String", "red"), ["error"]),
    ("expanded", EXPANDED, coding("red"), []),
    ("expanded, abstract", EXPANDED, coding("all"), ["error"]),
    ("composed of what is not known, and expanded", {**EXPANDED, **BLIND}, coding("red"), []),
    ("composed of what is not known, and not in it", {**EXPANDED, **BLIND}, coding("green"), ["error"]),
    ("a part of an expansion", {**EXPANDED, "expansion": PART}, coding("red"), []),
    ("perhaps in the rest of it", {**EXPANDED, "expansion": PART}, coding("green"), ["warning"]),
    ("a whole known system", value_set({"system": TYPES}), coding("string", TYPES), []),
    ("a whole known system, another", value_set({"system": TYPES}), coding("strin", TYPES), ["error"]),
    ("a whole unknown system", value_set({"system": COLOURS}), coding("red"), ["warning"]),
    (
        "imported",
        value_set({"valueSet": ["http://hl7.org/fhir/ValueSet/item-type"]}),
        coding("string", TYPES),
        [],
    ),
    (
        "imported, another",
        value_set({"valueSet": ["http://hl7.org/fhir/ValueSet/item-type"]}),
        coding("red"),
        ["error"],
    ),
    ("made of itself", value_set({"valueSet": [VS, VS]}), coding("red"), ["warning"]),
    (
        "excluded",
        value_set(
            compose={"include": [LISTED], "exclude": [{"system": COLOURS, "concept": [{"code": "red"}]}]}
        ),
        coding("red"),
        ["error"],
    ),
    (
        "filtered",
        value_set({"system": COLOURS, "filter": [{"property": "hue", "op": "=", "value": "1"}]}),
        coding("red"),
        ["warning"],
    ),
]


@clause(
    "R4/questionnaire-definitions.html#Questionnaire.item.answerValueSet", "an answer is in the value set"
)
@pytest.mark.parametrize("where", ["known", "contained"])
@pytest.mark.parametrize(
    ("defined", "answer", "found"), [row[1:] for row in SETS], ids=[row[0] for row in SETS]
)
def test_members(where, defined, answer, found):
    answered = response(given("q", answer))
    if where == "known":
        assert [severity for severity, _ in issues(asks(), answered, defined)] == found
    else:
        inside = [{**defined, "id": "v"}]
        assert [severity for severity, _ in issues(asks("#v", contained=inside), answered, defined)] == found


def test_sets_of_r4_are_asked_of_terminology():
    questionnaire = asks("http://hl7.org/fhir/ValueSet/item-type|4.0.1")
    assert errors(questionnaire, response(given("q", coding("string", TYPES)))) == []
    assert errors(questionnaire, response(given("q", coding("strin", TYPES)))) == [PLACE]


def test_sets_of_r4_without_any_terminology():
    questionnaire = asks(
        "#v", contained=[value_set({"valueSet": ["http://hl7.org/fhir/ValueSet/item-type"]})]
    )
    answered = {**response(given("q", coding("strin", TYPES))), "contained": [{**questionnaire, "id": "f"}]}
    del answered["contained"][0]["contained"]
    answered = {
        **answered,
        "questionnaire": "#f",
        "contained": answered["contained"] + questionnaire["contained"],
    }
    assert [issue.severity for issue in check(answered)] == ["error"]


def test_a_set_that_is_not_known_is_said():
    assert issues(asks(), response(given("q", coding("red")))) == [("warning", PLACE)]
    assert issues(asks("#v"), response(given("q", coding("red")))) == [("warning", PLACE)]


def test_open_choice():
    questionnaire = asks(kind="open-choice")
    assert issues(questionnaire, response(given("q", ("String", "violet"))), value_set(LISTED)) == []
    assert errors(questionnaire, response(given("q", coding("violet"))), value_set(LISTED)) == [PLACE]
    free = response(given("q", ("Coding", {"display": "violet"})))
    assert issues(questionnaire, free, value_set(LISTED)) == [("warning", PLACE)]


def test_a_name_that_says_something_else():
    questionnaire = asks("http://hl7.org/fhir/ValueSet/item-type")
    assert errors(questionnaire, response(given("q", coding("string", TYPES, display="string")))) == []
    wrong = given("q", coding("string", TYPES, display="Boolean"))
    assert errors(questionnaire, response(wrong)) == [f"{PLACE}.display"]
    assert errors(questionnaire, response(wrong, language="de")) == []


def test_in_the_same_bundle():
    entries = [
        asks(),
        value_set(LISTED),
        response(given("q", coding("green"))),
        response(given("q", coding("red"))),
    ]
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": entry} for entry in entries],
    }
    found = list(check(bundle, task()))
    assert [(issue.severity, issue.expression) for issue in found] == [
        ("error", f"Bundle.entry[2].resource.{PLACE}")
    ]


def test_units_of_a_value_set():
    units = value_set({"system": "http://unitsofmeasure.org", "concept": [{"code": "kg"}]})
    asked = form(item("q", "quantity", extension("questionnaire-unitValueSet", valueCanonical=VS)))
    assert issues(asked, response(given("q", quantity(1, "kg"))), units) == []
    assert errors(asked, response(given("q", quantity(1, "g"))), units) == [PLACE]
    assert errors(asked, response(given("q", quantity(1, unit="kg"))), units) == [PLACE]
    assert issues(asked, response(given("q", quantity(1, "g")))) == [("warning", PLACE)]
