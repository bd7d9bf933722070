"""The StructureDefinitions of R4 as FHIR JSON (R4/structuredefinition.html).

Profiles and extensions come with the elements that they state (a differential); the types with all
their elements (a snapshot), made from `structures`. Prose is in neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from fhir_server.definitions.load import load
from fhir_server.definitions.structures import (
    Element,
    Invariant,
    Structure,
    invariant,
    structure,
    type_names,
)

CORE = "http://hl7.org/fhir/StructureDefinition/"
SYSTEM = "http://hl7.org/fhirpath/System."
FHIR_TYPE = CORE + "structuredefinition-fhir-type"
MAX_VALUE_SET = CORE + "elementdefinition-maxValueSet"

# Members that are no FHIR elements but texts of FHIRPath's type system (R4/datatypes.html#representations).
SYSTEM_TEXTS = frozenset(("Element.id", "Resource.id", "Extension.url", "xhtml.id"))

# The type of a primitive's value; those that are not here have a String.
SYSTEM_TYPES = {
    "boolean": "Boolean",
    "date": "Date",
    "dateTime": "DateTime",
    "decimal": "Decimal",
    "instant": "DateTime",
    "integer": "Integer",
    "time": "Time",
}

# The one choice in which Reference and canonical each have targets of their own.
TARGETS = {
    ("EvidenceVariable.characteristic.definition[x]", "Reference"): ["Group"],
    ("EvidenceVariable.characteristic.definition[x]", "canonical"): ["ActivityDefinition"],
}

BY_URL = {"discriminator": [{"type": "value", "path": "url"}], "rules": "open"}


@cache
def _profiles() -> dict[str, msgspec.Raw]:
    return load("profiles", dict[str, msgspec.Raw])


@cache
def structure_definition_urls() -> tuple[str, ...]:
    """Return the urls of all types, profiles and extensions of R4, sorted.

    >>> len(structure_definition_urls()) > 640
    True
    """
    return tuple(sorted({CORE + name for name in type_names()} | set(_profiles())))


@cache
def structure_definition(url: str) -> dict[str, Any] | None:
    """Return the StructureDefinition at `url`, None if R4 has none there; callers do not change it.

    >>> structure_definition("http://hl7.org/fhir/StructureDefinition/bp")["baseDefinition"]
    'http://hl7.org/fhir/StructureDefinition/vitalsigns'
    >>> patient = structure_definition("http://hl7.org/fhir/StructureDefinition/Patient")
    >>> patient["snapshot"]["element"][8]["type"]
    [{'code': 'Extension'}]
    """
    found = _profiles().get(url)
    if found is not None:
        decoded: dict[str, Any] = msgspec.json.decode(found)
        return decoded
    name = url.removeprefix(CORE)
    if name == url or name not in type_names():
        return None
    return _type_definition(structure(name))


def _type_definition(of: Structure) -> dict[str, Any]:
    definition = {
        "resourceType": "StructureDefinition",
        "url": CORE + of.name,
        "version": "4.0.1",
        "name": of.name,
        "status": "active",
        "kind": of.kind,
        "abstract": of.abstract,
        "type": of.name,
    }
    if of.base:
        definition |= {"baseDefinition": CORE + of.base, "derivation": "specialization"}
    definition["snapshot"] = {"element": [_element(element, of) for element in of.elements.values()]}
    return definition


def _element(element: Element, of: Structure) -> dict[str, Any]:
    """Return an ElementDefinition (R4/elementdefinition.html) of a type's snapshot."""
    origin, owner = _origin(element.path)
    is_root = "." not in element.path
    made: dict[str, Any] = {"id": element.path, "path": element.path}
    is_extension = element.types == ("Extension",) and not is_root
    if is_extension and (of.name == "DomainResource" or (of.kind == "complex-type" and origin == EXTENSIONS)):
        made["slicing"] = BY_URL
    made |= {"min": element.min, "max": _max(element)}
    made["base"] = {"path": origin, "min": owner.min, "max": _max(owner)}
    if element.content_reference:
        made["contentReference"] = f"#{element.content_reference}"
    elif not is_root:
        made["type"] = [_type(element, origin, code) for code in element.types]
    constraints = list(_constraints(element, of))
    if constraints:
        made["constraint"] = constraints
    if not is_root:
        made |= {"isModifier": element.is_modifier, "isSummary": element.is_summary}
    if element.binding is not None:
        made["binding"] = {"strength": element.binding.strength, "valueSet": element.binding.value_set}
        if element.binding.max_value_set is not None:
            largest = {"url": MAX_VALUE_SET, "valueCanonical": element.binding.max_value_set}
            made["binding"]["extension"] = [largest]
    return made


EXTENSIONS = "Element.extension"


def _max(element: Element) -> str:
    return "*" if element.max is None else str(element.max)


def _origin(path: str) -> tuple[str, Element]:
    """Return the path and the element where the element at `path` was first stated."""
    parent, dot, name = path.rpartition(".")
    own = structure(path.partition(".")[0]).elements
    if not dot:
        return path, own[path]
    # What a nested element has beside its own children comes from Element or BackboneElement.
    base = structure(parent).base if "." not in parent else "".join(own[parent].types[:1])
    while base:
        inherited = structure(base).elements.get(f"{base}.{name}")
        if inherited is None:
            break
        path, base = f"{base}.{name}", structure(base).base
    return path, structure(path.partition(".")[0]).elements[path]


def _type(element: Element, origin: str, code: str) -> dict[str, Any]:
    if origin in SYSTEM_TEXTS:
        return {"extension": [{"url": FHIR_TYPE, "valueUrl": code}], "code": SYSTEM + "String"}
    if code not in type_names():
        return {"code": SYSTEM + code}
    made: dict[str, Any] = {"code": code}
    parent = element.path.rpartition(".")[0]
    if element.name == "value" and parent in type_names() and structure(parent).kind == "primitive-type":
        return {"code": SYSTEM + SYSTEM_TYPES.get(code, "String")}
    if element.profiles and code == "Quantity":
        made["profile"] = [CORE + name for name in element.profiles]
    targets = TARGETS.get((element.path, code), element.targets)
    if targets and code in ("Reference", "canonical"):
        made["targetProfile"] = [CORE + name for name in targets]
    return made


def _stater(of: Structure, key: str) -> str:
    """Return the type that first states a constraint which `of` has at its root."""
    name = of.name
    while (base := structure(name).base) and key in structure(base).elements[base].constraints:
        name = base
    return name


def _constraints(element: Element, of: Structure) -> Iterator[dict[str, Any]]:
    """Yield what an element states, after what every element and every extension states."""
    keys = [(of.name if "." in element.path else _stater(of, key), key) for key in element.constraints]
    if "." in element.path and element.types != ("Resource",):
        is_text = _origin(element.path)[0] in SYSTEM_TEXTS or (
            of.kind == "primitive-type" and element.name == "value"
        )
        if element.types == ("Extension",):
            keys.insert(0, ("Extension", "ext-1"))
        if not is_text:
            keys.insert(0, ("Element", "ele-1"))
    told = set()
    for name, key in keys:
        if key not in told:
            told.add(key)
            stated: Invariant = invariant(name, key)
            yield {
                "key": key,
                "severity": stated.severity,
                "human": stated.human,
                "expression": stated.expression,
                "source": CORE + name,
            }
