"""A FHIR door over a real database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.rest.door import Door
from fhir_server.rest.front import in_front
from fhir_server.rest.handlers import BUILT, Installation
from fhir_server.rest.routes import BASE
from tests.support.http import FhirClient

LIMIT_BYTES = 20_000


@pytest.fixture
def door(entry: Entry) -> Door:
    config = Config(max_body_bytes=LIMIT_BYTES)
    return Door(Installation(entry, config, Capabilities(entry.settings, BUILT, entry.clock())))


@pytest.fixture
def client(door: Door) -> FhirClient:
    """The door by itself."""
    return FhirClient(door.wsgi)


@pytest.fixture
def flask_client(door: Door) -> FhirClient:
    """The same door in front of a Flask application."""
    app = Flask("test", static_folder=None)
    app.wsgi_app = in_front(BASE, door.wsgi, app.wsgi_app)  # type: ignore[method-assign, assignment]
    return FhirClient(app)


@pytest.fixture
def stored(client: FhirClient) -> Callable[[dict[str, Any]], str]:
    """Store a resource and return its id."""

    def store(resource: dict[str, Any]) -> str:
        reply = client.post(resource["resourceType"], resource)
        assert reply.status == 201, reply.data
        return str(reply.json["id"])

    return store
