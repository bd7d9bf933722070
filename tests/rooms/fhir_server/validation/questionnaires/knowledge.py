"""What the tests know: some resources by their canonical, and the codes that R4 publishes."""

from __future__ import annotations

from typing import Any

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.validation.knowledge import Knowledge, Task
from terminology.terms import Terms


class Loaded:
    """A source of conformance resources: those given."""

    def __init__(self, resources):
        self.resources = {}
        for resource in resources:
            key = (resource["resourceType"], resource.get("url"))
            self.resources[key] = resource

    def find(self, type_name: str, url: str, version: str | None) -> dict[str, Any] | None:
        found = self.resources.get((type_name, url))
        return found if found is not None and version in (None, found.get("version")) else None


def task(*resources, resolve=lambda reference: None):
    conformance = Conformance((Loaded(resources), Core()))
    return Task(Knowledge(conformance, Terms(conformance.find), resolve))
