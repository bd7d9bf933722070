"""What R4's definitions say of XML: for each type its elements by their names (R4/xml.html).

An object is written in the order of the definitions. `id` of an element and `url` of an extension are
attributes; `id` of a resource is an element like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from fhir_server.definitions import structures

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
XML = "http://www.w3.org/XML/1998/namespace"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

PRIMITIVE, COMPLEX, CONTAINER, RESOURCE, NARRATIVE = range(5)
"""A value in an attribute, an object, an element around a resource, that resource, a `div`."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for an element: `type` is what `Field.type` is, `rank` its place in the definitions.

    `weight` is how many brackets of JSON it opens: two where the element may repeat.
    """

    key: str
    beside: str
    kind: int
    type: str
    many: bool
    rank: int
    weight: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What an element may hold: attributes, and slots by their JSON names and by their XML names.

    An XML name is the namespace, a blank and the local name, as expat gives it.
    """

    attributes: tuple[str, ...]
    by_key: dict[str, Slot]
    by_name: dict[str, Slot]


@cache
def plan(type_path: str) -> Plan:
    """Return what a type, or an element with children, holds.

    >>> plan("Extension").attributes, plan("Patient").attributes
    (('id', 'url'), ())
    >>> plan("Narrative").by_name["http://www.w3.org/1999/xhtml div"].key
    'div'
    """
    attributes: tuple[str, ...] = ("id", "url") if type_path == "Extension" else ("id",)
    if "." not in type_path and structures.structure(type_path).kind == "resource":
        attributes = ()
    by_key, by_name = {}, {}
    for rank, (key, field) in enumerate(structures.fields(type_path).items()):
        if key in attributes:
            continue
        kind = PRIMITIVE if field.primitive else CONTAINER if field.type == "Resource" else COMPLEX
        namespace = FHIR
        if field.type == "xhtml":
            kind, namespace = NARRATIVE, XHTML
        weight = field.many + (kind != CONTAINER)
        slot = Slot(key, f"_{key}", kind, field.type, field.many, rank, weight)
        by_key[key] = by_key[slot.beside] = by_name[f"{namespace} {key}"] = slot
    return Plan(attributes, by_key, by_name)


@cache
def resources() -> Plan:
    """Return what an element around a resource may hold, and a document: any resource."""
    names = structures.resource_types()
    slots = {f"{FHIR} {name}": Slot(name, "", RESOURCE, name, False, 0, 1) for name in names}
    return Plan((), {}, slots)
