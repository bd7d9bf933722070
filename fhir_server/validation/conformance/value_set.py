"""ValueSet: systems, codes and filters of its compose (R4/valueset.html)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from fhir_server.definitions.primitives import PRIMITIVES
from fhir_server.outcome import Issue
from fhir_server.validation import codes
from fhir_server.validation.knowledge import Task

Resource = Mapping[str, Any]

CODES = frozenset({"is-a", "descendent-of", "is-not-a", "generalizes"})
# What every code system can be filtered by, whatever properties it declares (R4/codesystem.html#filters).
COMMON = frozenset({"concept", "code", "display", "definition", "status", "inactive", "parent", "child"})


def check(value_set: Resource, task: Task) -> Iterator[Issue]:
    """Yield what a ValueSet's compose and expansion cannot mean.

    >>> from fhir_server.validation.knowledge import R4
    >>> [issue.expression for issue in check({"compose": {"include": [{"system": "#c1"}]}}, R4)]
    ['ValueSet.compose.include[0].system']
    """
    compose = value_set.get("compose", {})
    for kind in ("include", "exclude"):
        for number, include in enumerate(compose.get(kind, ())):
            yield from _include(value_set, include, task, f"ValueSet.compose.{kind}[{number}]")
    expansion = value_set.get("expansion", {})
    yield from _contains(expansion.get("contains", ()), task, "ValueSet.expansion")


def _include(value_set: Resource, include: Resource, task: Task, place: str) -> Iterator[Issue]:
    system = include.get("system")
    if system is not None:
        yield from codes.system_issue(system, task.knowledge, f"{place}.system")
        yield from _concepts(include, system, task, place)
        for number, found in enumerate(include.get("filter", ())):
            yield from _filter(found, system, task, f"{place}.filter[{number}]")
    for number, canonical in enumerate(include.get("valueSet", ())):
        if canonical is not None and canonical.partition("|")[0] == value_set.get("url"):
            what = "a value set does not include itself"
            yield Issue("error", "value", what, f"{place}.valueSet[{number}]", "valueset-import")


def _concepts(include: Resource, system: str, task: Task, place: str) -> Iterator[Issue]:
    seen: set[str] = set()
    for number, concept in enumerate(include.get("concept", ())):
        code = concept.get("code")
        if code is None:
            continue
        if code in seen:
            what = f"the code {code!r} stands here already"
            yield Issue("warning", "duplicate", what, f"{place}.concept[{number}].code", "valueset-concept")
        seen.add(code)
        if task.knowledge.terminology.known(system, code) is False:
            what = f"{code!r} is no code of {system}"
            yield Issue(
                "warning", "code-invalid", what, f"{place}.concept[{number}].code", "valueset-concept"
            )


def _filter(found: Resource, system: str, task: Task, place: str) -> Iterator[Issue]:
    name, op, value = found.get("property"), found.get("op"), found.get("value")
    if value is None or name is None:
        return
    at = f"{place}.value"
    if op == "exists":
        if value not in ("true", "false"):
            yield Issue(
                "error",
                "value",
                f"the value of exists is true or false, not {value!r}",
                at,
                "valueset-filter-value",
            )
        return
    if op == "regex":
        try:
            re.compile(value)
        except re.error as error:
            yield Issue(
                "error", "value", f"{value!r} is no regular expression: {error}", at, "valueset-filter-value"
            )
        return
    known = task.knowledge.terminology.known
    if op in CODES:
        if known(system, value) is False:
            yield Issue(
                "error", "code-invalid", f"{value!r} is no code of {system}", at, "valueset-filter-value"
            )
        return
    definition = task.knowledge.conformance.find("CodeSystem", system)
    if definition is None or "content" not in definition:
        return
    types = {declared.get("code"): declared.get("type") for declared in definition.get("property", ())}
    filters = {declared.get("code"): declared for declared in definition.get("filter", ())}
    if name in filters and op not in filters[name].get("operator", (op,)):
        may = ", ".join(filters[name]["operator"])
        yield Issue(
            "error",
            "value",
            f"the filter {name!r} of {system} knows {may}, not {op}",
            f"{place}.op",
            "valueset-filter-op",
        )
    elif name not in filters and name not in types and name not in COMMON:
        what = f"{system} declares neither a property nor a filter {name!r}"
        yield Issue("warning", "value", what, f"{place}.property", "valueset-filter-property")
    elif name not in filters and name in types:
        for single in value.split(",") if op in ("in", "not-in") else (value,):
            yield from _property_value(single.strip(), types[name], system, task, at)


def _property_value(text: str, kind: str, system: str, task: Task, place: str) -> Iterator[Issue]:
    """Yield what is wrong with a filter's value for a property of a type."""
    known = task.knowledge.terminology.known
    if kind == "Coding":
        address, hash_sign, code = text.rpartition("#")
        if not hash_sign or not address:
            what = f"{text!r} is no Coding; expected system#code or system|version#code"
            yield Issue("error", "value", what, place, "valueset-filter-value")
        elif known(address.partition("|")[0], code) is False:
            what = f"{code!r} is no code of {address}"
            yield Issue("error", "code-invalid", what, place, "valueset-filter-value")
    elif kind == "code":
        if known(system, text) is False:
            yield Issue(
                "warning", "code-invalid", f"{text!r} is no code of {system}", place, "valueset-filter-value"
            )
    elif kind in FORMS and not FORMS[kind](text):
        yield Issue(
            "error", "value", f"{text!r} is no {kind}, which the property is", place, "valueset-filter-value"
        )


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


FORMS: Mapping[str, Callable[[str], bool]] = {
    "boolean": lambda text: text in ("true", "false"),
    "integer": lambda text: re.fullmatch(r"[+-]?[0-9]+", text) is not None,
    "decimal": _is_decimal,
    "dateTime": lambda text: bool(PRIMITIVES["dateTime"].test(text)),
}


def _contains(contains: Any, task: Task, path: str) -> Iterator[Issue]:
    todo = [(item, f"{path}.contains[{number}]") for number, item in enumerate(contains)]
    while todo:
        item, place = todo.pop()
        if "system" in item:
            yield from codes.system_issue(item["system"], task.knowledge, f"{place}.system")
        below = enumerate(item.get("contains", ()))
        todo += [(child, f"{place}.contains[{number}]") for number, child in below]
