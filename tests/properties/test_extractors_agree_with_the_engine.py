"""The look-ups of search indexing find what the general engine finds, on R4's own examples."""

from __future__ import annotations

import json
import os
import tarfile
from decimal import Decimal
from pathlib import Path

import pytest

from fhir_server.definitions import search_parameters
from fhir_server.fhirpath import extract
from fhir_server.fhirpath.values import Element, key
from fhir_server.search import index

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
EXAMPLES = SHARED / "data" / "r4-examples.tar.xz"


def as_set(pairs):
    # a union drops what is equal (1.0 and 1.00), an index keeps both: compared by what `=` says
    return {(type_name, key(Element(value, type_name))) for type_name, value in pairs}


def asked_of_examples():
    """Give every fourth example with each search parameter of its type that has an expression."""
    with tarfile.open(EXAMPLES) as archive:
        for place, member in enumerate(archive):
            if place % 4 or not member.name.endswith(".json"):
                continue
            resource = json.load(archive.extractfile(member), parse_float=Decimal)
            type_name = resource["resourceType"]
            for parameter in search_parameters.for_type(type_name).values():
                if parameter.expression is not None:
                    yield member.name, resource, type_name, parameter


@pytest.mark.skipif(not EXAMPLES.exists(), reason=f"no examples at {EXAMPLES}; set XINGLIN_SHARED")
def test_every_search_expression_finds_the_same_both_ways():
    compared = 0
    for name, resource, type_name, parameter in asked_of_examples():
        quick = extract.extractor(parameter.expression, type_name)(resource)
        slow = extract.by_engine(parameter.expression, type_name)(resource)
        assert as_set(quick) == as_set(slow), (name, parameter.code)
        compared += 1
    assert compared > 10_000


@pytest.mark.skipif(not EXAMPLES.exists(), reason=f"no examples at {EXAMPLES}; set XINGLIN_SHARED")
def test_what_a_resource_does_not_begin_selects_nothing_of_it():
    passed_over = 0
    for _, resource, type_name, parameter in asked_of_examples():
        begins = extract.beginnings(parameter.expression, type_name)
        if begins is not None and begins.isdisjoint(resource):
            assert not extract.extractor(parameter.expression, type_name)(resource)
            passed_over += 1
    assert passed_over > 5000


@pytest.mark.skipif(not EXAMPLES.exists(), reason=f"no examples at {EXAMPLES}; set XINGLIN_SHARED")
def test_an_index_by_the_steps_that_fit_is_that_by_all_of_them(monkeypatch):
    few = index.Indexer()
    with monkeypatch.context() as patch:
        patch.setattr(index, "_needed", lambda parameter: ())
        every = index.Indexer()
        for name in ("Observation", "Patient", "Encounter", "ValueSet"):
            every.index(name, {"resourceType": name})  # which compiles the type
    compared = 0
    with tarfile.open(EXAMPLES) as archive:
        for member in archive:
            if member.name.rpartition("/")[2].startswith(("observation", "patient", "encounter", "valueset")):
                resource = json.load(archive.extractfile(member), parse_float=Decimal)
                if resource["resourceType"] in ("Observation", "Patient", "Encounter", "ValueSet"):
                    named = (resource["resourceType"], resource)
                    assert few.index(*named) == every.index(*named), member.name
                    compared += 1
    assert compared > 100
