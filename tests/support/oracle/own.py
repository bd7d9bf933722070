"""Search parameters that R4 does not define, as a client would store them, for the oracle to be asked by.

The table has the same, written by hand once more: their codes begin with `x-`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fhir_server.search.defined import as_json, define, from_json
from fhir_server.search.registry import Registry

URL = "http://example.org/fhir/SearchParameter/"
LINES = (
    ("x-prefix", "string", "Patient.name.prefix", "Patient"),
    (
        "x-name",
        "string",
        "Patient.name | Practitioner.name | RelatedPerson.name",
        "Patient Practitioner RelatedPerson",
    ),
    ("x-marital", "token", "Patient.maritalStatus", "Patient"),
    ("x-birthplace", "string", "Patient.extension.value.ofType(Address)", "Patient"),
    ("x-years", "number", "Patient.extension.value.ofType(decimal)", "Patient"),
    ("x-issued", "date", "Observation.issued", "Observation"),
    ("x-in", "reference", "Observation.encounter", "Observation"),
    ("x-amount", "quantity", "Observation.value.ofType(Quantity)", "Observation"),
    ("x-part-code", "token", "Observation.component.code", "Observation"),
    ("x-part", "composite", "Observation.component", "Observation"),
    ("x-hospital", "reference", "Encounter.serviceProvider", "Encounter"),
    ("x-onset", "date", "Condition.onset.ofType(dateTime)", "Condition"),
    ("x-primary", "token", "Immunization.primarySource", "Immunization"),
    ("x-url", "uri", "ValueSet.url", "ValueSet"),
)
PARTS = [
    {"definition": f"{URL}x-part-code", "expression": "code"},
    {"definition": "http://hl7.org/fhir/SearchParameter/Observation-component-value-quantity",
     "expression": "value.ofType(Quantity)"},
]  # fmt: skip


def definitions() -> list[dict[str, Any]]:
    """Return the SearchParameters."""
    return [
        {
            "resourceType": "SearchParameter",
            "url": URL + code,
            "code": code,
            "type": kind,
            "expression": expression,
            "base": base.split(),
            **({"component": PARTS} if kind == "composite" else {}),
        }
        for code, kind, expression, base in LINES
    ]


def registry() -> Registry:
    """Return R4's parameters and these, as a server knows them when all is indexed."""
    found = Registry()
    by_url = {each["url"]: each for each in definitions()}
    number = 0
    for resource in by_url.values():
        made = define(resource, by_url.get)
        assert made.faults == ()
        for parameter in made.parameters:
            number += 1
            index = f"{parameter.code}@{number}"
            kept = from_json(parameter.type_name, parameter.code, parameter.url, index, as_json(parameter))
            assert replace(kept, sources=(), index="") == replace(parameter, components=kept.components)
            found.put(kept)
    return found
