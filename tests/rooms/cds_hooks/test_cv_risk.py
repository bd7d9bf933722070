"""cv-risk: the equations by hand, whom they are not for, race, units, and the card."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks.cards import SUMMARY_LIMIT
from cds_hooks.facts.demographics import Sex
from cds_hooks.services import cv_risk
from cds_hooks.services.cv_risk_rules import (
    TABLE_A,
    Equation,
    Profile,
    group,
    individual_sum,
    ten_year_risk,
)
from tests.support.cv_chart import (
    AGO,
    ICD10,
    SNOMED,
    Resource,
    chart,
    concept,
    condition,
    decide,
    drug,
    measured,
    smokes,
)
from tests.support.golden import golden_card

EXAMPLE = Profile("female", 55, 213, 50, 120, False, False, False)
GROUPS: tuple[tuple[Sex, Equation], ...] = tuple(TABLE_A)


# The equations ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sex", "equation", "published_sum", "percent"),
    [
        ("female", "white", -29.67, 2.1), ("female", "black", 86.16, 3.0),
        ("male", "white", 60.69, 5.3), ("male", "black", 18.97, 6.1),
    ],
)  # fmt: skip
def test_the_worked_example_of_the_guideline(
    sex: Sex, equation: Equation, published_sum: float, percent: float
) -> None:
    profile = replace(EXAMPLE, sex=sex)
    assert individual_sum(profile, equation) == pytest.approx(published_sum, abs=0.011)
    assert 100 * ten_year_risk(profile, equation) == pytest.approx(percent, abs=0.1)
    decision = decide(chart(gender=sex, race=("2106-3" if equation == "white" else "2054-5",)))
    assert 100 * decision.output["low"] == pytest.approx(percent, abs=0.1)
    assert decision.output["low"] == decision.output["high"]


def test_the_products_of_table_a() -> None:
    """The printed column coefficient × value, white women and African American men."""
    ln_age, ln_total, ln_hdl, ln_pressure = map(math.log, (55, 213, 50, 120))
    white, black = TABLE_A["female", "white"], TABLE_A["male", "black"]
    assert [
        white.ln_age * ln_age, white.ln_age_squared * ln_age**2, white.ln_total * ln_total,
        white.ln_age_total * ln_age * ln_total, white.ln_hdl * ln_hdl, white.ln_age_hdl * ln_age * ln_hdl,
        white.ln_untreated * ln_pressure,
    ] == pytest.approx([-119.41, 78.44, 72.59, -66.91, -53.12, 49.37, 9.37], abs=0.011)  # fmt: skip
    assert [
        black.ln_age * ln_age, black.ln_total * ln_total, black.ln_hdl * ln_hdl,
        black.ln_untreated * ln_pressure,
    ] == pytest.approx([9.89, 1.62, -1.20, 8.66], abs=0.011)  # fmt: skip


def test_the_misprints_of_the_web_are_not_here() -> None:
    assert TABLE_A["female", "black"].mean == 86.61
    assert TABLE_A["female", "white"].ln_age_total == -3.114


@pytest.mark.parametrize(
    ("percent", "name"),
    [(0, "low"), (4.99, "low"), (5, "borderline"), (7.49, "borderline"), (7.5, "intermediate"),
     (19.99, "intermediate"), (20, "high"), (80, "high")],
)  # fmt: skip
def test_the_groups_of_the_guideline(percent: float, name: str) -> None:
    assert group(percent / 100).name == name


ages = st.integers(40, 79)
people = st.builds(
    Profile, st.sampled_from(["female", "male"]), ages, st.floats(130, 320), st.floats(20, 100),
    st.floats(90, 200), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


@given(people, st.sampled_from(["white", "black"]), st.floats(0.5, 50))
def test_more_pressure_more_risk(profile: Profile, equation: Equation, more: float) -> None:
    higher = replace(profile, pressure=profile.pressure + more)
    assert ten_year_risk(higher, equation) > ten_year_risk(profile, equation)


@given(people, st.sampled_from(["white", "black"]))
def test_diabetes_and_smoking_raise_the_risk(profile: Profile, equation: Equation) -> None:
    """Smoking up to 78 years: at 79 the published equation for white men turns round by a hair."""
    plain = replace(profile, age=min(profile.age, 78), diabetes=False, smoker=False)
    risk = ten_year_risk(plain, equation)
    assert ten_year_risk(replace(plain, diabetes=True), equation) > risk
    assert ten_year_risk(replace(plain, smoker=True), equation) > risk


@given(
    st.sampled_from(GROUPS), ages, st.floats(130, 240), st.floats(40, 80), st.floats(100, 160), st.booleans()
)
def test_with_age_the_risk_grows(
    which: tuple[Sex, Equation], age: int, total: float, hdl: float, pressure: float, treated: bool
) -> None:
    """In the ordinary range; at its edges the published equations for women do not (see the page)."""
    younger = Profile(which[0], age, total, hdl, pressure, treated, False, False)
    older = replace(younger, age=age + 1)
    assert ten_year_risk(older, which[1]) > ten_year_risk(younger, which[1])


def test_the_known_edge_where_it_does_not() -> None:
    odd = Profile("female", 40, 320, 20, 120, False, True, False)
    assert ten_year_risk(replace(odd, age=41), "white") < ten_year_risk(odd, "white")
    man = replace(EXAMPLE, sex="male", age=79)
    assert ten_year_risk(replace(man, smoker=True), "white") < ten_year_risk(man, "white")
    for years, less in ((71, False), (72, True)):
        woman = replace(EXAMPLE, age=years)
        treated = ten_year_risk(replace(woman, treated=True), "black")
        assert (treated < ten_year_risk(woman, "black")) is less


@given(people, st.sampled_from(["white", "black"]))
def test_a_risk_is_a_probability(profile: Profile, equation: Equation) -> None:
    assert 0 < ten_year_risk(profile, equation) < 1


# Units --------------------------------------------------------------------------------------------
@given(st.floats(3.5, 8), st.floats(0.6, 2.5), st.floats(13, 26))
def test_units_do_not_matter(total: float, hdl: float, pressure: float) -> None:
    rest = [entry for entry in chart() if entry["id"] not in ("total", "hdl", "pressure")]
    ours = [
        measured("total", "2093-3", total * 38.67, "mg/dL"), measured("hdl", "2085-9", hdl * 38.67, "mg/dL"),
        measured("pressure", "8480-6", pressure * 7.500616827, "mm[Hg]"),
    ]  # fmt: skip
    theirs = [
        measured("total", "14647-2", total, "mmol/L"), measured("hdl", "14646-4", hdl, "mmol/L"),
        measured("pressure", "8480-6", pressure, "kPa"),
    ]  # fmt: skip
    one, other = decide([*rest, *ours]), decide([*rest, *theirs])
    assert one.reasons == other.reasons
    assert one.output["high"] == pytest.approx(other.output["high"], rel=1e-4)


# Whom it is not for -------------------------------------------------------------------------------
HIGH = {"years": 62, "gender": "male", "total": 240, "hdl": 38, "pressure": 150}

SILENT: list[tuple[str, str, list[Resource]]] = [
    ("39 years", "age-outside-40-79", chart(years=39)),
    ("80 years", "age-outside-40-79", chart(years=80)),
    ("no birth date", "age-unknown", chart(birthDate="1970")),
    ("sex unknown", "sex-unknown", chart(gender="unknown")),
    ("no patient", "patient-unknown", chart()[1:]),
    ("dead", "deceased", chart(deceasedBoolean=True)),
    ("no total cholesterol", "total-cholesterol-missing", chart(without="total")),
    ("no HDL cholesterol", "hdl-cholesterol-missing", chart(without="hdl")),
    ("no pressure", "systolic-pressure-missing", chart(without="pressure")),
    ("no smoking status", "smoking-unknown", chart(without="smoking")),
    ("smoking not known", "smoking-unknown", chart(smokes("266927001"), without="smoking")),
    ("an old smoking status", "smoking-unknown", chart(smokes(at=AGO[3000]), without="smoking")),
    ("old lipids", "total-cholesterol-old",
     chart(measured("old", "2093-3", 213, "mg/dL", AGO[3000]), without="total")),
    ("an old pressure", "systolic-pressure-old",
     chart(measured("old", "8480-6", 120, "mm[Hg]", AGO[1000]), without="pressure")),
    ("cholesterol without a unit", "total-cholesterol-unreadable",
     chart(measured("t", "2093-3", 213, ""), without="total")),
    ("mmol/L called mg/dL", "total-cholesterol-implausible", chart(total=5.5)),
    ("LDL 190", "ldl-190-or-more", chart(measured("ldl", "13457-7", 190, "mg/dL"))),
    ("LDL 5.0 mmol/L", "ldl-190-or-more", chart(measured("ldl", "2089-1", 5.0, "mmol/L"))),
    ("LDL unreadable", "ldl-cholesterol-unreadable", chart(measured("ldl", "2089-1", 5.0, "mol"))),
    ("an infarction", "known-ascvd", chart(condition("22298006"))),
    ("an infarction that is over", "known-ascvd",
     chart(condition("22298006", clinicalStatus=concept("x", "resolved")))),
    ("coronary disease, ICD-10", "known-ascvd", chart(condition("I25.10", ICD10))),
    ("a stroke", "known-ascvd", chart(condition("422504002"))),
    ("a TIA, history", "known-ascvd", chart(condition("Z86.73", ICD10))),
    ("claudication", "known-ascvd", chart(condition("63491006"))),
    ("a stent", "known-ascvd", chart({"resourceType": "Procedure", "id": "p", "status": "completed",
                                      "code": concept(SNOMED, "415070008")})),
    ("an infarction in words", "known-ascvd",
     chart({"resourceType": "Condition", "id": "w", "code": {"text": "Old myocardial infarction 2011"}})),
    ("heart failure", "heart-failure", chart(condition("84114007"))),
    ("past fibrillation", "in-atrial-fibrillation",
     chart(condition("49436004", clinicalStatus=concept("x", "resolved")))),
    ("a statin", "on-statin", chart(drug("83367"))),
    ("a statin in words", "on-statin", chart(drug({"text": "Atorvastatin 20 MG Oral Tablet"}))),
    ("a statin, stated", "on-statin", chart(drug("36567", kind="MedicationStatement"))),
    ("a drug that has no name", "medication-unreadable",
     chart(drug({"coding": [{"system": "urn:local", "code": "4711"}]}))),
    ("diabetes in words", "diabetes-unclear",
     chart({"resourceType": "Condition", "id": "w", "code": {"text": "Type 2 diabetes"}}, **HIGH)),
    ("diabetes, unconfirmed", "diabetes-unclear",
     chart(condition("44054006", verificationStatus=concept("x", "provisional")), **HIGH)),
    ("a low risk", "risk-below-5-percent", chart()),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "given_"), [row[1:] for row in SILENT], ids=[row[0] for row in SILENT])
def test_silent(reason: str, given_: list[Resource]) -> None:
    decision = decide(given_)
    assert reason in decision.reasons
    assert decision.cards == ()
    known = {name.removesuffix("…") for name in cv_risk.REASONS}
    assert all(any(told == name or (name.endswith("-") and told.startswith(name)) for name in known)
               for told in decision.reasons)  # fmt: skip


@pytest.mark.parametrize(
    "harmless",
    [
        condition("22298006", verificationStatus=concept("x", "refuted")),
        {"resourceType": "Condition", "id": "w", "code": {"text": "Family history of myocardial infarction"}},
        {"resourceType": "Condition", "id": "w", "code": {"text": "Family history of diabetes"}},
        {"resourceType": "Condition", "id": "w", "code": {"text": "Prediabetes"}},
        drug("83367", "stopped"),
        measured("ldl", "13457-7", 189, "mg/dL"),
        {"resourceType": "Procedure", "id": "p", "status": "not-done", "code": concept(SNOMED, "415070008")},
    ],
)
def test_what_does_not_silence(harmless: Resource) -> None:
    assert decide(chart(harmless, **HIGH)).cards


# Race ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("race", "why"),
    [
        ((), "no race is recorded"),
        (("UNK",), "no race is recorded"),
        (("2028-9",), "neither White nor Black"),
        (("2106-3", "2054-5"), "more than one race"),
    ],
)
def test_without_an_equation_both_are_shown(race: tuple[str, ...], why: str) -> None:
    decision = decide(chart(race=race, **HIGH))
    (card,) = decision.cards
    white = decide(chart(race=("2106-3",), **HIGH)).output["low"]
    black = decide(chart(race=("2054-5",), **HIGH)).output["low"]
    assert (decision.output["low"], decision.output["high"]) == (min(white, black), max(white, black))
    assert f"{100 * min(white, black):.1f} to {100 * max(white, black):.1f} %" in card.summary
    assert "**Why a range.**" in card.detail
    assert why in card.detail


def test_a_name_says_nothing_about_race() -> None:
    one = decide(chart(race=(), name=[{"family": "Okafor"}], **HIGH)).output
    assert one == decide(chart(race=(), name=[{"family": "Smith"}], **HIGH)).output


# Treatment ----------------------------------------------------------------------------------------
def test_a_coded_antihypertensive_is_treatment() -> None:
    treated = decide(chart(drug("29046"), **HIGH)).output
    untreated = decide(chart(**HIGH)).output
    assert list(treated["risks"]) == ["white, treated"]
    assert treated["low"] > untreated["low"]


def test_one_in_words_shows_both() -> None:
    decision = decide(chart(drug({"text": "Hydrochlorothiazide 25 MG"}), **HIGH))
    assert list(decision.output["risks"]) == ["white, untreated", "white, treated"]
    assert "Treatment of the pressure is not certain" in decision.cards[0].detail


# The card -----------------------------------------------------------------------------------------
def test_the_card() -> None:
    given_ = chart(smokes("449868002"), condition("44054006"), without="smoking", **HIGH)
    decision = decide(given_)
    (card,) = decision.cards
    shown = card.as_json()
    assert decision.output["about"] == [{"card": shown["uuid"], "treatment": "statin"}]
    assert shown["indicator"] == "info"
    assert len(shown["summary"]) < SUMMARY_LIMIT
    for text in (
        "High risk (20 % or more)", "Diabetes, age 40 to 75", "with one input changed: not smoking",
        "| total cholesterol | 240 mg/dL | 2026-01-31 | Observation/total |", "| smokes | yes |",
        "| diabetes | yes | — | Condition/c-44054006 |", "| race | White |", "MESA", "not the effect of a",
        "not evidence of safety",
    ):  # fmt: skip
        assert text in shown["detail"], text
    assert "suggestions" not in shown
    assert "1964" not in shown["detail"], "the birth date is not shown"
    golden_card("cv-risk-statin", shown)


def test_word_for_word_with_a_range() -> None:
    given_ = chart(
        drug({"text": "Lisinopril 10 mg"}), measured("ldl", "13457-7", 3.1, "mmol/L"), race=(), years=66,
        total=200, hdl=45, pressure=138,
    )  # fmt: skip
    golden_card("cv-risk-statin-range", decide(given_).cards[0].as_json())


def test_over_75_the_groups_end() -> None:
    assert "the guideline's groups end at 75" in decide(chart(**HIGH | {"years": 77})).cards[0].detail


def test_lipids_in_mmol_are_shown_as_given() -> None:
    given_ = chart(measured("t", "14647-2", 6.2, "mmol/L"), without="total", **HIGH)
    assert "239.8 mg/dL (given as 6.2 mmol/L)" in decide(given_).cards[0].detail
