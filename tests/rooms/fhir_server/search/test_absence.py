"""Keys of what is absent."""

from __future__ import annotations

import psycopg2

from fhir_server.search import absence, keys
from fhir_server.search.index import Indexer, is_indexed
from fhir_server.search.registry import standard
from migrations.versions import m0014_absence
from tests.support.search_store import store


def test_they_are_parameters_of_r4_with_keys_of_their_own() -> None:
    for type_name, codes in absence.USUAL.items():
        for code in codes:
            parameter = standard().for_type(type_name)[code]
            assert is_indexed(parameter), parameter
            assert absence.is_kept(parameter)
    assert not absence.is_kept(standard().for_type("Patient")["language"])


def test_a_resource_has_one_key_of_the_two() -> None:
    rows = Indexer().index("Patient", {"resourceType": "Patient", "gender": "male"})
    assert keys.key("Patient", "gender", keys.ABSENT) not in rows.keys
    assert keys.key("Patient", "birthdate", keys.ABSENT) in rows.keys
    for present, absent in absence.pairs("Patient"):
        assert (present in rows.keys) != (absent in rows.keys)


def test_what_was_stored_before_gets_them(fresh_database_url: str) -> None:
    assert m0014_absence.USUAL == absence.USUAL
    meta = {"lastUpdated": "2026-01-01T00:00:00Z"}
    people = [
        {"resourceType": "Patient", "id": "a", "meta": meta, "gender": "male"},
        {"resourceType": "Patient", "id": "b", "meta": meta, "birthDate": "2000", "name": [{"family": "B"}]},
        {"resourceType": "Basic", "id": "c", "meta": meta, "code": {"text": "x"}},
    ]
    connection = psycopg2.connect(fresh_database_url)
    cursor = connection.cursor()
    store(connection, people, Indexer())
    cursor.execute("select id, keys from resource order by id")
    as_written = [(id_, sorted(str(each) for each in found)) for id_, found in cursor.fetchall()]
    cursor.execute(m0014_absence.DOWNGRADE.replace("usual", "usual_before"))
    cursor.execute("select count(*) from resource where keys @> %s::uuid[]",
                   ([keys.key("Patient", "birthdate", keys.ABSENT)],))  # fmt: skip
    assert cursor.fetchall() == [(0,)]
    cursor.execute(m0014_absence.UPGRADE)
    cursor.execute("select id, keys from resource order by id")
    assert [(id_, sorted(str(each) for each in found)) for id_, found in cursor.fetchall()] == as_written
    connection.close()
