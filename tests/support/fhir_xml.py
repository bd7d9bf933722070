"""FHIR XML → the JSON form, by what R4's structures say of each element (R4/xml.html, R4/json.html)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from decimal import Decimal
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field

FHIR = "{http://hl7.org/fhir}"
NUMBERS = {"integer": int, "positiveInt": int, "unsignedInt": int, "decimal": Decimal}


def from_xml(data: bytes) -> dict[str, Any]:
    """Return the resource of an XML document.

    >>> patient = b'<Patient xmlns="http://hl7.org/fhir"><active value="true"/></Patient>'
    >>> from_xml(patient)
    {'resourceType': 'Patient', 'active': True}

    Raises KeyError at an element that R4 does not have.
    """
    ElementTree.register_namespace("", "http://www.w3.org/1999/xhtml")
    return _resource(ElementTree.fromstring(data))


def _resource(node: ElementTree.Element) -> dict[str, Any]:
    name = node.tag.removeprefix(FHIR)
    return {"resourceType": name, **_object(node, name)}


def _object(node: ElementTree.Element, type_path: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: value for name, value in node.attrib.items() if name != "value" and not name.startswith("{")
    }
    fields = structures.fields(type_path)
    for child in node:
        name = child.tag.rpartition("}")[2]
        field = fields[name]
        if field.type == "xhtml":
            found[name] = ElementTree.tostring(child, encoding="unicode").strip()
        elif field.primitive:
            _add_primitive(found, field, child)
        else:
            inner = _resource(child[0]) if field.type == "Resource" else _object(child, field.type)
            _add(found, field, inner)
    return found


def _add_primitive(found: dict[str, Any], field: Field, node: ElementTree.Element) -> None:
    text = node.get("value")
    value: Any = text
    if text is not None and field.type == "boolean":
        value = {"true": True, "false": False}[text]
    elif text is not None and field.type in NUMBERS:
        value = NUMBERS[field.type](text)
    sibling = _object(node, "Element")
    beside = f"_{field.key}"
    if not field.many:
        if value is not None:
            found[field.key] = value
        if sibling:
            found[beside] = sibling
        return
    place = max(len(found.get(field.key, ())), len(found.get(beside, ())))
    for key, item in ((field.key, value), (beside, sibling or None)):
        if item is not None or key in found:
            found.setdefault(key, []).extend([None] * (place - len(found.get(key, ()))))
            found[key].append(item)


def _add(found: dict[str, Any], field: Field, value: Any) -> None:
    if field.many:
        found.setdefault(field.key, []).append(value)
    else:
        found[field.key] = value
