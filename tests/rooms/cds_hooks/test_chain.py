"""The chain of records: what is changed, taken out, put in or cut off is found, and named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from cds_hooks.records import chain
from cds_hooks.records.chain import Sealer, verify
from cds_hooks.records.entries import Call, Feedback, Offer
from cds_hooks.records.store import Store
from cds_hooks.records.switches import Switch, Switches
from fhir_server.database.engine import Engine
from tests.rooms.cds_hooks.test_burden import card, offer

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=4)
    yield engine
    engine.close()


def fill(engine: Engine, count: int = 5) -> list[Call]:
    """Keep calls with a card each, a feedback and a switch; return the calls."""
    store, calls = Store(engine), []
    for number in range(count):
        made = offer(card(f"Number {number}"), user="Practitioner/1")
        store.keep([made])
        calls.append(made.call)
        store.keep_feedback([Feedback(made.cards[0].card, "accepted", AT, AT, user_comment="ä € 'quoted'")])
    Switches(engine).turn(Switch("s", "off", "Dr Lin", 'why\n"not"', AT))
    return calls


def seal(engine: Engine) -> int:
    sealer, count = Sealer(engine, lambda: AT), 0
    while found := sealer.seal():
        count += found
    return count


def tamper(engine: Engine, statement: str, *parameters: Any) -> None:
    """Do what a database administrator can do: switch the triggers off."""
    with engine.connection() as connection, connection.cursor() as cursor:
        for table in ("cds_call", "cds_feedback", "cds_switch", "cds_link"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute("ALTER TABLE cds_card DROP CONSTRAINT IF EXISTS cds_card_tenant_call_id_fkey")
        cursor.execute(statement, parameters)
        assert cursor.rowcount > 0
        connection.commit()


def test_a_chain_that_holds(engine: Engine) -> None:
    assert verify(engine) == chain.Verified(0, bytes(32).hex(), 0)
    fill(engine)
    assert verify(engine).unsealed == 11
    assert seal(engine) == 11
    found = verify(engine)
    assert (found.links, found.unsealed, found.broken) == (11, 0, None)
    assert verify(engine, (11, found.head)).broken is None
    fill(engine)
    seal(engine)
    assert verify(engine, (11, found.head)).broken is None, "what was noted is still in the chain"
    assert verify(engine).links == 22


CHANGES: dict[str, tuple[str, str]] = {
    "answer": ("UPDATE cds_call SET answer = '{\"cards\":[]}' WHERE pk = 3", "was changed"),
    "patient": ("UPDATE cds_call SET patient = 'other' WHERE pk = 3", "was changed"),
    "user": ("UPDATE cds_call SET user_reference = NULL WHERE pk = 3", "was changed"),
    "moment": ("UPDATE cds_call SET received_at = received_at + interval '1 ms' WHERE pk = 3", "was changed"),
    "inputs": ("UPDATE cds_call SET inputs = '{\"a\": 1}' WHERE pk = 3", "was changed"),
    "model": ("UPDATE cds_call SET model_hash = '\\x00' WHERE pk = 3", "was changed"),
    "deleted": ("DELETE FROM cds_call WHERE pk = 3", "is not there"),
    "feedback": ("UPDATE cds_feedback SET outcome = 'overridden' WHERE pk = 3", "was changed"),
    "switch": ("UPDATE cds_switch SET by_whom = 'nobody'", "was changed"),
    "link": ("DELETE FROM cds_link WHERE number = 3", "missing"),
    "digest": ("UPDATE cds_link SET digest = sha256('x') WHERE number = 3", "was changed"),
    "chain": ("UPDATE cds_link SET chain = sha256('x') WHERE number = 3", "does not follow"),
    "order": ("UPDATE cds_link SET record_pk = 100 + record_pk WHERE number = 3", "is not there"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_first_broken_link_is_named(engine: Engine, name: str) -> None:
    fill(engine)
    seal(engine)
    statement, problem = CHANGES[name]
    tamper(engine, statement)
    found = verify(engine)
    assert found.broken is not None
    assert problem in found.broken.problem
    if name not in ("feedback", "switch"):
        assert found.broken.number in (3, 4)
    assert found.links == found.broken.number - 1 or name == "link"


def test_who_changes_a_record_and_its_link_needs_all_links_after_it(engine: Engine) -> None:
    fill(engine)
    seal(engine)
    head = verify(engine)
    tamper(engine, "UPDATE cds_call SET patient = 'other' WHERE pk = 3")
    tamper(
        engine,
        "UPDATE cds_link SET digest = d, chain = sha256(b || convert_to('3 call 3 1', 'UTF8') || d) FROM ("
        f"SELECT {chain._digest('call', 1)} AS d, (SELECT chain FROM cds_link WHERE number = 2) AS b"
        " FROM cds_call WHERE pk = 3) x WHERE number = 3",
    )
    found = verify(engine)
    assert found.broken is not None
    assert (found.broken.number, found.broken.problem) == (4, "it does not follow from the link before it")
    assert head.links == 11


def test_an_end_that_was_cut_off_is_seen_by_a_link_noted_elsewhere(engine: Engine) -> None:
    fill(engine)
    seal(engine)
    noted = verify(engine)
    tamper(engine, "DELETE FROM cds_link WHERE number > 9")
    assert verify(engine).broken is None, "the chain alone cannot tell"
    found = verify(engine, (noted.links, noted.head))
    assert found.broken is not None
    assert "cut off" in found.broken.problem
    forged = verify(engine, (3, "0" * 64))
    assert forged.broken is not None
    assert forged.broken.problem == "it is not the link expected"


def test_a_record_put_in_has_a_link_or_is_told_as_unsealed(engine: Engine) -> None:
    fill(engine)
    seal(engine)
    Store(engine).keep([offer(card(), user=None)])
    assert verify(engine).unsealed == 1


def test_a_record_that_is_committed_late_is_sealed_too(engine: Engine) -> None:
    """A row may become visible after one with a higher number: it is looked back for."""
    calls = fill(engine, 1)
    with engine.connection() as connection, connection.cursor() as late:
        late.execute(
            "INSERT INTO cds_call (tenant, call_id, received_at, latency_us, status, service, reasons,"
            " input_hash, answer) VALUES (0, %s, now(), 1, 200, 's', '{}', '\\x00', '{\"cards\":[]}')",
            (str(uuid4()),),
        )
        Store(engine).keep([Offer(offer(user=None).call)])
        sealer = Sealer(engine, lambda: AT)
        assert sealer.seal() == 4
        connection.commit()
    assert sealer.seal() == 0, "not every time"
    again = Sealer(engine, lambda: AT)
    assert again.seal() == 1
    assert verify(engine).unsealed == 0
    assert len(calls) == 1


def test_two_sealers_make_one_chain(engine: Engine) -> None:
    fill(engine, 40)
    failures: list[Exception] = []

    def work() -> None:
        sealer = Sealer(engine, lambda: AT)
        try:
            for _ in range(20):
                sealer.seal()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    fill(engine, 20)
    for thread in threads:
        thread.join()
    seal(engine)
    assert failures == []
    found = verify(engine)
    assert (found.links, found.unsealed, found.broken) == (122, 0, None)


def test_links_are_append_only(engine: Engine) -> None:
    fill(engine, 1)
    seal(engine)
    for statement in ("UPDATE cds_link SET number = 1", "DELETE FROM cds_link", "TRUNCATE cds_link"):
        refused = pytest.raises(psycopg2.errors.RaiseException, match="append-only")
        with engine.connection() as connection, connection.cursor() as cursor, refused:
            cursor.execute(statement)


def test_every_column_of_a_record_is_in_its_digest(engine: Engine) -> None:
    """A column that a later migration adds needs a new form; this test then says so."""
    beside: dict[str, set[str]] = {"call": set()}
    with engine.connection() as connection, connection.cursor() as cursor:
        for kind, forms in chain._FORMS.items():
            table, columns = forms[max(forms)]
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                " AND column_name NOT IN ('tenant', 'pk')", (table,),
            )  # fmt: skip
            have: set[str] = {row[0] for row in cursor.fetchall()} - beside.get(kind, set())
            text = " ".join(columns)
            assert {name for name in have if name not in text} == set(), kind
