"""m0005 on a database with resources: no answer changes, and reads go on while it runs."""

from __future__ import annotations

import threading
from typing import Any

import psycopg2
import pytest

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database import migrating
from fhir_server.definitions.structures import resource_types, type_code
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.history import history
from fhir_server.interactions.read import read
from fhir_server.interactions.search_type import search
from fhir_server.interactions.vread import vread
from fhir_server.model import json_format
from fhir_server.outcome import Gone
from fhir_server.search.keys import key, rid
from tests.rooms.fhir_server.schema.test_definitions import execute

ANYONE = Grant("test")
PATIENT = type_code("Patient")
BODIES = [  # meta and content as the columns had them, None: a deletion
    (None, "{}"),
    (None, '{"active": true, "name": [{"family": "M\\u00fcller \\\\ \\"x\\""}]}'),
    ('{"profile": ["http://x.example/p|1"]}', "{}"),
    ('{"tag": [{"code": "a"}], "source": "urn:s"}', '{"multipleBirthInteger": 2, "birthDate": "1970"}'),
    (None, '{"extension": [{"url": "urn:d", "valueDecimal": 1.50}, {"url": "urn:e", "valueDecimal": 0.00}]}'),
    (None, None),
    (None, '{"text": {"div": "<div>meta: {}</div>", "status": "generated"}}'),
]


def served(id_: str, version: int, updated: str, meta: str | None, content: str) -> str:
    """Return what the server made of a row before."""
    more = f",{meta[1:-1]}" if meta else ""
    rest = f",{content[1:]}" if len(content) > 2 else "}"
    return (
        f'{{"resourceType":"Patient","id":"{id_}","meta":{{"versionId":"{version}",'
        f'"lastUpdated":"{updated}"{more}}}{rest}'
    )


@pytest.fixture
def filled(blank_database_url: str) -> tuple[str, dict[tuple[str, int], str | None]]:
    """Give a database at m0004 whose resources have two versions each, and what was served of each."""
    url = blank_database_url
    migrating.upgrade(url, "m0004")
    connection = psycopg2.connect(url)
    answers: dict[tuple[str, int], str | None] = {}
    with connection, connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")
        for pk, current in enumerate(BODIES, start=1):
            before = BODIES[pk % len(BODIES)]
            for version, (meta, content) in ((1, before), (2, current)):
                updated = f"2026-01-02 03:04:0{pk}.{version}00"
                row: tuple[Any, ...] = (pk, 100 * version + pk, updated, version, PATIENT, "CU"[version - 1])
                row = (*row, content is None, f"p{pk}", meta, content)
                columns = "pk, stamp, last_updated, version, type, method, deleted, id, meta, content"
                if version == 1:
                    cursor.execute(f"INSERT INTO resource_version ({columns}) VALUES %s", (row,))
                else:
                    keys = [key("Patient", "_id", "")] if content else []
                    row = (*row, rid("Patient", f"p{pk}"), "{" + ",".join(keys) + "}")
                    cursor.execute(f"INSERT INTO resource ({columns}, rid, keys) VALUES %s", (row,))
                cursor.execute("SELECT %s::jsonb::text, %s::jsonb::text", (meta, content))
                meta, content = cursor.fetchone()
                updated = updated.replace(" ", "T") + "Z"
                answers[f"p{pk}", version] = (
                    None if content is None else served(f"p{pk}", version, updated, meta, content)
                )
    connection.close()
    return url, answers


def text(entry: Entry, id_: str, version: int | None) -> str | None:
    try:
        if version is None:
            found = entry.read(ANYONE, lambda context: read(context, "Patient", id_))
        else:
            found = entry.read(ANYONE, lambda context: vread(context, "Patient", id_, str(version)))
    except Gone:
        return None
    assert found.version is not None
    return found.version.text()


def test_every_version_is_served_as_before(filled: tuple[str, dict[tuple[str, int], str | None]]) -> None:
    url, answers = filled
    assert migrating.upgrade(url).up_to_date
    entry = create_entry(Config(), url, connections=1)
    for (id_, version), before in answers.items():
        assert text(entry, id_, version) == before
        if version == 2:
            assert text(entry, id_, None) == before
    page = entry.read(ANYONE, lambda context: search(context, "Patient", [("_sort", "_lastUpdated")]))
    assert page.text is not None
    current = [before for (_, version), before in answers.items() if version == 2 and before]
    assert [entry_["resource"] for entry_ in json_format.parse(page.text.encode())["entry"]] == [
        json_format.parse(each.encode()) for each in current
    ]
    past = entry.read(ANYONE, lambda context: history(context, "Patient", "p4", [])).text
    assert past is not None
    assert [answers["p4", 2] in past, answers["p4", 1] in past] == [True, True]
    entry.engine.close()


def test_people_see_jsonb(filled: tuple[str, dict[tuple[str, int], str | None]]) -> None:
    url, answers = filled
    migrating.upgrade(url)
    for (id_, version), before in answers.items():
        [(found,)] = execute(
            url,
            f"SELECT resource::text FROM resource_version_json WHERE id = '{id_}' AND version = {version}",
        )
        assert (found and json_format.parse(found.encode())) == (
            before and json_format.parse(before.encode())
        )
    assert execute(url, "SELECT count(*) FROM resource_json WHERE type = 'Patient'") == [(len(BODIES) - 1,)]
    names = dict(execute(url, "SELECT name, code FROM resource_type"))
    assert names == {name: type_code(name) for name in resource_types()}


def test_readers_are_served_while_it_runs(filled: tuple[str, dict[tuple[str, int], str | None]]) -> None:
    """Writers wait, readers do not: until the names change hands nothing is locked against them."""
    url, _ = filled
    reader = psycopg2.connect(url)
    reader.cursor().execute("SELECT count(*) FROM resource")  # its snapshot stays open: the swap must wait
    done = threading.Thread(target=migrating.upgrade, args=(url,), daemon=True)
    done.start()
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' "
        "AND relation = 'resource'::regclass"
    )
    for _ in range(100_000):
        if execute(url, waiting) == [(1,)]:
            break
    else:
        raise AssertionError("the migration never came to the swap")
    cursor = reader.cursor()
    cursor.execute("SELECT count(content) FROM resource")
    assert cursor.fetchone() == (len(BODIES) - 1,)
    reader.close()
    done.join(60)
    assert migrating.schema_state(url).up_to_date
