"""OperationDefinition: its parameters, where it is called, its profiles (R4/operationdefinition.html)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import Task

Resource = Mapping[str, Any]


def check(operation: Resource, task: Task) -> Iterator[Issue]:
    """Yield what an OperationDefinition says against itself.

    >>> from fhir_server.validation.knowledge import R4
    >>> parameter = {"name": "a", "use": "in", "min": 2, "max": "1", "type": "string"}
    >>> [issue.diagnostics for issue in check({"parameter": [parameter]}, R4)]
    ['min is 2, more than max, 1']
    """
    yield from _parameters(operation, "OperationDefinition", "parameter")
    if (operation.get("type") or operation.get("instance")) and "resource" not in operation:
        what = "resource is missing; an operation on types or instances says on which"
        yield Issue("warning", "required", what, "OperationDefinition.resource", "operation-resource")
    for use in ("in", "out"):
        canonical = operation.get(f"{use}putProfile")
        found = task.knowledge.conformance.find("StructureDefinition", canonical) if canonical else None
        if found is not None:
            yield from _profile(operation, use, found)


def _parameters(holder: Resource, path: str, name: str) -> Iterator[Issue]:
    seen: set[tuple[Any, Any]] = set()
    for number, parameter in enumerate(holder.get(name, ())):
        place = f"{path}.{name}[{number}]"
        identity = (parameter.get("use"), parameter.get("name"))
        if identity in seen:
            what = f"there is a parameter {identity[1]!r} for {identity[0]} already"
            yield Issue("warning", "duplicate", what, f"{place}.name", "operation-parameter")
        seen.add(identity)
        least, most = parameter.get("min"), parameter.get("max")
        if most is not None and most != "*" and not most.isdecimal():
            yield Issue(
                "error",
                "value",
                f"got {most!r}, expected a number or *",
                f"{place}.max",
                "operation-cardinality",
            )
        elif least is not None and most not in (None, "*") and least > int(most):
            yield Issue(
                "error", "value", f"min is {least}, more than max, {most}", place, "operation-cardinality"
            )
        yield from _parameters(parameter, place, "part")


def _profile(operation: Resource, use: str, profile: Resource) -> Iterator[Issue]:
    """Yield where the profile of all parameters going in or out says something else of one."""
    place = f"OperationDefinition.{use}putProfile"
    if profile.get("type") != "Parameters":
        what = f"{profile.get('url')} is for {profile.get('type')}; expected a profile of Parameters"
        yield Issue("error", "value", what, place, "operation-profile")
        return
    slices = _slices(profile)
    for number, parameter in enumerate(operation.get("parameter", ())):
        name = parameter.get("name")
        if parameter.get("use") != use:
            continue
        if name not in slices:
            yield Issue(
                "warning", "value", f"the profile has no parameter {name!r}", place, "operation-profile"
            )
            continue
        for key in ("min", "max"):
            said = slices[name].get(key)
            if said is not None and key in parameter and said != parameter[key]:
                what = f"{key} of {name!r} is {parameter[key]}, but {said} in the {use}putProfile"
                at = f"OperationDefinition.parameter[{number}].{key}"
                yield Issue("error", "value", what, at, "operation-profile")


def _slices(profile: Resource) -> dict[str, Resource]:
    """Return the slices of Parameters.parameter by the names that their parameters have."""
    view = profile.get("snapshot") or profile.get("differential") or {}
    found: dict[str, Resource] = {}
    named: dict[str, str] = {}
    for element in view.get("element", ()):
        if element.get("path") == "Parameters.parameter" and "sliceName" in element:
            found[element["sliceName"]] = element
        elif element.get("path") == "Parameters.parameter.name":
            name = element.get("fixedString", element.get("patternString"))
            slice_name = element.get("id", "").removeprefix("Parameters.parameter:").removesuffix(".name")
            if name is not None and slice_name in found:
                named[slice_name] = name
    return {named.get(slice_name, slice_name): element for slice_name, element in found.items()}
