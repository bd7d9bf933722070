"""Fixtures only: a database, an engine on it, a fixed clock, a counter of statements.

XINGLIN_TEST_DATABASE_URL names a Postgres to test on (its role needs CREATEDB); without it
the embedded one is started, once for the whole run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from fhir_server.database.engine import Engine
from fhir_server.interactions.context import Settings
from fhir_server.interactions.entry import Entry
from tests.support import cluster
from tests.support.clock import FixedClock
from tests.support.server import Server
from tests.support.statements import Recorded, recording

_LEAD = pytest.StashKey[cluster.Lead]()


# No deadline: a busy machine is not a failing test. The same examples every time, so that a red
# run can be repeated; XINGLIN_HYPOTHESIS=explore looks for new ones.
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("XINGLIN_HYPOTHESIS", "repeat"))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_LEAD] = cluster.Lead()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the cluster of this run is."""
    node.workerinput["cluster_folder"] = str(node.config.stash[_LEAD].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _LEAD in config.stash:
        config.stash[_LEAD].close()


@pytest.fixture(scope="session")
def _template(request: pytest.FixtureRequest) -> tuple[str, str]:
    given = getattr(request.config, "workerinput", None)
    folder = Path(given["cluster_folder"]) if given else request.config.stash[_LEAD].folder
    return cluster.template(folder)


@pytest.fixture(scope="session")
def database_url(_template: tuple[str, str], worker_id: str) -> Iterator[str]:
    """A migrated database of this worker, shared by its tests: for tests that clean up or only add."""
    yield from _clone(_template, f"{_template[1]}_{worker_id}")


@pytest.fixture
def fresh_database_url(_template: tuple[str, str], worker_id: str) -> Iterator[str]:
    """A migrated, empty database of this test alone (about 50 ms)."""
    yield from _clone(_template, f"{_template[1]}_{worker_id}_alone")


@pytest.fixture
def blank_database_url(_template: tuple[str, str], worker_id: str) -> Iterator[str]:
    """A database without any table, of this test alone."""
    yield from _clone((_template[0], "template0"), f"{_template[1]}_{worker_id}_blank")


def _clone(template: tuple[str, str], name: str) -> Iterator[str]:
    url, model = template
    cluster.make(url, f'CREATE DATABASE "{name}" TEMPLATE "{model}"')
    yield cluster.database(url, name)
    cluster.make(url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, size=4)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    """A whole `xinglin serve` with two workers and small limits; whoever kills a part waits for it."""
    with tempfile.TemporaryDirectory(prefix="xinglin-running-") as name:
        Path(name).chmod(0o755)
        limits = {
            "XINGLIN_MAX_BODY_BYTES": "400000",
            "XINGLIN_STATEMENT_TIMEOUT_MS": "4000",
            "XINGLIN_BODY_WAIT_S": "2",
        }
        server = Server(Path(name) / "data", "--workers", "2", **limits)
        yield server
        server.stop()


@pytest.fixture
def clock() -> FixedClock:
    """2026-01-02T03:04:05Z until the test moves it."""
    return FixedClock()


@pytest.fixture
def query_recorder(engine: Engine) -> Callable[..., AbstractContextManager[Recorded]]:
    """`with query_recorder(at_most=3) as statements: …` fails when `engine` runs more statements."""
    return lambda at_most=None: recording(engine, at_most)


@pytest.fixture
def entry(engine: Engine, clock: FixedClock) -> Entry:
    """An installation whose FHIR base is http://127.0.0.1/fhir."""
    return Entry(engine, Settings(base_urls=("http://127.0.0.1/fhir",)), clock)
