"""The element of R4 that a path of a profile means: `Patient.contact.name` → its field and types."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field


class Place(NamedTuple):
    """Where a path leads.

    `types` are where to look further: type names, or paths of elements with children; none where
    anything may follow (a resource of any type). `fields` are the fields that the last step may be.
    """

    types: tuple[str, ...]
    fields: tuple[Field, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the types that may stand here, none where R4 does not name any."""
        found = [name for field in self.fields for name in field.element.types]
        if self.fields and self.fields[0].element.path.endswith("[x]") and len(self.fields) == 1:
            found = [self.fields[0].type]
        return tuple(dict.fromkeys(found))


@lru_cache(maxsize=4096)
def locate(path: str) -> Place | None:
    """Return where a path of a StructureDefinition leads, None if R4 has no such element.

    >>> locate("Observation.value[x]").types[:2]
    ('Quantity', 'CodeableConcept')
    >>> locate("Observation.valueQuantity.code").kinds, locate("Patient.nam")
    (('code',), None)
    """
    first, *steps = path.split(".")
    if first not in structures.type_names():
        return None
    place: Place | None = Place(types=(first,))
    for step in steps:
        if place is None or not place.types:
            return place
        place = below(place, step)
    return place


def below(place: Place, name: str) -> Place | None:
    """Return where one more step leads: `value[x]`, `value` or `valueQuantity`; None if nowhere.

    >>> below(Place(types=("Patient",)), "deceased").types
    ('boolean', 'dateTime')
    """
    found: list[Field] = []
    for type_path in place.types:
        if type_path in ("Resource", "DomainResource") and name not in ("id", "meta", "language"):
            return Place(types=())
        for field in _fields(type_path).values():
            element = field.element.name
            if name in (element, field.key, element.removesuffix("[x]")):
                found.append(field)
    if not found:
        return None
    types = tuple(dict.fromkeys(field.type for field in found))
    return Place(types=() if "Resource" in types else types, fields=tuple(found))


def _fields(type_path: str) -> dict[str, Field]:
    try:
        return dict(structures.fields(type_path))
    except KeyError:
        return {}
