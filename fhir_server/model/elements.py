"""Walking a resource with the types of its elements (R4/json.html, R4/formats.html#choice)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field


class Node(NamedTuple):
    """One element of a resource.

    `path` is FHIRPath with places (Patient.name[0].given[1]); `type` is the type name, or the path of
    an element that has children of its own (Patient.contact). `value` is the JSON value, None for a
    primitive that has extensions only; `sibling` is what `_name` holds for it, or None.
    """

    path: str
    type: str
    value: Any
    field: Field | None
    sibling: dict[str, Any] | None = None


def children(node: Node) -> Iterator[Node]:
    """Yield the child elements of a node, repeats one by one; unknown members are passed over.

    >>> patient = {"resourceType": "Patient", "birthDate": "1970", "name": [{"family": "Li"}]}
    >>> [(child.path, child.type) for child in children(root(patient))]
    [('Patient.birthDate', 'date'), ('Patient.name[0]', 'HumanName')]
    """
    value = node.value
    if node.field is not None and node.field.primitive:
        value = node.sibling
    if not isinstance(value, dict):
        return
    fields = structures.fields(node.type)
    for key, member in value.items():
        field = fields.get(key)
        if field is not None:
            yield from _members(node.path, field, member, value.get(f"_{key}"))
        elif key[:1] == "_" and key[1:] not in value and key[1:] in fields:
            yield from _members(node.path, fields[key[1:]], None, member)


def root(resource: dict[str, Any], path: str | None = None) -> Node:
    """Return the node of a resource; its path begins with its type unless `path` says otherwise."""
    type_name = resource["resourceType"]
    return Node(path or type_name, type_name, resource, None)


def walk(resource: dict[str, Any]) -> Iterator[Node]:
    """Yield every element below a resource, a parent before its children, contained ones too.

    >>> observation = {"resourceType": "Observation", "valueQuantity": {"value": 1},
    ...                "contained": [{"resourceType": "Patient", "active": True}]}
    >>> for node in walk(observation):
    ...     print(node.path, node.type)
    Observation.value Quantity
    Observation.value.value decimal
    Observation.contained[0] Patient
    Observation.contained[0].active boolean
    """
    waiting = [children(root(resource))]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
        else:
            yield node
            waiting.append(children(node))


def _members(path: str, field: Field, member: Any, sibling: Any) -> Iterator[Node]:
    name = field.element.name.removesuffix("[x]")
    if isinstance(member, list) or (member is None and isinstance(sibling, list)):
        values = member if isinstance(member, list) else [None] * len(sibling)
        siblings = sibling if isinstance(sibling, list) else []
        for number, value in enumerate(values):
            beside = siblings[number] if number < len(siblings) else None
            yield _node(f"{path}.{name}[{number}]", field, value, beside)
    else:
        yield _node(f"{path}.{name}", field, member, sibling)


def _node(path: str, field: Field, value: Any, sibling: Any) -> Node:
    type_name = field.type
    if type_name == "Resource" and isinstance(value, dict):
        named = value.get("resourceType")
        if structures.is_resource_type(named):
            type_name = str(named)
    return Node(path, type_name, value, field, sibling if isinstance(sibling, dict) else None)
