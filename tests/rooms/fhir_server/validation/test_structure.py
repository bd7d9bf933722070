"""Every way to break a resource is seen, at the place where it is broken."""

import pytest

from fhir_server.validation import explain
from fhir_server.validation.structure import Structure
from fhir_server.validation.validator import validate

from . import samples

STRUCTURE = Structure(in_transaction=False)


def problems(resource):
    return list(explain.resource_problems(resource, None, False))


@pytest.mark.parametrize("resource", samples.VALID, ids=lambda resource: resource["resourceType"])
def test_valid_resources_have_no_problem(resource):
    assert STRUCTURE.accepts(resource)
    assert problems(resource) == []
    assert validate(resource) == []


@pytest.mark.parametrize("resource", samples.VALID, ids=lambda resource: resource["resourceType"])
def test_mutants_are_caught_where_they_are_broken(resource):
    count = 0
    for name, mutant, path in samples.mutants(resource):
        found = problems(mutant)
        places = {issue.expression for issue in found}
        assert path in places or f"{path}.reference" in places, (name, path, found)
        assert not STRUCTURE.accepts(mutant), name
        # What is broken in one place is told there, not all over the resource.
        assert all(str(place).startswith(path.rpartition(".")[0]) for place in places), (name, found)
        assert all(issue.severity == "error" and issue.diagnostics for issue in found)
        count += 1
    assert count > 50
