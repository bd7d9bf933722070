"""opioid-mme: what a clinician reads, word for word; what an EHR takes; what it costs."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cds_hooks import registry
from cds_hooks.cards import SUMMARY_LIMIT
from cds_hooks.facts.medication import INACTIVE
from cds_hooks.facts.medication_dose import NOTES
from cds_hooks.services import opioid_mme
from cds_hooks.services.opioid_mme_rules import CLOSED, FACTORS, NOT_COUNTED, REASONS
from tests.support import cds
from tests.support.golden import golden_card
from tests.support.opioids import (
    BUPRENORPHINE,
    DIAZEPAM_5,
    FENTANYL_25,
    HYDROCODONE_5,
    METHADONE_10,
    NOW,
    OXYCODONE_10,
    PATIENT,
    bundle,
    call,
    concept,
    dosage,
    order,
    patch,
    quantity,
    statement,
    tablets,
    times,
)

Resource = dict[str, Any]
ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "services" / "opioid-mme.md").read_text(encoding="utf-8")

DRAFT = order(
    "d",
    {**concept(HYDROCODONE_5), "text": "Hydrocodone-acetaminophen 5-325 mg tablet"},
    dosage(
        quantity(1, "{tablet}"), times(1, 4, "h", periodMax=6), asNeededBoolean=True,
        maxDosePerPeriod={"numerator": quantity(4, "{tablet}"), "denominator": quantity(1, "d")},
    ),
    "draft",
    authoredOn="2026-03-02T14:55:00Z",
)  # fmt: skip
STORED = [
    patch("patch", FENTANYL_25),
    tablets("calm", DIAZEPAM_5, 1, 2),
    order("bup", BUPRENORPHINE, dosage(quantity(1, "{film}"), times(2))),
    order("words", {"text": "Oxycodone 5 mg, from another | hospital <b>"}, {"text": "as needed"}),
    statement("clinic", METHADONE_10, dosage(quantity(1, "{tablet}"), times(1))),
]


# Word for word ------------------------------------------------------------------------------------
def test_golden_cards() -> None:
    first, second = call(STORED, [DRAFT]).cards
    golden_card("opioid-mme-90", first.as_json())
    golden_card("opioid-mme-benzodiazepine", second.as_json())


def test_golden_card_from_fifty() -> None:
    (card,) = call([patch("patch", FENTANYL_25)], [tablets("d", OXYCODONE_10, 0.5, 2, "draft")]).cards
    golden_card("opioid-mme-50", card.as_json())


def test_golden_card_of_what_cannot_be_counted() -> None:
    (card,) = call([], [order("d", {"text": "Oxycodone 5 mg"}, {"text": "as needed"}, "draft")]).cards
    golden_card("opioid-mme-not-counted", card.as_json())


# What it says -------------------------------------------------------------------------------------
SAID = {
    "the sum": r"\*\*at least 127\*\*",
    "the sum before": r"\| Without them \| 107 \|",
    "each input with value, unit, time, reference": r"hydrocodone 20 mg \| 1 \| 20 \| 16 %"
    r" \| 2026-03-02T14:55:00Z \| MedicationRequest/d",
    "a patch in micrograms an hour": r"fentanyl 25 µg/h \| 2.4 \| 60 \| 47 %",
    "what is stated": r"methadone 10 mg \| 4.7 \| 47 .* \| MedicationStatement/clinic",
    "what is not counted": r"\*\*Not counted\*\*",
    "buprenorphine, why": r"MedicationRequest/bup: buprenorphine: partial agonist with a ceiling, no factor",
    "a drug in words, why": r"MedicationRequest/words: its name reads like an opioid; no RxNorm code",
    "the upper end of a range": r"of a range the upper end was taken",
    "as needed": r"as needed: counted at the most that is allowed",
    "the maximum": r"held down to the maximum per period that the order states",
    "the caution on methadone": r"methadone: one factor for every dose",
    "the caution on patches": r"fentanyl: absorption from a patch is affected by heat",
    "no limit": r"It is no limit, and no reason to stop or reduce abruptly",
    "no conversion": r"Never use it to convert one opioid into another",
    "for whom not": r"cancer or sickle cell disease, to palliative or to end-of-life care",
    "an estimate, not a dose": r"An estimate from published factors, not a dose for this patient",
    "no risk is computed": r"No risk, benefit or harm is computed for this patient",
    "source and date": r"MMWR Recomm Rep 2022;71\(3\):1–95",
    "absence": r"Absence of a warning here is not evidence of safety",
}


@pytest.mark.parametrize("what", SAID)
def test_the_detail_says(what: str) -> None:
    detail = call(STORED, [DRAFT]).cards[0].detail
    assert re.search(SAID[what], detail), what


def test_words_of_others_break_no_table_and_are_no_markup() -> None:
    for card in call(STORED, [DRAFT]).cards:
        assert "| hospital" not in card.detail
        assert "<b>" not in card.detail


def test_no_birth_date_is_shown() -> None:
    assert all("1961" not in card.detail for card in call(STORED, [DRAFT]).cards)


def test_the_numbers_add_up() -> None:
    output = call(STORED, [DRAFT]).output
    assert sum(line["mme"] for line in output["lines"]) == pytest.approx(output["mme_per_day"])


@pytest.mark.parametrize("number", [0.1, 3, 7.77777, 33, 4000])
def test_every_summary_is_short_enough(number: float) -> None:
    stored = [*STORED, order("e", OXYCODONE_10, {"asNeededBoolean": True})]
    for card in call(
        stored, [order("d", OXYCODONE_10, dosage(quantity(number, "mg"), times(3)), "draft")]
    ).cards:
        assert len(card.as_json()["summary"]) < SUMMARY_LIMIT


# The page -----------------------------------------------------------------------------------------
def test_the_page_lists_every_reason_and_no_other() -> None:
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE, re.MULTILINE))
    calls = {"other-patient", "error", "timeout"}
    assert listed == set(REASONS) | set(NOT_COUNTED) | calls


def test_the_page_has_every_factor() -> None:
    for name, factor in FACTORS.items():
        unit = "µg/h" if name == "fentanyl" else "mg"
        assert f"| {name} | {factor.value:g} | {unit} |" in PAGE


def test_the_page_has_every_note() -> None:
    assert [text for text in NOTES.values() if f"- {text}" not in PAGE] == []


def test_every_reason_has_one_meaning() -> None:
    assert set(INACTIVE) <= set(NOT_COUNTED)
    assert set(NOT_COUNTED) >= CLOSED
    assert not set(REASONS) & set(NOT_COUNTED)


# At the door --------------------------------------------------------------------------------------
def body(hook: str, **context: Any) -> Resource:
    return {
        "hook": hook,
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": PATIENT["id"], **context},
        "prefetch": {
            "patient": PATIENT,
            "requests": bundle([entry for entry in STORED if entry["resourceType"] == "MedicationRequest"]),
            "statements": bundle([STORED[-1]]),
            "allergies": None,
        },
    }


@pytest.mark.parametrize("hook", ["order-sign", "order-select", "medication-refill"])
def test_every_hook_answers(hook: str) -> None:
    client, records = cds.client()
    context = {
        "order-sign": {"draftOrders": bundle([DRAFT])},
        "order-select": {"draftOrders": bundle([DRAFT]), "selections": ["MedicationRequest/d"]},
        "medication-refill": {"medications": bundle([DRAFT])},
    }[hook]
    answer = client.post("/cds-services/opioid-mme", json=body(hook, **context))
    assert answer.status_code == 200
    assert [card["indicator"] for card in answer.json["cards"]] == ["warning", "warning"]
    (kept,) = records.calls
    assert kept.reasons[0] == "mme-90"
    assert kept.output["mme_per_day"] == 127
    assert any(entry["reference"] == "MedicationStatement/clinic" for entry in kept.inputs.values())


def test_orders_of_another_patient_are_not_added() -> None:
    client, records = cds.client()
    call_ = body("order-sign", draftOrders=bundle([{**DRAFT, "subject": {"reference": "Patient/somebody"}}]))
    assert client.post("/cds-services/opioid-mme", json=call_).json == {"cards": []}
    assert records.calls[0].reasons == ("other-patient",)


def test_discovery_names_the_three_hooks() -> None:
    entries = [
        entry for entry in registry.discovery(cds.services())["services"] if entry["id"] == opioid_mme.ID
    ]
    assert [entry["hook"] for entry in entries] == ["order-select", "order-sign", "medication-refill"]


def test_a_decision_costs_less_than_a_millisecond() -> None:
    """Of processor time, the best of twenty: what the machine does beside it does not count."""
    call(STORED, [DRAFT])
    spent = []
    for _ in range(20):
        begun = time.process_time()
        for _ in range(5):
            call(STORED, [DRAFT], now=NOW)
        spent.append((time.process_time() - begun) / 5)
    assert min(spent) < 0.001
