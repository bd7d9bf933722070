"""The code systems that R4 publishes: codes, names where they are HL7's to give, hierarchy.

For the few places below `terminology` that need them; the tables of `terminology` are filled from here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from fhir_server.definitions.load import load


class Concept(msgspec.Struct, frozen=True, array_like=True):
    """One code; `parent` is the place of its parent in the same list, None at the top.

    `properties` are (property, value) and `designations` (language or "", name).
    """

    code: str
    display: str = ""
    parent: int | None = None
    not_selectable: bool = False
    properties: tuple[tuple[str, str], ...] = ()
    designations: tuple[tuple[str, str], ...] = ()


class CodeSystem(msgspec.Struct, frozen=True, array_like=True):
    """One code system; `content` is complete, example, fragment, supplement or not-present.

    `case_sensitive` is None where the system does not say; `value_set` is the url of all its codes;
    `properties` are (code, type, uri).
    """

    version: str
    name: str
    content: str
    case_sensitive: bool | None = None
    concepts: tuple[Concept, ...] = ()
    value_set: str = ""
    hierarchy_meaning: str = ""
    properties: tuple[tuple[str, str, str], ...] = ()


@cache
def _rows() -> dict[str, msgspec.Raw]:
    return load("code_systems", dict[str, msgspec.Raw])


@cache
def code_system_urls() -> tuple[str, ...]:
    """Return the urls of all code systems, sorted.

    >>> len(code_system_urls()) > 1000
    True
    """
    return tuple(_rows())


@cache
def code_system(url: str) -> CodeSystem:
    """Return a code system.

    >>> [concept.code for concept in code_system("http://hl7.org/fhir/administrative-gender").concepts]
    ['male', 'female', 'other', 'unknown']

    Raises KeyError when R4 publishes none with this url.
    """
    return msgspec.json.decode(_rows()[url], type=CodeSystem)


def resource(url: str) -> dict[str, Any] | None:
    """Return a code system as FHIR JSON, without prose; None when R4 publishes none with this url.

    >>> resource("http://hl7.org/fhir/administrative-gender")["concept"][0]
    {'code': 'male', 'display': 'Male'}
    """
    if url not in _rows():
        return None
    system = msgspec.json.decode(_rows()[url], type=CodeSystem)  # not kept: who asks keeps what it makes
    types = {code: type_name for code, type_name, _ in system.properties}
    top: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    for concept in system.concepts:
        json = _concept(concept, types)
        made.append(json)
        siblings = top if concept.parent is None else made[concept.parent].setdefault("concept", [])
        siblings.append(json)
    found: dict[str, Any] = {
        "resourceType": "CodeSystem",
        "url": url,
        "version": system.version,
        "name": system.name,
        "status": "active",
        "caseSensitive": system.case_sensitive,
        "valueSet": system.value_set,
        "hierarchyMeaning": system.hierarchy_meaning,
        "content": system.content,
        "property": [
            {"code": code, **({"uri": uri} if uri else {}), "type": type_name}
            for code, type_name, uri in system.properties
        ],
        "concept": top,
    }
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def _concept(concept: Concept, types: dict[str, str]) -> dict[str, Any]:
    json: dict[str, Any] = {"code": concept.code}
    if concept.display:
        json["display"] = concept.display
    if concept.designations:
        json["designation"] = [
            {**({"language": language} if language else {}), "value": name}
            for language, name in concept.designations
        ]
    properties = [_property(code, value, types.get(code, "code")) for code, value in concept.properties]
    if concept.not_selectable:
        properties.append({"code": "notSelectable", "valueBoolean": True})
    if properties:
        json["property"] = properties
    return json


def _property(code: str, value: str, type_name: str) -> dict[str, Any]:
    if type_name == "boolean":
        return {"code": code, "valueBoolean": value == "true"}
    return {"code": code, f"value{type_name[0].upper()}{type_name[1:]}": value}
