"""renal-and-interaction: every rule held and not held, every pair, allergies, and what is never done."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from math import inf
from typing import Any

import pytest

from cds_hooks.cards import SUMMARY_LIMIT
from cds_hooks.facts.interactions import NAMES, PAIRS, Pair
from cds_hooks.facts.prescribing import ingredient_names
from cds_hooks.override_reasons import ORDER
from cds_hooks.service import Decision
from cds_hooks.services.renal_and_interaction_rules import (
    APIXABAN,
    CLEARANCE,
    EGFR,
    RULES,
    Rule,
    labels,
)
from tests.support.golden import golden_card
from tests.support.prescribing import (
    allergy,
    clearance,
    creatinine,
    decide,
    filtration,
    order,
    patient,
    running,
    weight,
)

METFORMIN = ("Metformin hydrochloride 500 MG Extended Release Oral Tablet", "860975")


def drafts(rule: Rule) -> list[dict[str, Any]]:
    return [order(" / ".join(rule.drugs))]


def before(rule: Rule) -> list[dict[str, Any]]:
    return [running(" / ".join(rule.drugs))] if rule.only == "running" else []


def chart(rule: Rule, value: float) -> list[dict[str, Any]]:
    return filtration(value) if rule.measure == EGFR else clearance(value)


def held(rule: Rule, value: float) -> bool:
    decision = decide([*chart(rule, value), *before(rule)], drafts(rule))
    return rule.id in decision.output["rules"]


# Label rules ------------------------------------------------------------------------------------
MEASURED = [rule for rule in RULES if rule.measure in (EGFR, CLEARANCE)]


@pytest.mark.parametrize("rule", MEASURED, ids=lambda rule: rule.id)
def test_a_rule_holds_inside_of_its_range_to_the_last_tenth(rule: Rule) -> None:
    low = rule.range.low if rule.range.low != -inf else 3.0
    low = round(low + 0.1, 1) if rule.range.above else low
    high = rule.range.high if rule.range.high != inf else low + 30
    last = high if rule.range.closed else round(high - 0.1, 1)
    for value in (low, round((low + high) / 2, 1), last):
        assert held(rule, value), value


@pytest.mark.parametrize("rule", MEASURED, ids=lambda rule: rule.id)
def test_a_rule_does_not_hold_outside_of_its_range(rule: Rule) -> None:
    outside = []
    if rule.range.low != -inf:
        outside.append(rule.range.low if rule.range.above else round(rule.range.low - 0.1, 1))
    if rule.range.high != inf:
        outside += [round(rule.range.high + (0.1 if rule.range.closed else 0.0), 1), 150.0]
    for value in outside:
        assert not held(rule, value), value


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_silent_on_another_drug(rule: Rule) -> None:
    value = rule.range.low if rule.range.low != -inf else 3.0
    decision = decide(chart(rule, max(value, 3.0)), [order("acetaminophen 500 MG Oral Tablet", "198440")])
    assert decision.cards == ()
    assert decision.output["rules"] == []


@pytest.mark.parametrize(
    ("born", "kg", "value", "holds"),
    [
        ("1940-01-01", 60, "1.5", True),
        ("1940-01-01", 60, "1.0", True),
        ("1940-01-01", 80, "1.5", True),
        ("1960-01-01", 60, "1.5", True),
        ("1940-01-01", 80, "1.4", False),
        ("1960-01-01", 60, "1.4", False),
        ("1960-01-01", 60.1, "1.5", False),
        ("1946-03-03", 80, "1.5", False),
    ],
)
def test_apixaban_counts_two_of_three(born: str, kg: float, value: str, holds: bool) -> None:
    chart_ = [patient(birthDate=born), weight(kg), creatinine(Decimal(value))]
    decision = decide(chart_, [order("apixaban 5 MG Oral Tablet", "1364445")])
    assert (decision.output["rules"] == ["apixaban-two-of-three"]) is holds


def test_starting_and_continuing_metformin_are_told_apart() -> None:
    new = decide(filtration(40), [order(*METFORMIN)])
    renewed = decide([*filtration(40), running(*METFORMIN)], [order(*METFORMIN)])
    assert new.output["rules"] == ["metformin-start-30-45"]
    assert renewed.output["rules"] == ["metformin-continue-below-45"]


def test_half_of_a_combination_is_not_the_combination() -> None:
    decision = decide(clearance(10), [order("trimethoprim")])
    assert decision.output["rules"] == []


def test_every_rule_has_a_sentence_and_every_sentence_a_rule() -> None:
    assert {rule.id for rule in RULES} == set(labels())
    assert len({rule.id for rule in RULES}) == len(RULES) >= 25


SPOKEN = {"co-trimoxazole-15-to-30": "15–30", "metformin-continue-below-45": "45"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_sentence_of_the_label_says_what_the_rule_does(rule: Rule) -> None:
    label = rule.label
    if rule.id in SPOKEN:
        assert SPOKEN[rule.id] in label.sentence
    elif rule.measure != APIXABAN:
        ends = {end for end in (rule.range.low, rule.range.high) if end not in (-inf, inf)}
        numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", label.sentence)}
        assert (ends if rule.id != "memantine-5-to-29" else {5.0, 29.0}) <= numbers
    else:
        assert all(number in label.sentence for number in ("80", "60", "1.5", "at least two"))
    assert label.url.startswith("http")
    assert label.version
    assert label.product
    assert label.address.endswith(f"setid={label.set_id}")


def test_the_drugs_of_rules_and_pairs_are_in_the_table_of_drugs() -> None:
    wanted = {drug for rule in RULES for drug in rule.drugs} | NAMES
    assert wanted <= ingredient_names()


# Pairs ------------------------------------------------------------------------------------------
def test_there_are_the_fifteen_pairs() -> None:
    assert len(PAIRS) == len({pair.id for pair in PAIRS}) == 15


def two(pair: Pair) -> tuple[str, str]:
    """Two drugs of a pair that make no other one, if there are such."""
    for mine in pair.objects:
        for theirs in pair.precipitants:
            if mine != theirs:
                return mine, theirs
    raise AssertionError(pair.id)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
def test_a_pair_is_found_from_either_side_and_between_two_drafts(pair: Pair) -> None:
    mine, theirs = two(pair)
    for chart_, drafts_ in (
        ([patient(), running(mine)], [order(theirs)]),
        ([patient(), running(theirs)], [order(mine)]),
        ([patient()], [order(mine), order(theirs, number="2")]),
    ):
        decision = decide(chart_, drafts_)
        assert decision.output["pairs"].count(pair.id) == 1
        card = next(card for card in decision.cards if card.extension["io.xinglin.rule"]["id"] == pair.id)
        assert card.indicator == "warning"
        assert mine in card.detail
        assert theirs in card.detail


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
def test_one_drug_of_a_pair_alone_is_silent(pair: Pair) -> None:
    for name in two(pair):
        decision = decide([patient(), running("acetaminophen", "161")], [order(name)])
        assert decision.output["pairs"] == []


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
def test_a_pair_has_the_shape_of_the_information_model(pair: Pair) -> None:
    told = (pair.consequence, pair.mechanism, pair.action, pair.seriousness, pair.frequency, pair.modifiers,
            pair.evidence)  # fmt: skip
    assert all(told)
    assert pair.label.sentence
    assert pair.label.url.startswith("http")
    # the notice on febuxostat names no set id
    assert bool(pair.label.set_id) is (pair.id != "febuxostat-thiopurine")


def test_a_pair_s_sentence_names_a_drug_of_either_side_or_their_class() -> None:
    classes = {
        "amphetamine-mao": "monoamine oxidase", "ssri-mao": "maois", "opioid-mao": "monoamine oxidase",
        "tricyclic-mao": "monoamine oxidase", "qt-qt": "prolong the qtc", "triptan-mao": "mao inhibitors",
        "irinotecan-cyp3a4": "cyp3a4", "ergot-cyp3a4": "cyp3a4", "tranylcypromine-procarbazine": "maois",
    }  # fmt: skip
    for pair in PAIRS:
        said = f"{pair.label.product} {pair.label.sentence}".lower()
        assert any(name in said for name in (*pair.objects, "uloric", "reyataz", "maxalt")), pair.id
        assert classes.get(pair.id, "") in said, pair.id
        assert pair.id in classes or any(name in said for name in pair.precipitants), pair.id


def test_a_drug_that_ended_makes_no_pair() -> None:
    ended = running("phenelzine", status="stopped")
    assert decide([patient(), ended], [order("sertraline")]).output["pairs"] == []


def test_the_same_drug_again_makes_no_pair() -> None:
    assert decide([patient(), running("sotalol")], [order("sotalol")]).output["pairs"] == []


# Allergies --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "entry", "drug", "found"),
    [
        ("by code and code", ("aspirin", "1191"), ("aspirin 81 MG", "1191"), True),
        ("by a product", ("Amoxicillin", "723"), ("Amoxicillin 250 MG / Clavulanate 125 MG", "562251"), True),
        ("by name and code", ("Ibuprofen", ""), ("ibuprofen", "5640"), True),
        ("by code and name", ("ibuprofen", "5640"), ("Ibuprofen 400 mg tablets", ""), True),
        ("by the very same code", ("local drug", "999999999"), ("another name", "999999999"), True),
        ("another drug", ("aspirin", "1191"), ("ibuprofen", "5640"), False),
        ("a family is no ingredient", ("trimethoprim", "10829"), ("sulfamethoxazole", "10180"), False),
        ("words that only begin alike", ("aspirinoid", ""), ("aspirin", "1191"), False),
    ],
)
def test_an_allergy_meets_an_order(name: str, entry: Any, drug: Any, found: bool) -> None:
    decision = decide([patient(), allergy(*entry)], [order(*drug)])
    assert ("allergy" in decision.reasons) is found, name
    assert bool(decision.cards) is found


@pytest.mark.parametrize(
    "more",
    [
        {"clinicalStatus": {"coding": [{"code": "resolved"}]}},
        {"clinicalStatus": {"coding": [{"code": "inactive"}]}},
        {"verificationStatus": {"coding": [{"code": "refuted"}]}},
        {"verificationStatus": {"coding": [{"code": "entered-in-error"}]}},
    ],
)
def test_an_allergy_that_is_over_or_refuted_is_none(more: dict[str, Any]) -> None:
    decision = decide([patient(), allergy("aspirin", "1191", **more)], [order("aspirin", "1191")])
    assert decision.cards == ()


def test_an_unconfirmed_allergy_and_the_substance_of_a_reaction_count() -> None:
    unsure = allergy("aspirin", "1191", verificationStatus={"coding": [{"code": "unconfirmed"}]})
    assert decide([patient(), unsure], [order("aspirin", "1191")]).cards
    substance = allergy("drug", reaction=[{"substance": {"text": "aspirin"}}])
    assert decide([patient(), substance], [order("aspirin", "1191")]).cards


def test_a_new_allergy_is_checked_against_running_drugs() -> None:
    decision = decide(
        [patient(), running("Sertraline 50 MG Oral Tablet", "312941"), running("aspirin", "1191", "2")],
        [allergy("Aspirin", "1191", id="new")],
        "allergyintolerance-create",
    )
    assert decision.reasons == ("shown", "allergy")
    assert "MedicationRequest/running-2" in decision.cards[0].detail
    assert "running-1" not in decision.cards[0].detail


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (allergy("Peanut"), "allergy-unrecognised"),
        (allergy("aspirin", "1191"), "nothing-found"),
        (allergy("") | {"code": {"text": ""}}, "allergy-unrecognised"),
        (allergy("aspirin", "1191", verificationStatus={"coding": [{"code": "refuted"}]}),
         "allergy-does-not-count"),
    ],
)  # fmt: skip
def test_a_new_allergy_without_a_drug_gives_no_card(entry: dict[str, Any], reason: str) -> None:
    decision = decide([patient(), running("sertraline", "36437")], [entry], "allergyintolerance-create")
    assert decision.cards == ()
    assert decision.reasons[0] == reason


# Orders, selections, the unknown ----------------------------------------------------------------
def test_only_selected_orders_are_checked_while_selecting() -> None:
    both = [order("eplerenone"), order("dofetilide", number="2")]
    decision = decide(clearance(10), both, "order-select", selections=["MedicationRequest/draft-1"])
    assert decision.output["rules"] == ["eplerenone-at-most-30"]
    assert decide(clearance(10), both, "order-sign").output["rules"] == ["eplerenone-at-most-30"]


def test_what_runs_already_is_not_told_again() -> None:
    decision = decide([*clearance(10), running("eplerenone")], [order("acetaminophen", "161")])
    assert decision.cards == ()


def test_other_orders_than_drugs_are_none_of_ours() -> None:
    laboratory = {"resourceType": "ServiceRequest", "id": "s", "status": "draft",
                  "subject": {"reference": "Patient/p"}}  # fmt: skip
    assert decide([patient()], [laboratory]).reasons == ("no-medication-order",)


def test_a_drug_that_nobody_knows_is_said() -> None:
    decision = decide([patient()], [order("Wonderol 5 mg", "424242")])
    assert decision.reasons == ("nothing-found", "medication-unrecognised")
    shown = decide(filtration(20), [order(*METFORMIN), order("Wonderol | 5 *mg*", number="2")])
    assert "Not recognised, so not checked: Wonderol 5 mg." in shown.cards[0].detail


@pytest.mark.parametrize(
    ("name", "resources", "codes"),
    [
        ("no patient", [], ("patient-unknown",)),
        ("dead", [patient(deceasedBoolean=True)], ("deceased",)),
        ("no creatinine", [patient(), weight()], ("creatinine-missing",)),
        ("no weight", [patient(), creatinine(1)], ("weight-missing",)),
        ("no age", [patient(birthDate=None), weight(), creatinine(1)], ("age-unknown",)),
        ("no sex", [patient(gender=None), weight(), creatinine(1)], ("sex-unknown",)),
    ],
)
def test_each_input_deleted_in_turn(name: str, resources: list[Any], codes: tuple[str, ...]) -> None:
    decision = decide(resources, [order("gabapentin 300 MG Oral Capsule", "310431")])
    assert set(codes) <= set(decision.reasons), name
    assert "renal-rule" not in decision.reasons
    if resources and name != "dead":
        card = decision.cards[0]
        assert card.indicator == "info"
        assert codes[0] in card.detail


def test_a_missing_weight_does_not_hide_a_rule_on_the_egfr() -> None:
    decision = decide([patient(), creatinine(4)], [order(*METFORMIN)])
    assert decision.output["rules"] == ["metformin-below-30"]


def test_the_unit_of_the_creatinine_changes_no_card() -> None:
    def cards(value: Decimal, unit: str) -> list[Any]:
        found = decide(
            [patient(), weight(), creatinine(value, unit)], [order("gabapentin"), order(*METFORMIN, "2")]
        )
        return [card.as_json() for card in found.cards]

    wanted = cards(Decimal("4.00"), "mg/dL")
    assert len(wanted) == 2
    assert cards(Decimal("40.0"), "mg/L") == wanted
    assert cards(Decimal("353.68"), "umol/L") == wanted
    assert cards(Decimal("0.35368"), "mmol/L") == wanted


# Every card -------------------------------------------------------------------------------------
def example() -> Decision:
    """Every kind of card at once."""
    return decide(
        [
            *filtration(20),
            running("Phenelzine 15 MG Oral Tablet", "8123"),
            running("Wonderol", number="2"),
            allergy("aspirin", "1191", criticality="high"),
        ],
        [
            order(*METFORMIN),
            order("Sertraline 50 MG Oral Tablet", "36437", "2"),
            order("aspirin 81 MG Oral Tablet", "1191", "3"),
            order("gabapentin 300 MG Oral Capsule", "25480", "4"),
        ],
    )


def test_a_card_says_what_it_rests_on_and_never_suggests() -> None:
    decision = example()
    assert {card.extension["io.xinglin.rule"]["id"] for card in decision.cards} == {
        "ingredient-allergy", "ssri-mao", "metformin-below-30", "gabapentin-below-60"
    }  # fmt: skip
    for card in decision.cards:
        assert card.suggestions == (), "which other way is right is for the prescriber"
        assert card.override_reasons == ORDER
        assert card.indicator in ("info", "warning")
        assert 0 < len(card.summary) < SUMMARY_LIMIT
        assert "Absence of an alert is not evidence of safety" in card.detail
        assert "| Input | Value | Time | Source |" in card.detail or "| Drug | Ingredient |" in card.detail
        assert "Not recognised, so not checked: Wonderol." in card.detail
        assert card.source.label


def test_the_record_holds_inputs_with_value_unit_time_and_reference() -> None:
    inputs = example().inputs
    assert inputs["creatinine"]["unit"] == "mg/dL"
    assert inputs["creatinine"]["reference"] == "Observation/2160-0"
    assert inputs["orders"][0] == {
        "reference": "MedicationRequest/draft-1", "ingredients": ["metformin"], "by_name": False
    }  # fmt: skip
    json.dumps(inputs)
    json.dumps(example().output)


def test_names_of_others_cannot_break_a_card() -> None:
    decision = decide(filtration(20), [order("metformin | x\n# <script> **" + "y" * 500)])
    card = decision.cards[0]
    assert len(card.summary) < SUMMARY_LIMIT
    assert "<script>" not in card.detail
    assert "\n# " not in card.detail


def test_the_golden_cards_of_orders() -> None:
    for card in example().cards:
        assert card.extension is not None
        golden_card(f"renal-and-interaction-{card.extension['io.xinglin.rule']['id']}", card.as_json())


def test_the_golden_card_of_kidneys_that_are_not_known() -> None:
    injury = {
        "resourceType": "Condition",
        "id": "aki",
        "subject": {"reference": "Patient/p"},
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "N17.9"}]},
    }
    decision = decide(
        [patient(), creatinine(2), injury], [order(*METFORMIN), order("gabapentin", number="2")]
    )
    assert decision.reasons == ("shown", "kidney-function-unknown", "acute-kidney-injury", "weight-missing")
    golden_card("renal-and-interaction-kidneys-unknown", decision.cards[0].as_json())


def test_the_golden_card_of_a_new_allergy() -> None:
    decision = decide(
        [patient(), running("aspirin 81 MG Oral Tablet", "1191")],
        [allergy("Aspirin", "1191", id="new", criticality="high",
                 reaction=[{"manifestation": [{"text": "bronchospasm"}]}])],
        "allergyintolerance-create",
    )  # fmt: skip
    golden_card("renal-and-interaction-new-allergy", decision.cards[0].as_json())
