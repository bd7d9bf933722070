"""What 64 clients at once may not do: duplicate, lose, or be told what is not so (docs/concurrency.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fhir_server.database.engine import Engine
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import conditional_delete, delete
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.patch import conditional_patch, read_json_patch
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.transaction import transaction
from fhir_server.interactions.update import conditional_update, update
from tests.support.builders import bundle, identified, observation, patient, post, put
from tests.support.clause import clause
from tests.support.races import ANYONE, RACERS, Answer, chain, holding, ids, race, statuses


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, size=24, wait_s=60)
    yield engine
    engine.close()


SPELLINGS = [
    "identifier=urn:test:mrn|{0}&family=Chalmers",
    "family=Chalmers&identifier=urn:test:mrn|{0}",
    "identifier=urn%3Atest%3Amrn%7C{0}&family=Chalmers",
    "family=Chalmers&family=Chalmers&identifier=urn:test:mrn|{0}",
]
"""The same criteria: order, escapes and repetition do not matter."""

MEANINGS = [
    *SPELLINGS,
    "identifier=urn:test:mrn|{0}",
    "identifier={0}",
    "identifier=urn:test:other|x,urn:test:mrn|{0}",
    "identifier=urn:test:mrn|{0}&given=Ann",
]
"""Different criteria that ask for the same identifier."""


def spelling(number: int, value: str, spellings: list[str] = SPELLINGS) -> str:
    return spellings[number % len(spellings)].format(value)


@clause(
    "R4/http.html#ccreate", "identical conditional creates at once: one creates, the others answer with it"
)
def test_identical_conditional_creates_make_one(entry: Entry) -> None:
    answers = race(
        entry, lambda context, n: create(context, "Patient", identified("race-1"), spelling(n, "race-1"))
    )
    assert holding(entry, "race-1") == 1
    assert statuses(answers) == [200] * (RACERS - 1) + [201]
    assert len(ids(answers)) == 1


@clause("R4/http.html#ccreate", "criteria that differ and ask for the same identifier make one, too")
def test_conditional_creates_that_mean_the_same_make_one(entry: Entry) -> None:
    answers = race(
        entry,
        lambda context, n: create(context, "Patient", identified("race-m"), spelling(n, "race-m", MEANINGS)),
    )
    assert holding(entry, "race-m") == 1
    assert statuses(answers) == [200] * (RACERS - 1) + [201]


@clause(
    "R4/http.html#cond-update", "identical conditional updates at once: one creates, the others update it"
)
def test_identical_conditional_updates_make_one(entry: Entry) -> None:
    answers = race(
        entry,
        lambda context, n: conditional_update(
            context, "Patient", spelling(n, "race-2"), identified("race-2")
        ),
    )
    assert holding(entry, "race-2") == 1
    assert statuses(answers) == [200] * (RACERS - 1) + [201]


@clause("R4/http.html#cond-update", "conditional updates with 64 bodies: one chain of 64 versions, none lost")
def test_conditional_updates_lose_nothing(entry: Entry) -> None:
    answers = race(
        entry,
        lambda context, n: conditional_update(
            context, "Patient", spelling(n, "race-l"), identified("race-l") | {"birthDate": f"{1900 + n}"}
        ),
    )
    assert statuses(answers) == [200] * (RACERS - 1) + [201]
    (id_,) = ids(answers)
    assert chain(entry, id_) == list(range(1, RACERS + 1))


@clause("R4/http.html#patch", "conditional patches at once: each is applied, none is lost")
def test_conditional_patches_lose_nothing(entry: Entry) -> None:
    made = entry.write(ANYONE, lambda context: create(context, "Patient", identified("race-p"))).version
    assert made is not None

    def work(context: Context, number: int) -> Result:
        added = [{"op": "add", "path": "/name/0/given/-", "value": f"G{number}"}]
        change = read_json_patch(json.dumps(added).encode(), context.settings)
        return conditional_patch(context, "Patient", spelling(number, "race-p"), change)

    answers = race(entry, work)
    assert statuses(answers) == [200] * RACERS
    newest = max(
        (answer.version for answer in answers if isinstance(answer, Result) and answer.version),
        key=lambda version: version.version,
    )
    given = json.loads(newest.text())["name"][0]["given"]
    assert sorted(given) == sorted(["Ann", *(f"G{number}" for number in range(RACERS))])
    assert chain(entry, made.id) == list(range(1, RACERS + 2))


@clause(
    "R4/http.html#transaction", "transactions with If-None-Exist at once, in any order of entries, make one"
)
def test_transactions_with_if_none_exist_make_one(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        entries = [post(identified(v), None, spelling(number, v)) for v in ("race-3", "race-4")]
        # half of them in the other order: locks are taken sorted, so nobody waits in a ring
        return transaction(context, bundle("transaction", *entries[:: 1 if number % 2 else -1]))

    answers = race(entry, work)
    assert statuses(answers) == [200] * RACERS
    assert holding(entry, "race-3") == holding(entry, "race-4") == 1


@clause(
    "R4/http.html#transaction", "conditional creates, updates and both in transactions, mixed: one resource"
)
def test_all_conditional_forms_together_make_one(entry: Entry) -> None:
    body = identified("race-5")

    def work(context: Context, number: int) -> Result:
        criteria = spelling(number, "race-5", MEANINGS)
        urn = "urn:uuid:00000000-0000-4000-8000-000000000005"
        kind = number // len(MEANINGS) % 4
        if kind == 0:
            return create(context, "Patient", body, criteria)
        if kind == 1:
            return conditional_update(context, "Patient", criteria, body)
        first = (
            post(body, urn, criteria) if kind == 2 else {**put(body, f"Patient?{criteria}"), "fullUrl": urn}
        )
        entries = [first, post(observation(urn, identifier=[{"value": "race-5-o"}]))]
        return transaction(context, bundle("transaction", *entries))

    answers = race(entry, work)
    assert set(statuses(answers)) <= {200, 201}
    assert holding(entry, "race-5") == 1
    asked = [("identifier", "race-5-o"), ("_count", "100")]
    found = entry.read(ANYONE, lambda context: resources(context, "Observation", asked))
    assert len(found) == RACERS // 2
    assert {each["subject"]["reference"] for each in found} == {f"Patient/{id_}" for id_ in ids(answers)}


@clause("R4/http.html#upsert", "upserts of one new id at once: one creates it, one chain without gaps")
def test_upserts_of_one_id_leave_one_chain_without_gaps(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        return update(context, "Patient", "raced", {**patient(f"N{number}"), "id": "raced"})

    answers = race(entry, work)
    assert statuses(answers) == [200] * (RACERS - 1) + [201]
    versions = sorted(
        answer.version.version for answer in answers if isinstance(answer, Result) and answer.version
    )
    assert versions == chain(entry, "raced") == list(range(1, RACERS + 1))


@clause("R4/http.html#upsert", "upserts with If-None-Match: * at once: one creates, the others get 412")
def test_creates_under_one_id_let_one_through(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        body = {**patient(f"N{number}"), "id": "only-one"}
        return update(context, "Patient", "only-one", body, must_be_new=True)

    assert statuses(race(entry, work)) == [201] + [412] * (RACERS - 1)
    assert chain(entry, "only-one") == [1]


@clause("R4/http.html#concurrency", "If-Match lets one of 64 through")
def test_if_match_lets_one_through(entry: Entry) -> None:
    body: dict[str, Any] = {**patient(), "id": "guarded"}
    entry.write(ANYONE, lambda context: update(context, "Patient", "guarded", body))

    def work(context: Context, number: int) -> Result:
        return update(context, "Patient", "guarded", {**patient(f"G{number}"), "id": "guarded"}, if_match=1)

    assert statuses(race(entry, work)) == [200] + [412] * (RACERS - 1)


@clause(
    "R4/http.html#ccreate", "beside plain creates of the same identifier: what docs/concurrency.md promises"
)
def test_conditional_creates_beside_plain_ones(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        asked = spelling(number, "race-6") if number % 2 else None
        return create(context, "Patient", identified("race-6"), asked)

    answers = race(entry, work)
    by_condition: list[Answer] = answers[1::2]
    # a plain create looks at nothing: each of them creates
    assert statuses(answers[0::2]) == [201] * (RACERS // 2)
    # of the conditional ones one at most creates, and several matches are refused
    assert set(statuses(by_condition)) <= {200, 201, 412}
    assert statuses(by_condition).count(201) <= 1
    assert holding(entry, "race-6") == RACERS // 2 + statuses(by_condition).count(201)
    # and from now on none does
    again = race(
        entry, lambda context, n: create(context, "Patient", identified("race-6"), spelling(n, "race-6"))
    )
    assert statuses(again) == [412] * RACERS


@clause(
    "R4/http.html#cdelete", "conditional deletes and creates at once: each answer is true when it is given"
)
def test_conditional_deletes_beside_creates(entry: Entry) -> None:
    def work(context: Context, number: int) -> Result:
        criteria = spelling(number, "race-7")
        if number % 2:
            return conditional_delete(context, "Patient", criteria)
        return create(context, "Patient", identified("race-7"), criteria)

    answers = race(entry, work)
    assert set(statuses(answers)) <= {200, 201, 204}
    created = statuses(answers).count(201)
    deleted = sum(answer.changes for answer in answers[1::2] if isinstance(answer, Result))
    assert created - deleted == holding(entry, "race-7")
    assert created - deleted in (0, 1)


@clause(
    "R4/http.html#cond-update", "conditional updates beside deletes by id: what is deleted is not revived"
)
def test_conditional_updates_beside_deletes(entry: Entry) -> None:
    made = entry.write(ANYONE, lambda context: create(context, "Patient", identified("race-8"))).version
    assert made is not None

    def work(context: Context, number: int) -> Result:
        if number % 4 == 0:
            return delete(context, "Patient", made.id)
        body = identified("race-8") | {"birthDate": f"{1900 + number}"}
        return conditional_update(context, "Patient", spelling(number, "race-8"), body)

    answers = race(entry, work)
    assert set(statuses(answers)) <= {200, 201, 204}
    # the first update behind the delete, if there is one, makes a new resource, which the others update
    assert statuses(answers).count(201) == holding(entry, "race-8") <= 1
    sql = "SELECT deleted FROM resource WHERE id = %s"
    assert entry.read(ANYONE, lambda context: context.unit.execute(sql, (made.id,))) == [(True,)]
