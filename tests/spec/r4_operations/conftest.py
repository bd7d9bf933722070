"""A FHIR door with its operations over a real database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.database.engine import Engine
from fhir_server.definitions.core import Core
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Settings
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.registry import Registry
from fhir_server.operations.registry import offered
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from terminology.terms import Terms
from tests.support.clock import FixedClock
from tests.support.http import FhirClient


@pytest.fixture
def client(entry: Entry) -> FhirClient:
    capabilities = Capabilities(entry.settings, BUILT, entry.clock(), operations=offered())
    return FhirClient(Door(Installation(entry, Config(), capabilities)).wsgi)


@pytest.fixture
def stored(client: FhirClient) -> Callable[[dict[str, Any]], str]:
    """Store a resource and return its id."""

    def store(resource: dict[str, Any]) -> str:
        reply = client.post(resource["resourceType"], resource)
        assert reply.status == 201, reply.data
        return str(reply.json["id"])

    return store


BORN = "http://example.org/StructureDefinition/born"


class Installed:
    """One profile: a Patient with a birth date."""

    def find(self, type_name: str, url: str, version: str | None) -> dict[str, Any] | None:
        if (type_name, url) != ("StructureDefinition", BORN) or version not in (None, "1.0"):
            return None
        root = {"id": "Patient", "path": "Patient", "min": 0, "max": "*"}
        date = {"id": "Patient.birthDate", "path": "Patient.birthDate", "min": 1, "max": "1"}
        return {
            "resourceType": "StructureDefinition",
            "url": BORN,
            "version": "1.0",
            "name": "Born",
            "status": "active",
            "kind": "resource",
            "abstract": False,
            "type": "Patient",
            "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
            "derivation": "constraint",
            "snapshot": {"element": [root, {**date, "type": [{"code": "date"}]}]},
        }


@pytest.fixture
def knowing(engine: Engine, clock: FixedClock) -> FhirClient:
    """A door of an installation that knows R4's own profiles and codes, and one profile more."""
    registry = Registry(None, (Core(), Installed()), lambda conformance: Terms(conformance.find))
    entry = Entry(engine, Settings(base_urls=("http://127.0.0.1/fhir",), registry=registry), clock)
    capabilities = Capabilities(entry.settings, BUILT, entry.clock(), operations=offered())
    return FhirClient(Door(Installation(entry, Config(), capabilities)).wsgi)
