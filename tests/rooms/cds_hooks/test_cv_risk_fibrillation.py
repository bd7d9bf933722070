"""cv-risk in atrial fibrillation: every point of CHA2DS2-VASc, the table, the guideline, the card."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks.cards import SUMMARY_LIMIT
from cds_hooks.facts.demographics import Sex
from cds_hooks.services.cv_risk_rules import STROKES_A_YEAR, advice
from tests.support.cv_chart import ICD10, RXNORM, Resource, chart, concept, condition, decide, drug
from tests.support.golden import golden_card

FIBRILLATION = condition("49436004")

POINTS: list[tuple[str, int, dict[str, Any], tuple[Resource, ...]]] = [
    ("nothing", 0, {}, ()),
    ("heart failure", 1, {}, (condition("84114007"),)),
    ("hypertension", 1, {}, (condition("59621000"),)),
    ("hypertension, ICD-10", 1, {}, (condition("I10", ICD10),)),
    ("64 years", 0, {"years": 64}, ()),
    ("65 years", 1, {"years": 65}, ()),
    ("74 years", 1, {"years": 74}, ()),
    ("75 years", 2, {"years": 75}, ()),
    ("diabetes", 1, {}, (condition("44054006"),)),
    ("a stroke", 2, {}, (condition("422504002"),)),
    ("a TIA", 2, {}, (condition("G45.9", ICD10),)),
    ("transient global amnesia is none", 0, {}, (condition("G45.4", ICD10),)),
    ("an infarction, over", 1, {}, (condition("22298006", clinicalStatus=concept("x", "resolved")),)),
    ("peripheral arterial disease", 1, {}, (condition("399957001"),)),
    ("an infarction and peripheral disease count once", 1, {},
     (condition("22298006"), condition("399957001"))),
    ("a woman", 1, {"gender": "female"}, ()),
    ("a refuted stroke", 0, {}, (condition("422504002", verificationStatus=concept("x", "refuted")),)),
    ("everything", 9, {"years": 80, "gender": "female"}, (
        condition("84114007"), condition("59621000"), condition("44054006"), condition("422504002"),
        condition("22298006"))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "score", "who", "conditions"), POINTS, ids=[row[0] for row in POINTS])
def test_each_point(name: str, score: int, who: dict[str, Any], conditions: tuple[Resource, ...]) -> None:
    decision = decide(chart(FIBRILLATION, *conditions, **{"gender": "male", "years": 60} | who))
    assert decision.output["score"] == score
    given_points = {
        entry["reference"]: entry["points"] for entry in decision.inputs.values() if entry["points"]
    }
    assert all(place for place in given_points)
    assert sum(entry["points"] for entry in decision.inputs.values()) == score


def test_the_published_table() -> None:
    """Ischaemic strokes per 100 patient-years by score, Friberg 2012."""
    assert STROKES_A_YEAR == (0.2, 0.6, 2.2, 3.2, 4.8, 7.2, 9.7, 11.2, 10.8, 12.2)


@pytest.mark.parametrize(
    ("sex", "score", "strength"),
    [("male", 0, "none"), ("male", 1, "reasonable"), ("male", 2, "recommended"), ("female", 1, "none"),
     ("female", 2, "reasonable"), ("female", 3, "recommended"), ("female", 9, "recommended")],
)  # fmt: skip
def test_the_guideline(sex: Sex, score: int, strength: str) -> None:
    assert advice(score, sex).strength == strength


@given(st.integers(18, 100), st.sampled_from(["male", "female"]))
def test_the_score_never_falls_with_age(years: int, gender: str) -> None:
    one = decide(chart(FIBRILLATION, gender=gender, years=years)).output["score"]
    assert decide(chart(FIBRILLATION, gender=gender, years=years + 1)).output["score"] >= one
    assert 0 <= one <= 9


MAN = {"gender": "male", "years": 70}

SILENT: list[tuple[str, str, list[Resource]]] = [
    ("no point", "low-stroke-risk", chart(FIBRILLATION, gender="male", years=60)),
    ("a woman without another point", "low-stroke-risk", chart(FIBRILLATION, gender="female", years=60)),
    ("apixaban", "on-anticoagulant", chart(FIBRILLATION, drug("1364430"), **MAN)),
    ("warfarin in words", "on-anticoagulant",
     chart(FIBRILLATION, drug({"text": "Warfarin Sodium 5 MG Oral Tablet"}), **MAN)),
    ("mitral stenosis", "valvular-atrial-fibrillation", chart(FIBRILLATION, condition("79619009"), **MAN)),
    ("a mechanical valve", "valvular-atrial-fibrillation",
     chart(FIBRILLATION, condition("Z95.2", ICD10), **MAN)),
    ("a valve in words", "valvular-atrial-fibrillation",
     chart(FIBRILLATION,
           {"resourceType": "Condition", "id": "w", "code": {"text": "Mechanical mitral valve"}}, **MAN)),
    ("seventeen years", "age-below-18", chart(FIBRILLATION, gender="male", years=17)),
    ("a drug that cannot be read", "medication-unreadable",
     chart(FIBRILLATION, {"resourceType": "MedicationRequest", "id": "d", "status": "active",
                          "medicationReference": {"reference": "Medication/9"}}, **MAN)),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "given_"), [row[1:] for row in SILENT], ids=[row[0] for row in SILENT])
def test_silent(reason: str, given_: list[Resource]) -> None:
    decision = decide(given_)
    assert decision.cards == ()
    assert reason in decision.reasons


def test_an_unconfirmed_fibrillation_is_none() -> None:
    doubt = condition("49436004", verificationStatus=concept("x", "provisional"))
    decision = decide(chart(doubt, **MAN))
    assert "score" not in decision.output
    assert "in-atrial-fibrillation" not in decision.reasons


def test_flutter_counts() -> None:
    assert decide(chart(condition("5370000"), **MAN)).output["score"] == 1


def test_the_card() -> None:
    more = (condition("59621000"), condition("74474003"))
    decision = decide(chart(FIBRILLATION, *more, gender="female", years=76))
    (card,) = decision.cards
    shown = card.as_json()
    assert decision.output["about"] == [{"card": shown["uuid"], "treatment": "anticoagulant"}]
    assert decision.reasons == ("shown", "in-atrial-fibrillation")
    assert (shown["indicator"], decision.output["score"]) == ("warning", 4)
    assert len(shown["summary"]) < SUMMARY_LIMIT
    for text in (
        "| H hypertension | 1 | Condition/c-59621000 |", "| A2 age 75 or more | 2 | Patient/cv-demo |",
        "| Sc female sex | 1 |", "| S2 stroke, TIA or thromboembolism | 0 | not recorded |", "**48 of 1000**",
        "recommended (class 1)", "Recorded: gastrointestinal bleeding", "aspirin is no",
    ):  # fmt: skip
        assert text in shown["detail"], text
    golden_card("cv-risk-fibrillation", shown)


def test_one_point_is_information() -> None:
    (card,) = decide(chart(FIBRILLATION, **MAN)).cards
    assert card.indicator == "info"
    assert "class 2a" in card.detail


def test_rxnorm_of_every_anticoagulant_silences() -> None:
    for code in ("11289", "1364430", "1037042", "1114195", "1599538"):
        given_ = chart(
            FIBRILLATION, drug({"coding": [{"system": RXNORM, "code": code, "display": "x"}]}), **MAN
        )
        assert "on-anticoagulant" in decide(given_).reasons
