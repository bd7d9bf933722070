"""R4's own definitions as conformance resources: the source that every installation has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_server.definitions import code_systems, structure_definitions, value_sets

# Type → canonical url to FHIR JSON, or None.
RESOURCES: Mapping[str, Callable[[str], dict[str, Any] | None]] = {
    "CodeSystem": code_systems.resource,
    "StructureDefinition": structure_definitions.structure_definition,
    "ValueSet": value_sets.resource,
}

FHIR_VERSION = "4.0.1"


class Core:
    """The resources of hl7.fhir.r4.core 4.0.1.

    >>> Core().find("ValueSet", "http://hl7.org/fhir/ValueSet/administrative-gender", "4.0")["name"]
    'AdministrativeGender'
    """

    def find(self, type_name: str, url: str, version: str | None) -> dict[str, Any] | None:
        """Return a resource; None if R4 has none, or has it in another version.

        4.0.1, and the beginning 4.0 of it, ask for what R4 has, whatever the resource calls its own
        version: those of terminology.hl7.org have dates.
        """
        read = RESOURCES.get(type_name)
        found = read(url) if read is not None else None
        if found is None or version is None or _is(FHIR_VERSION, version):
            return found
        return found if _is(found.get("version"), version) else None


def _is(version: str | None, wanted: str) -> bool:
    return version == wanted or (version is not None and version.startswith(f"{wanted}."))
