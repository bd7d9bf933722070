"""The profiles and extension definitions of R4's package → FHIR JSON without its prose.

What validates stays: cardinalities, types, slices, fixed values, bindings, constraints. What explains
(definition, comment, requirements, mapping, examples) and the snapshots, which fhir_server makes anew
from the differentials, stay behind.
"""

from __future__ import annotations

from typing import Any

MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"

KEPT = (
    "url",
    "version",
    "name",
    "title",
    "status",
    "kind",
    "abstract",
    "type",
    "baseDefinition",
    "derivation",
    "context",
    "contextInvariant",
)
KEPT_OF_ELEMENT = (
    "id",
    "path",
    "sliceName",
    "sliceIsConstraining",
    "slicing",
    "min",
    "max",
    "type",
    "binding",
    "constraint",
    "contentReference",
    "maxLength",
    "mustSupport",
    "isModifier",
    "isSummary",
)
KEPT_OF_CONSTRAINT = ("key", "severity", "human", "expression", "source")
VALUES = ("fixed", "pattern", "minValue", "maxValue", "defaultValue")


def profiles(definitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return url → StructureDefinition of everything that constrains a type of R4."""
    return {
        definition["url"]: structure(definition)
        for definition in definitions
        if definition.get("derivation") == "constraint"
    }


def structure(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a StructureDefinition with the elements that it states itself."""
    kept = {name: definition[name] for name in KEPT if name in definition}
    stated = definition["differential"]["element"]
    choices = {choice["path"]: choice for choice in closed_choices(definition)}
    elements = []
    for each in stated:
        for path in [path for path in choices if names_a_type(each["path"], path)]:
            elements.append(choices.pop(path))
        elements.append(element(each))
    return {"resourceType": "StructureDefinition", **kept, "differential": {"element": elements}}


def closed_choices(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices that the snapshot closes by slices and the differential does not speak of.

    R4's own snapshots say that a path `valueQuantity` leaves no other type, also where it is optional;
    publishers today leave the others. So what the snapshot says of `value[x]` is stated beside it.
    """
    stated = {each["path"] for each in definition["differential"]["element"]}
    return [
        element({name: each[name] for name in ("id", "path", "slicing", "type")})
        for each in definition.get("snapshot", {}).get("element", ())
        if each.get("slicing", {}).get("rules") == "closed"
        and each["path"].endswith("[x]")
        and each["path"] not in stated
    ]


def names_a_type(path: str, choice: str) -> bool:
    """Say whether `Observation.valueQuantity` is of the choice `Observation.value[x]`."""
    parent, _, name = choice.removesuffix("[x]").rpartition(".")
    return path.rpartition(".")[0] == parent and path.rpartition(".")[2].startswith(name)


def element(stated: dict[str, Any]) -> dict[str, Any]:
    """Return an ElementDefinition without what does not validate."""
    kept = {
        name: value for name, value in stated.items() if name in KEPT_OF_ELEMENT or name.startswith(VALUES)
    }
    if "slicing" in kept:
        kept["slicing"] = {name: value for name, value in kept["slicing"].items() if name != "description"}
    if "type" in kept:
        kept["type"] = [
            {name: value for name, value in choice.items() if name != "extension"} for choice in kept["type"]
        ]
    if "constraint" in kept:
        kept["constraint"] = [
            {name: constraint[name] for name in KEPT_OF_CONSTRAINT if name in constraint}
            for constraint in kept["constraint"]
        ]
    if "binding" in kept:
        kept["binding"] = binding(kept["binding"])
    return kept


def binding(stated: dict[str, Any]) -> dict[str, Any]:
    """Return strength and value set, and the value set that may never be left."""
    kept = {name: stated[name] for name in ("strength", "valueSet") if name in stated}
    largest = [extension for extension in stated.get("extension", ()) if extension["url"] == MAX_VALUE_SET]
    return {**kept, "extension": largest} if largest else kept
