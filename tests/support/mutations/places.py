"""Where something stands in a resource, and copies of the resource with something else there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field

Step = str | int


class Place(NamedTuple):
    """A value: the way to it in JSON, its FHIRPath, its type (or the path of its element), its field."""

    steps: tuple[Step, ...]
    path: str
    type: str
    field: Field | None
    value: Any

    @property
    def stem(self) -> str:
        """The element's name, without the type of a choice."""
        assert self.field is not None
        return self.field.element.name.removesuffix("[x]")


def places(resource: dict[str, Any]) -> Iterator[Place]:
    """Yield every value of a right resource, the resource itself first."""
    name = resource["resourceType"]
    yield from _below(resource, (), name, name, None)


def _below(
    value: dict[str, Any], steps: tuple[Step, ...], path: str, type_path: str, field: Field | None
) -> Iterator[Place]:
    yield Place(steps, path, type_path, field, value)
    fields = structures.fields(type_path)
    for key, member in value.items():
        if key not in fields:
            continue
        child = fields[key]
        stem = f"{path}.{child.element.name.removesuffix('[x]')}"
        for number, item in enumerate(member if child.many else [member]):
            below = (*steps, key, number) if child.many else (*steps, key)
            place = f"{stem}[{number}]" if child.many else stem
            if isinstance(item, dict):
                kind = item["resourceType"] if child.type == "Resource" else child.type
                if child.element.profiles and child.type == "Quantity":
                    kind = child.element.profiles[0]
                yield from _below(item, below, place, kind, child)
            elif item is not None:
                yield Place(below, place, child.type, child, item)


def at(resource: Any, steps: tuple[Step, ...]) -> Any:
    """Return what stands there."""
    for step in steps:
        resource = resource[step]
    return resource


def changed(resource: dict[str, Any], steps: tuple[Step, ...], value: Any) -> Any:
    """Return a copy of the resource with `value` there; ... takes the member away."""
    if not steps:
        return value
    mutant = copy.deepcopy(resource)
    holder = at(mutant, steps[:-1])
    if value is ...:
        del holder[steps[-1]]
    else:
        holder[steps[-1]] = copy.deepcopy(value)
    return mutant
