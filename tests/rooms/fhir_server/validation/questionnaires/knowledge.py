"""What the tests know: some resources by their canonical, and the codes that R4 publishes."""

from __future__ import annotations

from functools import cache
from typing import Any

from fhir_server.definitions import code_systems, value_sets
from fhir_server.definitions.conformance import Conformance
from fhir_server.validation.knowledge import Knowledge, Task


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


@cache
def _names(system):
    try:
        found = code_systems.code_system(system)
    except KeyError:
        return None
    return {concept.code: concept.display for concept in found.concepts}


@cache
def _compose(url):
    try:
        return value_sets.value_set(url).compose
    except KeyError:
        return None


class Published:
    """The codes of R4's own code systems and value sets, as far as they are lists; the rest is unknown."""

    def member(self, value_set: str, system: str | None, code: str) -> bool | None:
        compose = _compose(value_set.partition("|")[0])
        if compose is None:
            return None
        answers = [self._part(part, system, code) for part in compose.get("include", [])]
        return True if True in answers else None if None in answers else False

    def _part(self, part, system, code):
        if system is not None and part.get("system") != system:
            return None if "valueSet" in part else False
        if "concept" in part:
            return code in {concept["code"] for concept in part["concept"]}
        if "filter" in part or "valueSet" in part:
            return None
        return self.known(part["system"], code)

    def known(self, system: str, code: str) -> bool | None:
        names = _names(system)
        return None if names is None else code in names

    def display(self, system: str, code: str) -> str | None:
        return (_names(system) or {}).get(code) or None

    def subsumes(self, system: str, code: str, other: str) -> bool | None:
        return None


def task(*resources, resolve=lambda reference: None):
    return Task(Knowledge(Conformance((Loaded(resources),)), Published(), resolve))
