"""A FHIR door with its operations over a real database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.operations.registry import offered
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
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
