"""What 64 clients at once may not do: duplicate, lose, or be told what is not so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.transaction import transaction
from fhir_server.interactions.update import conditional_update, update
from fhir_server.outcome import FhirError
from tests.support.builders import bundle, identified, patient, post

RACERS = 64
ANYONE = Grant("test")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, size=24, wait_s=60)
    yield engine
    engine.close()


def race(entry: Entry, work: Callable[[Context, int], Result]) -> list[Result | FhirError]:
    """Run `work` once per racer, all released at the same moment."""
    gate = threading.Barrier(RACERS)

    def one(number: int) -> Result | FhirError:
        gate.wait()
        try:
            return entry.write(ANYONE, lambda context: work(context, number))
        except FhirError as error:
            return error

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(one, range(RACERS)))


def current(entry: Entry, value: str) -> int:
    sql = "SELECT count(*) FROM resource_json WHERE resource @> %s::jsonb"
    given = f'{{"identifier": [{{"value": "{value}"}}]}}'
    return entry.read(ANYONE, lambda context: context.unit.execute(sql, (given,)))[0][0]


SPELLINGS = [
    "identifier=urn:test:mrn|{0}&family=Chalmers",
    "family=Chalmers&identifier=urn:test:mrn|{0}",
    "identifier=urn%3Atest%3Amrn%7C{0}&family=Chalmers",
    "family=Chalmers&family=Chalmers&identifier=urn:test:mrn|{0}",
]


def spelling(number: int, value: str) -> str:
    return SPELLINGS[number % len(SPELLINGS)].format(value)


def test_identical_conditional_creates_make_one(entry: Entry) -> None:
    answers = race(
        entry, lambda context, n: create(context, "Patient", identified("race-1"), spelling(n, "race-1"))
    )
    assert current(entry, "race-1") == 1
    assert sorted(answer.status for answer in answers) == [200] * (RACERS - 1) + [201]
    assert (
        len({answer.version.id for answer in answers if isinstance(answer, Result) and answer.version}) == 1
    )


def test_identical_conditional_updates_make_one(entry: Entry) -> None:
    answers = race(
        entry,
        lambda context, n: conditional_update(
            context, "Patient", spelling(n, "race-2"), identified("race-2")
        ),
    )
    assert current(entry, "race-2") == 1
    assert sorted(answer.status for answer in answers) == [200] * (RACERS - 1) + [201]


def test_transactions_with_if_none_exist_make_one(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        entries = [post(identified(v), None, spelling(number, v)) for v in ("race-3", "race-4")]
        # half of them in the other order: locks are taken sorted, so nobody waits in a ring
        return transaction(context, bundle("transaction", *entries[:: 1 if number % 2 else -1]))

    answers = race(entry, work)
    assert [answer.status for answer in answers] == [200] * RACERS
    assert current(entry, "race-3") == current(entry, "race-4") == 1


def test_upserts_of_one_id_leave_one_chain_without_gaps(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        return update(context, "Patient", "raced", {**patient(f"N{number}"), "id": "raced"})

    answers = race(entry, work)
    versions = sorted(
        answer.version.version for answer in answers if isinstance(answer, Result) and answer.version
    )
    assert versions == list(range(1, RACERS + 1))
    sql = "SELECT array_agg(version ORDER BY version) FROM resource_version_json WHERE id = 'raced'"
    chain = entry.read(ANYONE, lambda context: context.unit.execute(sql))[0][0]
    assert chain == list(range(1, RACERS + 1))


def test_if_match_lets_one_through(entry: Entry) -> None:
    body: dict[str, Any] = {**patient(), "id": "guarded"}
    entry.write(ANYONE, lambda context: update(context, "Patient", "guarded", body))

    def work(context: Context, number: int) -> Result:
        return update(context, "Patient", "guarded", {**patient(f"G{number}"), "id": "guarded"}, if_match=1)

    statuses = sorted(answer.status for answer in race(entry, work))
    assert statuses == [200] + [412] * (RACERS - 1)
