"""Every definition that is read and not stored is valid R4."""

from __future__ import annotations

import pytest

from fhir_server.definitions import published
from fhir_server.definitions.published import resource, urls
from fhir_server.operations.registry import definitions
from fhir_server.validation.validator import validate

TYPES = ("SearchParameter", "OperationDefinition", "StructureDefinition", "ValueSet", "CodeSystem")


@pytest.mark.parametrize("type_name", TYPES)
def test_ids_lead_to_urls(type_name: str) -> None:
    found = urls(type_name)
    assert len(found) > 40
    for id_, url in found.items():
        assert url.rpartition("/")[2].startswith(id_)


@pytest.mark.parametrize("type_name", TYPES)
def test_they_are_valid(type_name: str) -> None:
    wrong = {}
    ids = sorted(urls(type_name))
    # all that are made from facts, and of the others one in ten
    for id_ in ids if type_name in ("SearchParameter", "OperationDefinition") else ids[::10]:
        found = resource(type_name, id_)
        assert found is not None
        if errors := [each for each in validate(found) if each.severity in ("error", "fatal")]:
            wrong[id_] = errors[0].diagnostics
    assert wrong == {}


def test_those_of_our_own_operations_are_valid() -> None:
    made = definitions("http://a.org/fhir")
    assert {"reindex", "reindex-status", "reindex-cancel", "fhirpath", "install"} <= set(made)
    for id_, each in made.items():
        errors = [i for i in validate({**each, "id": id_}) if i.severity in ("error", "fatal")]
        assert errors == []


def test_what_r4_has_not() -> None:
    assert resource("SearchParameter", "nobody") is None
    assert resource("Patient", "7") is None
    assert published.resource("StructureDefinition", "us-core-patient") is None
