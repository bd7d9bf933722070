"""What came with a call → the arguments of an operation (R4/operations.html#3.2.0.1).

A body is a Parameters resource, or, where an operation has one parameter that is a resource, that
resource by itself with the other parameters in the URL. What is wrong is told all at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.operations import Parameter
from fhir_server.definitions.primitives import PRIMITIVES, fits
from fhir_server.interactions.context import Resource
from fhir_server.model import json_format
from fhir_server.operations.declaration import Argument, Arguments, Operation, holds_resource
from fhir_server.outcome import MAX_ISSUES, FhirError, Invalid, Issue, capped
from fhir_server.validation.explain import did_you_mean, shown

JSON_VALUE = "http://fhir.forms-lab.com/StructureDefinition/json-value"
"""The extension by which a parameter carries JSON that its value[x] cannot hold, as a text."""

_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")  # no exponents: nobody writes them in a URL

# Clients differ in how they send a text: canonical, uri, code or string are all meant as what is declared.
_TEXTS = frozenset({"string", "code", "id", "uri", "url", "canonical", "oid", "uuid", "markdown"})


def arguments(
    operation: Operation,
    pairs: Sequence[tuple[str, str]],
    body: Resource | None,
    type_name: str | None = None,
    *,
    lenient: bool = False,
) -> Arguments:
    """Return the arguments of a call: `pairs` of its URL, and its body if it has one.

    `lenient` passes over parameters that the operation does not have. Raises Invalid (400), naming
    them, for unknown, missing and repeated parameters and for values of another type.
    """
    inputs = operation.inputs
    found: dict[str, list[Argument]] = {}
    issues: list[Issue] = []
    missed: set[str] = set()
    if body is not None and _is_bare(operation, body, type_name):
        name = operation.body_parameter
        if name is None:
            raise Invalid(
                f"the body is a {body['resourceType']}; ${operation.code} takes its parameters as a "
                'Parameters resource: {"resourceType": "Parameters", "parameter": […]}',
                expression="resourceType",
            )
        found[name] = [Argument(body, body["resourceType"])]
        body = None
    named: list[tuple[str, Any, str | None]] = [(name, text, None) for name, text in pairs]
    named += _members(body, issues)
    for name, raw, place in named:
        if len(issues) > MAX_ISSUES:
            raise Invalid(issues=capped(issues, complete=False))
        declared = inputs.get(name)
        if declared is None:
            if not lenient:
                hint = did_you_mean(name, inputs)
                what = f"${operation.code} has no parameter {shown(name)}; it takes {', '.join(inputs)}{hint}"
                issues.append(Issue("error", "invalid", what, place))
                missed.update(inputs)  # one of them is meant
            continue
        try:
            value = _of_url(declared, raw) if place is None else _of_member(declared, raw, place)
            found.setdefault(name, []).append(value)
        except FhirError as error:
            issues += error.issues
            missed.add(name)
    issues += _wrong_numbers(operation, found, missed)
    if issues:
        raise Invalid(issues=capped(issues, complete=False))
    return found


def _is_bare(operation: Operation, body: Resource, type_name: str | None) -> bool:
    """Say whether a body is the one resource that an operation works on, and no Parameters around it."""
    if body["resourceType"] != "Parameters":
        return True
    if type_name != "Parameters":
        return False
    # Parameters/$validate may have one in the other: what holds a parameter of the operation is the outer.
    members = body.get("parameter")
    names = (
        {member.get("name") for member in members if isinstance(member, dict)}
        if isinstance(members, list)
        else ()
    )
    return operation.body_parameter is not None and operation.body_parameter not in names


def _members(body: Resource | None, issues: list[Issue]) -> Iterator[tuple[str, Any, str]]:
    """Yield name, member and place of each parameter of a Parameters resource."""
    if body is None:
        return
    known = {"resourceType", *structures.fields("Parameters")}
    for key in body:
        if key not in known and key.removeprefix("_") not in known:
            what = f"Parameters has no element {shown(key)}{did_you_mean(key, known)}"
            issues.append(Issue("error", "structure", what, f"Parameters.{key}"))
            if len(issues) > MAX_ISSUES:
                return
    members = body.get("parameter", [])
    if not isinstance(members, list):
        what = f"got {shown(members)}, expected an array of parameters"
        issues.append(Issue("error", "structure", what, "Parameters.parameter"))
        return
    for number, member in enumerate(members):
        place = f"Parameters.parameter[{number}]"
        if isinstance(member, dict) and isinstance(member.get("name"), str):
            yield member["name"], member, place
        else:
            issues.append(Issue("error", "required", "a parameter is an object with a name", place))


def _of_url(declared: Parameter, text: str) -> Argument:
    kind = declared.type or ""
    if kind not in PRIMITIVES:
        raise Invalid(
            f"{declared.name} is {_kind(declared)} and cannot stand in the URL; send Parameters in the body"
        )
    value: Any = text
    if kind == "boolean":
        value = {"true": True, "false": False}.get(text, text)
    elif (
        kind in ("integer", "positiveInt", "unsignedInt") and text.lstrip("-").isdecimal() and len(text) < 12
    ):
        value = int(text)
    elif kind == "decimal" and _DECIMAL.fullmatch(text):
        value = Decimal(text)
    return _checked(declared, value, kind, None)


def _of_member(declared: Parameter, member: dict[str, Any], place: str) -> Argument:
    """Return the argument that a member of Parameters.parameter holds."""
    if holds_resource(declared):
        return _resource(declared, member, place)
    if declared.type is None:
        parts = member.get("part", [])
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise Invalid(
                f"{declared.name} is made of parts: an array of objects", expression=f"{place}.part"
            )
        return Argument(parts, "", place)
    keys = [key for key in member if key.startswith("value")]
    if len(keys) != 1:
        there = f"has {', '.join(keys)}" if keys else "has no value"
        raise Invalid(f"{declared.name} {there}; expected one {_key(declared.type)}", expression=place)
    field = structures.fields("Parameters.parameter").get(keys[0])
    same = field is not None and (field.type == declared.type or {field.type, declared.type} <= _TEXTS)
    if field is None or not same:
        raise Invalid(
            f"{declared.name} came as {keys[0]}, expected {_key(declared.type)}", expression=f"{place}.value"
        )
    return _checked(declared, member[keys[0]], field.type, f"{place}.value")


def _resource(declared: Parameter, member: dict[str, Any], place: str) -> Argument:
    value = member.get("resource")
    if value is None and (text := embedded(member)) is not None:
        try:
            value = json_format.parse(text.encode())
        except FhirError as error:
            what = f"{declared.name} came as JSON in a text: {error.issues[0].diagnostics}"
            raise Invalid(what, expression=f"{place}.extension") from None
        place = None  # type: ignore[assignment]  # it stands in a text of its own
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        raise Invalid(
            f'{declared.name} has no resource; expected "resource": {{"resourceType": …}}', expression=place
        )
    return Argument(value, value["resourceType"], None if place is None else f"{place}.resource")


def embedded(member: dict[str, Any]) -> str | None:
    """Return the JSON that a parameter carries as a text in the extension JSON_VALUE, or None."""
    extensions = member.get("extension")
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, dict) and extension.get("url") == JSON_VALUE:
            text = extension.get("valueString")
            return text if isinstance(text, str) else None
    return None


def _checked(declared: Parameter, value: Any, kind: str, place: str | None) -> Argument:
    if kind in PRIMITIVES and not fits(kind, value):
        what = f"{declared.name} is {shown(value)}, expected {PRIMITIVES[kind].expected}"
        raise Invalid(what, expression=place, code="value")
    return Argument(value, kind, place)


def _wrong_numbers(
    operation: Operation, found: dict[str, list[Argument]], missed: set[str]
) -> Iterator[Issue]:
    for name, declared in operation.inputs.items():
        there = found.get(name, [])
        if len(there) < declared.min and name not in missed:
            what = f"${operation.code} needs the parameter {name} ({_kind(declared)})"
            yield Issue("error", "required", what)
        if declared.max is not None and len(there) > declared.max:
            what = f"the parameter {name} came {len(there)} times; ${operation.code} takes it once"
            yield Issue("error", "invalid", what, there[-1].place)


def _kind(declared: Parameter) -> str:
    return "a resource" if holds_resource(declared) else declared.type or "made of parts"


def _key(type_name: str) -> str:
    return f"value{type_name[:1].upper()}{type_name[1:]}"
