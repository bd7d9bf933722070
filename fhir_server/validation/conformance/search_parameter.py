"""SearchParameter: its expression, and what it was derived from (R4/searchparameter.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fhir_server.definitions import structures
from fhir_server.outcome import Issue
from fhir_server.validation.conformance.capability_statement import definition
from fhir_server.validation.knowledge import Task
from fhir_server.validation.values import fhirpath_fault

Resource = Mapping[str, Any]

ANY = frozenset({"Resource", "DomainResource"})
# The name that a path begins with: at the start, or after an operator, a bracket or a comma.
_HEAD = re.compile(r"(?:^|[|(,]|\b(?:or|and|xor|in|contains)\b)\s*\(*\s*([A-Z][A-Za-z]+)\s*(?=\.)")
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'")


def check(parameter: Resource, task: Task) -> Iterator[Issue]:
    """Yield what is wrong with the expression of a SearchParameter, and with its origin.

    >>> from fhir_server.validation.knowledge import R4
    >>> parameter = {"code": "name", "base": ["Patient"], "type": "string", "expression": "Group.name"}
    >>> [issue.diagnostics for issue in check(parameter, R4)]
    ['the expression looks at Group, but the parameter is for Patient']
    """
    bases = [base for base in parameter.get("base", ()) if base]
    expression = parameter.get("expression")
    if expression is not None:
        yield from _expression(expression, bases)
    for number, component in enumerate(parameter.get("component", ())):
        text = component.get("expression")
        fault = None if text is None else fhirpath_fault(text)
        if fault is not None:
            place = f"SearchParameter.component[{number}].expression"
            yield Issue(fault[0], "value", f"no FHIRPath: {fault[1]}", place, "search-expression")
    if parameter.get("type") == "composite" and "component" not in parameter:
        what = "a composite parameter has components; none are here"
        yield Issue("warning", "required", what, "SearchParameter.component", "search-component")
    elif "component" in parameter and parameter.get("type") != "composite":
        what = f"components are for composite parameters; this is a {parameter.get('type')}"
        yield Issue("warning", "value", what, "SearchParameter.component", "search-component")
    yield from _origin(parameter, bases, task)


def _expression(text: str, bases: list[str]) -> Iterator[Issue]:
    place = "SearchParameter.expression"
    fault = fhirpath_fault(text)
    if fault is not None:
        yield Issue(fault[0], "value", f"no FHIRPath: {fault[1]}", place, "search-expression")
        return
    for name in dict.fromkeys(_HEAD.findall(_TEXT.sub("''", text))):
        if structures.is_resource_type(name) and name not in bases and not ANY & set(bases):
            what = f"the expression looks at {name}, but the parameter is for {', '.join(bases)}"
            yield Issue("warning", "value", what, place, "search-expression")


def _origin(parameter: Resource, bases: list[str], task: Task) -> Iterator[Issue]:
    """Yield where a parameter is not consistent with the one that it says it is derived from."""
    canonical = parameter.get("derivedFrom")
    found = None if canonical is None else definition(canonical, task)
    if found is None:
        return
    if found.get("type") != parameter.get("type"):
        what = f"the type is {parameter.get('type')}, but {canonical} is of type {found.get('type')}"
        yield Issue("error", "business-rule", what, "SearchParameter", "search-derived")
    origins = [base for base in found.get("base", ()) if base]
    for base in bases:
        if base not in origins and not ANY & set(origins):
            what = f"{canonical} is for {', '.join(origins)}, not for {base}"
            yield Issue("error", "business-rule", what, "SearchParameter", "search-derived")
    said, origin = parameter.get("expression"), found.get("expression")
    if said is not None and origin is not None and said.split() != origin.split():
        what = f"the expression is not that of {canonical}: {origin}"
        yield Issue("warning", "business-rule", what, "SearchParameter", "search-derived")
