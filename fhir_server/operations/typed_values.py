"""Items of FHIRPath ↔ parameters with a typed value[x], in the form that fhirpath-lab reads.

A part is named by the type of its value. What value[x] cannot hold, such as a BackboneElement, is
carried as JSON in a text by the extension json-value; where the item stands in the resource is told
by the extension resource-path.
"""

from __future__ import annotations

from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.primitives import fits
from fhir_server.fhirpath import api
from fhir_server.fhirpath.api import Element, Quantity, TypeInfo
from fhir_server.model import json_format
from fhir_server.operations.parameters import JSON_VALUE, embedded
from fhir_server.outcome import Invalid

RESOURCE_PATH = "http://fhir.forms-lab.com/StructureDefinition/resource-path"
_UCUM = "http://unitsofmeasure.org"


def part(item: Any, resource: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an item as a part; its path is told when it stands in `resource`.

    >>> patient = {"resourceType": "Patient", "name": [{"family": "Li"}]}
    >>> part(api.compile("name.family").evaluate(patient)[0], patient)["valueString"]
    'Li'
    >>> part(True)
    {'name': 'boolean', 'valueBoolean': True}
    """
    if not isinstance(item, Element):
        return _system(item)
    made: dict[str, Any] = {"name": item.type, **_element(item)}
    if resource is not None and _stands_in(item, resource):
        path = {"url": RESOURCE_PATH, "valueString": item.path}
        made["extension"] = [path, *made.get("extension", ())]
    return made


def item_of(parameter: dict[str, Any], place: str) -> Element | None:
    """Return the item that a parameter or part carries, None when it has no value.

    >>> item_of({"name": "limit", "valueInteger": 5}, "Parameters.parameter[0]")
    <integer integer: 5>

    Raises Invalid for more than one value and for a value[x] that there is not.
    """
    resource = parameter.get("resource")
    if isinstance(resource, dict):
        return api.root(resource)
    keys = [key for key in parameter if key.startswith("value")]
    if not keys:
        text = embedded(parameter)
        return None if text is None else api.root(json_format.parse(text.encode()))
    field = structures.fields("Parameters.parameter").get(keys[0])
    if field is None or len(keys) > 1:
        raise Invalid(
            f"{', '.join(keys)} is no value of a parameter; one value[x] is expected", expression=place
        )
    value = parameter[keys[0]]
    if field.primitive and not fits(field.type, value):
        raise Invalid(f"the value is no {field.type}", expression=f"{place}.value", code="value")
    return Element(value, field.type)


def _element(item: Element) -> dict[str, Any]:
    value = item.value
    if isinstance(value, dict) and "resourceType" in value:
        return {"resource": value}
    key = f"value{item.type[:1].upper()}{item.type[1:]}"
    if key in structures.fields("Parameters.parameter"):
        made = {} if value is None else {key: value}
        return made if item.extra is None else {**made, f"_{key}": item.extra}
    if isinstance(value, str):  # xhtml, and nothing else today
        return {"valueString": value}
    return {"extension": [as_json(value)]}


def as_json(value: Any) -> dict[str, Any]:
    """Return the extension that carries a value as JSON in a text."""
    return {"url": JSON_VALUE, "valueString": json_format.encode(value).decode()}


def _stands_in(item: Element, resource: dict[str, Any]) -> bool:
    place = item
    while place.parent is not None:
        place = place.parent
    return place.value is resource


def _system(item: Any) -> dict[str, Any]:
    """Return a System value as a part; one that FHIR's type of that name cannot say is a text."""
    if isinstance(item, Quantity):
        return {"name": "Quantity", "valueQuantity": _quantity(item)}
    if isinstance(item, TypeInfo):
        return {"name": "TypeInfo", "extension": [as_json(api.to_json(item))]}
    name = api.type_of(item).name
    value = api.to_json(item)
    if value == "":
        return {"name": "empty-string"}  # no value[x] may be empty
    kind = name[:1].lower() + name[1:]
    if kind == "integer" and not fits("integer", value):
        kind = "decimal"
    if kind == "string" or not fits(kind, value):
        return {"name": kind, "valueString": str(value)}
    return {"name": kind, f"value{kind[:1].upper()}{kind[1:]}": value}


def _quantity(item: Quantity) -> dict[str, Any]:
    if item.is_calendar:
        return {"value": item.value, "unit": item.unit}
    return {"value": item.value, "system": _UCUM, "code": item.unit}
