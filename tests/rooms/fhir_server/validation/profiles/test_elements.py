"""What a profile asks of one element (R4/elementdefinition.html): each rule kept and broken."""

from decimal import Decimal

import pytest

from fhir_server.fhirpath import temporal
from tests.support.clause import clause

from .written import UCUM, URL, at, broken, issues, profile

VALUE_SET = "http://example.org/fhir/ValueSet/v"


@clause("R4/elementdefinition.html#ElementDefinition.min", "fewer elements than min are refused")
@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        ({"name": [{"text": "A"}]}, []),
        ({}, [("error", "Patient.name", "Patient.name")]),
    ],
)
def test_min(patient, expected):
    definition = profile("p", "Patient", at("Patient.name", 1))
    assert broken({"resourceType": "Patient", **patient}, definition) == expected


@clause("R4/elementdefinition.html#ElementDefinition.max", "more elements than max are refused")
@pytest.mark.parametrize(
    ("most", "count", "right"), [("1", 1, True), ("1", 2, False), ("0", 0, True), ("0", 1, False)]
)
def test_max(most, count, right):
    definition = profile("p", "Patient", at("Patient.name", 0, most))
    patient = {"resourceType": "Patient"} | ({"name": [{"text": "A"}] * count} if count else {})
    assert broken(patient, definition) == ([] if right else [("error", "Patient.name", "Patient.name")])


def test_cardinality_below_a_repeating_element():
    definition = profile("p", "Patient", at("Patient.contact"), at("Patient.contact.name", 1, "1"))
    patient = {"resourceType": "Patient", "contact": [{"name": {"text": "A"}}, {"gender": "male"}]}
    assert broken(patient, definition) == [("error", "Patient.contact[1].name", "Patient.contact.name")]
    assert broken({"resourceType": "Patient"}, definition) == []


def test_an_extension_alone_is_there():
    definition = profile("p", "Patient", at("Patient.birthDate", 1, "1"))
    patient = {
        "resourceType": "Patient",
        "_birthDate": {"extension": [{"url": "http://x", "valueCode": "a"}]},
    }
    assert [one for one in broken(patient, definition) if one[0] == "error"] == []


@clause("R4/elementdefinition.html#ElementDefinition.fixed_x_", "fixed[x] is exact")
@pytest.mark.parametrize(
    ("concept", "places"),
    [
        ({"coding": [{"system": "s", "code": "a"}]}, []),
        ({"coding": [{"system": "s", "code": "a", "display": "A"}]}, [".coding[0].display"]),
        ({"coding": [{"system": "s", "code": "a"}], "text": "A"}, [".text"]),
        ({"coding": [{"system": "s", "code": "b"}]}, [".coding[0].code"]),
        ({"coding": [{"code": "b"}], "text": "A"}, [".coding[0].code", ".coding[0].system", ".text"]),
        ({"coding": []}, [".coding"]),
        ({"text": "A"}, [".coding", ".text"]),
    ],
)
def test_fixed(concept, places):
    fixed = {"coding": [{"system": "s", "code": "a"}]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", fixedCodeableConcept=fixed))
    observation = {"resourceType": "Observation", "status": "final", "code": concept}
    assert broken(observation, definition) == [
        ("error", f"Observation.code{place}", "Observation.code") for place in places
    ]


@clause("R4/elementdefinition.html#ElementDefinition.pattern_x_", "pattern[x]: at least what it names")
@pytest.mark.parametrize(
    ("concept", "right"),
    [
        ({"coding": [{"system": "s", "code": "a", "display": "A"}], "text": "A"}, True),
        ({"coding": [{"system": "s", "code": "b"}, {"system": "s", "code": "a"}]}, True),
        ({"coding": [{"system": "t", "code": "a"}, {"system": "s", "code": "b"}]}, False),
        ({"text": "a"}, False),
    ],
)
def test_pattern(concept, right):
    pattern = {"coding": [{"system": "s", "code": "a"}]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", patternCodeableConcept=pattern))
    observation = {"resourceType": "Observation", "status": "final", "code": concept}
    assert (broken(observation, definition) == []) is right


@pytest.mark.parametrize(
    ("key", "fixed", "value", "right"),
    [
        ("fixedBoolean", True, True, True),
        ("fixedBoolean", True, False, False),
        ("fixedInteger", 1, 1, True),
        ("patternInteger", 1, 2, False),
        ("fixedString", "a", "a", True),
        ("patternString", "a", "A", False),
    ],
)
def test_fixed_and_pattern_of_primitives(key, fixed, value, right):
    definition = profile("p", "Observation", at("Observation.value[x]", 0, "1", **{key: fixed}))
    name = {bool: "valueBoolean", int: "valueInteger", str: "valueString"}[type(value)]
    found = broken({"resourceType": "Observation", name: value}, definition)
    assert found == ([] if right else [("error", "Observation.value", "Observation.value[x]")])


def quantity(value, code):
    return {"value": Decimal(value), "unit": code, "system": UCUM, "code": code}


@clause("R4/elementdefinition.html#ElementDefinition.minValue_x_", "inclusive; a Quantity in any unit")
@pytest.mark.parametrize(
    ("found", "right"),
    [
        (quantity("2", "kg"), True),
        (quantity("1", "kg"), True),
        (quantity("1000", "g"), True),
        (quantity("999", "g"), False),
        (quantity("5000", "kg"), True),
        (quantity("5001", "kg"), False),
    ],
)
def test_bounds_of_quantities(found, right):
    definition = profile(
        "p",
        "Observation",
        at(
            "Observation.value[x]",
            minValueQuantity=quantity("1", "kg"),
            maxValueQuantity=quantity("5", "t"),
            type=[{"code": "Quantity"}],
        ),
    )
    result = broken({"resourceType": "Observation", "valueQuantity": found}, definition)
    assert result == ([] if right else [("error", "Observation.value", "Observation.value[x]")])


def test_a_quantity_of_another_kind_cannot_be_compared():
    definition = profile("p", "Observation", at("Observation.value[x]", minValueQuantity=quantity("1", "kg")))
    found = broken({"resourceType": "Observation", "valueQuantity": quantity("1", "m")}, definition)
    assert found == [("warning", "Observation.value", "Observation.value[x]")]


@pytest.mark.parametrize(
    ("key", "limit", "name", "value", "right"),
    [
        ("minValueDate", "2020-01-01", "birthDate", "2020-01-01", True),
        ("minValueDate", "2020-01-01", "birthDate", "2019-12-31", False),
        ("maxValueDate", "2020-01-01", "birthDate", "2020-01-02", False),
        ("maxValueInteger", 2, "multipleBirthInteger", 2, True),
        ("maxValueInteger", 2, "multipleBirthInteger", 3, False),
    ],
)
def test_bounds_of_other_types(key, limit, name, value, right):
    path = "Patient.multipleBirth[x]" if name.startswith("multiple") else f"Patient.{name}"
    definition = profile("p", "Patient", at(path, 0, "1", **{key: limit}))
    assert (broken({"resourceType": "Patient", name: value}, definition) == []) is right


@clause("R4/elementdefinition.html#ElementDefinition.minValue_x_", "a duration is relative to the clock")
@pytest.mark.parametrize(("years", "right"), [(1, True), (17, True), (19, False)])
def test_a_bound_relative_to_now(years, right):
    eighteen = {"value": 18, "system": UCUM, "code": "a"}
    definition = profile("p", "Patient", at("Patient.birthDate", 0, "1", minValueQuantity=eighteen))
    birth = f"{temporal.now().year - years}-06-15"
    assert (broken({"resourceType": "Patient", "birthDate": birth}, definition) == []) is right


@clause("R4/elementdefinition.html#ElementDefinition.maxLength", "longer texts are refused")
@pytest.mark.parametrize(("text", "right"), [("äöü", True), ("äöüß", False)])
def test_max_length(text, right):
    definition = profile("p", "Patient", at("Patient.name"), at("Patient.name.family", 0, "1", maxLength=3))
    assert (broken({"resourceType": "Patient", "name": [{"family": text}]}, definition) == []) is right


@clause("R4/elementdefinition.html#ElementDefinition.type", "a profile may leave some of the types")
def test_types_of_a_choice():
    definition = profile("p", "Observation", at("Observation.value[x]", type=[{"code": "Quantity"}]))
    assert broken({"resourceType": "Observation", "valueQuantity": {"value": 1}}, definition) == []
    assert broken({"resourceType": "Observation", "valueString": "1"}, definition) == [
        ("error", "Observation.value", "Observation.value[x]")
    ]


def test_children_of_a_choice():
    definition = profile(
        "p",
        "Observation",
        at("Observation.value[x]", type=[{"code": "Quantity"}]),
        at("Observation.value[x].code", 1, "1"),
    )
    assert broken({"resourceType": "Observation", "valueQuantity": {"code": "a"}}, definition) == []
    assert broken({"resourceType": "Observation", "valueQuantity": {"value": 1}}, definition) == [
        ("error", "Observation.value.code", "Observation.value[x].code")
    ]


@clause("R4/elementdefinition.html#ElementDefinition.type.profile", "an element meets one of the profiles")
def test_profiles_of_a_datatype():
    official = profile("official", "HumanName", at("HumanName.family", 1, "1"))
    spoken = profile("spoken", "HumanName", at("HumanName.text", 1, "1"))
    names = [{"code": "HumanName", "profile": [official["url"], spoken["url"]]}]
    definition = profile("p", "Patient", at("Patient.name", type=names))
    rest = (official, spoken)
    assert (
        broken({"resourceType": "Patient", "name": [{"family": "A"}, {"text": "B"}]}, definition, *rest) == []
    )
    found = issues({"resourceType": "Patient", "name": [{"given": ["A"]}]}, definition, *rest)
    assert [one.expression for one in found] == ["Patient.name[0]"]
    assert "meets none of" in found[0].diagnostics


def test_the_one_profile_of_a_datatype_says_what_is_wrong_itself():
    official = profile("official", "HumanName", at("HumanName.family", 1, "1"))
    types = [{"code": "HumanName", "profile": [official["url"]]}]
    definition = profile("p", "Patient", at("Patient.name", type=types))
    found = issues({"resourceType": "Patient", "name": [{"given": ["A"]}]}, definition, official)
    assert [(one.expression, one.rule) for one in found] == [
        ("Patient.name[0].family", f"{URL}official#HumanName.family")
    ]


def test_a_profile_of_a_type_that_is_not_known():
    types = [{"code": "HumanName", "profile": [f"{URL}nowhere"]}]
    definition = profile("p", "Patient", at("Patient.name", type=types))
    patient = {"resourceType": "Patient", "name": [{"given": ["A"]}, {"given": ["B"]}]}
    assert broken(patient, definition) == [("warning", "Patient.name[0]", "Patient.name")]


def test_content_references_have_the_rules_of_their_element():
    definition = profile(
        "p",
        "Questionnaire",
        at("Questionnaire.item"),
        at("Questionnaire.item.text", 1, "1"),
        at("Questionnaire.item.item", contentReference="#Questionnaire.item"),
    )
    inner = {"linkId": "2", "type": "display"}
    questionnaire = {"resourceType": "Questionnaire", "item": [{"linkId": "1", "text": "A", "item": [inner]}]}
    assert broken(questionnaire, definition) == [
        ("error", "Questionnaire.item[0].item[0].text", "Questionnaire.item.text")
    ]


def test_a_content_reference_is_for_elements_of_no_slice():
    slicing = {"discriminator": [{"type": "value", "path": "name"}], "rules": "open"}
    definition = profile(
        "p",
        "Parameters",
        at("Parameters.parameter"),
        at("Parameters.parameter.name", 1, "1", patternString="a"),
        at("Parameters.parameter.part", contentReference="#Parameters.parameter", slicing=slicing),
        at("Parameters.parameter.part:b", 0, "1"),
    )
    definition["snapshot"]["element"][-1] |= {"path": "Parameters.parameter.part", "sliceName": "b"}
    definition["snapshot"]["element"].append(
        {
            "id": "Parameters.parameter.part:b.name",
            "path": "Parameters.parameter.part.name",
            "min": 1,
            "max": "1",
            "patternString": "b",
        }
    )
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "a", "part": [{"name": "b"}]}]}
    assert broken(parameters, definition) == []
