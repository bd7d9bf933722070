"""R4's own conformance resources, by their canonical url."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_server.definitions.structure_definitions import structure_definition

READERS: dict[str, Callable[[str], dict[str, Any] | None]] = {
    "StructureDefinition": structure_definition,
}
"""Type → the function that finds a resource of it by its url."""

VERSIONS = (None, "4.0.1", "4.0", "4")


class Core:
    """The source of what R4 4.0.1 itself defines (a `definitions.conformance.Source`).

    >>> Core().find("StructureDefinition", "http://hl7.org/fhir/StructureDefinition/bmi", None)["type"]
    'Observation'
    """

    def find(self, type_name: str, url: str, version: str | None) -> dict[str, Any] | None:
        """Return the resource, None if R4 has none of this type, url and version."""
        reader = READERS.get(type_name)
        return reader(url) if reader is not None and version in VERSIONS else None
