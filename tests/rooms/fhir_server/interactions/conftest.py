"""An installation of its own, with a registry as a running server has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fhir_server.app import create_entry
from fhir_server.config import Config
from fhir_server.interactions.entry import Entry

Open = Callable[..., Entry]


@pytest.fixture
def installation(fresh_database_url: str) -> Iterator[Open]:
    """Return a function that opens the installation as one more process would, with rules of policy."""
    opened: list[Entry] = []

    def open_(*policy: str, connections: int = 4) -> Entry:
        config = Config(base_url=("http://127.0.0.1/fhir",), profile_policy=policy or ("warn",))
        opened.append(create_entry(config, fresh_database_url, connections=connections))
        return opened[-1]

    yield open_
    for entry in opened:
        entry.engine.close()
        entry.settings.registry.close()
