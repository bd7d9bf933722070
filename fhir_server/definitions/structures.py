"""Types, elements, cardinalities and bindings of R4 (R4/structuredefinition.html).

Facts only: what a type is made of. A type's elements are decoded when the type is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import msgspec

from fhir_server.definitions.load import load


class Binding(msgspec.Struct, frozen=True, array_like=True):
    """A value set, how strictly it is meant, and the one that may never be left (or None)."""

    strength: str
    value_set: str
    max_value_set: str | None = None


class Element(msgspec.Struct, frozen=True, array_like=True):
    """One element of a snapshot; `max` is None where the specification writes `*`.

    `path` begins with the name of the structure and ends in `[x]` for a choice. `types` are type
    names, for the root and for a `content_reference` (another path) there are none. `targets` are
    the types that a Reference or canonical among `types` may point to; ("Resource",) is any.
    `profiles` narrow a Quantity among them (SimpleQuantity); they are structures of their own.
    """

    path: str
    min: int = 0
    max: int | None = None
    types: tuple[str, ...] = ()
    is_summary: bool = False
    targets: tuple[str, ...] = ()
    binding: Binding | None = None
    constraints: tuple[str, ...] = ()
    is_modifier: bool = False
    content_reference: str = ""
    profiles: tuple[str, ...] = ()
    regex: str | None = None

    @property
    def name(self) -> str:
        """The last step of the path, with `[x]` if it is a choice."""
        return self.path.rpartition(".")[2]


class Structure(msgspec.Struct, frozen=True):
    """A type: `kind` is resource, complex-type or primitive-type; `base` is "" for the roots."""

    name: str
    kind: str
    abstract: bool
    base: str
    elements: dict[str, Element]


class Field(msgspec.Struct, frozen=True):
    """A member that a JSON object may have: `valueQuantity` is a field of the element `value[x]`.

    `type` is where to look further: a type name ("Quantity"), or the path of the element that has
    the children ("Patient.contact"). `primitive` says that the member is a JSON value and may have
    an underscored sibling.
    """

    key: str
    type: str
    element: Element
    many: bool
    primitive: bool


class Invariant(msgspec.Struct, frozen=True, array_like=True):
    """A constraint: `severity` is error or warning, `expression` is FHIRPath."""

    severity: str
    expression: str
    human: str


class _Row(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    abstract: bool
    base: str
    elements: list[Element]


@cache
def _rows() -> dict[str, msgspec.Raw]:
    return load("structures", dict[str, msgspec.Raw])


@cache
def _invariants() -> dict[str, Invariant]:
    return load("invariants", dict[str, Invariant])


@cache
def type_names() -> tuple[str, ...]:
    """Return the names of all types: resources, complex and primitive types, abstract ones too."""
    return tuple(_rows())


@cache
def resource_types() -> tuple[str, ...]:
    """Return the sorted names of the 146 concrete resource types.

    >>> len(resource_types()), resource_types()[0], resource_types()[-1]
    (146, 'Account', 'VisionPrescription')
    """
    head = b'["resource",false,'
    return tuple(sorted(name for name, row in _rows().items() if bytes(row).startswith(head)))


@cache
def _codes() -> dict[str, int]:
    return {name: number for number, name in enumerate(resource_types(), start=1)}


def type_code(name: str) -> int:
    """Return the number under which a resource type is stored; R4 is final, so it never changes.

    >>> type_code("Account"), type_code("VisionPrescription")
    (1, 146)

    Raises KeyError when R4 has no such resource type.
    """
    return _codes()[name]


def type_name(code: int) -> str:
    """Return the resource type of a stored number.

    >>> type_name(type_code("Patient"))
    'Patient'
    """
    if code < 1:
        raise IndexError(f"{code} is no code of a resource type; they begin at 1")
    return resource_types()[code - 1]


def is_resource_type(name: object) -> bool:
    """Return whether `name` is a concrete resource type of R4.

    >>> is_resource_type("Patient"), is_resource_type("DomainResource"), is_resource_type(5)
    (True, False, False)
    """
    return isinstance(name, str) and name in _codes()


@cache
def structure(type_name: str) -> Structure:
    """Return what a type is made of.

    >>> observation = structure("Observation")
    >>> observation.base, observation.elements["Observation.status"].binding.strength
    ('DomainResource', 'required')

    Raises KeyError when R4 has no such type.
    """
    row = msgspec.json.decode(_rows()[type_name], type=_Row)
    return Structure(
        type_name, row.kind, row.abstract, row.base, {element.path: element for element in row.elements}
    )


def is_subtype(type_name: str, ancestor: str) -> bool:
    """Return whether a type is `ancestor` or derives from it.

    >>> is_subtype("Age", "Quantity"), is_subtype("Bundle", "DomainResource"), is_subtype("id", "string")
    (True, False, True)
    """
    while type_name:
        if type_name == ancestor:
            return True
        type_name = structure(type_name).base
    return False


def is_primitive(type_name: str) -> bool:
    """Return whether a type is a JSON string, number or boolean.

    >>> is_primitive("date"), is_primitive("Quantity"), is_primitive("Patient.contact")
    (True, False, False)
    """
    return "." not in type_name and structure(type_name).kind == "primitive-type"


@cache
def fields(path: str) -> Mapping[str, Field]:
    """Return the members of a type or of an element with children, by their JSON names.

    >>> fields("Patient")["deceasedBoolean"].element.path
    'Patient.deceased[x]'
    >>> fields("Patient")["contact"].type, fields("Patient.contact")["name"].type
    ('Patient.contact', 'HumanName')
    >>> fields("Observation.component")["referenceRange"].type
    'Observation.referenceRange'

    Elements that a profile of Quantity forbids (SimpleQuantity.comparator) are left out.
    Raises KeyError when there is no such type.
    """
    elements = structure(path.partition(".")[0]).elements
    if path not in elements:
        raise KeyError(path)
    depth = path.count(".") + 1
    found: dict[str, Field] = {}
    for child in elements.values():
        if child.path.startswith(f"{path}.") and child.path.count(".") == depth and child.max != 0:
            many = child.max is None or child.max > 1
            for key, type_name in _choices(child):
                if f"{child.path}." in _parents(path.partition(".")[0]):
                    type_name = child.path
                found[key] = Field(key, type_name, child, many, bool(type_name) and is_primitive(type_name))
    return found


@cache
def _parents(type_name: str) -> frozenset[str]:
    """Return the paths, each with a dot behind it, of elements that have children."""
    return frozenset(path.rpartition(".")[0] + "." for path in structure(type_name).elements)


def _choices(element: Element) -> list[tuple[str, str]]:
    name = element.name
    if element.content_reference:
        return [(name, element.content_reference)]
    if name.endswith("[x]"):
        stem = name.removesuffix("[x]")
        return [(stem + type_name[0].upper() + type_name[1:], type_name) for type_name in element.types]
    return [(name, type_name) for type_name in element.types]


def invariant(type_name: str, key: str) -> Invariant:
    """Return the constraint `key` as it is meant in the type where an element lists it.

    >>> invariant("Patient", "pat-1").severity
    'error'
    >>> "part" in invariant("Parameters", "inv-1").expression
    True
    """
    found = _invariants()
    return found.get(f"{type_name}/{key}") or found[key]
