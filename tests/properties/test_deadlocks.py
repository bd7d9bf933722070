"""Units that need the same things in another order never wait in a ring, and never for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest

from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from fhir_server.database.refusals import refusal_of
from fhir_server.database.unit_of_work import MOST_LOCKS, RunAgain
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.transaction import transaction
from fhir_server.interactions.update import update
from fhir_server.outcome import Contended, Unavailable
from fhir_server.rest import errors
from tests.support.builders import bundle, identified, patient, post, put
from tests.support.clause import clause
from tests.support.races import ANYONE, chain, deadlocks, holding, race, statuses, without_deadlocks

ROUNDS = 5
RACERS = 64


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, size=24, wait_s=60)
    yield engine
    engine.close()


def test_the_measure(entry: Entry, database_url: str) -> None:
    """A ring of two, made by hand, is counted: so that a zero below says something."""
    first, second = psycopg2.connect(database_url), psycopg2.connect(database_url)
    before = deadlocks(database_url)

    def ask(session: Any, number: int) -> bool:
        """Take a lock; say whether that ended in a deadlock."""
        try:
            session.cursor().execute("SELECT pg_advisory_xact_lock(%s)", (number,))
        except psycopg2.errors.DeadlockDetected:
            session.rollback()
            return True
        return False

    try:
        assert not ask(first, 1)
        assert not ask(second, 2)
        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(ask, (first, second), (2, 1))) == 1
    finally:
        first.close()
        second.close()
    assert deadlocks(database_url) == before + 1


@clause(
    "R4/http.html#trules", "320 transactions over the same ten resources in any order: none waits in a ring"
)
def test_crossed_updates(entry: Entry) -> None:
    names = [f"crossed-{n}" for n in range(10)]
    sent = [put(patient(id=id_), f"Patient/{id_}") for id_ in names]
    entry.write(ANYONE, lambda context: transaction(context, bundle("transaction", *sent)))
    attempts: list[int] = []

    def work(context: Context, number: int) -> Result:
        attempts.append(context.unit.attempt)
        mine = random.Random(number).sample(names, 5)
        entries: list[dict[str, Any]] = [
            put(patient(f"N{number}-{len(attempts)}", id=id_), f"Patient/{id_}") for id_ in mine
        ]
        if number % 4 == 0:
            entries[0] = {"request": {"method": "DELETE", "url": f"Patient/{mine[0]}"}}
        return transaction(context, bundle("transaction", *entries))

    with without_deadlocks(entry):
        for _ in range(ROUNDS):
            assert statuses(race(entry, work, RACERS)) == [200] * RACERS
    assert max(attempts) == 0, "nobody had to begin again"
    for id_ in names:
        versions = chain(entry, id_)
        assert versions == list(range(1, len(versions) + 1))


@clause("R4/http.html#upsert", "transactions that create the same new ids in any order: none waits in a ring")
def test_crossed_upserts(entry: Entry) -> None:
    def work(names: list[str]) -> Any:
        def one(context: Context, number: int) -> Result:
            mine = random.Random(number).sample(names, len(names))
            entries = [put(patient(f"N{number}", id=id_), f"Patient/{id_}") for id_ in mine]
            return transaction(context, bundle("transaction", *entries))

        return one

    with without_deadlocks(entry):
        for round_ in range(ROUNDS):
            names = [f"new-{round_}-{n}" for n in range(6)]
            assert statuses(race(entry, work(names), RACERS)) == [200] * RACERS
            for id_ in names:
                assert chain(entry, id_) == list(range(1, RACERS + 1))


@clause("R4/http.html#trules", "crossed conditions: criteria, updates and creates of each other's resources")
def test_crossed_conditions(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        chance = random.Random(number)
        entries: list[dict[str, Any]] = []
        for value in chance.sample([f"x-{n}" for n in range(6)], 3):
            criteria = f"identifier=urn:test:mrn|{value}"
            body = identified(value, f"N{chance.randrange(3)}")
            entries.append(
                post(body, None, criteria) if chance.random() < 0.5 else put(body, f"Patient?{criteria}")
            )
        return transaction(context, bundle("transaction", *entries))

    with without_deadlocks(entry):
        for _ in range(ROUNDS):
            assert statuses(race(entry, work, RACERS)) == [200] * RACERS
    assert [holding(entry, f"x-{n}") for n in range(6)] == [1] * 6


@clause("R4/http.html#ccreate", "more conditions than locks by name: they still keep others out")
def test_more_conditions_than_locks(entry: Entry) -> None:
    count = MOST_LOCKS // 2 + 10

    def work(context: Context, number: int) -> Result:
        if number % 2:
            value = f"mass-{number}"
            return create(context, "Patient", identified(value), f"identifier=urn:test:mrn|{value}")
        sent = [
            post(identified(f"mass-{n}"), None, f"identifier=urn:test:mrn|mass-{n}") for n in range(count)
        ]
        return transaction(context, bundle("transaction", *sent))

    with without_deadlocks(entry):
        answers = race(entry, work, 8)
    assert set(statuses(answers)) <= {200, 201}
    assert {holding(entry, f"mass-{n}") for n in range(count)} == {1}


@clause(
    "R4/http.html#Status-Codes",
    "units that others end each time: 409 with Retry-After, and nothing is written",
)
def test_bounded_runs(entry: Entry) -> None:
    runs: list[int] = []

    def work(context: Context) -> Result:
        runs.append(context.unit.attempt)
        create(context, "Patient", identified("bounded"))
        raise RunAgain

    with pytest.raises(Contended) as refused:
        entry.write(ANYONE, work)
    assert runs == list(range(8))
    answer = errors.answer(refused.value)
    assert answer.status == 409
    assert int(dict(answer.headers)["Retry-After"]) > 0
    assert holding(entry, "bounded") == 0


@clause(
    "R4/http.html#Status-Codes",
    "somebody holds the resource for too long: 503 with Retry-After, then well again",
)
def test_a_lock_that_is_held(entry: Entry, database_url: str) -> None:
    body = {**patient(), "id": "held"}
    entry.write(ANYONE, lambda context: update(context, "Patient", "held", body))
    holder = psycopg2.connect(database_url)
    hasty = Engine(database_url, size=2, statement_timeout_ms=600)
    impatient = Entry(hasty, entry.settings, entry.clock)
    changed = {**patient("New"), "id": "held"}
    try:
        holder.cursor().execute("SELECT FROM resource WHERE id = 'held' FOR UPDATE")
        started = time.monotonic()
        with pytest.raises(psycopg2.errors.LockNotAvailable) as ended:
            impatient.write(Grant("test"), lambda context: update(context, "Patient", "held", changed))
        assert time.monotonic() - started < 10
        refusal = refusal_of(ended.value)
        assert (refusal.status, refusal.issues[0].code) == (503, "lock-error")
        assert "Retry-After" in dict(errors.answer(ended.value).headers)
        holder.rollback()
        done = impatient.write(ANYONE, lambda context: update(context, "Patient", "held", changed))
        assert done.status == 200
    finally:
        holder.close()
        hasty.close()


@clause(
    "R4/http.html#Status-Codes", "a statement over its time: too-costly with advice, and nothing is written"
)
def test_a_statement_over_its_time(database_url: str, entry: Entry) -> None:
    hasty = Engine(database_url, size=2, statement_timeout_ms=100)
    impatient = Entry(hasty, entry.settings, entry.clock)

    def work(context: Context) -> Result:
        made = create(context, "Patient", identified("slow"))
        context.unit.execute("SELECT pg_sleep(5)")
        return made

    try:
        with pytest.raises(psycopg2.errors.QueryCanceled) as ended:
            impatient.write(ANYONE, work)
        refusal = refusal_of(ended.value)
        assert (refusal.status, refusal.issues[0].code) == (422, "too-costly")
        assert "divide the Bundle" in str(refusal)
        assert holding(entry, "slow") == 0
    finally:
        hasty.close()


@clause(
    "R4/http.html#transaction",
    "the connection is lost in the middle, or over COMMIT: 503, and all or nothing",
)
@pytest.mark.parametrize("when", ["before", "commit"])
def test_a_connection_that_is_lost(entry: Entry, database_url: str, when: str) -> None:
    def end(context: Context) -> None:
        other = psycopg2.connect(database_url)
        other.cursor().execute(
            "SELECT pg_terminate_backend(%s, 5000)", (context.unit.connection.info.backend_pid,)
        )
        other.close()

    def work(context: Context) -> Result:
        made = create(context, "Patient", identified(f"lost-{when}"))
        if when == "before":
            end(context)
            context.unit.execute("SELECT 1")
        return made

    class Ending:
        """A listener that ends the connection when all is done but COMMIT."""

        def __call__(self, unit: Any, changes: Any) -> None:
            if when == "commit":
                other = psycopg2.connect(database_url)
                other.cursor().execute(
                    "SELECT pg_terminate_backend(%s, 5000)", (unit.connection.info.backend_pid,)
                )
                other.close()

    listening = Entry(entry.engine, entry.settings, entry.clock, (Ending(),))
    with pytest.raises(Unavailable):
        listening.write(ANYONE, work)
    assert holding(entry, f"lost-{when}") == 0
