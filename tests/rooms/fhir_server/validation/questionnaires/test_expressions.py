"""Constraints, variables and calculated answers in FHIRPath."""

from __future__ import annotations

import pytest

from fhir_server.validation.questionnaires import check
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import (
    CORE,
    SDC,
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

EVEN = "answer.value mod 2 = 0"


def constraint(expression, severity="error", name="questionnaire-constraint", **part):
    text = part or {"valueString": expression}
    return extension(
        name,
        extension=[
            {"url": "key", "valueId": "even"},
            {"url": "severity", "valueCode": severity},
            {"url": "expression", **text},
            {"url": "human", "valueString": "The number is even"},
        ],
    )


@clause("R4/extension-questionnaire-constraint.html", "a complete response keeps the constraints")
def test_constraint_of_an_item():
    questionnaire = form(item("n", "integer", constraint(EVEN)))
    assert errors(questionnaire, response(given("n", ("Integer", 2)))) == []
    assert errors(questionnaire, response(given("n", ("Integer", 3)))) == ["item[0]"]
    assert errors(questionnaire, response(given("n", ("Integer", 3)), status="in-progress")) == []
    assert errors(questionnaire, response()) == []


def test_its_message_and_rule():
    questionnaire = form(item("n", "integer", constraint(EVEN)))
    (found,) = check(response(given("n", ("Integer", 3))), task(questionnaire))
    assert found.rule == f"{URL}#even"
    assert "The number is even" in found.diagnostics


def test_constraint_as_advice():
    questionnaire = form(item("n", "integer", constraint(EVEN, "warning")))
    assert issues(questionnaire, response(given("n", ("Integer", 3)))) == [("warning", "item[0]")]


def test_constraint_as_expression():
    text = {"valueExpression": {"language": "text/fhirpath", "expression": EVEN}}
    questionnaire = form(item("n", "integer", constraint(EVEN, name="targetConstraint", **text)))
    assert errors(questionnaire, response(given("n", ("Integer", 3)))) == ["item[0]"]


def test_constraint_of_the_questionnaire():
    rule = constraint("item.where(linkId = 'a').answer.value < item.where(linkId = 'b').answer.value")
    questionnaire = form(item("a", "integer"), item("b", "integer"), extension=[rule])
    assert errors(questionnaire, response(given("a", ("Integer", 1)), given("b", ("Integer", 2)))) == []
    assert errors(questionnaire, response(given("a", ("Integer", 2)), given("b", ("Integer", 1)))) == [""]


@pytest.mark.parametrize("text", ["((", "%patient.active", "answer.value + 'a' = %nowhere"])
def test_constraints_that_cannot_be_evaluated_are_said(text):
    questionnaire = form(item("n", "integer", constraint(text)))
    assert issues(questionnaire, response(given("n", ("Integer", 3)))) == [("warning", "item[0]")]


def variable(name, expression):
    value = {"name": name, "language": "text/fhirpath", "expression": expression}
    return extension("variable", valueExpression=value)


@clause("R4/extension-variable.html", "a variable is seen by what is below")
def test_variables():
    row = group(
        "row",
        item("n", "integer", constraint("answer.value <= %most and answer.value <= %own")),
        repeats=True,
    )
    row["extension"] = [
        variable("own", "item.where(linkId = 'n').answer.value"),
        variable("twice", "%most + %most"),
    ]
    questionnaire = form(
        item("most", "integer"), row, extension=[variable("most", "item.where(linkId = 'most').answer.value")]
    )
    limit = given("most", ("Integer", 5))
    rows = [held("row", given("n", ("Integer", number))) for number in (4, 6, 5)]
    assert issues(questionnaire, response(limit, *rows)) == [("error", "item[2].item[0]")]


def calculated(text):
    value = {"language": "text/fhirpath", "expression": text}
    return extension(f"{SDC}calculatedExpression", valueExpression=value)


@pytest.mark.parametrize(
    ("kind", "text", "answer", "found"),
    [
        ("integer", "2 + 2", ("Integer", 4), []),
        ("integer", "2 + 2", ("Integer", 5), [("warning", "item[0]")]),
        ("decimal", "2.50", ("Decimal", 2.5), []),
        ("string", "'a' & 'b'", ("String", "ab"), []),
        ("string", "'a' & 'b'", ("String", "ba"), [("warning", "item[0]")]),
        ("boolean", "1 = 1", ("Boolean", False), [("warning", "item[0]")]),
        ("date", "@2020-01-01", ("Date", "2020-01-01"), []),
        ("quantity", "13", ("Quantity", {"value": 13, "unit": "score"}), []),
        ("quantity", "13", ("Quantity", {"value": 14, "unit": "score"}), [("warning", "item[0]")]),
        ("integer", "%launch.age", ("Integer", 5), []),
    ],
)
@clause(
    "SDC/expressions.html#calculatedExpression", "an answer that differs from what is calculated is advice"
)
def test_calculated(kind, text, answer, found):
    assert issues(form(item("n", kind, calculated(text))), response(given("n", answer))) == found


def test_value_sets_in_expressions():
    held_by = {"contained": [{"resourceType": "ValueSet", "id": "v", "status": "active", "compose": {
        "include": [{"system": "http://x", "concept": [{"code": "a"}]}]}}]}  # fmt: skip
    questionnaire = form(item("q", "choice", constraint("answer.value.memberOf('#v')")), **held_by)
    assert errors(questionnaire, response(given("q", ("Coding", {"system": "http://x", "code": "a"})))) == []
    assert errors(questionnaire, response(given("q", ("Coding", {"system": "http://x", "code": "b"})))) == [
        "item[0]"
    ]
    assert CORE in str(questionnaire)
