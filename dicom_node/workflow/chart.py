"""The resources that an order refers to, read through the front door of FHIR as they are needed.

Remembers every address it was led to, there or not, so that a later change of any of them is known to
concern this order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from fhir_server.interactions.context import Context
from fhir_server.interactions.read import read
from fhir_server.interactions.search_type import resources
from fhir_server.model import json_format, references
from fhir_server.outcome import Gone, NotFound

MOST_FOUND = 100

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkflowSettings:
    """What the installation decides: its time zone, and whose numbers PatientIDs are.

    `issuers` maps an issuer ("HOSPITAL", an OID, "AE:CT1") to an identifier system.
    """

    zone: ZoneInfo = ZoneInfo("UTC")
    patient_id_system: str = ""
    issuers: Mapping[str, str] = field(default_factory=dict)


class Chart:
    """What one unit of work has read for one order."""

    def __init__(self, context: Context, settings: WorkflowSettings) -> None:
        self.context = context
        self.settings = settings
        self.depends: set[str] = set()
        self._read: dict[str, Resource | None] = {}

    def address(self, reference: Any) -> str:
        """Return the Type/id that a Reference leads to here, or the empty string."""
        text = reference.get("reference") if isinstance(reference, dict) else None
        if not isinstance(text, str) or text.startswith("#"):
            return ""
        found = references.parse(text, self.context.settings.base_urls)
        if found.kind != "local" or not found.type or not found.id:
            return ""
        return f"{found.type}/{found.id}"

    def follow(self, reference: Any, holder: Resource) -> Resource | None:
        """Return the resource that a Reference in `holder` leads to, contained ones too; else None."""
        text = reference.get("reference") if isinstance(reference, dict) else None
        if isinstance(text, str) and text.startswith("#"):
            return next((one for one in holder.get("contained", ()) if one.get("id") == text[1:]), None)
        address = self.address(reference)
        return self.at(address) if address else None

    def at(self, address: str) -> Resource | None:
        """Return the resource of an address, None where there is none."""
        if address not in self._read:
            self.depends.add(address)
            type_name, _, id_ = address.partition("/")
            try:
                version = read(self.context, type_name, id_).version
            except (NotFound, Gone):
                version = None
            found = None if version is None else json_format.parse(version.text().encode())
            self._read[address] = found
        return self._read[address]

    def search(self, type_name: str, *pairs: tuple[str, str], most: int = MOST_FOUND) -> list[Resource]:
        """Return the matches of a search."""
        found = resources(self.context, type_name, [*pairs, ("_count", str(most))])
        for one in found:
            self.depends.add(f"{type_name}/{one['id']}")
        return found


def concepts(*elements: Any) -> Sequence[Resource]:
    """Return the CodeableConcepts among elements that may be lists, single ones or missing.

    >>> concepts(None, {"text": "a"}, [{"text": "b"}])
    [{'text': 'a'}, {'text': 'b'}]
    """
    found: list[Resource] = []
    for one in elements:
        found += [each for each in (one if isinstance(one, list) else [one]) if isinstance(each, dict)]
    return found
