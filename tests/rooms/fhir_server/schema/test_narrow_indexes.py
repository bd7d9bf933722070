"""m0027 up and down, on a database with resources: the rows stay, and a deletion of old is counted as one."""

from __future__ import annotations

from alembic import command

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database import migrating
from fhir_server.definitions.structures import type_code
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import search
from fhir_server.interactions.update import update
from fhir_server.model import json_format
from fhir_server.search.keys import rid
from tests.rooms.fhir_server.schema.test_definitions import execute
from tests.support.builders import patient

ANYONE = Grant("test")
NARROWED = ("idx_string_pk", "idx_date_pk", "idx_quantity_pk", "resource_version_updated")


def indexes(url: str) -> dict[str, str]:
    found = execute(url, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    return {name: text.partition(" USING ")[2] for name, text in found}


def rows(url: str) -> list[tuple[str, int]]:
    every = " UNION ALL ".join(
        f"SELECT '{table}', sum(hashtext(t::text)) FROM {table} t GROUP BY 1"
        for table in ("idx_string", "idx_date", "resource_version")
    )
    return sorted(execute(url, every))


def patients(entry: Entry) -> int:
    found = entry.read(ANYONE, lambda context: search(context, "Patient", [("_summary", "count")]))
    assert found.text is not None
    total: int = json_format.parse(found.text.encode())["total"]
    return total


def down_to(url: str, revision: str) -> None:
    with migrating._connection(url) as connection:
        command.downgrade(migrating._config(connection), revision)
        connection.commit()


def test_up_and_down_and_up(blank_database_url: str) -> None:
    url = blank_database_url
    migrating.upgrade(url)
    entry = create_entry(Config(), url, connections=1)
    for id_ in ("x", "y", "z"):
        entry.write(
            ANYONE, lambda context, id_=id_: update(context, "Patient", id_, {**patient(), "id": id_})
        )
    down_to(url, "m0026")
    wide = indexes(url)
    execute(
        url,
        "INSERT INTO resource (pk, last_updated, rid, version, type, id, deleted) VALUES "
        f"(-1, now(), '{rid('Patient', 'old')}', 2, {type_code('Patient')}, 'old', true)",
    )
    written = rows(url)
    assert migrating.upgrade(url, "m0027").current == "m0027"
    narrow = indexes(url)
    assert {name for name in wide if wide[name] != narrow[name]} >= set(NARROWED)
    assert narrow["idx_string_pk"] == "btree (tenant, pk)"
    assert rows(url) == written
    assert patients(entry) == 3
    down_to(url, "m0026")
    assert (indexes(url), rows(url)) == (wide, written)
    assert migrating.upgrade(url, "m0027").current == "m0027"
    assert (indexes(url), rows(url), patients(entry)) == (narrow, written, 3)
    entry.engine.close()
