"""What an answer may be: its type, its limits, its options and units."""

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
    issues,
    item,
    quantity,
    response,
)
from tests.support.clause import clause

VALUES = {
    "Boolean": True,
    "Decimal": 1.5,
    "Integer": 1,
    "Date": "2020-01-31",
    "DateTime": "2020-01-31T10:00:00Z",
    "Time": "10:00:00",
    "String": "x",
    "Uri": "http://example.org",
    "Attachment": {"url": "http://example.org/a.pdf"},
    "Coding": {"system": COLOURS, "code": "red"},
    "Quantity": {"value": 1},
    "Reference": {"reference": "Patient/1"},
}
EXPECTED = {
    "boolean": "Boolean", "decimal": "Decimal", "integer": "Integer", "date": "Date", "dateTime": "DateTime",
    "time": "Time", "string": "String", "text": "String", "url": "Uri", "attachment": "Attachment",
    "reference": "Reference", "quantity": "Quantity",
}  # fmt: skip


@clause("R4/codesystem-item-type.html", "an answer has the type that the item's type says")
@pytest.mark.parametrize("kind", EXPECTED)
def test_types(kind):
    questionnaire = form(item("q", kind))
    wrong = [
        name for name, value in VALUES.items() if errors(questionnaire, response(given("q", (name, value))))
    ]
    assert wrong == [name for name in VALUES if name != EXPECTED[kind]]


@pytest.mark.parametrize("kind", ["choice", "open-choice"])
def test_types_of_choices(kind):
    questionnaire = form(item("q", kind))
    wrong = [
        name for name, value in VALUES.items() if errors(questionnaire, response(given("q", (name, value))))
    ]
    assert wrong == ["Boolean", "Decimal", "DateTime", "Uri", "Attachment", "Quantity"]
    assert issues(questionnaire, response(given("q", coding("red")))) == [
        ("information", "item[0].answer[0].value")
    ]


def test_the_abstract_type_has_no_answers():
    questionnaire = form(item("q", "question"))
    assert errors(questionnaire, response(given("q", ("String", "x")))) == ["item[0].answer"]
    assert errors(questionnaire, response(given("q"))) == []


def limited(kind, *extensions, **members):
    return form(item("q", kind, *extensions, repeats=True, **members))


MIN, MAX = "minValue", "maxValue"
REGEX = extension("regex", valueString="[A-Z]{2}[0-9]+")
GIF, IMAGES = extension("mimeType", valueCode="image/gif"), extension("mimeType", valueCode="image/*")
KG, MILE = {"value": 5, "system": "http://unitsofmeasure.org", "code": "kg"}, "[mi_i]"
AT_LEAST = extension(f"{SDC}minQuantity", valueQuantity=KG)
AT_MOST = extension(f"{SDC}maxQuantity", valueQuantity={**KG, "value": 50})
LOOSE = extension(f"{SDC}minQuantity", valueQuantity={"value": 5, "unit": "Kg"})
METRE = extension(
    "questionnaire-unitOption", valueCoding={"system": KG["system"], "code": "m", "display": "metre"}
)
PATIENTS = extension("questionnaire-referenceResource", valueCode="Patient")
GROUPS = extension("questionnaire-referenceResource", valueCode="Group")

LIMITS = [
    # questionnaire, answers that are right, answers that are wrong
    ("maxLength", limited("string", maxLength=3), [("String", "abc")], [("String", "abcd")]),
    ("maxLength of a text", limited("text", maxLength=3), [("String", "a\nb")], [("String", "a\nbc")]),
    ("maxLength of a number", limited("integer", maxLength=2), [("Integer", 99)], [("Integer", 100)]),
    (
        "minLength",
        limited("string", extension("minLength", valueInteger=3)),
        [("String", "abc")],
        [("String", "ab")],
    ),
    (
        "regex",
        limited("string", REGEX),
        [("String", "AB1")],
        [("String", "xAB1"), ("String", "AB1x"), ("String", "A1")],
    ),
    (
        "regex as FHIRPath",
        limited("string", extension("regex", valueString="matches('^[0-9]{4}$')")),
        [("String", "2020")],
        [("String", "20201")],
    ),
    (
        "regex of a url",
        limited("url", extension("regex", valueString="https:.*")),
        [("Uri", "https://x")],
        [("Uri", "http://x")],
    ),
    (
        "regex of a number",
        limited("integer", extension("regex", valueString="[0-9]{4}")),
        [("Integer", 2020)],
        [("Integer", 20)],
    ),
    (
        "integer range",
        limited("integer", extension(MIN, valueInteger=1), extension(MAX, valueInteger=3)),
        [("Integer", 1), ("Integer", 3)],
        [("Integer", 0), ("Integer", 4)],
    ),
    (
        "decimal range with integer bounds",
        limited("decimal", extension(MIN, valueInteger=1), extension(MAX, valueDecimal=2.5)),
        [("Decimal", 1.0), ("Decimal", 2.5)],
        [("Decimal", 0.99), ("Decimal", 2.51)],
    ),
    (
        "date range",
        limited("date", extension(MIN, valueDate="2020-02"), extension(MAX, valueDate="2021")),
        [("Date", "2020-02"), ("Date", "2020-03-01"), ("Date", "2021")],
        [("Date", "2020-01-31"), ("Date", "2022"), ("Date", "2019")],
    ),
    (
        "dateTime range over zones",
        limited("dateTime", extension(MAX, valueDateTime="2020-01-01T12:00:00Z")),
        [("DateTime", "2020-01-01T13:00:00+01:00")],
        [("DateTime", "2020-01-01T12:00:00-01:00")],
    ),
    (
        "time range",
        limited("time", extension(MIN, valueTime="08:00:00"), extension(MAX, valueTime="17:00:00")),
        [("Time", "08:00:00"), ("Time", "17:00:00")],
        [("Time", "07:59:59"), ("Time", "17:00:01")],
    ),
    (
        "decimal places",
        limited("decimal", extension("maxDecimalPlaces", valueInteger=2)),
        [("Decimal", 1.25), ("Decimal", 100)],
        [("Decimal", 1.255)],
    ),
    (
        "quantity range over units",
        limited("quantity", AT_LEAST, AT_MOST),
        [quantity(5, "kg"), quantity(5000, "g"), quantity(50, "kg")],
        [quantity(4999, "g"), quantity(51, "kg"), quantity(10, MILE), quantity(10, unit="kg")],
    ),
    (
        "bounds for people only",
        limited("quantity", LOOSE),
        [("Quantity", {"unit": "Kg"})],
        [quantity(10, unit="Kg")],
    ),
    (
        "unit options",
        limited("quantity", METRE),
        [quantity(1, "m"), quantity(1, "m", unit="meters"), quantity(1, unit="metre")],
        [quantity(1, "km"), quantity(1, "m", "http://example.org"), quantity(1), quantity(1, unit="km")],
    ),
    (
        "content types",
        limited("attachment", GIF),
        [("Attachment", {"contentType": "image/gif"}), ("Attachment", {"contentType": "image/GIF; a=b"})],
        [("Attachment", {"contentType": "image/png"}), ("Attachment", {"url": "http://x"})],
    ),
    (
        "content types by family",
        limited("attachment", IMAGES),
        [("Attachment", {"contentType": "image/png"})],
        [("Attachment", {"contentType": "imagery/png"})],
    ),
    (
        "sizes",
        limited("attachment", extension("maxSize", valueDecimal=3)),
        [("Attachment", {"size": 3}), ("Attachment", {"data": "QUJD"}), ("Attachment", {"url": "http://x"})],
        [
            ("Attachment", {"size": 4}),
            ("Attachment", {"data": "QUJDRA=="}),
            ("Attachment", {"data": "QUJDRA==", "size": 1}),
        ],
    ),
    (
        "referenced types",
        limited("reference", PATIENTS, GROUPS),
        [
            ("Reference", {"reference": text})
            for text in ("Patient/1", "Group/1", "http://x/Patient/1", "urn:uuid:1")
        ],
        [("Reference", {"reference": "Device/1"}), ("Reference", {"type": "Device", "display": "x"})],
    ),
    (
        "urls",
        limited("url"),
        [
            ("Uri", "Patient/1"),
            ("Uri", "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
            ("Uri", "urn:oid:1.2.0"),
        ],
        [
            ("Uri", "urn:uuid:C757873d-ec9a-4326-a141-556f43239520"),
            ("Uri", "urn:oid:1.02"),
            ("Uri", "urn:oid:7"),
        ],
    ),
]


@clause("R4/questionnaire-profiles.html", "an answer keeps to the limits that the item sets")
@pytest.mark.parametrize(
    ("questionnaire", "right", "wrong"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS]
)
def test_limits(questionnaire, right, wrong):
    for answer in right:
        assert errors(questionnaire, response(given("q", answer))) == [], answer
    for answer in wrong:
        assert set(errors(questionnaire, response(given("q", answer)))) == {"item[0].answer[0].value"}, answer


@pytest.mark.parametrize(
    ("questionnaire", "answer"),
    [
        (limited("date", extension(MAX, valueDate="2021-06")), ("Date", "2021")),
        (limited("string"), ("String", "two\nlines")),
        (limited("string", extension("regex", valueString="(")), ("String", "x")),
        (limited("string", extension("regex", valueString="(x|x.|.x)+z?")), ("String", "x" * 60 + "!!!")),
        (limited("quantity", extension("questionnaire-unit", valueCoding={"code": "kg"})), quantity(1, "g")),
    ],
    ids=["precision leaves it open", "lines in a string", "no regex", "a regex without end", "another unit"],
)
def test_advice(questionnaire, answer):
    assert issues(questionnaire, response(given("q", answer))) == [("warning", "item[0].answer[0].value")]


def test_a_precise_value_and_a_coarse_bound_leave_it_open():
    questionnaire = limited("date", extension(MAX, valueDate="2021-06"))
    assert issues(questionnaire, response(given("q", ("Date", "2021-06-30")))) == [
        ("warning", "item[0].answer[0].value")
    ]


def options(*values, kind="choice", **members):
    return form(
        item(
            "q",
            kind,
            repeats=True,
            answerOption=[{f"value{name}": value} for name, value in values],
            **members,
        )
    )


CODES = (
    coding("red"),
    coding("blue", display="Blue"),
    ("Coding", {"code": "loose"}),
    ("Coding", {"display": "Other"}),
)

CHOICES = [
    ("codes", options(*CODES), coding("red"), True),
    ("a code with another name", options(*CODES), coding("blue", display="Navy"), True),
    ("a code without system", options(*CODES), ("Coding", {"code": "loose"}), True),
    ("a display only", options(*CODES), ("Coding", {"display": "Other"}), True),
    ("another code", options(*CODES), coding("green"), False),
    ("another system", options(*CODES), coding("red", "http://example.org/flags"), False),
    ("the system left out", options(*CODES), ("Coding", {"code": "red"}), False),
    ("a system where there is none", options(*CODES), coding("loose"), False),
    ("another spelling", options(*CODES), coding("Red"), False),
    ("a string", options(*CODES), ("String", "red"), False),
    ("free text", options(*CODES, kind="open-choice"), ("String", "violet"), True),
    ("another code of an open choice", options(*CODES, kind="open-choice"), coding("green"), False),
    ("strings", options(("String", "a"), ("String", "b")), ("String", "b"), True),
    ("another string", options(("String", "a")), ("String", "A"), False),
    ("integers", options(("Integer", 1), kind="integer"), ("Integer", 1), True),
    ("another integer", options(("Integer", 1), kind="integer"), ("Integer", 2), False),
    ("integers of a choice", options(("Integer", 1)), ("Integer", 2), False),
    ("dates", options(("Date", "2020"), kind="date"), ("Date", "2020"), True),
    ("another precision", options(("Date", "2020"), kind="date"), ("Date", "2020-01"), False),
    ("times", options(("Time", "10:00:00"), kind="time"), ("Time", "10:00:00"), True),
    ("another time", options(("Time", "10:00:00"), kind="time"), ("Time", "10:00:01"), False),
    (
        "references",
        options(("Reference", {"reference": "Patient/1"})),
        ("Reference", {"reference": "Patient/1", "display": "x"}),
        True,
    ),
    (
        "another reference",
        options(("Reference", {"reference": "Patient/1"})),
        ("Reference", {"reference": "Patient/2"}),
        False,
    ),
]


@clause(
    "R4/questionnaire-definitions.html#Questionnaire.item.answerOption", "an answer is one of the options"
)
@pytest.mark.parametrize(
    ("questionnaire", "answer", "is_right"), [row[1:] for row in CHOICES], ids=[row[0] for row in CHOICES]
)
def test_options(questionnaire, answer, is_right):
    assert errors(questionnaire, response(given("q", answer))) == (
        [] if is_right else ["item[0].answer[0].value"]
    )


def test_the_message_names_the_options_and_what_nearly_fits():
    questionnaire = options(*CODES)
    (found,) = check(response(given("q", coding("red", "http://example.org/flags"))), task(questionnaire))
    assert "got http://example.org/flags#red" in found.diagnostics
    assert f"{COLOURS}#red, {COLOURS}#blue" in found.diagnostics
    assert f"has the system {COLOURS}" in found.diagnostics


@clause("R4/extension-questionnaire-optionexclusive.html", "an exclusive option stands alone")
def test_exclusive():
    exclusive = extension("questionnaire-optionExclusive", valueBoolean=True)
    none = {"valueCoding": {"system": COLOURS, "code": "none"}, "extension": [exclusive]}
    questionnaire = form(
        item("q", "choice", repeats=True, answerOption=[{"valueCoding": coding("red")[1]}, none])
    )
    assert errors(questionnaire, response(given("q", coding("none")))) == []
    assert errors(questionnaire, response(given("q", coding("red"), coding("none")))) == ["item[0].answer[1]"]


def test_the_same_option_twice_is_advice():
    questionnaire = options(*CODES)
    assert issues(questionnaire, response(given("q", coding("red"), coding("red")))) == [
        ("warning", "item[0].answer[1]")
    ]


def test_a_value_that_is_only_extensions_is_not_looked_at():
    answer = {"_valueInteger": {"extension": [extension("data-absent-reason", valueCode="unknown")]}}
    assert issues(limited("integer", extension(MIN, valueInteger=3)), response(given("q", answer))) == []


def test_two_options_of_one_code_have_two_names():
    questionnaire = options(coding("red", display="Red"), coding("red", display="Scarlet"))
    for name, found in (
        ("red", []),
        ("Scarlet", []),
        ("Blue", [("warning", "item[0].answer[0].value.display")]),
    ):
        assert issues(questionnaire, response(given("q", coding("red", display=name)))) == found
