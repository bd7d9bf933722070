"""What became of the cards: rates by service, reason and kind of user; the commands that read records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cds_hooks.operation.modes import Mode
from cds_hooks.records.chain import Sealer
from cds_hooks.records.entries import Feedback
from cds_hooks.records.rates import Cards, rates
from cds_hooks.records.store import Store
from fhir_server.app import create_app
from fhir_server.cli.main import main
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from tests.rooms.cds_hooks.test_burden import card, offer
from tests.rooms.cds_hooks.test_modes import Fixed
from tests.support.cds import SERVICE, body, client

URL = f"/cds-services/{SERVICE}"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=4)
    yield engine
    engine.close()


def shown(store: Store, user: str | None, hours_ago: float, **where: Any) -> UUID:
    """Show a card; return its uuid."""
    made = offer(card(), user=user, at=NOW - timedelta(hours=hours_ago), **where)
    store.keep([made])
    return made.cards[0].card


def report(store: Store, one: UUID, outcome: str, at: datetime, reason: str | None = None) -> None:
    coding = {"system": "urn:r", "code": reason, "display": f"It is {reason}"} if reason else None
    store.keep_feedback([Feedback(one, outcome, at, at, reason=coding)])


def test_rates_by_service_reason_and_kind_of_user(engine: Engine) -> None:
    store = Store(engine)
    physician, nurse = "Practitioner/1", "PractitionerRole/2"
    accepted = [shown(store, physician, 50) for _ in range(3)]
    overridden = [shown(store, physician, 49), shown(store, nurse, 49)]
    shown(store, nurse, 48)  # ignored
    shown(store, nurse, 1)  # open
    shown(store, None, 48, service="another")
    for one in accepted:
        report(store, one, "accepted", NOW - timedelta(hours=40))
    report(store, overridden[0], "overridden", NOW - timedelta(hours=40), "wrong")
    report(store, overridden[1], "overridden", NOW - timedelta(hours=40))
    # a card that was overridden first and accepted later counts as accepted, once
    report(store, accepted[0], "overridden", NOW - timedelta(hours=45), "wrong")
    found = rates(engine, NOW - timedelta(days=7), NOW)
    service = found["service"]
    assert service.cards == Cards(accepted=3, overridden=2, ignored=1, open=1)
    assert service.roles["Practitioner"] == Cards(accepted=3, overridden=1)
    assert service.roles["PractitionerRole"] == Cards(overridden=1, ignored=1, open=1)
    assert service.overrides == {"It is wrong": 1, "no reason told": 1}
    assert service.cards.share("accepted") == pytest.approx(0.5)
    assert found["another"].roles == {"unknown": Cards(ignored=1)}
    assert rates(engine, NOW - timedelta(hours=2), NOW)["service"].cards == Cards(open=1)
    assert rates(engine, NOW, NOW) == {}


def test_a_role_of_our_own_store_is_told_by_what_it_is(
    engine: Engine, fresh_database_url: str, tmp_path: Path
) -> None:
    store = Store(engine)
    app = create_app(Config(database_url=fresh_database_url, data_dir=tmp_path, worker=False)).test_client()
    coded = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/practitioner-role", "code": "nurse",
                         "display": "Nurse"}]}  # fmt: skip
    for number, code in (("1", coded), ("2", {"text": "Pharmacist on call"}), ("3", None)):
        role = {"resourceType": "PractitionerRole", "id": number} | ({"code": [code]} if code else {})
        assert app.put(f"/fhir/PractitionerRole/{number}", json=role).status_code == 201
    ours = {number: own(store, f"PractitionerRole/{number}") for number in ("1", "2", "3", "4")}
    own(store, "Practitioner/1")
    shown(store, "PractitionerRole/1", 48)  # of another FHIR server: its ids are not ours
    report(store, ours["1"], "accepted", NOW - timedelta(hours=40))
    found = rates(engine, NOW - timedelta(days=7), NOW)["service"].roles
    assert found == {
        "PractitionerRole: Nurse": Cards(accepted=1),
        "PractitionerRole: Pharmacist on call": Cards(ignored=1),
        "PractitionerRole": Cards(ignored=3),
        "Practitioner": Cards(ignored=1),
    }


def own(store: Store, user: str) -> UUID:
    """Show a card to a user whose id is one of our own store; return its uuid."""
    made = offer(card(), user=user, at=NOW - timedelta(hours=48))
    store.keep([replace(made, call=replace(made.call, own_ids=True))])
    return made.cards[0].card


def test_shadow_refusals_and_trials_are_told_apart(engine: Engine) -> None:
    store = Store(engine)
    for mode in (Mode.ON, Mode.SHADOW, Mode.OFF):
        door, _ = client(store, modes=Fixed(mode), clock=lambda: NOW)
        door.post(URL, json=body())
    door.post(URL, json={})
    found = rates(engine, NOW - timedelta(days=1), NOW + timedelta(days=1))[SERVICE]
    assert found.calls["shadow"] == found.calls["off"] == found.calls["refused"] == 1
    assert found.asked == 4
    assert found.reasons["switched-off"] == 1


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["cds", *arguments, "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def test_the_commands(
    engine: Engine, fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--database-url", fresh_database_url, "--data-dir", str(tmp_path))
    store = Store(engine)
    door, _ = client(store)
    door.post(URL, json=body())
    (call,) = store.latest()
    Sealer(engine, lambda: NOW).seal()
    code, verified = run(capsys, "verify", *where)
    assert (code, verified["links"], verified["broken"]) == (0, 1, None)
    head = f"1:{verified['head']}"
    assert run(capsys, "verify", "--head", head, *where)[0] == 0
    assert run(capsys, "verify", "--head", f"1:{'0' * 64}", *where)[0] == 1
    assert run(capsys, "verify", "--head", "x", *where)[0] == 1
    written = tmp_path / "answer.json"
    code, replayed = run(capsys, "replay", str(call.call_id), "--card", str(written), *where)
    assert (code, replayed["different"], replayed["calls"][0]["equal"]) == (0, 0, True)
    assert written.read_text() == call.answer
    assert run(capsys, "replay", "--last", "5", *where)[1]["calls"][0]["call"] == str(call.call_id)
    assert run(capsys, "replay", "not-a-uuid", *where)[0] == 1
    assert run(capsys, "replay", str(UUID(int=7)), *where)[0] == 1
    code, told = run(capsys, "report", "--days", "10000", *where)
    assert (code, told["services"][0]["users"]["all"]["shown"]) == (0, 1)
    assert main(["cds", "report", "--days", "10000", *where]) == 0
    assert "overridden" in capsys.readouterr().out
    assert run(capsys, "report", "nothing", *where)[0] == 1
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE cds_call DISABLE TRIGGER USER")
        cursor.execute("UPDATE cds_call SET patient = 'other'")
        connection.commit()
    code, verified = run(capsys, "verify", *where)
    assert (code, verified["broken"]["number"]) == (1, 1)
