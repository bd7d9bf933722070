"""Which profiles a resource is checked against: those asked for, claimed, imposed, unknown ones."""

import pytest

from tests.support.clause import clause

from .written import URL, at, broken, profile


def test_the_profile_of_another_type():
    definition = profile("p", "Patient")
    assert broken({"resourceType": "Device"}, definition) == [("error", "Device", "Patient")]


@clause("R4/resource.html#Meta.profile", "claims are checked, also of contained resources and entries")
def test_claims():
    definition = profile("p", "Patient", at("Patient.name", 1))
    patient = {"resourceType": "Patient", "meta": {"profile": [definition["url"]]}}
    expected = [("error", "Bundle.entry[0].resource.name", "Patient.name")]
    bundle = {"resourceType": "Bundle", "entry": [{"resource": patient}]}
    assert broken(bundle, definition, profiles=(), claims=True) == expected
    assert broken(bundle, definition, profiles=(), claims=False) == []
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "a", "part": [{"name": "b", "resource": {**patient, "contained": [patient]}}]}
        ],
    }
    assert [one[1] for one in broken(parameters, definition, profiles=(), claims=True)] == [
        "Parameters.parameter[0].part[0].resource.name",
        "Parameters.parameter[0].part[0].resource.contained[0].name",
    ]


def test_profiles_that_are_not_known():
    patient = {"resourceType": "Patient", "meta": {"profile": [f"{URL}nowhere"]}}
    assert broken(patient, claims=True) == [("warning", "Patient.meta.profile", "Patient")]
    assert broken(patient, profiles=(f"{URL}nowhere",)) == [("error", "Patient", "Patient")]


def test_r4s_own_types_may_be_claimed():
    core = "http://hl7.org/fhir/StructureDefinition/"
    patient = {"resourceType": "Patient", "meta": {"profile": [f"{core}Patient", f"{core}DomainResource"]}}
    assert broken(patient, claims=True) == []
    assert broken(patient, profiles=(f"{core}Device",))[0][0] == "error"


def test_equal_issues_are_told_once():
    definition = profile("p", "Patient", at("Patient.name", 1))
    patient = {"resourceType": "Patient", "meta": {"profile": [definition["url"]]}}
    assert len(broken(patient, definition, claims=True)) == 1


def test_imposed_profiles():
    url = "http://hl7.org/fhir/StructureDefinition/structuredefinition-imposeProfile"
    other = profile("other", "Patient", at("Patient.name", 1))
    definition = profile("p", "Patient", extension=[{"url": url, "valueCanonical": other["url"]}])
    assert broken({"resourceType": "Patient"}, definition, other) == [
        ("error", "Patient.name", "Patient.name")
    ]


def test_a_document_profile():
    """A slice of entries by their type, whose resources have a profile."""
    named = profile("named", "Patient", at("Patient.name", 1))
    definition = profile(
        "p",
        "Bundle",
        at(
            "Bundle.entry", slicing={"discriminator": [{"type": "type", "path": "resource"}], "rules": "open"}
        ),
        at("Bundle.entry:patient", 1, "1"),
        at("Bundle.entry:patient.resource", 1, "1", type=[{"code": "Patient", "profile": [named["url"]]}]),
    )
    bundle = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}
    assert broken(bundle, definition, named) == [("error", "Bundle.entry[0].resource.name", "Patient.name")]


@pytest.mark.parametrize(
    "elements",
    [[{"path": "Patient"}, {"path": 5}], [{"path": "Patient"}, {"path": "Patient.name", "max": {}}]],
)
def test_a_profile_that_is_none_refuses_nobody(elements):
    definition = profile("p", "Patient")
    definition["snapshot"]["element"] = elements
    patient = {"resourceType": "Patient", "meta": {"profile": [definition["url"]]}, "name": [{"text": "A"}]}
    assert [one[0] for one in broken(patient, definition, profiles=(), claims=True)] == ["warning"]
