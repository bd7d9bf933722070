"""fhirpath.extract: what search parameters select, by type name and JSON value."""

from __future__ import annotations

import pytest

from fhir_server.definitions import search_parameters, structures
from fhir_server.fhirpath.errors import FhirPathTypeError
from fhir_server.fhirpath.extract import extractor

PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "extension": [{"url": "http://e/a", "valueCode": "M"}, {"url": "http://e/b", "valueString": "x"}],
    "name": [
        {"family": "Chalmers", "given": ["Peter", "James"]},
        {"given": ["Jim"], "_family": {"extension": [{"url": "http://e/own", "valueString": "van"}]}},
        {"given": [None, "Ann"], "_given": [{"id": "a"}, None]},
    ],
    "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "a@b"}, {"value": "?"}],
    "deceasedDateTime": "2015",
}
OBSERVATION = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"text": "BP"},
    "subject": {"reference": "Patient/7"},
    "effectivePeriod": {"start": "2020"},
    "component": [
        {"code": {"text": "s"}, "valueQuantity": {"value": 120}},
        {"code": {"text": "d"}, "valueString": "low"},
        {"code": {"text": "x"}, "valueQuantity": {"value": 80}},
    ],
}
QUESTIONNAIRE = {
    "resourceType": "Questionnaire",
    "item": [{"linkId": "1", "item": [{"linkId": "1.1", "code": [{"code": "c"}]}]}],
}


@pytest.mark.parametrize(
    ("expression", "resource", "found"),
    [
        ("Patient.name.family", PATIENT, [("string", "Chalmers")]),
        ("Patient.name.given", PATIENT, [("string", name) for name in ("Peter", "James", "Jim", "Ann")]),
        ("Patient.id", PATIENT, [("id", "p")]),
        ("Resource.id", PATIENT, [("id", "p")]),
        ("Patient.telecom.where(system='email')", PATIENT, [("ContactPoint", PATIENT["telecom"][1])]),
        ("Patient.telecom.where(system != 'email').value", PATIENT, [("string", "1")]),
        ("Patient.telecom.where(system.exists().not()).value", PATIENT, [("string", "?")]),
        ("Patient.telecom[1].value", PATIENT, [("string", "a@b")]),
        ("Patient.deceased.exists() and Patient.deceased != false", PATIENT, [("boolean", True)]),
        ("(Patient.deceased as dateTime)", PATIENT, [("dateTime", "2015")]),
        ("Patient.deceased.as(boolean)", PATIENT, []),
        ("Patient.extension('http://e/a').value", PATIENT, [("code", "M")]),
        ("Patient.extension.where(url = 'http://e/b').value", PATIENT, [("string", "x")]),
        ("Patient.extension('http://e/a')", PATIENT, [("Extension", PATIENT["extension"][0])]),
        ("Practitioner.name | Patient.name.family", PATIENT, [("string", "Chalmers")]),
        ("Observation.effective", OBSERVATION, [("Period", {"start": "2020"})]),
        (
            "Observation.component",
            OBSERVATION,
            [("Observation.component", c) for c in OBSERVATION["component"]],
        ),
        (
            "(Observation.component.value as Quantity)",
            OBSERVATION,
            [("Quantity", {"value": 120}), ("Quantity", {"value": 80})],
        ),
        (
            "Observation.component.value",
            OBSERVATION,
            [("Quantity", {"value": 120}), ("string", "low"), ("Quantity", {"value": 80})],
        ),
        (
            "Observation.subject.where(resolve() is Patient)",
            OBSERVATION,
            [("Reference", {"reference": "Patient/7"})],
        ),
        ("Observation.subject.where(resolve() is Group)", OBSERVATION, []),
        (
            "Questionnaire.item.item",
            QUESTIONNAIRE,
            [("Questionnaire.item", QUESTIONNAIRE["item"][0]["item"][0])],
        ),
        ("Questionnaire.item.item.code", QUESTIONNAIRE, [("Coding", {"code": "c"})]),
    ],
)
def test_an_expression_selects(expression, resource, found):
    assert extractor(expression, resource["resourceType"])(resource) == found


def test_a_composite_component_is_relative_to_its_element():
    component = OBSERVATION["component"][0]
    assert extractor("code", "Observation.component")(component) == [("CodeableConcept", {"text": "s"})]
    assert extractor("value.as(Quantity)", "Observation.component")(component) == [
        ("Quantity", {"value": 120})
    ]


def test_a_component_reaches_its_resource_by_the_variable():
    resource = {"referenceSeq": {"referenceSeqId": {"text": "NC"}}, "variant": [{"start": 5}]}
    of_variant = extractor("%resource.referenceSeq.referenceSeqId", "MolecularSequence.variant")
    assert of_variant(resource["variant"][0], resource) == [("CodeableConcept", {"text": "NC"})]


@pytest.mark.parametrize(
    ("reference", "is_patient"),
    [
        ({"reference": "Patient/7"}, True),
        ({"reference": "http://host/Group/fhir/Patient/7/_history/2"}, True),
        ({"reference": "http://host/Patient/fhir/Group/7"}, False),
        ({"reference": "Patient?identifier=s|1"}, True),
        ({"reference": "#p"}, True),
        ({"reference": "#g"}, False),
        ({"reference": "urn:uuid:4b0a4d4c-1ae4-4b0e-9a2a-6a3ad1c7e2a1", "type": "Patient"}, True),
        ({"type": "http://hl7.org/fhir/StructureDefinition/Patient", "identifier": {"value": "1"}}, True),
        ({"display": "somebody"}, False),
    ],
)
def test_a_reference_is_judged_by_its_own_words(reference, is_patient):
    resource = {
        "subject": reference,
        "contained": [{"resourceType": "Patient", "id": "p"}, {"resourceType": "Group", "id": "g"}],
    }
    found = extractor("Observation.subject.where(resolve() is Patient)", "Observation")(resource)
    assert bool(found) is is_patient


def test_an_unknown_element_is_named_with_the_known_ones():
    with pytest.raises(FhirPathTypeError, match=r"Patient has no 'nmae'; it has .*name.*column 9"):
        extractor("Patient.nmae", "Patient")


@pytest.mark.parametrize("type_name", structures.resource_types())
def test_every_search_parameter_of_r4_compiles(type_name):
    empty = {"resourceType": type_name}
    for parameter in search_parameters.for_type(type_name).values():
        if parameter.expression is not None:
            found = extractor(parameter.expression, type_name)(empty)
            assert found in ([], [("boolean", False)], [(type_name, empty)])


@pytest.mark.parametrize(
    ("expression", "resource", "found"),
    [
        ("Patient.name.family.extension('http://e/own').value", PATIENT, [("string", "van")]),
        (
            "Patient.name.select(given.first() & '!')",
            PATIENT,
            [("string", text) for text in ("Peter!", "Jim!", "!")],
        ),
        ("Patient.name.count()", PATIENT, [("integer", 3)]),
        ("Patient.extension.where(url.endsWith('/a')).value", PATIENT, [("code", "M")]),
        (
            "Observation.component.value.ofType(Quantity).value",
            OBSERVATION,
            [("decimal", 120), ("decimal", 80)],
        ),
        ("Questionnaire.repeat(item).linkId", QUESTIONNAIRE, [("string", "1"), ("string", "1.1")]),
        ("Observation.effective.start", OBSERVATION, [("dateTime", "2020")]),
    ],
)
def test_an_uncommon_expression_is_left_to_the_engine(expression, resource, found):
    assert extractor(expression, resource["resourceType"])(resource) == found
