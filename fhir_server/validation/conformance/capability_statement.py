"""CapabilityStatement: search parameters as their definitions have them (R4/capabilitystatement.html)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_server.definitions import search_parameters
from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import Task

Resource = Mapping[str, Any]


def check(statement: Resource, task: Task) -> Iterator[Issue]:
    """Yield where a CapabilityStatement disagrees with the definitions that it names.

    >>> from fhir_server.validation.knowledge import R4
    >>> url = "http://hl7.org/fhir/SearchParameter/Resource-id"
    >>> resource = {"type": "Group", "searchParam": [{"name": "_id", "definition": url, "type": "date"}]}
    >>> [issue.diagnostics for issue in check({"rest": [{"resource": [resource]}]}, R4)]
    ['the type is date, but http://hl7.org/fhir/SearchParameter/Resource-id is of type token']
    """
    for number, rest in enumerate(statement.get("rest", ())):
        place = f"CapabilityStatement.rest[{number}]"
        yield from _parameters(rest, None, task, place)
        for at, resource in enumerate(rest.get("resource", ())):
            here = f"{place}.resource[{at}]"
            yield from _parameters(resource, resource.get("type"), task, here)
            yield from _profiles(resource, task, here)


def _parameters(holder: Resource, type_name: str | None, task: Task, place: str) -> Iterator[Issue]:
    for number, parameter in enumerate(holder.get("searchParam", ())):
        here = f"{place}.searchParam[{number}]"
        canonical = parameter.get("definition")
        found = None if canonical is None else definition(canonical, task)
        if found is None:
            continue
        if parameter.get("type") != found.get("type"):
            what = f"the type is {parameter.get('type')}, but {canonical} is of type {found.get('type')}"
            yield Issue("error", "value", what, here, "capability-search-type")
        if parameter.get("name") != found.get("code"):
            what = (
                f"the name is {parameter.get('name')!r}, but {canonical} has the code {found.get('code')!r}"
            )
            yield Issue("warning", "value", what, here, "capability-search-name")
        bases = [base for base in found.get("base", ()) if base]
        if type_name is not None and not {type_name, "Resource", "DomainResource"} & set(bases):
            what = f"{canonical} is for {', '.join(bases)}, not for {type_name}"
            yield Issue("error", "value", what, here, "capability-search-base")


def _profiles(resource: Resource, task: Task, place: str) -> Iterator[Issue]:
    named = [("profile", resource["profile"])] if "profile" in resource else []
    listed = enumerate(resource.get("supportedProfile", ()))
    named += [(f"supportedProfile[{number}]", canonical) for number, canonical in listed]
    for member, canonical in named:
        found = task.knowledge.conformance.find("StructureDefinition", canonical) if canonical else None
        if found is not None and found.get("type") not in (resource.get("type"), None):
            what = f"{canonical} is for {found.get('type')}, not for {resource.get('type')}"
            yield Issue("error", "value", what, f"{place}.{member}", "capability-profile")


def definition(canonical: str, task: Task) -> Resource | None:
    """Return a SearchParameter that somebody added, or R4's own; None if it is not known.

    >>> from fhir_server.validation.knowledge import R4
    >>> definition("http://hl7.org/fhir/SearchParameter/Organization-name", R4)["base"]
    ['Organization']
    """
    found = task.knowledge.conformance.find("SearchParameter", canonical)
    if found is not None:
        return found
    try:
        known = search_parameters.by_url(canonical.partition("|")[0])
    except KeyError:
        return None
    return {
        "url": known.url,
        "code": known.code,
        "type": known.type,
        "base": list(known.base),
        "expression": known.expression,
    }
