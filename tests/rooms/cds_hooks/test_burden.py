"""Alert burden: the same card once in 24 hours for a user, so many cards a day; Postgres decides."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from cds_hooks.cards import Card, Source
from cds_hooks.operation import burden as burdens
from cds_hooks.operation.burden import Burden, Reader
from cds_hooks.operation.modes import Mode
from cds_hooks.records.entries import Call, Offer
from cds_hooks.records.store import Store
from cds_hooks.service import Decision, Facts, Service
from conformance.samples import stroke
from fhir_server.database.engine import Engine
from fhir_server.model import json_format
from tests.support.cds import NOW, SERVICE, body, client, services
from tests.support.server import Server, wait_for

AT = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
BURDEN = Burden(24.0, 5, ZoneInfo("Europe/Berlin"))


def offer(*cards: Card, user: str | None, at: datetime = AT, burden: Burden = BURDEN, **where: Any) -> Offer:
    """Return a call that offers cards."""
    service, hook, patient = (where.get(name, name) for name in ("service", "hook", "patient"))
    reader = Reader(where.get("client"), user, patient)
    bodies = [json_format.encode(card.as_json()).decode() for card in cards]
    answer = '{"cards":[' + ",".join(bodies) + "]}"
    call = Call(
        uuid4(), at, 1, 200, service, ("shown",), b"\0" * 32, answer, hook, uuid4(), user_reference=user
    )
    offered = [
        burdens.offered(card, body, service, hook, reader, at, burden)
        for card, body in zip(cards, bodies, strict=True)
    ]
    return Offer(call, tuple(offered))


def card(summary: str = "Look here", indicator: str = "info", detail: str = "") -> Card:
    return Card(str(uuid4()), summary, indicator, Source("us"), detail)


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine, repeat_hours=BURDEN.repeat_hours, most_a_day=BURDEN.most_a_day)


@pytest.fixture
def user() -> str:
    return f"Practitioner/{uuid4()}"


def verdicts(store: Store, *offers: Offer) -> list[str]:
    found = store.keep(offers)
    return [found[offered.card] for each in offers for offered in each.cards]


def test_the_same_card_is_shown_once_in_24_hours(store: Store, user: str) -> None:
    for at, verdict in (
        (AT, "shown"),
        (AT + timedelta(hours=1), "repeated"),
        (AT + timedelta(hours=23, minutes=59), "repeated"),
        (AT + timedelta(hours=24), "shown"),
        (AT + timedelta(hours=25), "repeated"),
    ):
        detail = f"another time in the detail: {at}"
        assert verdicts(store, offer(card(detail=detail), user=user, at=at)) == [verdict], at


def test_what_makes_a_card_another_one(engine: Engine, user: str) -> None:
    store = Store(engine, repeat_hours=24.0)
    assert verdicts(store, offer(card(), user=user)) == ["shown"]

    def others() -> list[Offer]:
        return [
            offer(card("Look there"), user=user),
            offer(card(), user=user, patient="another"),
            offer(card(), user=user, hook="another"),
            offer(card(), user=user, service="another"),
            offer(card(), user=f"{user}x"),
            offer(card(), user=user, client="https://other.example"),
        ]

    assert verdicts(store, *others()) == ["shown"] * 6
    assert verdicts(store, *others()) == ["repeated"] * 6


def test_a_call_is_kept_as_it_was_answered(store: Store, user: str) -> None:
    old, new = card("Old"), card("New")
    store.keep([offer(old, user=user)])
    call = offer(card("Old"), new, user=user)
    found = store.keep([call])
    kept = store.find(call.call.call_id)
    assert kept == call.settled(found)
    assert kept is not None
    assert json_format.parse(kept.answer.encode())["cards"] == [new.as_json()]
    assert len(json_format.parse(str(kept.computed).encode())["cards"]) == 2
    assert kept.reasons == ("shown", "repeated")
    assert store.known_cards("service", [UUID(new.uuid), *map(UUID, kept.withheld)], None) == {UUID(new.uuid)}


def test_so_many_cards_a_day_by_the_clock_of_the_installation(store: Store, user: str) -> None:
    cards = [card(f"Number {n}") for n in range(8)]
    assert verdicts(store, offer(*cards, user=user)).count("shown") == 5
    # 23:30 UTC is past midnight in Berlin: the same day goes on until 23:00 UTC
    assert verdicts(store, offer(card("Later"), user=user, at=AT + timedelta(hours=23))) == ["capped"]
    assert verdicts(store, offer(card("Next day"), user=user, at=AT + timedelta(hours=24))) == ["shown"]
    assert verdicts(store, offer(card("Another"), user=f"{user}x")) == ["shown"]


def test_a_card_that_was_capped_was_not_shown(store: Store, user: str) -> None:
    store.keep([offer(*(card(f"Number {n}") for n in range(5)), user=user)])
    assert verdicts(store, offer(card("Held"), user=user)) == ["capped"]
    assert verdicts(store, offer(card("Held"), user=user, at=AT + timedelta(hours=23, minutes=30))) == [
        "shown"
    ]


def test_a_repeated_card_does_not_count(store: Store, user: str) -> None:
    for _ in range(10):
        store.keep([offer(card("Again"), user=user)])
    assert verdicts(store, offer(*(card(f"Number {n}") for n in range(4)), user=user)) == ["shown"] * 4


def test_critical_is_neither_withheld_nor_counted(store: Store, user: str) -> None:
    for _ in range(7):
        assert verdicts(store, offer(card("Stop", "critical"), user=user)) == ["shown"]
    assert verdicts(store, offer(*(card(f"Number {n}") for n in range(5)), user=user)) == ["shown"] * 5


def test_a_call_without_a_user_is_compared_and_not_counted(store: Store) -> None:
    patient = str(uuid4())
    for verdict in ("shown", "repeated"):
        cards = [card(f"Number {n}") for n in range(9)]
        assert verdicts(store, offer(*cards, user=None, patient=patient)) == [verdict] * 9


@pytest.mark.parametrize("limits", [Burden(0.0, 3), Burden(24.0, 0), Burden()])
def test_either_limit_can_be_off(engine: Engine, user: str, limits: Burden) -> None:
    store = Store(engine, repeat_hours=limits.repeat_hours, most_a_day=limits.most_a_day)
    found = [verdicts(store, offer(card(), user=user, burden=limits))[0] for _ in range(5)]
    repeated = ["shown"] + ["repeated"] * 4 if limits.repeat_hours else ["shown"] * 5
    assert found == (["shown"] * 3 + ["capped"] * 2 if limits.most_a_day else repeated)


@pytest.mark.parametrize("at_once", [1, 7])
def test_several_workers_at_the_same_time_show_a_card_once_and_never_too_many(
    database_url: str, user: str, at_once: int
) -> None:
    """Six stores over the same users and cards, in groups and in other orders: no deadlock."""
    users = [f"{user}-{n}" for n in range(3)]
    found: list[tuple[str, str, str]] = []
    failures: list[Exception] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        engine = Engine(database_url, size=1)
        store = Store(engine, repeat_hours=BURDEN.repeat_hours, most_a_day=BURDEN.most_a_day)
        offers = [
            offer(card(f"Number {n}"), card(f"Number {n + 1}"), user=one)
            for n in range(0, 14, 2)
            for one in users
        ]
        offers = offers[number:] + offers[:number]
        if number % 2:
            offers.reverse()
        try:
            for start in range(0, len(offers), at_once):
                group: Sequence[Offer] = offers[start : start + at_once]
                said = store.keep(group)
                with lock:
                    for each in group:
                        for offered in each.cards:
                            summary = json_format.parse(offered.body.encode())["summary"]
                            found.append((str(each.call.user_reference), summary, said[offered.card]))
        except Exception as error:
            failures.append(error)
        finally:
            engine.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(found) == 6 * 14 * 3
    for one in users:
        shown = [summary for who, summary, verdict in found if (who, verdict) == (one, "shown")]
        assert len(shown) == len(set(shown)) == BURDEN.most_a_day


def test_a_running_server_shows_a_user_the_same_card_once_under_load(running: Server) -> None:
    """R13 over two workers: forty calls at the same time, one card; another user gets his own."""
    call = body(given=stroke.resources(datetime.now(UTC)))

    def asked(name: str) -> list[int]:
        sent = json_format.encode(call | {"context": call["context"] | {"userId": name}})
        found: list[int] = []

        def ask() -> None:
            for _ in range(5):
                request = urllib.request.Request(
                    f"{running.url}/cds-services/{SERVICE}", sent, {"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(request, timeout=60) as answer:
                    found.append(len(json.load(answer)["cards"]))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    for name in (f"Practitioner/{uuid4()}", f"PractitionerRole/{uuid4()}"):
        cards: list[int] = []
        # on a loaded machine an answer may be late, and is empty then: such a card was not shown
        wait_for(lambda cards=cards, name=name: cards.extend(asked(name)) or sum(cards))
        assert sum(cards + asked(name)) == 1


def test_critical_is_never_what_a_model_computed() -> None:
    def decide(facts: Facts) -> Decision:
        return Decision(("shown",), (Card(facts.uuid("card"), "Stop", "critical", Source("us")),))

    model = services()[SERVICE].model
    for given, indicator in ((model, "warning"), (None, "critical")):
        made = {SERVICE: Service(SERVICE, ("encounter-start",), "t", "d", {}, decide, model=given)}
        door, records = client(services_=made, clock=lambda: NOW)
        (answered,) = door.post(f"/cds-services/{SERVICE}", json=body()).json["cards"]
        assert answered["indicator"] == indicator
        assert ("critical-lowered" in records.calls[0].reasons) == (given is not None)
        assert records.calls[0].mode == Mode.ON.value
