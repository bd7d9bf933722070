"""Allergies to penicillins and cephalosporins: within a family, between the two, and nothing wider."""

from __future__ import annotations

from typing import Any

import pytest

from cds_hooks.facts.cross_reactions import CEPHALOSPORINS, CROSS_REACTIONS
from cds_hooks.facts.value_sets import SNOMED
from tests.support.golden import golden_card
from tests.support.prescribing import allergy, decide, order, patient, running

AMOXICILLIN, CEPHALEXIN = ("amoxicillin 500 MG Oral Capsule", "308192"), ("cephalexin", "2231")


@pytest.mark.parametrize(
    ("entry", "drug", "row", "indicator"),
    [
        (("ampicillin", "733"), AMOXICILLIN, "penicillin-penicillin", "warning"),
        (("Penicillin",), AMOXICILLIN, "penicillin-penicillin", "warning"),
        (("allergic to penicillins",), ("Piperacillin 4 g", "0"), "penicillin-penicillin", "warning"),
        (("penicillin v", "7984"), CEPHALEXIN, "penicillin-cephalosporin", "info"),
        (("Penicillin",), ("Cefdinir 300 mg capsule", "0"), "penicillin-cephalosporin", "info"),
        (("cephalexin", "2231"), AMOXICILLIN, "cephalosporin-penicillin", "info"),
        (("Cephalosporins",), CEPHALEXIN, "cephalosporin-cephalosporin", "warning"),
        (("cefazolin",), CEPHALEXIN, "cephalosporin-cephalosporin", "warning"),
        (("Penicillin, cephalosporins",), CEPHALEXIN, "cephalosporin-cephalosporin", "warning"),
        (
            ("ceftriaxone", "2193"),
            ("cefazolin 1000 MG Injection", "1665050"),
            "cephalosporin-cephalosporin",
            "warning",
        ),
        (("cefoxitin",), AMOXICILLIN, "cephalosporin-penicillin", "info"),
        (("Penicillin",), ("cefepime 1000 MG Injection", "1665093"), "penicillin-cefepime", "warning"),
        (
            ("Cefepime",),
            ("cefuroxime 250 MG Oral Tablet", "309097"),
            "cephalosporin-cephalosporin",
            "warning",
        ),
        (("amoxicillin", "723"), ("Fetroja (cefiderocol) 1 g", "0"), "penicillin-cefiderocol", "warning"),
        (("Cephalosporins",), ("cefepime", "20481"), "cephalosporin-cephalosporin", "warning"),
        (("Penicillin",), ("Cefobid 1 g", "0"), "", ""),
        (("Penicillamine",), AMOXICILLIN, "", ""),
        (("Penicillin",), ("vancomycin 1 g", "0"), "", ""),
        (("sulfamethoxazole", "10180"), AMOXICILLIN, "", ""),
    ],
)
def test_an_allergy_to_a_family_meets_an_order(entry: Any, drug: Any, row: str, indicator: str) -> None:
    decision = decide([patient(), allergy(*entry)], [order(*drug)])
    assert ("cross-reaction" in decision.reasons) is bool(row)
    assert "allergy" not in decision.reasons
    found = [card for card in decision.cards if card.extension["io.xinglin.rule"]["id"] == row]
    assert [card.indicator for card in found] == [indicator] * bool(row)
    for card in found:
        (sentence,) = [one.sentence for one in CROSS_REACTIONS if one.id == row]
        assert f"> {sentence}" in card.detail
        assert "SPL set id" in card.detail
        assert card.suggestions == ()
        assert "Allergies not recognised" not in card.detail
    assert decision.output.get("cross_reactions", []) == ([row] if row else [])


@pytest.mark.parametrize("name", CEPHALOSPORINS)
def test_every_cephalosporin_meets_its_family(name: str) -> None:
    decision = decide([patient(), allergy("cephalosporins")], [order(f"{name} 1 g")])
    assert decision.output["cross_reactions"] == ["cephalosporin-cephalosporin"]


def test_a_code_alone_is_enough_for_a_cephalosporin() -> None:
    decision = decide([patient(), allergy("penicillin v", "7984")], [order("", "2193")])
    assert decision.output["cross_reactions"] == ["penicillin-cephalosporin"]


def test_a_family_that_is_coded_is_known_and_the_drug_itself_is_told_once() -> None:
    coded = allergy("") | {"code": {"coding": [{"system": SNOMED, "code": "91936005"}]}}
    assert "cross-reaction" in decide([patient(), coded], [order(*AMOXICILLIN)]).reasons
    same = decide([patient(), allergy("amoxicillin", "723")], [order(*AMOXICILLIN)])
    assert same.reasons[:2] == ("shown", "allergy")
    assert "cross-reaction" not in same.reasons, "the drug itself is on the list: that says it all"
    assert len(same.cards) == 1


def test_a_new_allergy_to_a_family_is_checked_against_running_drugs() -> None:
    decision = decide(
        [patient(), running(*AMOXICILLIN), running(*CEPHALEXIN, number="2"), running("aspirin", "1191", "3")],
        [allergy("Penicillin", id="new")],
        "allergyintolerance-create",
    )
    assert decision.reasons == ("shown", "cross-reaction")
    assert [card.extension["io.xinglin.rule"]["id"] for card in decision.cards] == [
        "penicillin-penicillin", "penicillin-cephalosporin",
    ]  # fmt: skip
    both = decide(
        [patient(), running(*AMOXICILLIN), running(*CEPHALEXIN, number="2")],
        [allergy("amoxicillin", "723", id="new")],
        "allergyintolerance-create",
    )
    assert both.reasons == ("shown", "allergy", "cross-reaction")
    assert len(both.cards) == 2


def test_the_golden_card_of_a_family() -> None:
    decision = decide([patient(), allergy("Penicillin", criticality="high")], [order(*CEPHALEXIN)])
    golden_card("renal-and-interaction-penicillin-cephalosporin", decision.cards[0].as_json())
