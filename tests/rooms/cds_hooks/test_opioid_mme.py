"""opioid-mme: published figures, what counts and what does not, what stands for what."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cds_hooks.services.opioid_mme_rules import FACTORS
from tests.support.opioids import (
    BUPRENORPHINE,
    DIAZEPAM_5,
    FENTANYL_25,
    HYDROCODONE_5,
    METHADONE_10,
    MORPHINE_INJECTION,
    MORPHINE_LIQUID,
    NALOXONE_SPRAY,
    NOW,
    OXYCODONE_10,
    OXYCODONE_ER_10,
    OXYCODONE_ER_30,
    PATIENT,
    SNOMED,
    call,
    concept,
    dosage,
    order,
    patch,
    quantity,
    statement,
    tablets,
    times,
    total,
)

Resource = dict[str, Any]


# Published figures --------------------------------------------------------------------------------
PUBLISHED: list[tuple[str, Resource, float]] = [
    # the two examples below the table of the guideline, and its factor for the patch
    ("hydrocodone 5 mg four times a day", tablets("d", HYDROCODONE_5, 1, 4, "draft"), 20),
    ("oxycodone ER 10 mg twice a day", tablets("d", OXYCODONE_ER_10, 1, 2, "draft"), 30),
    ("fentanyl 25 µg/h", patch("d", FENTANYL_25, "draft"), 60),
    # cqframework/opioid-mme-r4 1357f454, expected figures of its tests where the factors of 2022 stand
    ("fentanyl 37.5 µg/h", patch("d", "1603495", "draft"), 90),
    ("fentanyl 75 µg/h", patch("d", "197696", "draft"), 180),
    ("oxycodone 10 mg four times a day", tablets("d", OXYCODONE_10, 1, 4, "draft"), 60),
    ("oxycodone ER 30 mg twice a day", tablets("d", OXYCODONE_ER_30, 1, 2, "draft"), 90),
    (
        "oxycodone ER, 10 mg every twelve hours",
        order("d", "1049593", dosage(quantity(10, "mg"), times(1, 12, "h")), "draft"),
        30,
    ),
    (
        "oxycodone ER, 10 mg at two times of day",
        order(
            "d",
            "1049593",
            dosage(quantity(10, "mg"), {"repeat": {"timeOfDay": ["10:00:00", "22:00:00"]}}),
            "draft",
        ),
        30,
    ),
    (
        "morphine ER 20 mg a day, named by many codes",
        order(
            "d",
            {
                "coding": [
                    {"system": "http://www.whocc.no/atc", "code": "N02AA01"},
                    *(concept(code)["coding"][0] for code in ("7052", "30236", "885779", "892596", "892598")),
                ]
            },
            dosage(
                quantity(20, "mg"),
                {"repeat": {"timeOfDay": ["10:00:00"]}, "code": {"text": "1000 every 24h scheduled"}},
            ),
            "draft",
        ),
        20,
    ),
    # methadone: 600 there, by the sliding scale of 2016; by the one factor of 2022 it is 60 mg × 4.7
    ("methadone 20 mg three times a day", tablets("d", METHADONE_10, 2, 3, "draft"), 282),
]


@pytest.mark.parametrize(("draft", "mme"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED])
def test_published_figures(draft: Resource, mme: float) -> None:
    assert total(draft) == pytest.approx(mme)


@pytest.mark.parametrize(
    ("code", "name", "factor"),
    [
        ("835603", "tramadol", 0.2),
        ("825411", "tapentadol", 0.4),
        ("897696", "hydromorphone", 5.0),
        ("977874", "oxymorphone", 3.0),
        ("892596", "morphine", 1.0),
        (METHADONE_10, "methadone", 4.7),
        ("197696", "fentanyl", 2.4),
        (HYDROCODONE_5, "hydrocodone", 1.0),
        (OXYCODONE_10, "oxycodone", 1.5),
    ],
)
def test_every_factor(code: str, name: str, factor: float) -> None:
    draft = patch("d", code, "draft") if name == "fentanyl" else tablets("d", code, 1, 1, "draft")
    (line,) = call([], [draft]).output["lines"]
    dose = {
        "tramadol": 50,
        "tapentadol": 50,
        "hydromorphone": 2,
        "oxymorphone": 10,
        "morphine": 20,
        "fentanyl": 75,
    }
    assert line["mme"] == pytest.approx(dose.get(name, 5 if name == "hydrocodone" else 10) * factor)
    assert FACTORS[name].value == factor


def test_codeine() -> None:
    draft = order(
        "d", "2670", dosage(quantity(30, "mg"), times(4), route=concept("26643006", SNOMED)), "draft"
    )
    assert total(draft) == pytest.approx(18)


def test_the_factors_are_those_of_the_guideline() -> None:
    assert len(FACTORS) == 10


# What is added ------------------------------------------------------------------------------------
def test_active_orders_and_drafts_are_added() -> None:
    stored = [tablets("a", OXYCODONE_10, 1, 2), patch("b", FENTANYL_25)]
    decision = call(stored, [tablets("d", HYDROCODONE_5, 1, 4, "draft")])
    assert decision.output["mme_per_day"] == 110
    assert decision.output["mme_per_day_before"] == 90
    assert decision.output["whole"] is True


@pytest.mark.parametrize(
    ("number", "level", "indicator"),
    [(3, "below-50", None), (5, "mme-50", "info"), (8, "mme-50", "info"), (9, "mme-90", "warning")],
)
def test_the_thresholds(number: int, level: str, indicator: str | None) -> None:
    draft = order("d", MORPHINE_LIQUID, dosage(quantity(number * 5, "mL"), times(1)), "draft")
    decision = call([], [draft])
    assert decision.output["mme_per_day"] == number * 10
    assert decision.reasons[0] == level
    assert [card.indicator for card in decision.cards] == ([indicator] if indicator else [])


def test_the_record_names_the_drafts_that_a_card_is_about() -> None:
    stored = [tablets("a", OXYCODONE_10, 1, 2), patch("b", FENTANYL_25)]
    decision = call(stored, [tablets("d", HYDROCODONE_5, 1, 4, "draft")])
    (card,), (about,) = decision.cards, decision.output["about"]
    assert (about["card"], about["order"]) == (card.uuid, "MedicationRequest/d")
    assert about["drugs"] == ["hydrocodone"], "of a product with acetaminophen the opioid; of the chart none"
    assert "about" not in call([], [tablets("d", HYDROCODONE_5, 1, 4, "draft")]).output, "no card, no subject"


def test_just_below_fifty_is_not_fifty() -> None:
    draft = order("d", MORPHINE_LIQUID, dosage(quantity(24.9999, "mL"), times(1)), "draft")
    assert call([], [draft]).reasons == ("below-50",)


NOT_COUNTED: list[tuple[str, Resource, str]] = [
    ("buprenorphine", order("a", BUPRENORPHINE, dosage(quantity(1, "{film}"), times(2))), "buprenorphine"),
    ("meperidine, no factor", order("a", "6754", dosage(quantity(50, "mg"), times(2))), "no-factor"),
    (
        "morphine as an injection",
        order("a", MORPHINE_INJECTION, dosage(quantity(2, "mg"), times(4))),
        "no-factor-for-form",
    ),
    (
        "fentanyl as a buccal film",
        order("a", "858087", dosage(quantity(1, "{film}"), times(2))),
        "no-factor-for-form",
    ),
    (
        "fentanyl as a nasal spray",
        order("a", "1115577", dosage(quantity(1, "{spray}"), times(3))),
        "no-factor-for-form",
    ),
    ("morphine, by mouth or vein?", order("a", "7052", dosage(quantity(10, "mg"), times(2))), "form-unknown"),
    (
        "oxycodone in words",
        order("a", {"text": "Oxycodone 5 mg tablet"}, dosage(None, times(2))),
        "not-coded",
    ),
    (
        "oxycodone in SNOMED CT",
        order("a", {**concept("1", SNOMED), "text": "Percocet"}, dosage(None, times(2))),
        "not-coded",
    ),
    ("a drug without a name", order("a", {}, dosage(None, times(2))), "drug-unknown"),
    ("as needed without a limit", order("a", OXYCODONE_10, {"asNeededBoolean": True}), "prn-without-limit"),
    ("a dose without a unit", order("a", OXYCODONE_10, dosage({"value": 1}, times(2))), "unit-missing"),
    (
        "a strength that is not known",
        order("a", "7804", dosage(quantity(1, "{tablet}"), times(2), route=concept("26643006", SNOMED))),
        "strength-unknown",
    ),
    ("on hold", tablets("a", OXYCODONE_10, 1, 4, "on-hold"), "on-hold"),
    ("completed", tablets("a", OXYCODONE_10, 1, 4, "completed"), "ended"),
    ("entered in error", tablets("a", OXYCODONE_10, 1, 4, "entered-in-error"), "entered-in-error"),
    ("not to be given", tablets("a", OXYCODONE_10, 1, 4, doNotPerform=True), "not-to-be-given"),
    ("a proposal", tablets("a", OXYCODONE_10, 1, 4, intent="proposal"), "not-an-order"),
    (
        "over",
        order(
            "a", OXYCODONE_10, dosage(quantity(1, "{tablet}"), times(4, boundsPeriod={"end": "2026-03-01"}))
        ),
        "expired",
    ),
    (
        "stated as not taken",
        statement("a", OXYCODONE_10, dosage(quantity(1, "{tablet}"), times(4)), "not-taken"),
        "not-taken",
    ),
]


@pytest.mark.parametrize(("stored", "code"), [r[1:] for r in NOT_COUNTED], ids=[r[0] for r in NOT_COUNTED])
def test_what_is_not_counted_is_named(stored: Resource, code: str) -> None:
    decision = call([stored], [tablets("d", OXYCODONE_10, 1, 4, "draft")])
    assert decision.output["mme_per_day"] == 60
    assert code in decision.reasons
    detail = decision.cards[0].detail
    assert "**Not counted**" in detail
    assert f"{stored['resourceType']}/a" in detail


def test_a_sum_that_is_not_whole_is_at_least() -> None:
    decision = call(
        [order("a", OXYCODONE_10, {"asNeededBoolean": True})], [tablets("d", OXYCODONE_10, 1, 1, "draft")]
    )
    assert decision.reasons == ("not-all-counted", "prn-without-limit")
    (card,) = decision.cards
    assert card.summary == "Opioids: at least 15 MME a day; 1 order could not be counted"
    assert card.indicator == "info"
    assert not card.suggestions


def test_buprenorphine_and_ended_orders_leave_the_sum_whole() -> None:
    stored = [
        order("a", BUPRENORPHINE, dosage(quantity(1, "{film}"), times(2))),
        tablets("b", OXYCODONE_10, 1, 4, "completed"),
    ]
    decision = call(stored, [tablets("d", OXYCODONE_10, 1, 1, "draft")])
    assert decision.reasons == ("below-50", "buprenorphine", "ended")
    assert decision.cards == ()


def test_an_order_read_in_part_counts_in_part() -> None:
    both = [dosage(quantity(1, "{tablet}"), times(4)), dosage(quantity(1, "{tablet}"), None)]
    decision = call([order("a", OXYCODONE_10, both)], [tablets("d", OXYCODONE_10, 1, 1, "draft")])
    assert decision.output["mme_per_day"] == 75
    assert decision.cards[0].summary.startswith("Opioids: at least 75 MME")
    assert "one instruction of" in decision.cards[0].detail


# What stands for what -----------------------------------------------------------------------------
def test_a_draft_that_changes_a_stored_order_replaces_it() -> None:
    decision = call([tablets("a", OXYCODONE_10, 1, 4)], [tablets("a", OXYCODONE_10, 1, 2, "draft")])
    assert (decision.output["mme_per_day"], decision.output["mme_per_day_before"]) == (30, 60)
    assert "replaced" in decision.reasons


def test_a_draft_with_the_id_of_another_drug_replaces_nothing() -> None:
    decision = call([tablets("1", OXYCODONE_10, 1, 4)], [tablets("1", HYDROCODONE_5, 1, 4, "draft")])
    assert decision.output["mme_per_day"] == 80


@pytest.mark.parametrize(
    "link",
    [
        {"priorPrescription": {"reference": "MedicationRequest/a"}},
        {"priorPrescription": {"reference": "https://ehr.example/fhir/MedicationRequest/a/_history/3"}},
        {"identifier": [{"system": "urn:rx", "value": "7"}]},
    ],
)
def test_a_draft_that_names_its_prior_replaces_it(link: Resource) -> None:
    stored = tablets("a", OXYCODONE_10, 1, 4, identifier=[{"system": "urn:rx", "value": "7"}])
    decision = call([stored], [tablets("d", OXYCODONE_10, 1, 2, "draft", **link)])
    assert decision.output["mme_per_day"] == 30


@pytest.mark.parametrize(
    "link",
    [
        {"basedOn": [{"reference": "MedicationRequest/a"}]},
        {"identifier": [{"system": "urn:rx", "value": "7"}]},
    ],
)
def test_the_same_order_again_counts_once(link: Resource) -> None:
    stored = [
        tablets("a", OXYCODONE_10, 1, 4, identifier=[{"system": "urn:rx", "value": "7"}]),
        tablets("b", OXYCODONE_10, 1, 2, **link),
    ]
    decision = call(stored, [tablets("d", HYDROCODONE_5, 1, 4, "draft")])
    assert decision.output["mme_per_day"] == 80
    assert "same-order" in decision.reasons


def test_a_refill_counts_once() -> None:
    stored = tablets("a", OXYCODONE_10, 1, 4)
    refill = tablets("r", OXYCODONE_10, 1, 4, "draft")
    decision = call([stored], refills=[refill], hook="medication-refill")
    assert decision.output["mme_per_day"] == 60
    assert "same-order" in decision.reasons


def test_a_new_order_beside_the_same_one_counts_twice_and_says_so() -> None:
    decision = call([tablets("a", OXYCODONE_10, 1, 4)], [tablets("d", OXYCODONE_10, 1, 4, "draft")])
    assert decision.output["mme_per_day"] == 120
    assert decision.output["mme_per_day_if_repeats_are_one"] == 60
    assert "| If orders of one opioid at one dose are the same order | 60 |" in decision.cards[0].detail


@pytest.mark.parametrize(("a_day", "mme"), [(1, 60), (6, 90)])
def test_of_what_is_ordered_and_stated_the_greater_counts(a_day: int, mme: float) -> None:
    stated = statement("s", OXYCODONE_10, dosage(quantity(1, "{tablet}"), times(a_day)))
    decision = call([stated], [tablets("d", OXYCODONE_10, 1, 4, "draft")])
    assert decision.output["mme_per_day"] == mme
    assert "stated-and-ordered" in decision.reasons


def test_a_stated_opioid_that_is_not_ordered_counts() -> None:
    stated = statement("s", METHADONE_10, dosage(quantity(1, "{tablet}"), times(1)))
    assert call([stated], [tablets("d", OXYCODONE_10, 1, 1, "draft")]).output["mme_per_day"] == 62


def test_a_statement_without_a_dose_is_covered_by_an_order() -> None:
    stated = statement("s", OXYCODONE_10, {"text": "as ordered"})
    decision = call([stated], [tablets("d", OXYCODONE_10, 1, 2, "draft")])
    assert (decision.cards, decision.reasons) == ((), ("below-50", "stated-and-ordered"))
    alone = call([stated], [tablets("d", HYDROCODONE_5, 1, 2, "draft")])
    assert alone.reasons == ("not-all-counted", "dosage-in-words")


def test_what_cannot_be_a_dose_asks_for_the_unit() -> None:
    draft = order("d", OXYCODONE_10, dosage(quantity(10, "g"), times(2)), "draft")
    assert "check dose and unit" in call([], [draft]).cards[0].detail


def test_orders_that_follow_each_other_are_not_added() -> None:
    until = dosage(quantity(1, "{tablet}"), times(4, boundsPeriod={"end": "2026-03-09"}))
    then = dosage(quantity(1, "{tablet}"), times(4, boundsPeriod={"start": "2026-03-10"}))
    decision = call([order("a", OXYCODONE_10, until)], [order("d", OXYCODONE_10, then, "draft")])
    assert decision.output["mme_per_day"] == 60


def test_a_highest_day_that_is_ahead_has_its_date() -> None:
    later = dosage(quantity(1, "{tablet}"), times(4, boundsPeriod={"start": "2026-03-10"}))
    decision = call([tablets("a", OXYCODONE_10, 1, 2)], [order("d", OXYCODONE_10, later, "draft")])
    assert (decision.output["mme_per_day"], decision.output["from_day"]) == (90, "2026-03-10")
    assert "The highest day begins on 2026-03-10" in decision.cards[0].detail


# When it says nothing -----------------------------------------------------------------------------
OXYCODONE_DRAFT = tablets("d", OXYCODONE_10, 1, 6, "draft")


@pytest.mark.parametrize(
    ("reason", "patient", "drafts"),
    [
        ("patient-unknown", None, [OXYCODONE_DRAFT]),
        ("deceased", PATIENT | {"deceasedDateTime": "2026-03-01"}, [OXYCODONE_DRAFT]),
        ("deceased", PATIENT | {"deceasedBoolean": True}, [OXYCODONE_DRAFT]),
        ("under-18", PATIENT | {"birthDate": "2008-03-03"}, [OXYCODONE_DRAFT]),
        ("under-18", PATIENT | {"birthDate": "2012"}, [OXYCODONE_DRAFT]),
        ("no-opioid-ordered", PATIENT, []),
        ("no-opioid-ordered", PATIENT, [order("d", concept("314076"), dosage(None, times(1)), "draft")]),
        ("no-opioid-ordered", PATIENT, [tablets("d", NALOXONE_SPRAY, 1, 1, "draft")]),
        ("below-50", PATIENT, [tablets("d", OXYCODONE_10, 1, 2, "draft")]),
        ("no-opioid", PATIENT, [tablets("d", DIAZEPAM_5, 1, 2, "draft")]),
    ],
)
def test_no_card(reason: str, patient: Resource | None, drafts: list[Resource]) -> None:
    stored = [] if reason in ("below-50", "no-opioid") else [patch("a", "1603495")]
    decision = call(stored, drafts, patient=patient)
    assert decision.cards == ()
    assert decision.reasons == (reason,)


@pytest.mark.parametrize("birth", [None, "2008", "2008-03", "soon", "2030-01-01"])
def test_an_unknown_age_is_said(birth: str | None) -> None:
    decision = call([], [OXYCODONE_DRAFT], patient=PATIENT | {"birthDate": birth})
    assert "age-unknown" in decision.reasons
    assert "The age is not known to the day" in decision.cards[0].detail


def test_eighteen_today() -> None:
    assert call([], [OXYCODONE_DRAFT], patient=PATIENT | {"birthDate": "2008-03-02"}).cards


def test_the_same_call_decides_the_same_cards() -> None:
    stored = tablets("b", DIAZEPAM_5, 1, 2)
    one, other = (call([stored], [OXYCODONE_DRAFT], now=NOW) for _ in range(2))
    assert [card.as_json() for card in one.cards] == [card.as_json() for card in other.cards]


# Each input left out in turn ----------------------------------------------------------------------
WHOLE = order(
    "d",
    concept(OXYCODONE_10),
    dosage(quantity(1, "{tablet}"), times(1, 6, "h"), text="1 tablet every 6 hours"),
    "draft",
)
LEFT_OUT: list[tuple[str, str | float]] = [
    ("medicationCodeableConcept", "no-opioid-ordered"),
    ("medicationCodeableConcept.coding", "no-opioid-ordered"),
    ("medicationCodeableConcept.coding.0.code", "no-opioid-ordered"),
    ("medicationCodeableConcept.coding.0.system", "no-opioid-ordered"),
    ("dosageInstruction", "dosage-missing"),
    ("dosageInstruction.0.timing", "timing-missing"),
    ("dosageInstruction.0.timing.repeat", "timing-missing"),
    ("dosageInstruction.0.timing.repeat.frequency", 60.0),  # none stated: once per period
    ("dosageInstruction.0.timing.repeat.period", "timing-unclear"),
    ("dosageInstruction.0.timing.repeat.periodUnit", "timing-unclear"),
    ("dosageInstruction.0.doseAndRate", "dose-missing"),
    ("dosageInstruction.0.doseAndRate.0.doseQuantity", "dose-missing"),
    ("dosageInstruction.0.doseAndRate.0.doseQuantity.value", "dose-not-a-number"),
    ("dosageInstruction.0.doseAndRate.0.doseQuantity.system", "unit-missing"),
    ("dosageInstruction.0.doseAndRate.0.doseQuantity.code", "unit-missing"),
    ("dosageInstruction.0.text", 60.0),
    ("authoredOn", 60.0),
    ("intent", 60.0),
]


@pytest.mark.parametrize(("path", "expected"), LEFT_OUT)
def test_each_input_left_out(path: str, expected: str | float) -> None:
    draft = copy.deepcopy(WHOLE)
    place: Any = draft
    *steps, last = path.split(".")
    for step in steps:
        place = place[int(step)] if step.isdigit() else place[step]
    del place[last]
    decision = call([], [draft])
    if isinstance(expected, float):
        assert decision.output["mme_per_day"] == expected
    else:
        assert expected in decision.reasons
        assert decision.output.get("mme_per_day", 0) == 0


@pytest.mark.parametrize(
    ("end", "counts"),
    [
        ("2026-03-01", False),
        ("2026-03-02", True),
        ("2026-03-02T14:59:00Z", False),
        ("2026-03-02T09:30:00-06:00", True),
        ("2026-03", True),
        ("2026", True),
        ("2026-02", False),
        ("soon", True),
    ],
)
def test_an_order_ends_where_its_day_ends_last(end: str, counts: bool) -> None:
    stored = order("a", OXYCODONE_10, dosage(quantity(1, "{tablet}"), times(4, boundsPeriod={"end": end})))
    decision = call([stored], [tablets("d", OXYCODONE_10, 1, 1, "draft")])
    assert decision.output["mme_per_day"] == (75 if counts else 15)
