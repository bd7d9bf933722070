"""R4's own definitions as the resources that HL7 publishes, by type and id.

The id is the last part of the canonical: SearchParameter/individual-family, StructureDefinition/Patient.
They are made from the facts, so they have all that machines read and none of the prose; what R4 demands
of prose is there in a few words.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from fhir_server.definitions import code_systems, operations, search_parameters, value_sets
from fhir_server.definitions.operations import OperationDefinition, Parameter
from fhir_server.definitions.search_parameters import SearchParameter
from fhir_server.definitions.structure_definitions import structure_definition, structure_definition_urls

Resource = dict[str, Any]
VERSION = "4.0.1"
RELEASED = "2019-10-30T00:00:00.000Z"
"""The day of R4's technical correction 4.0.1, which these definitions are of."""


@cache
def urls(type_name: str) -> dict[str, str]:
    """Return id → canonical of the definitions of a type; {} where R4 has none that we know.

    >>> urls("SearchParameter")["individual-family"]
    'http://hl7.org/fhir/SearchParameter/individual-family'
    >>> len(urls("OperationDefinition")), len(urls("Patient"))
    (46, 0)
    """
    every: tuple[str, ...] = ()
    match type_name:
        case "SearchParameter":
            every = tuple(each.url for each in search_parameters.all_parameters())
        case "OperationDefinition":
            every = tuple(each.url for each in operations.all_operations())
        case "StructureDefinition":
            every = structure_definition_urls()
        case "ValueSet":
            every = value_sets.value_set_urls()
        case "CodeSystem":
            every = code_systems.code_system_urls()
    # of two with the same last part HL7's own core comes first
    ordered = sorted(every, key=lambda url: (not url.startswith("http://hl7.org/fhir/"), url))
    found: dict[str, str] = {}
    for url in ordered:
        id_ = url.rpartition("/")[2][:64]
        if _ID.match(id_):
            found.setdefault(id_, url)
    return found


_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")


def resource(type_name: str, id_: str) -> Resource | None:
    """Return the definition with an id, None where R4 has none.

    >>> resource("SearchParameter", "individual-family")["expression"]
    'Patient.name.family | Practitioner.name.family'
    >>> resource("OperationDefinition", "Resource-validate")["code"]
    'validate'
    >>> resource("StructureDefinition", "Patient")["snapshot"]["element"][1]["definition"]
    'Patient.id of R4, see http://hl7.org/fhir/R4/'
    """
    url = urls(type_name).get(id_)
    if url is None:
        return None
    match type_name:
        case "SearchParameter":
            made = search_parameter(search_parameters.by_url(url))
        case "OperationDefinition":
            made = operation_definition(next(each for each in operations.all_operations() if each.url == url))
        case "StructureDefinition":
            made = _worded(structure_definition(url) or {})
        case "ValueSet":
            made = value_sets.resource(url) or {}
        case _:
            made = code_systems.resource(url) or {}
    return {"resourceType": type_name, "id": id_, **made}


def search_parameter(facts: SearchParameter) -> Resource:
    """Return a search parameter as FHIR JSON."""
    made: Resource = {
        "resourceType": "SearchParameter",
        "url": facts.url,
        "version": VERSION,
        "name": facts.name or facts.code,
        "status": "active",
        "description": f"The search parameter {facts.code} of {', '.join(facts.base)} in R4",
        "code": facts.code,
        "base": list(facts.base),
        "type": facts.type,
    }
    if facts.expression is not None:
        made |= {"expression": facts.expression, "xpathUsage": "normal"}
    if facts.target:
        made["target"] = list(facts.target)
    made |= {"multipleOr": facts.multiple_or, "multipleAnd": facts.multiple_and}
    if facts.comparators:
        made["comparator"] = list(facts.comparators)
    if facts.modifiers:
        made["modifier"] = list(facts.modifiers)
    if facts.components:
        made["component"] = [{"definition": url, "expression": below} for url, below in facts.components]
    return made


def operation_definition(facts: OperationDefinition) -> Resource:
    """Return an operation as FHIR JSON."""
    made: Resource = {
        "resourceType": "OperationDefinition",
        "url": facts.url,
        "version": VERSION,
        "name": facts.name,
        "status": "active",
        "kind": "operation",
        "affectsState": facts.affects_state,
        "code": facts.code,
    }
    if facts.resources:
        made["resource"] = list(facts.resources)
    made |= {"system": facts.system, "type": facts.type, "instance": facts.instance}
    if facts.parameters:
        made["parameter"] = [parameter(each) for each in facts.parameters]
    return made


def parameter(facts: Parameter) -> Resource:
    """Return one parameter of an operation as FHIR JSON."""
    made: Resource = {
        "name": facts.name,
        "use": facts.use,
        "min": facts.min,
        "max": "*" if facts.max is None else str(facts.max),
    }
    if facts.type is not None or not facts.parts:
        made["type"] = facts.type or "Any"
    if facts.targets:
        made["targetProfile"] = [
            name if ":" in name else f"http://hl7.org/fhir/StructureDefinition/{name}"
            for name in facts.targets
        ]
    if facts.search_type is not None:
        made["searchType"] = facts.search_type
    if facts.parts:
        made["part"] = [parameter(each) for each in facts.parts]
    return made


def _worded(definition: Resource) -> Resource:
    """Return a StructureDefinition with the words that R4 demands of its elements (sdf-3, eld-18)."""
    made = dict(definition)
    for part in ("snapshot", "differential"):
        if part in made:
            made[part] = {"element": [_element(each, part) for each in made[part]["element"]]}
    return made


def _element(element: Resource, part: str) -> Resource:
    words: Resource = {}
    if part == "snapshot":
        words["definition"] = f"{element['path']} of R4, see http://hl7.org/fhir/R4/"
    if element.get("isModifier") and "isModifierReason" not in element:
        words["isModifierReason"] = "R4 says so"
    return {**element, **words}
