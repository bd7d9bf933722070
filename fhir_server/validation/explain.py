"""Every structural problem of a resource, each with its FHIRPath, what stands there and what may.

The same rules as `structure`, for the few resources that it does not accept: slow, and thorough.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.primitives import FAILURES
from fhir_server.definitions.structures import Field
from fhir_server.fhirpath import narrative
from fhir_server.model import json_format, json_scan
from fhir_server.outcome import Issue
from fhir_server.validation import bindings
from fhir_server.validation.structure import (
    cardinality,
    format_of,
    has_children,
    has_sibling,
    reference_problem,
    text_is_enough,
)

MAX_SHOWN = 60  # characters of an offending value
ELE_1 = "http://hl7.org/fhir/StructureDefinition/Element#ele-1"


def resource_problems(value: Any, path: str | None, in_transaction: bool) -> Iterator[Issue]:
    """Yield the problems of a resource that stands at `path` (None: at the root of everything)."""
    if not isinstance(value, dict):
        yield wrong_kind(path, value, "a resource")
        return
    name = value.get("resourceType")
    if name is None:
        yield Issue(
            "error", "required", "resourceType is missing; a resource says its type", path, "resource-type"
        )
    elif not isinstance(name, str) or not structures.is_resource_type(name):
        hint = did_you_mean(name, structures.resource_types())
        yield Issue(
            "error", "structure", f"{shown(name)} is no resource type of R4{hint}", path, "resource-type"
        )
    else:
        yield from _object(value, name, path or name, in_transaction)


def shown(value: Any) -> str:
    """Return an offending value for a message, shortened.

    >>> shown("x" * 100)
    '"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'
    """
    try:
        text = json_format.encode(value).decode()
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def did_you_mean(text: Any, known: Iterable[str]) -> str:
    """Return a half-sentence with the nearest known text, or nothing if none is near.

    >>> did_you_mean("finishd", ["finished", "planned"])
    "; did you mean 'finished'?"
    """
    if not isinstance(text, str) or len(text) > 80:
        return ""
    names = list(known)
    near = [name for name in names if name.lower() == text.strip().lower()] or difflib.get_close_matches(
        text, names, n=1
    )
    return f"; did you mean {near[0]!r}?" if near else ""


def wrong_kind(path: str | None, value: Any, expected: str) -> Issue:
    """Return the issue for a value of another JSON kind than what belongs there."""
    if value is None:
        return Issue("error", "structure", "null is not allowed; leave the member out", path, "json-null")
    found = f"got {json_scan.kind(value)} ({shown(value)}), expected {expected}"
    return Issue("error", "structure", found, path, "json-kind")


def _object(value: Any, type_path: str, path: str, in_transaction: bool) -> Iterator[Issue]:
    if not isinstance(value, dict):
        yield wrong_kind(path, value, f"an object ({type_path})")
        return
    if not value:
        yield Issue(
            "error", "structure", "an object has at least one member; this one is empty", path, "json-empty"
        )
        return
    if type_path != "Element" and not has_children(value):
        yield _childless(path)
    fields = structures.fields(type_path)
    is_resource = structures.is_resource_type(type_path)
    for key, member in value.items():
        field = fields.get(key)
        if field is not None:
            yield from _member(value, field, member, path, in_transaction)
        elif key == "resourceType" and is_resource:
            continue
        elif key[:1] == "_" and key[1:] in fields and has_sibling(fields[key[1:]]):
            yield from _siblings(value, fields[key[1:]], member, path, in_transaction)
        else:
            yield _unknown(key, type_path, path, fields)
    yield from _missing(value, fields, path)
    yield from _narrowed(value, type_path, path)


def _childless(path: str) -> Issue:
    what = "an element has a value or children; here is an id alone (ele-1)"
    return Issue("error", "invariant", what, path, ELE_1)


def _unknown(key: str, type_path: str, path: str, fields: Mapping[str, Field]) -> Issue:
    key = key if len(key) <= MAX_SHOWN else key[:MAX_SHOWN] + "…"
    for field in fields.values():
        stem = field.element.name.removesuffix("[x]")
        if stem != field.element.name and key.startswith(stem) and key[len(stem) :][:1].isupper():
            may = ", ".join(found.key for found in fields.values() if found.element is field.element)
            what = f"{stem}[x] of {type_path} may not be {key[len(stem) :]}; expected one of {may}"
            return Issue("error", "structure", what, f"{path}.{key}", "choice-type")
    hint = did_you_mean(key, fields)
    return Issue(
        "error", "structure", f"{type_path} has no element {key!r}{hint}", f"{path}.{key}", "element-unknown"
    )


def _missing(value: Mapping[str, Any], fields: Mapping[str, Field], path: str) -> Iterator[Issue]:
    required, _ = cardinality(fields)
    for field in required:
        if field.key not in value and not (has_sibling(field) and f"_{field.key}" in value):
            what = f"{field.key} is missing; {path} needs {'at least one' if field.many else 'it'}"
            yield Issue("error", "required", what, f"{path}.{field.key}", "element-required")
    choices: dict[str, list[Field]] = {}
    for field in fields.values():
        if field.element.path.endswith("[x]"):
            choices.setdefault(field.element.name, []).append(field)
    for name, found in choices.items():
        stem = name.removesuffix("[x]")
        there = [
            field.key
            for field in found
            if field.key in value or (has_sibling(field) and f"_{field.key}" in value)
        ]
        if len(there) > 1:
            what = f"{name} may have one type only; here are {', '.join(there)}"
            yield Issue("error", "structure", what, f"{path}.{stem}", "choice-one")
        elif not there and found[0].element.min > 0:
            may = ", ".join(field.key for field in found)
            yield Issue(
                "error",
                "required",
                f"{name} is missing; expected one of {may}",
                f"{path}.{stem}",
                "element-required",
            )


def _narrowed(value: Mapping[str, Any], type_path: str, path: str) -> Iterator[Issue]:
    """Yield what a type's own binding adds: the unit of an Age is one of time."""
    root = structures.structure(type_path).elements[type_path] if "." not in type_path else None
    for value_set in bindings.limits(root.binding if root else None):
        code = value.get("code", "")
        if value.get("system") == bindings.UCUM and not _passes(bindings.code_test(value_set), code):
            what = f"got the unit {shown(code)}, expected {bindings.expected(value_set)}"
            yield Issue("error", "code-invalid", what, f"{path}.code", "code-required")


def _member(
    value: Mapping[str, Any], field: Field, member: Any, path: str, in_transaction: bool
) -> Iterator[Issue]:
    place = f"{path}.{field.element.name.removesuffix('[x]')}"
    if not field.many:
        yield from _value(member, field, place, in_transaction)
        return
    if not isinstance(member, list):
        yield wrong_kind(place, member, f"an array of {field.type}: this element may repeat")
        if member is not None:
            yield from _value(member, field, place, in_transaction)
        return
    if not member:
        yield Issue(
            "error", "structure", "an array has at least one item; leave the member out", place, "json-empty"
        )
    siblings = value.get(f"_{field.key}") if has_sibling(field) else None
    for number, item in enumerate(member):
        if item is None and field.primitive and isinstance(siblings, list):
            continue  # _siblings looks at the pair
        yield from _value(item, field, f"{place}[{number}]", in_transaction)


def _siblings(
    value: Mapping[str, Any], field: Field, member: Any, path: str, in_transaction: bool
) -> Iterator[Issue]:
    """Yield what is wrong with `_given`: extensions for the values of `given`, place by place."""
    place = f"{path}.{field.element.name.removesuffix('[x]')}"
    key = field.key
    if not field.many:
        yield from _beside(member, value.get(key), place, in_transaction)
        return
    if not isinstance(member, list) or not member:
        yield wrong_kind(place, member, f"an array beside {key}, with an object or null for each value")
        return
    values = value.get(key)
    if isinstance(values, list) and len(values) != len(member):
        what = f"{key} has {len(values)} items and _{key} has {len(member)}; they go in pairs"
        yield Issue("error", "structure", what, place, "json-pairs")
    for number, sibling in enumerate(member):
        beside = values[number] if isinstance(values, list) and number < len(values) else None
        if sibling is not None:
            yield from _beside(sibling, beside, f"{place}[{number}]", in_transaction)
        elif beside is None:
            what = f"neither {key} nor _{key} has anything at this place"
            yield Issue("error", "structure", what, f"{place}[{number}]", "json-pairs")
    if isinstance(values, list):
        for number in range(len(member), len(values)):
            if values[number] is None:
                yield wrong_kind(f"{place}[{number}]", None, field.type)
    if all(sibling is None for sibling in member) and values is not None:
        yield Issue("error", "structure", f"_{key} holds nothing but null; leave it out", place, "json-pairs")


def _beside(sibling: Any, value: Any, path: str, in_transaction: bool) -> Iterator[Issue]:
    yield from _object(sibling, "Element", path, in_transaction)
    if value is None and isinstance(sibling, dict) and sibling and not has_children(sibling):
        yield _childless(path)


def _value(value: Any, field: Field, path: str, in_transaction: bool) -> Iterator[Issue]:
    if value is None:
        yield wrong_kind(path, None, field.type)
    elif field.primitive:
        yield from _leaf(value, field, path)
    elif field.type == "Resource":
        yield from resource_problems(value, path, in_transaction)
    elif field.type == "Quantity" and field.element.profiles:
        yield from _object(value, field.element.profiles[0], path, in_transaction)
    else:
        is_right = True
        for issue in _object(value, field.type, path, in_transaction):
            is_right = False
            yield issue  # at once: there may be a million
        if is_right and field.type == "Reference":
            problem = reference_problem(value, frozenset(field.element.targets), in_transaction)
            if problem is not None:
                rule, what = problem
                yield Issue("error", "value", what, f"{path}.reference", rule)
        elif is_right and field.type == "CodeableConcept":
            for value_set in bindings.limits(field.element.binding):
                if not bindings.has_coding(value_set, value, text_is_enough=text_is_enough(field)):
                    hint = _right_coding(value_set, value)
                    what = (
                        f"got {shown(value)}, expected a coding that is {bindings.expected(value_set)}{hint}"
                    )
                    yield Issue("error", "code-invalid", what, path, "code-required")


def _leaf(value: Any, field: Field, path: str) -> Iterator[Issue]:
    primitive = format_of(field)
    limits = bindings.limits(field.element.binding) if field.type == "code" else ()
    if limits and isinstance(value, str):
        for value_set in limits:
            if not _passes(bindings.code_test(value_set), value):
                hint = did_you_mean(value, bindings.near(value_set, value))
                what = f"got {shown(value)}, expected {bindings.expected(value_set)}{hint}"
                yield Issue("error", "code-invalid", what, path, "code-required")
    elif not _passes(primitive.test, value):
        if isinstance(value, dict | list):
            yield wrong_kind(path, value, primitive.expected)
        else:
            yield Issue(
                "error",
                "value",
                f"got {shown(value)}, expected {primitive.expected}",
                path,
                f"format-{field.type}",
            )
    elif field.type == "xhtml":
        for problem in narrative.problems(value):
            yield Issue("error", "invalid", problem, path, "narrative-xhtml")


def _right_coding(value_set: str, concept: Mapping[str, Any]) -> str:
    """Return a half-sentence: the system that has the code, or the code that may be meant."""
    for coding in concept.get("coding", ()):
        systems = bindings.systems(value_set, coding.get("code"))
        if systems and coding.get("system") not in systems:
            return f"; did you mean {coding['code']!r} of {systems[0]}?"
        hint = did_you_mean(coding.get("code"), bindings.near(value_set, coding.get("code")))
        if hint:
            return hint
    return ""


def _passes(test: Any, value: Any) -> bool:
    try:
        return bool(test(value))
    except FAILURES:
        return False
