"""Which type of conformance resource has rules of its own beyond structure and invariants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.conformance import (
    capability_statement,
    code_system,
    concept_map,
    measure_report,
    operation_definition,
    search_parameter,
    structure_definition,
    value_set,
)
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.resolution import HOLDERS, NOTHING, nested

Rule = Callable[[Any, Task], Iterator[Issue]]
"""(resource, task) → issues, whose expressions begin with the resource's type."""

RULES: Mapping[str, Rule] = {
    "CapabilityStatement": capability_statement.check,
    "CodeSystem": code_system.check,
    "ConceptMap": concept_map.check,
    "MeasureReport": measure_report.check,
    "OperationDefinition": operation_definition.check,
    "SearchParameter": search_parameter.check,
    "StructureDefinition": structure_definition.check,
    "ValueSet": value_set.check,
}
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Return what conformance resources say against themselves and against what they name.

    >>> system = {"resourceType": "CodeSystem", "status": "draft", "content": "not-present",
    ...           "concept": [{"code": "a"}]}
    >>> [issue.expression for issue in check(system)]
    ['CodeSystem.concept']

    Those in Bundles, in Parameters and contained ones are looked at too.
    """
    if resource["resourceType"] not in HOLDERS and "contained" not in resource:
        rule = RULES.get(resource["resourceType"])
        return NOTHING if rule is None else _apply(rule, resource, task)
    return _nested(resource, task)


def _nested(resource: Any, task: Task) -> Iterator[Issue]:
    for inner, path in nested(resource):
        rule = RULES.get(inner["resourceType"])
        if rule is not None:
            yield from (issue.within(path) for issue in _apply(rule, inner, task))


def _apply(rule: Rule, resource: Any, task: Task) -> Iterator[Issue]:
    url = resource.get("url")
    if url is not None and not _ABSOLUTE.match(url):
        what = f"{url!r} is relative; the canonical url of a resource is absolute"
        yield Issue("warning", "value", what, f"{resource['resourceType']}.url", "canonical-absolute")
    yield from rule(resource, task)
