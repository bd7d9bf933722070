"""Spot checks of the facts, above all where the official package is odd."""

import hashlib

import pytest

from fhir_server.definitions import code_systems, search_parameters, structures, value_sets

REGISTRY = "http://hl7.org/fhir/SearchParameter/"


def test_type_codes_are_frozen():
    """They are stored in every row: a list that changes would give rows another type."""
    names = ",".join(structures.resource_types())
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "177c039c4a847da7"
    assert [structures.type_code(name) for name in ("Account", "Observation", "Patient")] == [1, 96, 103]
    assert all(
        structures.type_name(structures.type_code(name)) == name for name in structures.resource_types()
    )
    with pytest.raises(IndexError):
        structures.type_name(0)


def test_resource_id_is_an_id():
    """The snapshot says string, which would let any text be an id."""
    for name in structures.resource_types():
        assert structures.structure(name).elements[f"{name}.id"].types == ("id",)
    assert structures.structure("HumanName").elements["HumanName.id"].types == ("string",)


def test_every_type_of_every_element_is_known():
    known = set(structures.type_names())
    for name in known:
        for path, element in structures.structure(name).elements.items():
            assert set(element.types) <= known, path
            assert set(element.targets) <= known, path
            assert set(element.profiles) <= known, path
            assert element.content_reference in ("", *structures.structure(name).elements)


def test_examples_and_parameters_without_a_base_are_dropped():
    urls = {parameter.url for parameter in search_parameters.all_parameters()}
    assert len(urls) == 1400 - 13
    assert REGISTRY + "example-reference" not in urls
    assert search_parameters.for_type("Condition")["subject"].url == REGISTRY + "Condition-subject"
    assert search_parameters.for_type("Patient")["_id"].url == REGISTRY + "Resource-id"


def test_components_resolve_and_fit():
    crossed = search_parameters.for_type("DocumentReference")["relationship"]
    assert [(search_parameters.by_url(url).type, expression) for url, expression in crossed.components] == [
        ("token", "code"),
        ("reference", "target"),
    ]
    for parameter in search_parameters.all_parameters():
        assert (parameter.type == "composite") == bool(parameter.components)
        for url, expression in parameter.components:
            assert search_parameters.by_url(url).type != "composite"
            assert "DateTime)" not in expression.replace("dateTime)", "")


def test_ancestors_give_their_parameters_to_a_type():
    assert "_text" in search_parameters.for_type("Patient")
    assert "_text" not in search_parameters.for_type("Bundle")
    assert len(search_parameters.for_type("Observation")) == 53


def test_every_binding_has_its_value_set():
    """The five that are missing are addresses outside the package."""
    known = set(value_sets.value_set_urls())
    missing = {
        element.binding.value_set
        for name in structures.type_names()
        for element in structures.structure(name).elements.values()
        if element.binding and element.binding.value_set not in known
    }
    assert {url for url in missing if "hl7.org/fhir/ValueSet" in url} == set()
    assert len(missing) == 5


def test_names_of_others_are_left_out():
    for url in value_sets.value_set_urls():
        for part in value_sets.value_set(url).compose["include"]:
            if part.get("system") in ("http://snomed.info/sct", "http://loinc.org"):
                assert all(set(concept) == {"code"} for concept in part.get("concept", ()))


def test_filters_and_exclusions_are_expanded():
    """A value set of v3 concepts by is-a, one of everything but a branch."""
    use = value_sets.enumeration("http://hl7.org/fhir/ValueSet/use-context")
    assert use is None  # extensible: not enumerated here
    languages = value_sets.enumeration("http://hl7.org/fhir/ValueSet/all-languages")
    assert languages is None
    units = value_sets.enumeration("http://hl7.org/fhir/ValueSet/units-of-time")
    assert units == {"http://unitsofmeasure.org": frozenset({"s", "min", "h", "d", "wk", "mo", "a"})}


def test_concepts_keep_their_hierarchy():
    system = code_systems.code_system("http://terminology.hl7.org/CodeSystem/v3-ActCode")
    codes = [concept.code for concept in system.concepts]
    inpatient = system.concepts[codes.index("ACUTE")]
    assert system.concepts[inpatient.parent].code == "IMP"
