"""_sort (R4/search.html#sort)."""

from __future__ import annotations

import pytest

from fhir_server.definitions.structures import resource_types
from fhir_server.search.registry import standard
from fhir_server.search.results import is_sortable
from tests.spec.r4_http.test_errors import check
from tests.support.clause import clause
from tests.support.http import FhirClient


@clause("R4/search.html#sort", "every parameter of a type sorts, or the refusal says that it cannot")
@pytest.mark.parametrize(
    "type_name", ["Bundle", "Device", "DiagnosticReport", "Patient", "QuestionnaireResponse"]
)
def test_every_sort_key(client: FhirClient, type_name: str) -> None:
    for parameter in standard().for_type(type_name).values():
        reply = client.get(f"{type_name}?_sort={parameter.code}")
        if is_sortable(parameter):  # but near, which asks for a place to measure from: test_near
            assert reply.status == 200, parameter.code
        else:
            check(reply, 400, parameter.code)


@clause("R4/search.html#sort", "a parameter whose values have no order that SQL can follow: 400")
def test_what_cannot_be_sorted_by(client: FhirClient) -> None:
    check(client.get("Bundle?_sort=message"), 400, "message is no parameter that this server can sort by")
    check(client.get("Patient?_sort=-deceased"), 400, "deceased")
    sortable = [
        parameter.code
        for type_name in resource_types()
        for parameter in standard().for_type(type_name).values()
        if is_sortable(parameter)
    ]
    assert len(sortable) > 2000
