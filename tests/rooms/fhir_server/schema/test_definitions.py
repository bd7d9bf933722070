"""m0004 up and down, on a database with resources; outcomes go with the versions they belong to."""

from __future__ import annotations

from typing import Any

import psycopg2
from alembic import command

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database import migrating
from fhir_server.definitions.structures import type_code
from fhir_server.interactions.update import update
from fhir_server.search.keys import rid
from tests.support.builders import patient


def execute(url: str, sql: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def tables(url: str) -> set[str]:
    return {name for (name,) in execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def test_up_and_down_and_up(blank_database_url: str) -> None:
    url = blank_database_url
    assert migrating.upgrade(url, "m0003").current == "m0003"
    before = tables(url)
    execute(
        url,
        "INSERT INTO resource (pk, stamp, last_updated, rid, version, type, method, id, content) VALUES "
        f"(1, 1, now(), '{rid('Patient', 'x')}', 1, {type_code('Patient')}, 'C', 'x', '{{}}')",
    )
    assert migrating.upgrade(url, "m0004").current == "m0004"
    assert tables(url) - before == {"package", "definition", "validation_outcome"}
    [(generation,)] = execute(url, "SELECT definitions_generation FROM installation")
    with migrating._connection(url) as connection:
        command.downgrade(migrating._config(connection), "m0003")
        connection.commit()
    assert tables(url) == before
    # what a process had compiled is no longer current
    assert execute(url, "SELECT definitions_generation FROM installation") == [(generation + 1,)]
    assert migrating.upgrade(url).up_to_date
    entry = create_entry(Config(), url, connections=1)
    changed = {**patient(), "id": "x", "active": True}
    entry.write(Grant("test"), lambda context: update(context, "Patient", "x", changed))
    assert execute(url, "SELECT version FROM resource") == [(2,)]
    entry.engine.close()


def test_a_purged_version_takes_its_outcome_along(fresh_database_url: str) -> None:
    url = fresh_database_url
    entry = create_entry(Config(), url, connections=1)
    for active in (True, False):
        resource = {**patient(active=active), "id": "x"}
        entry.write(
            Grant("test"), lambda context, resource=resource: update(context, "Patient", "x", resource)
        )
    entry.engine.close()
    execute(
        url,
        "INSERT INTO validation_outcome (pk, version, errors, warnings, type, issues) "
        "SELECT pk, v, 1, 0, type, '[]' FROM resource, generate_series(1, 2) AS v",
    )
    execute(url, "DELETE FROM resource_version WHERE version = 1")
    assert execute(url, "SELECT version FROM validation_outcome") == [(2,)]
    execute(url, "DELETE FROM resource_version")
    assert execute(url, "SELECT count(*) FROM validation_outcome") == [(0,)]
