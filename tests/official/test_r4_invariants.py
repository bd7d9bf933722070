"""R4's own invariants on R4's own examples: every one compiles, and none is broken but by the broken."""

from __future__ import annotations

import json
import os
import tarfile
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from fhir_server.definitions import structures
from fhir_server.fhirpath import api
from fhir_server.fhirpath.comparison import truth
from fhir_server.fhirpath.extract import predicate
from fhir_server.fhirpath.values import children

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
EXAMPLES = SHARED / "data" / "r4-examples.tar.xz"
# What HL7's own examples do wrong, looked at one by one.
RIGHTLY_BROKEN = {
    ("sdf-4", "definition.json"),  # logical models, not abstract, without a base
    ("sdf-4", "event.json"),
    ("sdf-4", "fivews.json"),
    ("sdf-4", "request.json"),
    ("que-2", "immunizationevaluation-questionnaire.json"),  # the linkId Added-Missing 22 times
}


def all_constraints():
    for type_name in structures.type_names():
        for element in structures.structure(type_name).elements.values():
            for key in element.constraints:
                yield type_name, key


def test_every_invariant_compiles():
    found = {structures.invariant(*place).expression for place in all_constraints()}
    assert len(found) > 190
    for expression in found:
        assert not expression or api.compile(expression, lenient=True)


@cache
def constraints(type_name, parent, name):
    """Return (key, expression) of the errors that an element of a type must not make, there and anywhere."""
    elements = structures.structure(type_name.partition(".")[0]).elements
    places = [(type_name, elements[type_name])] if type_name in elements else []
    if parent:
        fields = structures.fields(parent).values()
        places += [
            (parent, field.element) for field in fields if field.element.name.removesuffix("[x]") == name
        ]
    found = {}
    for place, element in places:
        for key in element.constraints:
            invariant = structures.invariant(place.partition(".")[0], key)
            if invariant.severity == "error" and invariant.expression:
                found[key, invariant.expression] = api.compile(invariant.expression, lenient=True)
    return tuple((key, expression) for (key, _), expression in found.items())


@pytest.mark.slow
@pytest.mark.skipif(not EXAMPLES.exists(), reason=f"no examples at {EXAMPLES}; set XINGLIN_SHARED")
def test_no_official_example_breaks_an_invariant():
    broken, judged_twice = set(), 0
    with tarfile.open(EXAMPLES) as archive:
        for member in archive:
            if not member.name.endswith(".json"):
                continue
            resource = json.load(archive.extractfile(member), parse_float=Decimal)
            todo = [(api.root(resource), None)]
            while todo:
                item, parent = todo.pop()
                for key, expression in constraints(item.type, parent, item.name):
                    answer = truth(expression.evaluate(item))
                    if answer is False:
                        broken.add((key, member.name.rpartition("/")[2]))
                    quick = predicate(expression.text, item.type) if isinstance(item.value, dict) else None
                    if quick is not None:
                        judged_twice += 1
                        assert quick(item.value, resource) is answer, (key, item)
                todo += [(child, item.type) for child in children(item)]
    assert broken == RIGHTLY_BROKEN
    assert judged_twice > 200_000
