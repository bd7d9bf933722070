"""Parts of a resource: _summary and _elements (R4/search.html#summary, #elements)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Element
from fhir_server.outcome import Invalid

MODES = ("true", "text", "data", "count", "false")
SUBSETTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
    "display": "Resource encoded in summary mode",
}


def subset(resource: dict[str, Any], wanted: str | Collection[str]) -> dict[str, Any]:
    """Return the part of a resource that is wanted, tagged as SUBSETTED; the original stays whole.

    `wanted` is one of MODES, or a collection of element names for _elements. Always kept: the type,
    id, meta, and what would change the meaning if it were missing (mandatory elements; for
    _elements modifier elements too). `count` is a form of Bundles: everything but the entries.

    >>> patient = {"resourceType": "Patient", "id": "7", "active": True, "contact": [], "birthDate": "1970"}
    >>> list(subset(patient, ["birthDate"]))
    ['resourceType', 'id', 'meta', 'active', 'birthDate']
    >>> subset(patient, "true").keys() - subset(patient, "text").keys() == {"active", "birthDate"}
    True

    Raises Invalid for another mode, or for an element that the type does not have.
    """
    type_name = resource["resourceType"]
    if wanted == "false":
        return resource
    if isinstance(wanted, str):
        if wanted not in MODES:
            raise Invalid(f"_summary={wanted}: expected one of {', '.join(MODES)}")
        if wanted == "count" and type_name != "Bundle":
            raise Invalid("_summary=count is for searches; it gives a Bundle with a total and no entries")
        if wanted == "true":
            kept = _summary(resource, type_name)
        elif wanted == "data":
            kept = {key: value for key, value in resource.items() if key not in ("text", "_text")}
        elif wanted == "text":
            kept = _filtered(resource, type_name, lambda element: element.min > 0 or element.name == "text")
        else:
            kept = {key: value for key, value in resource.items() if key != "entry"}
    else:
        names = element_names(type_name, wanted)
        kept = _filtered(
            resource,
            type_name,
            lambda element: (
                element.min > 0 or element.is_modifier or element.name.removesuffix("[x]") in names
            ),
        )
    return _tagged(resource, kept)


def element_names(type_name: str, wanted: Collection[str]) -> frozenset[str]:
    """Return the names among `wanted` that concern a type: `name`, or `Patient.name` for Patients only.

    >>> sorted(element_names("Patient", ["name", "Observation.code", "Patient.birthDate"]))
    ['birthDate', 'name']

    Raises Invalid when the type has no such element.
    """
    known = _known(type_name)
    names = set()
    for text in wanted:
        head, dot, tail = text.partition(".")
        if dot and structures.is_resource_type(head):
            if head == type_name:
                names.add(tail)
        else:
            names.add(text)
    for name in names:
        if name not in known:
            has = ", ".join(sorted(known))
            raise Invalid(f"_elements: {type_name} has no element {name!r} at its root; it has {has}")
    return frozenset(names)


def existing(type_name: str, wanted: Collection[str]) -> tuple[str, ...]:
    """Return those of the names in `wanted` that a type has; no name of another type is wrong here.

    >>> existing("Patient", ["subject", "birthDate", "Patient.name", "Group.type"])
    ('birthDate', 'name')
    """
    own = (name.removeprefix(f"{type_name}.") for name in wanted)
    return tuple(name for name in own if name in _known(type_name))


@cache
def _known(type_name: str) -> frozenset[str]:
    return frozenset(
        field.element.name.removesuffix("[x]") for field in structures.fields(type_name).values()
    )


def _filtered(value: dict[str, Any], path: str, keep: Callable[[Element], bool]) -> dict[str, Any]:
    fields = structures.fields(path)
    kept = {}
    for key, member in value.items():
        field = fields.get(key.removeprefix("_"))
        if field is None or key in ("id", "meta") or keep(field.element):
            kept[key] = member
    return kept


def _summary(value: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the members that are marked as summary, of elements with own children theirs only."""
    fields = structures.fields(path)
    kept: dict[str, Any] = {}
    for key, member in value.items():
        field = fields.get(key.removeprefix("_"))
        if field is None or key in ("id", "meta"):
            kept[key] = member
        elif field.element.is_summary or field.element.min > 0:
            kept[key] = member
            if "." in field.type and isinstance(member, list):
                kept[key] = [
                    _summary(item, field.type) if isinstance(item, dict) else item for item in member
                ]
            elif "." in field.type and isinstance(member, dict):
                kept[key] = _summary(member, field.type)
    return {key: member for key, member in kept.items() if member not in ({}, [])}


def _tagged(resource: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """Return `kept` with type, id and meta first and SUBSETTED among the tags."""
    meta = dict(resource.get("meta", {}))
    tags = [tag for tag in meta.get("tag", []) if tag.get("code") != SUBSETTED["code"]]
    meta["tag"] = [*tags, SUBSETTED]
    head: dict[str, Any] = {key: kept[key] for key in ("resourceType", "id") if key in kept}
    return {**head, "meta": meta, **{key: kept[key] for key in kept if key not in (*head, "meta")}}
