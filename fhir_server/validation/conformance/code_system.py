"""CodeSystem: its properties, its concepts and what it says of their number (R4/codesystem.html)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import Task

STANDARD = "http://hl7.org/fhir/concept-properties#"
# R4/codesystem.html#defined-props, and the names that the same list has received since.
TYPES: Mapping[str, str] = {
    "child": "code",
    "comment": "string",
    "deprecated": "dateTime",
    "deprecationDate": "dateTime",
    "effectiveDate": "dateTime",
    "inactive": "boolean",
    "itemWeight": "decimal",
    "notSelectable": "boolean",
    "order": "integer",
    "parent": "code",
    "partOf": "code",
    "retirementDate": "dateTime",
    "status": "code",
    "synonym": "code",
}
# These name another concept of the same system, whatever the system says of properties of type code.
RELATIONS = frozenset({"parent", "child", "partOf"})

Resource = Mapping[str, Any]
Place = tuple[Any, str]


def check(system: Resource, task: Task) -> Iterator[Issue]:
    """Yield what a CodeSystem says against itself.

    >>> from fhir_server.validation.knowledge import R4
    >>> system = {"content": "complete", "property": [{"code": "size", "type": "integer"}],
    ...           "concept": [{"code": "a", "property": [{"code": "size", "valueString": "big"}]}]}
    >>> [issue.diagnostics for issue in check(system, R4)]
    ["the property 'size' is declared with the type integer; this is a string"]
    """
    yield from _properties(system)
    concepts = list(_concepts(system.get("concept", ()), "CodeSystem"))
    yield from _content(system, concepts, task)
    codes = {concept.get("code") for concept, _ in concepts}
    types = {found.get("code"): found.get("type") for found in system.get("property", ())}
    for concept, path in concepts:
        for number, value in enumerate(concept.get("property", ())):
            place = f"{path}.property[{number}]"
            yield from _value(value, types, codes, system.get("content") == "complete", place)
    yield from _value_set(system, task)


def _concepts(concepts: Any, path: str) -> Iterator[Place]:
    todo = [(concept, f"{path}.concept[{number}]") for number, concept in enumerate(concepts)]
    while todo:
        concept, place = todo.pop()
        yield concept, place
        below = enumerate(concept.get("concept", ()))
        todo += [(child, f"{place}.concept[{number}]") for number, child in below]


def _properties(system: Resource) -> Iterator[Issue]:
    codes: dict[Any, Any] = {}
    meanings: set[str] = set()
    for number, found in enumerate(system.get("property", ())):
        place = f"CodeSystem.property[{number}]"
        code, uri, kind = found.get("code"), found.get("uri"), found.get("type")
        if code in codes:
            severity = "warning" if codes[code] == kind else "error"
            what = f"there is a property {code!r} already, of the type {codes[code]}"
            yield Issue(severity, "duplicate", what, place, "codesystem-property")
        codes[code] = kind
        if uri is None:
            continue
        if uri in meanings:
            yield Issue(
                "warning", "duplicate", f"there is a property {uri!r} already", place, "codesystem-property"
            )
        meanings.add(uri)
        name = uri.removeprefix(STANDARD)
        if uri == name or name not in TYPES:
            continue
        if kind != TYPES[name]:
            what = f"{uri} has the type {TYPES[name]}, not {kind}"
            yield Issue("error", "value", what, place, "codesystem-property-type")
        if code != name:
            what = f"{uri} is mostly called {name!r}; {code!r} may mislead the filters of value sets"
            yield Issue("warning", "value", what, place, "codesystem-property-name")


def _value(
    value: Resource, types: Mapping[Any, Any], codes: set[Any], complete: bool, place: str
) -> Iterator[Issue]:
    code = value.get("code")
    kind = next((key.removeprefix("value") for key in value if key.startswith("value")), None)
    declared = types.get(code)
    if code not in types and code not in TYPES:
        yield Issue(
            "warning",
            "value",
            f"the property {code!r} is not declared in CodeSystem.property",
            place,
            "codesystem-property-declared",
        )
    elif declared is not None and kind is not None and kind.lower() != declared.lower():
        what = f"the property {code!r} is declared with the type {declared}; this is a {_lower(kind)}"
        yield Issue("error", "value", what, place, "codesystem-property-value")
    elif kind == "Code" and complete and value["valueCode"] not in codes:
        severity = "error" if code in RELATIONS else "warning"
        what = f"{value['valueCode']!r} is no code of this system, as a property of type code has to be"
        yield Issue(severity, "code-invalid", what, place, "codesystem-property-code")


def _lower(kind: str) -> str:
    return kind if kind == "Coding" else kind[:1].lower() + kind[1:]


def _content(system: Resource, concepts: list[Place], task: Task) -> Iterator[Issue]:
    content, count = system.get("content"), system.get("count")
    if content == "not-present" and concepts:
        what = "content is not-present, so no concept stands here"
        yield Issue("error", "value", what, "CodeSystem.concept", "codesystem-content")
    if content == "complete" and count is not None and count != len(concepts) and concepts:
        if "compositional" not in system or system["compositional"] is False:
            what = f"count says {count} concepts, but this complete system has {len(concepts)}"
            yield Issue("error", "value", what, "CodeSystem.count", "codesystem-count")
    elif content in ("fragment", "example") and count is not None and count < len(concepts):
        what = f"count says {count} concepts, but {len(concepts)} stand here"
        yield Issue("warning", "value", what, "CodeSystem.count", "codesystem-count")
    supplemented = system.get("supplements")
    if content == "supplement" and supplemented is None:
        what = "supplements is missing; a supplement names the code system that it adds to"
        yield Issue("error", "required", what, "CodeSystem.supplements", "codesystem-supplement")
    elif content != "supplement" and supplemented is not None:
        what = f"a CodeSystem with supplements has the content supplement, not {content}"
        yield Issue("error", "value", what, "CodeSystem.content", "codesystem-supplement")
    elif supplemented is not None:
        yield from _supplement(supplemented, concepts, task)


def _supplement(canonical: str, concepts: list[Place], task: Task) -> Iterator[Issue]:
    url = canonical.partition("|")[0]
    for concept, place in concepts:
        code = concept.get("code")
        if code is not None and task.knowledge.terminology.known(url, code) is False:
            what = f"{code!r} is no code of {url}; a supplement defines none"
            yield Issue("error", "code-invalid", what, f"{place}.code", "codesystem-supplement")


def _value_set(system: Resource, task: Task) -> Iterator[Issue]:
    """Yield where the value set of all codes is not that (R4/codesystem-definitions.html#valueSet)."""
    canonical = system.get("valueSet")
    found = task.knowledge.conformance.find("ValueSet", canonical) if canonical is not None else None
    if found is None:
        return
    compose = found.get("compose", {})
    includes = compose.get("include", ())
    whole = (
        len(includes) == 1
        and "exclude" not in compose
        and includes[0].get("system") == system.get("url")
        and not includes[0].keys() & {"concept", "filter", "valueSet"}
    )
    if compose and not whole:
        what = f"{canonical} does not have all codes of this system and no others"
        yield Issue("error", "value", what, "CodeSystem.valueSet", "codesystem-valueset")
