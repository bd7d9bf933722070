"""A door with rules of its own on what becomes of claimed profiles, over a database of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fhir_server.app import create_entry
from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.operations.registry import offered
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.http import FhirClient

Doors = Callable[..., FhirClient]


@pytest.fixture
def doors(fresh_database_url: str) -> Iterator[Doors]:
    """Return a function that opens a door, as a process of its own would, with rules of policy."""
    opened: list[Entry] = []

    def door(*policy: str) -> FhirClient:
        config = Config(base_url=("http://127.0.0.1/fhir",), profile_policy=policy or ("warn",))
        entry = create_entry(config, fresh_database_url, connections=2)
        opened.append(entry)
        capabilities = Capabilities(entry.settings, BUILT, entry.clock(), operations=offered())
        return FhirClient(Door(Installation(entry, config, capabilities)).wsgi)

    yield door
    for entry in opened:
        entry.engine.close()
        entry.settings.registry.close()
