"""The rules of a Questionnaire itself."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from fhir_server.validation.questionnaires import check
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import (
    SDC,
    URL,
    coding,
    extension,
    form,
    group,
    item,
    when,
)
from tests.support.clause import clause

EXAMPLES = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[5] / ".." / "shared")) / "data"
EXAMPLES /= "r4-examples.tar.xz"


def found(questionnaire, *more):
    return [
        (issue.severity, (issue.expression or "").removeprefix("Questionnaire."))
        for issue in check(questionnaire, task(*more))
    ]


def then(operator="exists", question="a", **answer):
    return item("then", enableWhen=[when(question, operator, **(answer or {"answerBoolean": True}))])


RED = {"system": "http://example.org/colours", "code": "red"}
BLUE = {**RED, "code": "blue"}
CHOICE = item("a", "choice", answerOption=[{"valueCoding": RED}])
FHIRPATH = {"language": "text/fhirpath", "expression": "1 + 1"}
BROKEN = {**FHIRPATH, "expression": "1 +"}

RULES = [
    ("linkIds differ", form(item("a"), group("b", item("c"))), []),
    ("linkId twice", form(item("a"), group("b", item("a"))), [("error", "item[1].item[0].linkId")]),
    ("question known", form(item("a"), then()), []),
    ("question not known", form(item("b"), then()), [("error", "item[1].enableWhen[0].question")]),
    ("its own answer", form(then(question="then")), [("error", "item[0].enableWhen[0].question")]),
    ("a question that follows", form(then(), item("a")), [("warning", "item[0].enableWhen[0].question")]),
    ("a group is asked", form(group("a", item("b")), then()), [("error", "item[1].enableWhen[0].question")]),
    ("a display is asked", form(item("a", "display"), then()), [("error", "item[1].enableWhen[0].question")]),
    ("numbers go together", form(item("a", "decimal"), then("=", answerInteger=1)), []),
    ("texts go together", form(item("a", "text"), then("=", answerString="x")), []),
    ("days go together", form(item("a", "dateTime"), then("<", answerDate="2020")), []),
    (
        "a boolean is no string",
        form(item("a", "boolean"), then("=", answerString="true")),
        [("error", "item[1].enableWhen[0].answer")],
    ),
    ("a coding of a choice", form(CHOICE, then("=", answerCoding=RED)), []),
    (
        "no option of a choice",
        form(CHOICE, then("=", answerCoding=BLUE)),
        [("warning", "item[1].enableWhen[0].answer")],
    ),
    (
        "a boolean for a choice",
        form(CHOICE, then("=", answerBoolean=True)),
        [("warning", "item[1].enableWhen[0].answer")],
    ),
    (
        "codes have no order",
        form(CHOICE, then(">", answerCoding=RED)),
        [("warning", "item[1].enableWhen[0].operator")],
    ),
    (
        "two conditions without behaviour",
        form(item("a"), item("b", enableWhen=[when("a", "exists", answerBoolean=True)] * 2)),
        [("warning", "item[1].enableBehavior")],
    ),
    ("abstract type", form(item("a", "question")), [("warning", "item[0].type")]),
    ("initial", form(item("a", "integer", initial=[{"valueInteger": 1}])), []),
    (
        "initial of another type",
        form(item("a", "integer", initial=[{"valueString": "1"}])),
        [("error", "item[0].initial[0].value")],
    ),
    (
        "initial too long",
        form(item("a", maxLength=2, initial=[{"valueString": "abc"}])),
        [("error", "item[0].initial[0].value")],
    ),
    ("options", form(item("a", "integer", answerOption=[{"valueInteger": 1}])), []),
    (
        "options of another type",
        form(item("a", "integer", answerOption=[{"valueString": "1"}])),
        [("error", "item[0].answerOption[0].value")],
    ),
    (
        "an option twice",
        form(item("a", "choice", answerOption=[{"valueCoding": RED}] * 2)),
        [("warning", "item[0].answerOption[1]")],
    ),
    (
        "two selected",
        form(
            item(
                "a",
                "choice",
                answerOption=[
                    {"valueCoding": RED, "initialSelected": True},
                    {"valueCoding": BLUE, "initialSelected": True},
                ],
            )
        ),
        [("warning", "item[0].answerOption")],
    ),
    (
        "no contained set",
        form(item("a", "choice", answerValueSet="#v")),
        [("warning", "item[0].answerValueSet")],
    ),
    (
        "contained set",
        form(item("a", "choice", answerValueSet="#v"), contained=[{"resourceType": "ValueSet", "id": "v"}]),
        [],
    ),
    ("regex", form(item("a", "string", extension("regex", valueString="["))), [("warning", "item[0]")]),
    (
        "bounds",
        form(
            item("a", "integer", extension("minValue", valueInteger=2), extension("maxValue", valueInteger=1))
        ),
        [("warning", "item[0]")],
    ),
    (
        "lengths",
        form(item("a", "string", extension("minLength", valueInteger=9), maxLength=5)),
        [("warning", "item[0]")],
    ),
    (
        "expression",
        form(item("a", "string", extension(f"{SDC}calculatedExpression", valueExpression=FHIRPATH))),
        [],
    ),
    (
        "no expression",
        form(item("a", "string", extension(f"{SDC}initialExpression", valueExpression=BROKEN))),
        [("warning", "item[0]")],
    ),
    (
        "derived from nothing known",
        form(item("a"), derivedFrom=[f"{URL}/base"]),
        [("warning", "derivedFrom[0]")],
    ),
]


@clause("R4/questionnaire.html", "a Questionnaire makes sense")
@pytest.mark.parametrize(
    ("questionnaire", "expected"), [row[1:] for row in RULES], ids=[row[0] for row in RULES]
)
def test_rules(questionnaire, expected):
    assert found(questionnaire) == expected


def test_derived_from_what_is_known():
    assert found(form(item("a"), derivedFrom=[URL]), form(item("a"))) == []


def test_the_nearest_link_id_is_named():
    (issue,) = check(form(item("smoker"), then(question="smokr")), task())
    assert "did you mean 'smoker'?" in issue.diagnostics


def test_initial_outside_of_the_set():
    wrong = item(
        "a",
        "choice",
        answerValueSet="http://hl7.org/fhir/ValueSet/item-type",
        initial=[{"valueCoding": coding("x")[1]}],
    )
    assert found(form(wrong)) == [("warning", "item[0].initial[0].value")]


@pytest.fixture(scope="module")
def examples():
    if not EXAMPLES.exists():
        pytest.skip(f"the official examples are not at {EXAMPLES}; set XINGLIN_SHARED")
    with tarfile.open(EXAMPLES) as archive:
        files = {
            member.name.rpartition("/")[2]: json.load(archive.extractfile(member))
            for member in archive
            if "questionnaire" in member.name and member.name.endswith(".json")
        }
    kinds = ("Questionnaire", "QuestionnaireResponse")
    return {name: resource for name, resource in files.items() if resource["resourceType"] in kinds}


# Its linkIds repeat, which R4's own que-2 refuses too.
BROKEN_EXAMPLES = {"immunizationevaluation-questionnaire.json"}


def test_no_false_error_on_the_official_examples(examples):
    forms = [one for one in examples.values() if one["resourceType"] == "Questionnaire"]
    by_address = {f"Questionnaire/{one['id']}": one for one in forms}
    known = task(*forms, resolve=by_address.get)
    wrong = {
        name
        for name, resource in examples.items()
        if any(issue.severity == "error" for issue in check(resource, known))
    }
    assert len(examples) > 10
    assert wrong == BROKEN_EXAMPLES


def derived(kind, *items):
    extension_ = extension("questionnaire-derivationType", valueCoding={"code": kind})
    return {
        **form(*items),
        "url": f"{URL}/derived",
        "derivedFrom": [URL],
        "_derivedFrom": [{"extension": [extension_]}],
    }


BASE = form(item("a", required=True), item("b", "integer"))


@pytest.mark.parametrize(
    ("kind", "items", "expected"),
    [
        ("compliesWith", [item("a", required=True)], []),
        ("compliesWith", [item("b", "integer")], [("error", "Questionnaire")]),
        ("compliesWith", [item("a", required=True), item("c")], [("error", "item[1].linkId")]),
        ("compliesWith", [item("a")], [("error", "item[0].required")]),
        ("compliesWith", [item("a", required=True), item("b", "string")], [("error", "item[1].type")]),
        ("compliesWith", [item("a", required=True, repeats=True)], [("error", "item[0].repeats")]),
        ("extends", [item("a", required=True), item("b", "integer"), item("c")], []),
        ("extends", [item("a", required=True), item("c")], [("error", "Questionnaire")]),
        ("inspiredBy", [item("c")], []),
    ],
)
@clause("extension questionnaire-derivationType", "a derived form keeps what its kind promises")
def test_derivation(kind, items, expected):
    assert found(derived(kind, *items), BASE) == expected
