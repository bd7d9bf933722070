"""Observations of vital signs meet R4's profiles for them (R4/observation-vitalsigns.html)."""

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.validation.knowledge import Knowledge, Task
from fhir_server.validation.profiles.check import check
from fhir_server.validation.profiles.vital_signs import PROFILES
from tests.support.clause import clause

from .written import UCUM

KNOWLEDGE = Knowledge(Conformance([Core()]))
CATEGORY = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"},
    ]
}


def observation(code, **more):
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [CATEGORY],
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/1"},
        "effectiveDateTime": "2020-01-01",
        **more,
    }


def found(resource, **more):
    return list(check(resource, Task(knowledge=KNOWLEDGE, **more)))


def errors(resource):
    return [one.expression for one in found(resource, vital_signs=True) if one.severity == "error"]


def quantity(value, code):
    return {"value": value, "unit": code, "system": UCUM, "code": code}


@clause("R4/observation-vitalsigns.html", "a vital sign meets its profile")
@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (observation("8867-4", valueQuantity=quantity(60, "/min")), []),
        (observation("8867-4", valueQuantity=quantity(60, "1/min")), ["Observation.value.code"]),
        (observation("8867-4", valueQuantity={"value": 60}), ["Observation.value"]),
        (observation("8867-4", valueQuantity=quantity(60, "/min"), category=[]), ["Observation.category"]),
        (observation("8302-2", valueQuantity=quantity(170, "cm")), []),
        (observation("8302-2", valueString="tall"), ["Observation.value"]),
        (observation("85354-9"), ["Observation.component"]),
        (observation("718-7", valueString="none of them"), []),
    ],
)
def test_vital_signs(resource, expected):
    if not resource["category"]:
        del resource["category"]
    places = errors(resource)
    assert bool(places) is bool(expected)
    assert all(any(place.startswith(one) for place in places) for one in expected)


def test_without_the_flag_nothing_is_asked():
    assert found(observation("8867-4", valueQuantity={"value": 60}), claims=True) == []


def test_why_it_was_asked_is_told():
    told = [one for one in found(observation("8867-4"), vital_signs=True) if one.severity == "information"]
    assert "8867-4" in told[0].diagnostics
    assert "StructureDefinition/heartrate" in told[0].diagnostics


def test_every_profile_is_there():
    for name in set(PROFILES.values()):
        url = f"http://hl7.org/fhir/StructureDefinition/{name}"
        assert KNOWLEDGE.conformance.find("StructureDefinition", url) is not None


def test_units_of_components():
    """R4 requires ucum-vitals-common of every component; L/min of oxygen is not in it."""
    flow = {"code": {"text": "flow of oxygen"}, "valueQuantity": quantity(6, "L/min")}
    resource = observation("2708-6", valueQuantity=quantity(95, "%"), component=[flow])
    assert errors(resource) == []
