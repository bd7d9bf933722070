"""m0029 down and up, with dates: what the INSERT says of their length is what the table made."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database import migrating
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.update import update
from tests.rooms.fhir_server.schema.test_definitions import execute
from tests.rooms.fhir_server.schema.test_narrow_indexes import down_to

ANYONE = Grant("test")
PERIODS = {
    "second": ({"start": "2024-05-17T08:00:00Z", "end": "2024-05-17T08:00:00Z"}, 0),
    "day": ({"start": "2024-05-17", "end": "2024-05-17"}, 0),
    "25h": ({"start": "2024-03-09T00:00:00Z", "end": "2024-03-10T00:59:59Z"}, 0),
    "26h": ({"start": "2024-03-09T00:00:00Z", "end": "2024-03-10T01:59:59Z"}, 1),
    "month": ({"start": "2024-05-01", "end": "2024-05-31"}, 1),
    "year": ({"start": "2024", "end": "2024"}, 2),
    "decade": ({"start": "2014", "end": "2024"}, 3),
    "open": ({"start": "2024-05-17"}, 4),
    "begun": ({"end": "2024-05-17"}, 3),
}


def encounter(id_: str, period: dict[str, Any]) -> dict[str, Any]:
    kind = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
    return {"resourceType": "Encounter", "id": id_, "status": "finished", "class": kind, "period": period}


def write(entry: Entry, id_: str) -> None:
    resource = encounter(id_, PERIODS[id_][0])
    entry.write(ANYONE, lambda context: update(context, "Encounter", id_, resource))


def spans(url: str) -> dict[str, int]:
    found = execute(url, "SELECT r.id, x.span FROM idx_date AS x JOIN resource AS r USING (tenant, pk)")
    return dict(found)


def is_generated(url: str) -> str:
    query = (
        "SELECT attgenerated::text FROM pg_attribute "
        "WHERE attrelid = 'idx_date'::regclass AND attname = 'span'"
    )
    ((found,),) = execute(url, query)
    return str(found)


def test_down_and_up(blank_database_url: str) -> None:
    url = blank_database_url
    migrating.upgrade(url)
    entry = create_entry(Config(), url, connections=1)
    for id_ in PERIODS:
        write(entry, id_)
    said = {id_: span for id_, (_, span) in PERIODS.items()}
    assert (is_generated(url), spans(url)) == ("", said)
    down_to(url, "m0028")
    assert (is_generated(url), spans(url)) == ("s", said)
    migrating.upgrade(url)
    assert (is_generated(url), spans(url)) == ("", said)
    execute(url, "DELETE FROM idx_date")
    write_again(entry)
    assert spans(url) == said
    entry.engine.close()


def write_again(entry: Entry) -> None:
    for id_, (period, _) in PERIODS.items():
        changed = {**encounter(id_, period), "priority": {"text": "again"}}
        entry.write(
            ANYONE, lambda context, id_=id_, changed=changed: update(context, "Encounter", id_, changed)
        )


@pytest.mark.parametrize("asked", ["ge2024-05-17&date=lt2024-05-18", "sa2023&date=eb2025", "2024"])
def test_long_and_short_are_found_before_and_after(blank_database_url: str, asked: str) -> None:
    url = blank_database_url
    migrating.upgrade(url)
    entry = create_entry(Config(), url, connections=1)
    for id_ in PERIODS:
        write(entry, id_)
    pairs = [("date", part) for part in asked.split("&date=")]

    def found() -> set[str]:
        return {one["id"] for one in entry.read(ANYONE, lambda c: resources(c, "Encounter", pairs))}

    now = found()
    assert now
    down_to(url, "m0028")
    assert found() == now
    entry.engine.close()
