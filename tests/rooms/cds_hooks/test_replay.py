"""A card recomputed from its record, byte for byte; and what FHIR is told of each call."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from cds_hooks import registry
from cds_hooks.models import catalogue
from cds_hooks.operation import inputs
from cds_hooks.operation.audit_drain import AuditDrain
from cds_hooks.operation.chores import Chores
from cds_hooks.operation.modes import Mode
from cds_hooks.operation.replay import replay
from cds_hooks.operation.spool import Spool
from cds_hooks.records.chain import Sealer, verify
from cds_hooks.records.entries import Call, Offer
from cds_hooks.records.store import Store
from cds_hooks.records.switches import Switch, Switches
from cds_hooks.service import Decision, Facts
from conformance.samples import stroke
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from fhir_server.interactions import search_type, transaction
from fhir_server.interactions.context import Settings
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.validation import validator
from tests.rooms.cds_hooks.test_modes import Fixed
from tests.support.cds import NOW, SERVICE, MemoryRecords, body, client, services
from tests.support.clock import FixedClock
from tests.support.server import wait_for

URL = f"/cds-services/{SERVICE}"
OURS = "http://127.0.0.1/fhir"


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=4)
    yield engine
    engine.close()


@pytest.fixture
def own(engine: Engine) -> Entry:
    return Entry(engine, Settings(base_urls=(OURS,)), FixedClock())


def kept(engine: Engine, **options: Any) -> Call:
    """Call the service with a prefetch in which numbers are spelled oddly; return its record."""
    store = Store(engine)
    door, _ = client(store, clock=lambda: NOW + timedelta(microseconds=123_456), **options)
    call = json_format.encode(body()).replace(b'"value":168', b'"value":168.00')
    assert door.post(URL, data=call, content_type="application/json").status_code == 200
    found = store.find(store.latest(SERVICE, 1)[0].call_id)
    assert found is not None
    return found


# Replay -----------------------------------------------------------------------------------------
def test_a_card_is_recomputed_byte_for_byte(engine: Engine) -> None:
    call = kept(engine)
    assert call.content is not None
    found = inputs.unpacked(call.content, call.input_hash)
    assert b"168.00" in found.document()
    assert call.received_at.microsecond == 123_000
    replayed = replay(call, services())
    assert replayed.equal is True
    assert replayed.computed == call.answer
    assert len(json.loads(call.answer)["cards"]) == 1


def test_what_was_withheld_is_recomputed_too(engine: Engine) -> None:
    call = kept(engine, modes=Fixed(Mode.SHADOW))
    assert (call.answer, replay(call, services()).equal) == ('{"cards":[]}', True)
    assert replay(call, services()).computed == call.computed


def test_another_release_is_found_by_its_hash_and_not_taken_for_it(
    engine: Engine, tmp_path: Path, monkeypatch: Any
) -> None:
    call = kept(engine)
    folder = tmp_path / "stroke-early-aspirin-1"
    shutil.copytree(catalogue.SHIPPED / folder.name, folder)
    monkeypatch.setattr(catalogue, "SHIPPED", tmp_path)
    assert replay(call, registry.services()).equal is True
    shutil.rmtree(folder)
    gone = replay(call, registry.services())
    assert gone.equal is None
    assert "not on this machine" in gone.why


def test_other_code_gives_other_cards_and_says_so(engine: Engine) -> None:
    call = kept(engine)

    def other(facts: Facts) -> Decision:
        found = services()[SERVICE].decide(facts)
        return dataclasses.replace(
            found, cards=tuple(dataclasses.replace(each, summary="Otherwise") for each in found.cards)
        )

    changed = {SERVICE: dataclasses.replace(services()[SERVICE], decide=other)}
    found = replay(call, changed)
    assert (found.equal, "other ones" in found.why) == (False, True)
    older = replay(dataclasses.replace(call, code="0.0.1"), changed)
    assert "recorded by version 0.0.1" in older.why


def test_what_cannot_be_compared_says_why(engine: Engine) -> None:
    call = kept(engine, modes=Fixed(Mode.OFF))
    assert "nothing was decided" in replay(call, services()).why
    call = kept(engine)
    forged = dataclasses.replace(call, content=inputs.packed(b'{"hook":"x","context":{},"resources":[]}'))
    assert replay(forged, services()).equal is False
    assert "not kept" in replay(dataclasses.replace(call, content=None), services()).why


def test_inputs_go_after_their_time_and_are_never_changed(engine: Engine, own: Entry, tmp_path: Path) -> None:
    call = kept(engine)
    refused = pytest.raises(psycopg2.errors.RaiseException, match="never changed")
    with engine.connection() as connection, connection.cursor() as cursor, refused:
        cursor.execute("UPDATE cds_call_input SET content = ''")
    for days, present in ((30.0, True), (1.0, False)):
        entry = dataclasses.replace(own, clock=lambda: NOW + timedelta(days=2))
        chores = Chores(entry, Spool(tmp_path), 24.0, days)
        while chores.expire():
            pass
        found = Store(engine).find(call.call_id)
        assert found is not None
        assert (found.content is not None) == present


# AuditEvents ------------------------------------------------------------------------------------
def told(own: Entry) -> list[dict[str, Any]]:
    """Seal, tell, and return all AuditEvents."""
    sealer, drain = Sealer(own.engine, own.clock), AuditDrain(own, every_s=0.0)
    while sealer.seal():
        pass
    while drain.drain():
        pass
    found = own.read(
        Grant.system("test"),
        lambda context: search_type.resources(context, "AuditEvent", [("_count", "100"), ("_sort", "date")]),
    )
    return [dict(each) for each in found]


def test_every_call_is_an_audit_event_that_names_its_link(engine: Engine, own: Entry) -> None:
    call = kept(engine)
    (event,) = told(own)
    assert (event["id"], event["outcome"], event["outcomeDesc"]) == (str(call.call_id), "0", "suggested")
    assert event["subtype"][0]["code"] == "encounter-start"
    details = {each["type"]: each["valueString"] for each in event["entity"][1]["detail"]}
    assert (details["service"], details["cards"], details["input-sha256"]) == (
        SERVICE,
        "1",
        call.input_hash.hex(),
    )
    assert details["model"] == f"{call.model}@{call.model_version}#{call.model_hash}"
    number, _, digest = details["link"].partition(":")
    assert verify(engine, (int(number), digest)).broken is None
    assert event["entity"][0]["what"]["identifier"]["value"] == stroke.PATIENT_ID, "an id of the client's"
    text = json.dumps(event)
    assert "Beispiel" not in text
    assert "cards" not in json.dumps(event["entity"][0])
    problems = [issue for issue in validator.validate(event) if issue.severity in ("error", "fatal")]
    assert problems == []
    assert told(own) == [event], "once"


def test_ids_of_our_own_are_references_and_refusals_and_switches_are_told(engine: Engine, own: Entry) -> None:
    transaction.execute(own, Grant.system("test"), stroke.transaction(own.clock()))
    door, _ = client(Store(engine), entry=own, base_urls=(OURS,), clock=own.clock)
    assert door.post(URL, json=stroke.call(str(uuid4()), fhir_server=OURS)).json["cards"]
    assert door.post(URL, json={"hook": "x"}).status_code == 400
    Switches(engine).turn(Switch(SERVICE, "off", "Dr Lin", "CT codes are wrong", own.clock()))
    events = told(own)
    assert len(events) == 3
    answered, refused, turned = (
        next(each for each in events if word in json.dumps(each))
        for word in ("suggested", "invalid", "cds-switch")
    )
    assert answered["entity"][0]["what"] == {"reference": f"Patient/{stroke.PATIENT_ID}"}
    assert answered["agent"][0]["who"] == {"reference": "Practitioner/demo"}
    found = own.read(
        Grant.system("test"),
        lambda context: search_type.resources(context, "AuditEvent", [("patient", stroke.PATIENT_ID)]),
    )
    assert [each["id"] for each in found] == [answered["id"]]
    assert refused["outcome"] == "4"
    assert (turned["agent"][0]["name"], turned["outcomeDesc"]) == ("Dr Lin", "CT codes are wrong")
    for event in events:
        assert [i for i in validator.validate(event) if i.severity in ("error", "fatal")] == []


def test_what_fhir_refuses_is_passed_over_and_said_in_the_log(
    engine: Engine, own: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    """An id that FHIR does not know as one must not keep the others from being told."""
    odd = Call(
        uuid4(),
        NOW,
        1,
        200,
        "s",
        ("shown",),
        b"\1",
        '{"cards":[]}',
        hook="patient-view",
        patient="a b",
        own_ids=True,
    )
    Store(engine).keep(
        [Offer(odd), Offer(dataclasses.replace(odd, call_id=uuid4(), hook="not a code ", patient="7"))]
    )
    Store(engine).keep([Offer(dataclasses.replace(odd, call_id=uuid4(), patient="7"))])
    events = told(own)
    assert str(odd.call_id) in {event["id"] for event in events}
    assert any(event["entity"][0]["what"].get("reference") == "Patient/7" for event in events)
    assert "a b" not in caplog.text


# The spool --------------------------------------------------------------------------------------
class Away(Store):
    """Records whose database goes away and comes back."""

    away = True

    def keep(self, offers: Any) -> Any:
        if self.away:
            raise psycopg2.OperationalError("gone")
        return super().keep(offers)


def test_the_spool_is_played_back_into_the_table(engine: Engine, own: Entry, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    records = Away(engine)
    door, _ = client(records, spool=spool)
    for _ in range(3):
        assert door.post(URL, json=body()).json == {"cards": []}
    assert spool.size_bytes() > 0
    assert (spool.path.stat().st_mode & 0o777, records.latest()) == (0o600, [])
    chores = Chores(own, spool, 24.0, 365.0)
    assert chores.play_back() == 3
    assert chores.play_back() == 0
    calls = records.latest()
    assert [(call.reasons, call.cards) for call in calls] == [(("suggested", "not-recorded"), ())] * 3
    whole = records.find(calls[0].call_id)
    assert whole is not None
    assert replay(whole, services()).equal is True, "what could not be recorded then can be replayed now"


def test_a_record_that_came_after_its_answer_is_noted_as_not_sent(
    engine: Engine, own: Entry, tmp_path: Path
) -> None:
    spool, store = Spool(tmp_path / "spool"), Store(engine, repeat_hours=24.0)

    class Late(MemoryRecords):
        def keep(self, offers: Any) -> Any:
            threading.Event().wait(0.5)
            return store.keep(offers)

    door, _ = client(Late(), budget_s=0.3, spool=spool)
    assert door.post(URL, json=body()).json == {"cards": []}
    (call,) = wait_for(store.latest, 10)
    assert call.cards, "the commit came after the answer"
    chores = Chores(own, spool, 24.0, 365.0)
    spooled = spool.path.read_bytes()
    assert chores.play_back() == 1
    spool.path.write_bytes(spooled)
    assert chores.play_back() == 1, "twice is once"
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT call_id::text, reason FROM cds_withheld")
        assert cursor.fetchall() == [(str(call.call_id), "not-in-time")]
        cursor.execute("SELECT count(*) FROM cds_shown")
        assert cursor.fetchone() == (0,), "nobody has seen it: it may be shown"


def test_a_spool_has_an_end_and_a_torn_line_harms_nobody(tmp_path: Path) -> None:
    call = Call(uuid4(), datetime(2026, 1, 2, tzinfo=UTC), 1, 200, "s", ("timeout",), b"\1", '{"cards":[]}')
    spool = Spool(tmp_path / "spool", most_bytes=2000)
    count = 0
    while spool.append(call):
        count += 1
    assert 2 <= count < 20
    played: list[Call] = []
    with open(spool.path, "ab") as file:
        file.write(b'{"call_id": "torn')
    big = Spool(tmp_path / "spool")
    assert big.append(call)
    assert big.play_back(played.extend) == count + 1
    assert played[0] == call
    assert (tmp_path / "spool" / "calls.refused.ndjson").read_bytes() == b'{"call_id": "torn\n'


def test_what_the_playing_back_meets_is_there_the_next_time(tmp_path: Path) -> None:
    call = Call(uuid4(), datetime(2026, 1, 2, tzinfo=UTC), 1, 200, "s", ("timeout",), b"\1", '{"cards":[]}')
    spool, played = Spool(tmp_path / "spool"), list[Call]()
    assert spool.append(call)

    def fail(_calls: list[Call]) -> None:
        raise psycopg2.OperationalError("gone")

    with pytest.raises(psycopg2.OperationalError):
        spool.play_back(fail)
    assert spool.append(dataclasses.replace(call, call_id=uuid4()))
    assert spool.play_back(played.extend) == 1
    assert spool.play_back(played.extend) == 1
    assert len({each.call_id for each in played}) == 2


def test_a_record_that_the_database_never_takes_is_put_aside(
    engine: Engine, own: Entry, tmp_path: Path
) -> None:
    good = Call(uuid4(), datetime(2026, 1, 2, tzinfo=UTC), 1, 200, "s", ("timeout",), b"\1", '{"cards":[]}')
    bad = dataclasses.replace(good, call_id=uuid4(), latency_us=10**12)
    spool = Spool(tmp_path / "spool")
    assert spool.append(bad)
    assert spool.append(good)
    Chores(own, spool, 24.0, 365.0).play_back()
    assert [call.call_id for call in Store(engine).latest("s")] == [good.call_id]
    assert b"1000000000000" in (tmp_path / "spool" / "calls.refused.ndjson").read_bytes()
