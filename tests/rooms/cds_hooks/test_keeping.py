"""cds_keep: many calls in one statement, judged as one by one; the way there and back."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import psycopg2
import pytest
from alembic import command

from cds_hooks.records.entries import CAPPED, REPEATED, SHOWN, Call, Offer, Offered
from cds_hooks.records.store import Store
from fhir_server.database import migrating
from fhir_server.database.engine import Engine

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOURS, MOST = 24.0, 4
QUOTES = 'a "quoted" {text}, with \\ and \' and NULL and \n'


class Slow:
    """The alert burden as a person would keep it, card by card."""

    def __init__(self) -> None:
        self.shown_at: dict[bytes, datetime] = {}
        self.counts: Counter[tuple[bytes, date | None]] = Counter()

    def judge(self, offers: Sequence[Offer]) -> dict[UUID, str]:
        cards = [(card, offer.call.received_at) for offer in offers for card in offer.cards]
        cards.sort(key=lambda each: (str(each[0].day), each[0].key or b"\xff"))
        return {card.card: self._one(card, at) for card, at in cards}

    def _one(self, card: Offered, at: datetime) -> str:
        if card.reader is not None and self.counts[card.reader, card.day] >= MOST:
            return CAPPED
        if card.key is not None:
            before = self.shown_at.get(card.key)
            if before is not None and before > at - timedelta(hours=HOURS):
                return REPEATED
            self.shown_at[card.key] = at
        if card.reader is not None:
            self.counts[card.reader, card.day] += 1
        return SHOWN


def card(dice: random.Random, reader: bytes | None, day: date | None) -> Offered:
    uuid = UUID(int=dice.getrandbits(128))
    key = None if dice.random() < 0.2 else (reader or b"") + bytes([dice.randint(0, 5)])
    return Offered(uuid, json.dumps({"uuid": str(uuid), "summary": QUOTES}), key, reader, day)


def group(dice: random.Random, at: datetime) -> list[Offer]:
    """Return calls of a few readers, with few different cards, so that all verdicts come up."""
    made = []
    for _ in range(dice.randint(1, 8)):
        reader = dice.choice([None, b"a" * 32, b"b" * 32, b"c" * 32])
        received_at = at + timedelta(minutes=dice.randint(0, 600))
        day = None if reader is None else (received_at + timedelta(hours=8)).date()
        cards = tuple(card(dice, reader, day) for _ in range(dice.choice([0, 0, 1, 1, 2, 5])))
        answer = '{"cards":[' + ",".join(card.body for card in cards) + "]}"
        call = Call(
            uuid4(), received_at, 1, 200, "s", ("shown", QUOTES), b"\0" * 32, answer, "patient-view", uuid4(),
            client=QUOTES, patient=dice.choice([None, "7"]), inputs={"x": QUOTES}, content=b"\\x'\0",
        )  # fmt: skip
        made.append(Offer(call, cards))
    return made


@pytest.mark.parametrize("seed", range(6))
def test_a_group_is_judged_as_one_by_one_and_kept_as_it_is_answered(
    fresh_database_url: str, seed: int
) -> None:
    engine = Engine(fresh_database_url, size=1)
    store, slow, dice = Store(engine, repeat_hours=HOURS, most_a_day=MOST), Slow(), random.Random(seed)
    seen: Counter[str] = Counter()
    for number in range(12):
        offers = group(dice, AT + timedelta(hours=11 * number))
        verdicts = store.keep(offers)
        assert verdicts == slow.judge(offers)
        seen.update(verdicts.values())
        for offer in offers:
            kept = store.find(offer.call.call_id)
            assert kept is not None
            assert kept == offer.settled(verdicts)
        given = {card.card for offer in offers for card in offer.cards}
        assert store.known_cards("s", list(given), None, anybody=True) == {
            card for card in given if verdicts[card] == SHOWN
        }
    assert set(seen) == {SHOWN, REPEATED, CAPPED}
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT reader, day, cards FROM cds_burden")
        counted = {(bytes(reader), day): cards for reader, day, cards in cursor.fetchall()}
        assert counted == {place: slow.counts[place] for place in counted}
        assert sum(counted.values()) == sum(slow.counts.values())
    engine.close()


def test_back_and_forth(blank_database_url: str) -> None:
    url = blank_database_url

    def functions() -> set[str]:
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT proname FROM pg_proc WHERE proname IN ('cds_admit', 'cds_keep')")
            return {name for (name,) in cursor.fetchall()}

    migrating.upgrade(url, "m0027")
    assert functions() == {"cds_admit"}
    assert migrating.upgrade(url).up_to_date
    assert functions() == {"cds_keep"}
    with migrating._connection(url) as connection:
        command.downgrade(migrating._config(connection), "m0027")
        connection.commit()
    assert functions() == {"cds_admit"}
    assert migrating.upgrade(url).up_to_date
    engine = Engine(url, size=1)
    offer = group(random.Random(1), AT)
    assert Store(engine, repeat_hours=HOURS, most_a_day=MOST).keep(offer) == Slow().judge(offer)
    engine.close()
