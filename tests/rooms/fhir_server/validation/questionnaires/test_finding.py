"""Where the Questionnaire of a response is found, and what is said of it as a whole."""

from __future__ import annotations

import pytest

from fhir_server.validation.questionnaires import check
from fhir_server.validation.validator import validate
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import (
    URL,
    errors,
    form,
    given,
    issues,
    item,
    response,
)
from tests.support.clause import clause

TEXT = ("String", "x")
FORM = form(item("a", "integer"), version="2")
WRONG = response(given("a", TEXT))
FOUND = "item[0].answer[0].value"
NOT_KNOWN = [("warning", "questionnaire")]


@clause("R4/references.html#canonical", "a canonical with a version means that version")
@pytest.mark.parametrize(
    ("canonical", "found"),
    [
        (URL, [("error", FOUND)]),
        (f"{URL}|2", [("error", FOUND)]),
        (f"{URL}|1", NOT_KNOWN),
        (f"{URL}/other", NOT_KNOWN),
        ("#f", [("error", "questionnaire")]),
    ],
)
def test_canonicals(canonical, found):
    assert issues(FORM, {**WRONG, "questionnaire": canonical}) == found


def test_the_message_names_the_version_that_is_there():
    (found,) = check({**WRONG, "questionnaire": f"{URL}|1"}, task(FORM))
    assert "version 2" in found.diagnostics


def test_none_named():
    assert issues(FORM, {**WRONG, "questionnaire": None}) == [("information", "questionnaire")]


@clause("R4/references.html#contained", "a contained Questionnaire")
def test_contained():
    contained = {**WRONG, "contained": [{**FORM, "id": "f"}], "questionnaire": "#f"}
    assert errors(form(), contained) == [FOUND]
    other = {**WRONG, "contained": [{"resourceType": "Patient", "id": "f"}], "questionnaire": "#f"}
    assert errors(form(), other) == ["questionnaire"]


def test_resolved():
    answered = {**WRONG, "questionnaire": "Questionnaire/7"}
    there = {"Questionnaire/7": FORM, "Questionnaire/8": {"resourceType": "Patient"}}
    assert [i.severity for i in check(answered, task(resolve=there.get))] == ["error"]
    assert [
        i.severity for i in check({**answered, "questionnaire": "Questionnaire/8"}, task(resolve=there.get))
    ] == ["warning"]


@pytest.mark.parametrize("canonical", [URL, f"{URL}|2", "urn:uuid:1", "Questionnaire/f"])
def test_in_the_same_bundle(canonical):
    entries = [
        {"fullUrl": "urn:uuid:1", "resource": {**FORM, "id": "f"}},
        {"resource": {**WRONG, "questionnaire": canonical}},
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    assert [i.expression for i in check(bundle, task())] == [f"Bundle.entry[1].resource.{FOUND}"]
    nested = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": bundle}]}
    assert [i.expression for i in check(nested, task())] == [
        f"Bundle.entry[0].resource.entry[1].resource.{FOUND}"
    ]


def test_in_parameters():
    parameters = {
        "resourceType": "Parameters",
        "parameter": [{"name": "a", "part": [{"name": "b", "resource": WRONG}]}],
    }
    assert [i.expression for i in check(parameters, task(FORM))] == [
        f"Parameters.parameter[0].part[0].resource.{FOUND}"
    ]


def test_contained_in_something_else():
    task_ = {
        "resourceType": "Task",
        "contained": [{**FORM, "id": "f"}, {**WRONG, "id": "r", "questionnaire": "#f"}],
    }
    assert [i.expression for i in check(task_, task())] == [f"Task.contained[1].{FOUND}"]


def test_nothing_is_said_of_other_resources():
    assert list(check({"resourceType": "Patient"}, task())) == []
    assert (
        list(check({"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}, task()))
        == []
    )


@pytest.mark.parametrize(
    ("members", "authored", "found"),
    [
        ({"effectivePeriod": {"start": "2022"}}, "2021-12-12", [("warning", "authored")]),
        ({"effectivePeriod": {"start": "2022"}}, "2022-01-01", []),
        ({"effectivePeriod": {"end": "2022"}}, "2022-12-31T10:00:00Z", []),
        ({"effectivePeriod": {"end": "2022"}}, "2023-01-01T10:00:00Z", [("warning", "authored")]),
        ({"status": "retired"}, "2022", [("information", "questionnaire")]),
        ({"status": "draft"}, "2022", []),
    ],
)
def test_time_and_status(members, authored, found):
    assert issues({**FORM, **members}, response(authored=authored)) == found


@clause("R4/questionnaire-definitions.html#Questionnaire.subjectType", "the subject is of a listed type")
def test_subject_type():
    asked = form(item("a"), subjectType=["Patient", "Group"])
    assert errors(asked, response(subject={"reference": "Patient/1"})) == []
    assert errors(asked, response(subject={"reference": "urn:uuid:1"})) == []
    assert errors(asked, response(subject={"reference": "Device/1"})) == ["subject"]


def test_a_questionnaire_that_is_not_well_formed_is_said():
    assert issues({**FORM, "item": ["x"]}, WRONG) == [("warning", "questionnaire")]


def test_it_is_part_of_the_validation_of_a_resource():
    assert [i.expression for i in validate(WRONG, task(FORM))] == [f"QuestionnaireResponse.{FOUND}"]
    assert [i.severity for i in validate(response())] == ["warning"]
