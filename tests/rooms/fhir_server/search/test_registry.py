"""The parameters of each type, and what their expressions say without a resource."""

from __future__ import annotations

import pytest

from fhir_server.definitions.structures import resource_types
from fhir_server.search import elements, paths
from fhir_server.search.registry import Registry, parameters, standard

REGISTRY = Registry()


def test_what_is_known_of_nearly_all() -> None:
    unknown = {
        (parameter.type_name, parameter.code)
        for name in resource_types()
        for parameter in REGISTRY.for_type(name).values()
        if parameter.expression and parameter.kind != "special" and not elements.facts(parameter).types
    }
    # Extensions by url, and the resources at the beginning of a document or message.
    assert unknown == {
        ("Bundle", "composition"),
        ("Bundle", "message"),
        ("Device", "din"),
        ("DiagnosticReport", "assessed-condition"),
        ("Observation", "amino-acid-change"),
        ("Observation", "dna-variant"),
        ("Observation", "gene-amino-acid-change"),
        ("Observation", "gene-dnavariant"),
        ("Observation", "gene-identifier"),
        ("Patient", "mothersMaidenName"),
    }


@pytest.mark.parametrize(
    ("address", "types", "many"),
    [
        ("Patient.birthdate", {"date"}, False),
        ("Patient.name", {"HumanName"}, True),
        ("Observation.date", {"dateTime", "Period", "Timing", "instant"}, False),
        ("Observation.value-quantity", {"Quantity", "SampledData"}, False),
        ("Observation.combo-value-quantity", {"Quantity", "SampledData"}, True),
        ("Condition.onset-date", {"dateTime", "Period"}, False),
        ("Goal.target-date", {"date"}, True),
        ("Patient.deceased", {"boolean"}, False),
        ("Composition.related-id", {"Identifier"}, True),
        ("Location.name", {"string"}, True),
    ],
)
def test_facts(address: str, types: set[str], many: bool) -> None:
    type_name, _, code = address.partition(".")
    parameter = REGISTRY.get(type_name, code)
    assert parameter is not None
    assert (elements.facts(parameter).types, elements.facts(parameter).many) == (types, many)


@pytest.mark.parametrize(
    ("address", "targets"),
    [
        ("Observation.patient", ("Patient",)),
        ("Observation.encounter", ("Encounter",)),
        ("Observation.subject", ("Device", "Group", "Location", "Patient")),
        ("AllergyIntolerance.patient", ("Patient",)),
        ("QuestionnaireResponse.questionnaire", ("Questionnaire",)),
        ("Composition.entry", tuple(name for name in resource_types() if name != "Parameters")),
    ],
)
def test_targets(address: str, targets: tuple[str, ...]) -> None:
    parameter = REGISTRY.get(*address.split("."))
    assert parameter is not None
    assert parameter.targets == targets


def test_parameters_that_others_answer() -> None:
    observation = {
        code: parameter.sources
        for code, parameter in REGISTRY.for_type("Observation").items()
        if parameter.sources != (code,)
    }
    assert observation == {
        "combo-code": ("code", "component-code"),
        "combo-code-value-concept": ("code-value-concept", "component-code-value-concept"),
        "combo-code-value-quantity": ("code-value-quantity", "component-code-value-quantity"),
        "combo-data-absent-reason": ("component-data-absent-reason", "data-absent-reason"),
        "combo-value-concept": ("component-value-concept", "value-concept"),
        "combo-value-quantity": ("component-value-quantity", "value-quantity"),
        "gene-amino-acid-change": ("amino-acid-change",),
        "gene-dnavariant": ("dna-variant",),
    }
    for name in resource_types():
        for parameter in REGISTRY.for_type(name).values():
            for code in parameter.sources:
                source = REGISTRY.get(name, code)
                assert source is not None
                assert source.sources == (code,)


def test_every_token_reference_and_uri_can_be_sorted_by_but_for_a_few() -> None:
    without = {
        (parameter.type_name, parameter.code)
        for name in resource_types()
        for parameter in REGISTRY.for_type(name).values()
        if parameter.kind in ("token", "reference", "uri") and parameter.expression
        if not paths.json_paths(parameter)
    }
    assert without == {
        ("Bundle", "composition"),
        ("Bundle", "message"),
        ("Device", "din"),
        ("DiagnosticReport", "assessed-condition"),
        ("Observation", "gene-identifier"),
        ("Patient", "deceased"),
        ("QuestionnaireResponse", "item-subject"),
    }


def test_definitions_of_what_is_understood() -> None:
    codes = [definition.code for definition in parameters("Location")]
    assert not {"_filter", "_text"} & set(codes)
    assert {"_id", "_lastUpdated", "name", "near"} <= set(codes)
    assert standard() is standard()
