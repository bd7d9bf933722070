"""What the engine knows about types: members with their JSON keys, and who is a kind of whom.

A thin view on `definitions.structures`, keyed by type name. Elements without a type of their own
(R4's BackboneElements and the like) are typed by path, "Observation.component"; content
references lead to the path that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fhir_server.definitions import structures

# The System type that a FHIR primitive holds (R4/fhirpath.html#types).
SYSTEM_OF = {
    "boolean": "Boolean",
    "string": "String", "uri": "String", "url": "String", "canonical": "String", "code": "String",
    "oid": "String", "id": "String", "uuid": "String", "markdown": "String", "base64Binary": "String",
    "xhtml": "String",
    "integer": "Integer", "unsignedInt": "Integer", "positiveInt": "Integer",
    "decimal": "Decimal",
    "date": "Date", "dateTime": "DateTime", "instant": "DateTime", "time": "Time",
}  # fmt: skip
SYSTEM_TYPES = frozenset(
    ("Boolean", "String", "Integer", "Long", "Decimal", "Date", "DateTime", "Time", "Quantity", "Any")
)
# Search expressions of R4 say DateTime where they mean dateTime (SearchParameter 'usage-context' and others).
FHIR_OF = {
    "Boolean": "boolean", "String": "string", "Integer": "integer", "Decimal": "decimal",
    "Date": "date", "DateTime": "dateTime", "Time": "time",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """An element of a type: the JSON keys that may carry it, each with the type of the value there.

    `choices` has one entry, but for a choice (`value[x]`) one per type. `many` says that the
    definition lets it repeat.
    """

    name: str
    choices: tuple[tuple[str, str], ...]
    many: bool


@dataclass(frozen=True, slots=True)
class Type:
    """A FHIR type: its name and its members by name.

    `keys` maps each JSON key to its Member and the type of the value under that key.
    """

    name: str
    members: Mapping[str, Member]
    keys: Mapping[str, tuple[Member, str]]

    @property
    def is_primitive(self) -> bool:
        """Say whether JSON writes a value of the type as a bare string, number or boolean."""
        return self.name in SYSTEM_OF


@lru_cache(maxsize=4096)
def find(name: str) -> Type | None:
    """Return the type called `name` ("Patient", "code", "Observation.component"), or None.

    >>> find("Observation").members["value"].choices[0]
    ('valueQuantity', 'Quantity')
    >>> find("Questionnaire.item").members["item"].choices
    (('item', 'Questionnaire.item'),)
    >>> find("Patient").members["id"].choices, find("Nonsense")
    ((('id', 'id'),), None)
    """
    try:
        fields = structures.fields(name)
    except KeyError:
        return None
    found: dict[str, Member] = {}
    for key, field in fields.items():
        if key == "value" and name in SYSTEM_OF:
            continue  # the value of a primitive is no member: JSON has no key for it
        label = field.element.name.removesuffix("[x]")
        earlier = found[label].choices if label in found else ()
        type_name = field.type
        if key == "id" and "Resource" in ancestors(name):
            type_name = "id"  # the snapshots say string, R4/resource.html says id
        found[label] = Member(label, (*earlier, (key, type_name)), field.many)
    keys = {key: (member, type_name) for member in found.values() for key, type_name in member.choices}
    return Type(name, found, keys)


@lru_cache(maxsize=4096)
def ancestors(name: str) -> tuple[str, ...]:
    """Return `name` and the types that it specialises, nearest first.

    >>> ancestors("Age"), ancestors("Observation.component")
    (('Age', 'Quantity', 'Element'), ('Observation.component', 'BackboneElement', 'Element'))
    """
    chain = [name]
    while name:
        try:
            structure = structures.structure(name.partition(".")[0])
        except KeyError:
            break
        if "." in name:
            element = structure.elements.get(name)
            name = element.types[0] if element is not None and element.types else "BackboneElement"
        else:
            name = structure.base
        if name:
            chain.append(name)
    return tuple(chain)


def is_a(name: str, wanted: str) -> bool:
    """Say whether `name` is `wanted` or one of its specialisations.

    >>> is_a("Age", "Quantity"), is_a("uri", "url"), is_a("Patient", "Resource")
    (True, False, True)
    """
    return name == wanted or wanted in ancestors(name)


def is_resource_base(name: str) -> bool:
    """Say whether a value of the static type `name` is a resource that names its own type."""
    return name in ("Resource", "DomainResource")
