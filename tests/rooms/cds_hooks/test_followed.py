"""R10 for services of rules: what became of the orders and treatments that their cards were about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from cds_hooks.calls import Calls
from cds_hooks.facts import subjects
from cds_hooks.facts.subjects import became
from cds_hooks.fhir_access import Access
from cds_hooks.monitoring import followed
from cds_hooks.operation.modes import Mode
from cds_hooks.records.entries import Feedback
from cds_hooks.records.store import Store
from fhir_server.app import create_app, create_entry
from fhir_server.cli.main import main
from fhir_server.config import Config
from fhir_server.interactions.entry import Entry
from tests.rooms.cds_hooks.test_modes import Fixed
from tests.support.cds import services
from tests.support.prescribing import creatinine, order, patient, weight

NOW = datetime.now(UTC).replace(microsecond=0)
AT = NOW - timedelta(days=30)
DAY = timedelta(days=1)
BASE = "http://127.0.0.1:8080/fhir"
NITRO = ("nitrofurantoin 100 MG Oral Capsule", "0")
DOSE = [{"text": "one twice a day", "doseAndRate": [{"doseQuantity": {"value": 1}}]}]


def made(
    request: dict[str, Any], *, at: datetime, stored: datetime | None = None, **more: Any
) -> dict[str, Any]:
    """Return an order as a store has it."""
    meta = {"meta": {"lastUpdated": (stored or at).isoformat()}}
    return request | {"status": "active", "authoredOn": at.isoformat()} | meta | more


# Pure -------------------------------------------------------------------------------------------
SUBJECT = {
    "card": "x", "order": "MedicationRequest/1", "drugs": ["nitrofurantoin"], "codes": ["urn:x|1"],
    "dosage": subjects._dosage({"dosageInstruction": DOSE}),
}  # fmt: skip
DRAFT = order(*NITRO, dosageInstruction=DOSE)


@pytest.mark.parametrize(
    ("later", "ending"),
    [
        ([made(DRAFT, at=AT + DAY)], "as-drafted"),
        ([made(DRAFT, at=AT - DAY / 2, stored=AT + DAY)], "as-drafted"),
        ([made(DRAFT, at=AT + DAY, dosageInstruction=[{**DOSE[0], "id": "a"}])], "as-drafted"),
        ([made(DRAFT, at=AT + DAY, dosageInstruction=[{"text": "one a day"}])], "otherwise"),
        ([made(DRAFT, at=AT + DAY, dosageInstruction=[])], "otherwise"),
        ([made(DRAFT, at=AT + DAY, status="stopped")], "as-drafted"),
        ([made(DRAFT, at=AT + DAY, status="cancelled")], "not-ordered"),
        ([made(DRAFT, at=AT + DAY, status="draft")], "not-ordered"),
        ([made(DRAFT, at=AT + DAY, intent="proposal")], "not-ordered"),
        ([made(DRAFT, at=AT + DAY, doNotPerform=True)], "not-ordered"),
        ([made(DRAFT, at=AT + 8 * DAY)], "not-ordered"),
        ([made(DRAFT, at=AT - 3 * DAY, stored=AT + DAY)], "not-ordered"),
        ([made(DRAFT, at=AT - DAY / 2)], "not-ordered"),
        ([made(order("fosfomycin 3 g", "0"), at=AT + DAY)], "not-ordered"),
        ([made(order("Macrodantin", "0"), at=AT + DAY,
               medicationCodeableConcept={"coding": [{"system": "urn:x", "code": "1"}]})], "otherwise"),
        ([made(DRAFT, at=AT + DAY, medicationCodeableConcept=None,
               medicationReference={"reference": "Medication/m"})], "as-drafted"),
        ([], "not-ordered"),
    ],
)  # fmt: skip
def test_what_became_of_a_draft(later: list[dict[str, Any]], ending: str) -> None:
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "Nitrofurantoin 50 mg"}}
    assert became(SUBJECT, later, [medication], AT, NOW) == ending


def test_while_there_is_time_nothing_is_said() -> None:
    assert became(SUBJECT, [], [], NOW - 6 * DAY, NOW) == "open"
    start = subjects.of_start(str(uuid4()), subjects.TREATMENTS["statin"])
    assert became(start, [], [], NOW - 89 * DAY, NOW) == "open"
    assert became(start, [], [], NOW - 91 * DAY, NOW) == "not-started"
    begun = made(order("atorvastatin 20 MG Oral Tablet", "83367"), at=NOW - 20 * DAY)
    assert became(start, [begun], [], NOW - 91 * DAY, NOW) == "started"
    assert became(start, [begun], [], NOW - 10 * DAY, NOW) == "open", "it ran before the call"


def test_numbers_are_compared_by_value() -> None:
    def dosage(value: str) -> str:
        return subjects._dosage(json.loads(f'{{"dosageInstruction": [{{"sequence": {value}}}]}}'))

    assert dosage("1") == dosage("1.0")
    assert dosage("1") != dosage("2")


# Over the door and the store --------------------------------------------------------------------
@pytest.fixture
def here(fresh_database_url: str, tmp_path: Path) -> Iterator[tuple[Entry, Any, Config]]:
    config = Config(database_url=fresh_database_url, data_dir=tmp_path, worker=False, base_url=(BASE,))
    entry = create_entry(config, fresh_database_url, connections=4)
    yield entry, create_app(config).test_client(), config
    entry.engine.close()


def call(entry: Entry, patient_id: str, mode: Mode, at: datetime = AT, **draft: Any) -> list[str]:
    """Ask renal-and-interaction about a draft of nitrofurantoin at a clearance of 40; return its cards."""
    calls = Calls(
        services(), Store(entry.engine), access=Access(entry, (BASE,)), modes=Fixed(mode), clock=lambda: at
    )
    subject = {"subject": {"reference": f"Patient/{patient_id}"}}
    when = {"effectiveDateTime": (at - DAY).isoformat()}
    drafted = order(*NITRO, id=f"d-{patient_id}", dosageInstruction=DOSE, **subject) | draft
    answer = calls.answer(
        "renal-and-interaction",
        json.dumps({
            "hook": "order-sign", "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "fhirServer": BASE,
            "context": {
                "userId": "Practitioner/1", "patientId": patient_id,
                "draftOrders": bundle(drafted),
            },
            "prefetch": {
                "patient": patient(id=patient_id),
                "creatinine": bundle(creatinine(2.0) | subject | when),
                "weight": bundle(weight() | subject | when),
                **dict.fromkeys(("requests", "statements", "allergies", "conditions", "dialysis")),
            },
        }).encode(),
    )  # fmt: skip
    assert answer.status == 200, answer.body
    return [card["uuid"] for card in json.loads(answer.body)["cards"]]


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]}


def sign(door: Any, patient_id: str, **more: Any) -> None:
    """Put the order of a patient into the store, as an EHR does when it is signed."""
    door.put(f"/fhir/Patient/{patient_id}", json={"resourceType": "Patient", "id": patient_id})
    signed = order(*NITRO, id=f"s-{patient_id}", dosageInstruction=DOSE) | {
        "status": "active", "subject": {"reference": f"Patient/{patient_id}"}, "authoredOn": AT.isoformat(),
    }  # fmt: skip
    answer = door.put(f"/fhir/MedicationRequest/s-{patient_id}", json=signed | more)
    assert answer.status_code == 201, answer.json


def test_shown_and_shadow_are_held_beside_each_other(here: Any, capsys: Any) -> None:
    entry, door, config = here
    cards = {name: call(entry, name, Mode.ON) for name in ("a", "b", "c")}
    assert [len(found) for found in cards.values()] == [1, 1, 1]
    assert call(entry, "a", Mode.ON, AT + timedelta(minutes=5)) != cards["a"], (
        "asked again while it is written"
    )
    for name in ("x", "y"):
        assert call(entry, name, Mode.SHADOW) == []
    call(entry, "z", Mode.OFF)
    sign(door, "a")
    sign(door, "b", dosageInstruction=[{"text": "half of it"}])
    sign(door, "x")
    said = [
        Feedback(UUID(card), outcome, AT + DAY, AT + DAY)
        for card, outcome in ((cards["a"][0], "overridden"), (cards["b"][0], "accepted"))
    ]
    Store(entry.engine).keep_feedback(said)
    shown, shadow = followed.report(entry.engine, entry, AT - DAY, NOW)
    assert (shown["service"], shown["group"], shadow["group"]) == ("renal-and-interaction", "shown", "shadow")
    assert shown["endings"] == {"as-drafted": 1, "otherwise": 1, "not-ordered": 1}
    assert (shown["settled"], shown["changed"]) == (3, 0.6667)
    assert {told: one["endings"] for told, one in shown["by_feedback"].items()} == {
        "accepted": {"otherwise": 1}, "overridden": {"as-drafted": 1}, "nothing told": {"not-ordered": 1},
    }  # fmt: skip
    assert shadow["endings"] == {"as-drafted": 1, "not-ordered": 1}
    assert shadow["by_feedback"] == {}
    assert followed.report(entry.engine, entry, AT - DAY, NOW, "cv-risk") == []
    assert followed.report(entry.engine, entry, NOW, NOW + DAY) == []
    (newest,) = followed.report(entry.engine, entry, AT - DAY, NOW, most=2)
    assert (newest["group"], newest["settled"]) == ("shadow", 2), "of many the newest"
    command = ["cds", "report", "--days", "60", "--orders", "--database-url", config.database_url]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "cards that were shown were about; not randomised, so no effect of them" in text
    assert (
        "all: 1 as-drafted, 1 otherwise, 1 not-ordered; 67 % of 3 changed, left or begun (21 to 94 %)" in text
    )
    assert main([*command, "--json"]) == 0
    assert [one["group"] for one in json.loads(capsys.readouterr().out)["orders"]] == ["shown", "shadow"]
    page = door.get("/console/cds/rates?days=365&orders=1").get_data(as_text=True)
    assert "1 as-drafted, 1 otherwise, 1 not-ordered" in page
    assert "67 % (21 % to 94 %) of 3" in page
    assert "no effect of the cards" in page
    assert "What became of the orders" in door.get("/console/cds/rates").get_data(as_text=True)


def test_patients_of_another_server_are_not_looked_up(here: Any) -> None:
    entry, _door, _ = here
    call(entry, "a", Mode.ON)
    with entry.engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE cds_call DISABLE TRIGGER USER")
        cursor.execute("UPDATE cds_call SET own_ids = false")
        connection.commit()
    assert followed.report(entry.engine, entry, AT - DAY, NOW) == []
