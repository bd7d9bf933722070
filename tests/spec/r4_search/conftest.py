"""`search`: what a query finds among a few resources, in a database and rolled back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import psycopg2
import pytest

from fhir_server.definitions.structures import resource_types
from fhir_server.interactions.stored import StoredValues
from fhir_server.search.compile import compile
from fhir_server.search.index import Indexer
from fhir_server.search.parse import parse
from fhir_server.search.types.protocol import Environment
from tests.spec.r4_http.conftest import client, door, stored
from tests.support import cluster
from tests.support.search_store import store

__all__ = ["client", "connection", "door", "search", "stored"]  # the door of the chapter on HTTP, too

BASE = "http://127.0.0.1/fhir"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
Resource = dict[str, Any]
Search = Callable[..., list[str]]


@pytest.fixture(scope="package")
def connection(_template: tuple[str, str], worker_id: str) -> Iterator[Any]:
    """An empty database of this chapter: other tests may leave resources in the shared one."""
    url, model = _template
    name = f"{model}_{worker_id}_search"
    cluster.make(url, f'CREATE DATABASE "{name}" TEMPLATE "{model}"')
    connection = psycopg2.connect(cluster.database(url, name))
    yield connection
    connection.close()
    cluster.make(url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def search(connection: Any) -> Iterator[Search]:
    """Return a function (query, resources…) → ids in the order of the answer.

    The query is written as in an address, `Patient?name=x`, but nothing needs percent-encoding.
    A resource without id is numbered: "1", "2", …
    """
    environment = Environment(base_urls=(BASE,), now=NOW, full_text=frozenset(resource_types()))
    count = 0

    def find(query: str, *resources: Resource) -> list[str]:
        nonlocal count
        ready = []
        for number, resource in enumerate(resources, start=count + 1):
            meta = {"lastUpdated": f"2026-01-01T00:00:00.{number:03d}Z", **resource.get("meta", {})}
            ready.append({"id": str(number), **resource, "meta": meta})
        store(connection, ready, Indexer(environment=environment), first_pk=10_000 + count, settle=False)
        count += len(ready)
        type_name, _, pairs = query.partition("?")
        encoded = pairs.replace("+", "%2B")
        parsed = parse(
            type_name,
            parse_qsl(encoded),
            base_urls=environment.base_urls,
            now=environment.now,
            stored=StoredValues(looked_up),
            full_text=environment.full_text,
        )
        statement = compile(parsed, parsed.count or 1000)
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, statement.parameters)
            return [row[2] for row in cursor.fetchall()]

    def looked_up(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    yield find
    connection.rollback()
