"""Bindings of a profile, by their strength (R4/terminologies.html#strength)."""

import pytest

from tests.support.clause import clause

from .written import Codes, at, broken, profile

VALUE_SET = "http://example.org/fhir/ValueSet/v"


@clause("R4/terminologies.html#strength", "required, extensible, a maximum; preferred asks for nothing")
@pytest.mark.parametrize(
    ("strength", "severity"),
    [("required", "error"), ("extensible", "warning"), ("preferred", None), ("example", None)],
)
def test_strength_of_bindings(strength, severity):
    binding = {"strength": strength, "valueSet": VALUE_SET}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    terminology = Codes({VALUE_SET: {("s", "a")}})
    inside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "a"}]}}
    outside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "b"}]}}
    assert broken(inside, definition, terminology=terminology) == []
    expected = [] if severity is None else [(severity, "Observation.code", "Observation.code")]
    assert broken(outside, definition, terminology=terminology) == expected


def test_a_maximum_value_set():
    url = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"
    binding = {"strength": "preferred", "extension": [{"url": url, "valueCanonical": VALUE_SET}]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    outside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "b"}]}}
    assert broken(outside, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == [
        ("error", "Observation.code", "Observation.code")
    ]
    only_text = {"resourceType": "Observation", "code": {"text": "b"}}
    assert broken(only_text, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == []


def test_a_required_code_cannot_be_a_text():
    binding = {"strength": "required", "valueSet": VALUE_SET}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    observation = {"resourceType": "Observation", "code": {"text": "a"}}
    assert broken(observation, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == [
        ("error", "Observation.code", "Observation.code")
    ]


@pytest.mark.parametrize(
    ("path", "member", "right"),
    [
        ("Observation.value[x]", {"valueQuantity": {"value": 1, "system": "s", "code": "a"}}, True),
        ("Observation.value[x]", {"valueQuantity": {"value": 1, "system": "s", "code": "b"}}, False),
        ("Observation.status", {"status": "a"}, True),
        ("Observation.status", {"status": "b"}, False),
        ("Observation.meta.tag", {"meta": {"tag": [{"system": "s", "code": "b"}]}}, False),
        ("Observation.meta.source", {"meta": {"source": "a"}}, True),
        ("Observation.meta.source", {"meta": {"source": "b"}}, False),
    ],
)
def test_what_is_bound(path, member, right):
    binding = {"strength": "required", "valueSet": VALUE_SET}
    kind = [{"code": "uri"}] if path.endswith("source") else []
    elements = [at(path, binding=binding, type=kind)]
    if ".meta." in path:
        elements.insert(0, at("Observation.meta"))
    definition = profile("p", "Observation", *elements)
    terminology = Codes({VALUE_SET: {("s", "a")}})
    found = broken({"resourceType": "Observation", **member}, definition, terminology=terminology)
    assert (found == []) is right


def test_a_value_set_that_is_not_known_is_told_once():
    binding = {"strength": "required", "valueSet": VALUE_SET}
    definition = profile("p", "Observation", at("Observation.category", binding=binding))
    concept = {"coding": [{"system": "s", "code": "a"}]}
    assert broken({"resourceType": "Observation", "category": [concept, concept]}, definition) == [
        ("information", "Observation.category[0]", "Observation.category")
    ]


def test_additional_bindings():
    additional = {
        "url": "http://hl7.org/fhir/tools/StructureDefinition/additional-binding",
        "extension": [
            {"url": "purpose", "valueCode": "required"},
            {"url": "valueSet", "valueCanonical": VALUE_SET},
        ],
    }
    binding = {"strength": "preferred", "valueSet": "http://example.org/other", "extension": [additional]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    outside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "b"}]}}
    assert broken(outside, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == [
        ("error", "Observation.code", "Observation.code")
    ]
