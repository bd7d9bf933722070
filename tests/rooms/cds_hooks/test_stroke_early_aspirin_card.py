"""The card of stroke-early-aspirin: nine elements, the arithmetic, the draft, gaps, word for word."""

from __future__ import annotations

import dataclasses
import re
from uuid import UUID

import pytest

from cds_hooks.cards import SUMMARY_LIMIT
from cds_hooks.facts.chart import Chart
from cds_hooks.models import catalogue, features
from cds_hooks.service import Facts
from cds_hooks.services.stroke_early_aspirin import Effect, service
from conformance.samples import stroke
from tests.support.cds import NOW, decide
from tests.support.golden import golden_card
from tests.support.stroke_chart import AGO, SUBJECT, Resource, concept, drug, resource, sample


def test_the_sample_patient_gets_one_card_with_a_draft() -> None:
    decision = decide(sample())
    assert decision.reasons == ("suggested",)
    (card,) = decision.cards
    shown = card.as_json()
    assert len(shown["summary"]) < SUMMARY_LIMIT
    assert shown["indicator"] == "info"
    assert shown["selectionBehavior"] == "at-most-one"
    (suggestion,) = shown["suggestions"]
    assert "isRecommended" not in suggestion
    (action,) = suggestion["actions"]
    order = action["resource"]
    assert (action["type"], order["status"], order["intent"]) == ("create", "draft", "proposal")
    assert order["medicationCodeableConcept"]["coding"][0]["code"] == "1191"
    assert order["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]["value"] == 300
    assert order["subject"] == SUBJECT
    assert order["encounter"] == {"reference": f"Encounter/{stroke.ENCOUNTER_ID}"}
    assert shown["extension"]["io.xinglin.model"]["identity"].startswith("stroke-early-aspirin@1#")
    assert all(reason["display"] for reason in shown["overrideReasons"])


NINE = {
    "inputs with value and unit": r"\| systolic pressure \| 168 mmHg \|",
    "time and reference of inputs": r"168 mmHg \| 2026-03-02T\S+ \| Observation/stroke-demo-pressure \|",
    "top contributions": r"What moved it most\*\* .*: (\D+ [+-]\d\.\d\d, ){4}\D+ [+-]\d\.\d\d\.",
    "baseline risk per 1000": r"Baseline risk of a patient like this in the trial \| \d{3}\.\d \|",
    "absolute benefit per 1000 with interval": r"Fewer with aspirin\*\* \| \*\*[\d.]+\*\* \(95 % CI [\d.]+",
    "harm per 1000 with interval": r"extracranial bleeding \| \+5\.3 \(95 % CI 2\.8 to 7\.9\)",
    "trial and dates": r"International Stroke Trial, 19,435 patients in 36 countries, 1991–1996",
    "citation": r"Lancet 1997;349:1569–81",
    "average effect, not individual": r"An average effect, not an individual one",
}
"""The nine elements that every card with a suggestion of a model has to show."""

BESIDE = {
    "odds ratio with interval": r"odds ratio 0\.93, 95 % CI 0\.87 to 0\.994",
    "vintage": r"Before thrombolysis",
    "model and performance": r"stroke-early-aspirin@\d+#[0-9a-f]{12}: AUC 0\.80, calibration slope",
    "demonstration": r"Demonstration model",
    "attribution": r"ODC Attribution License",
    "what was needed": r"Needed, and known:\*\* time since onset, consciousness, sex, age, .*; 8 of 8 ",
    "what was assumed": r"Not known, assumed:\*\* nothing\.",
    "distance": r"distance 20\.8; there is no card beyond 39\.8",
}


def test_there_are_nine() -> None:
    assert len(NINE) == 9


@pytest.mark.parametrize("element", [*NINE, *BESIDE])
def test_the_detail_says(element: str) -> None:
    detail = decide(sample()).cards[0].detail
    assert re.search((NINE | BESIDE)[element], detail), element
    assert "1952" not in detail, "the birth date is not shown"


@pytest.mark.parametrize("hook", ["encounter-start", "order-select"])
def test_word_for_word(hook: str) -> None:
    """One card for both hooks: the newer replaces the older."""
    golden_card("stroke-early-aspirin", decide(sample(), hook=hook).cards[0].as_json())


def test_word_for_word_with_gaps_and_an_order() -> None:
    chart = [*sample(waking=None), drug("MedicationRequest", "1191", authoredOn=AGO[1])]
    golden_card("stroke-early-aspirin-ordered", decide(without(chart, "70189-6")).cards[0].as_json())


# Each input deleted in turn ---------------------------------------------------------------------------
def without(chart: list[Resource], *codes: str) -> list[Resource]:
    """The chart without these items of the NIH Stroke Scale."""
    return [
        {
            **entry,
            "component": [
                part for part in entry["component"] if part["code"]["coding"][0]["code"] not in codes
            ],
        }
        if entry["id"].endswith("nihss")
        else entry
        for entry in chart
    ]


ITEMS = {
    "RDEF1": ("70189-6",), "RDEF2": ("70190-4", "70967-5"), "RDEF3": ("70191-2", "70968-3"),
    "RDEF4": ("70194-6",), "RDEF5": ("70188-8",), "RDEF6": ("70196-1",), "RDEF7": ("70192-0",),
    "RDEF8": ("70193-8",),
}  # fmt: skip

REFUSES: dict[str, tuple[str, list[Resource]]] = {
    "RDELAY": ("onset-unknown", sample(stroke={"onsetDateTime": None})),
    "RCONSC": ("missing-RCONSC", without(sample(consciousness=None), "70184-7")),
    "SEX": ("missing-SEX", sample(demo={"gender": None})),
    "AGE": ("missing-AGE", sample(demo={"birthDate": None})),
    "RCT": ("ct-unknown", sample(ct=None)),
    "RVISINF": ("ct-unknown", sample(ct={"conclusionCode": []})),
    "RSBP": ("missing-RSBP", sample(pressure=None)),
    "STYPE": ("missing-STYPE", sample(nihss=None)),  # derived from the deficits: gone with the last of them
}

ASSUMED: dict[str, list[Resource]] = {"RSLEEP": sample(waking=None)} | {
    name: without(sample(), *codes) for name, codes in ITEMS.items()
}

LEFT_OPEN: dict[str, list[Resource]] = {
    "RATRIAL": [*sample(), resource(
        "Condition", code=concept(stroke.SNOMED, "49436004"),
        verificationStatus=concept("x", "provisional"))],
    "RASP3": [*sample(), drug("MedicationStatement", "1191", "unknown")],
}  # fmt: skip

NEVER_DELETED = {
    "RHEP24": "heparin that may have been given is refused as anticoagulation",
    "RXHEP": "heparin on order is refused as anticoagulation",
    "NDEF": "counted",
}


def test_every_input_has_its_policy() -> None:
    assert {*REFUSES, *ASSUMED, *LEFT_OPEN, *NEVER_DELETED} == set(features.NAMES)


@pytest.mark.parametrize("name", REFUSES)
def test_without_a_required_input_there_is_no_card(name: str) -> None:
    reason, chart = REFUSES[name]
    decision = decide(chart)
    assert reason in decision.reasons
    assert decision.cards == ()


@pytest.mark.parametrize("name", ASSUMED)
def test_an_assumed_input_is_named(name: str) -> None:
    decision = decide(ASSUMED[name])
    feature = features.BY_NAME[name]
    says = feature.says[feature.unknown]
    assert decision.output["assumed"] == [name]
    (card,) = decision.cards
    assert re.search(rf"Not known, assumed:\*\* {feature.label} as {says}\.", card.detail)
    assert f"| {feature.label} | not known, taken as: {says} |" in card.detail


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_a_gap_that_the_model_knows_is_named(name: str) -> None:
    decision = decide(LEFT_OPEN[name])
    label = features.BY_NAME[name].label
    assert f"left open to the model:** {label}." in decision.cards[0].detail
    assert f"| {label} | not known |" in decision.cards[0].detail


def test_two_deficits_may_be_missing_and_a_third_may_not() -> None:
    names = list(ITEMS)
    for count, shown in ((2, True), (3, False)):
        gone = [code for name in names[:count] for code in ITEMS[name]]
        decision = decide(without(sample(), *gone))
        assert bool(decision.cards) is shown
        assert ("deficits-missing" in decision.reasons) is not shown


def test_every_input_is_on_the_card() -> None:
    detail = decide(sample()).cards[0].detail
    for feature in features.FEATURES:
        assert f"| {feature.label} |" in detail


@pytest.mark.parametrize(("risk", "benefit"), [(0.27, 14), (0.47, 18), (0.65, 17), (0.81, 11), (0.94, 4)])
def test_benefit_by_hand(risk: float, benefit: int) -> None:
    effect = Effect.at(risk, {"odds_ratio": 0.93, "ci": [0.87, 0.994]})
    odds = risk / (1 - risk) * 0.93
    assert effect.benefit == pytest.approx(1000 * (risk - odds / (1 + odds)))
    assert round(effect.benefit) == benefit
    assert effect.ci[0] < effect.benefit < effect.ci[1]


def test_the_numbers_on_the_card_follow_from_the_recorded_risk() -> None:
    decision = decide(sample())
    risk = decision.output["risk"]
    odds = 0.93 * risk / (1 - risk)
    fewer = f"{1000 * (risk - odds / (1 + odds)):.0f}"
    assert f"on average {fewer} fewer" in decision.cards[0].summary
    assert f"| {1000 * risk:.1f} |" in decision.cards[0].detail


def test_at_exactly_48_hours_there_is_a_card() -> None:
    assert decide(stroke.resources(NOW, onset_hours=48.0)).cards


@pytest.mark.parametrize(
    "ordered",
    [
        drug("MedicationRequest", "1191", authoredOn=AGO[1]),
        drug("MedicationRequest", "1191", "draft"),
        drug("MedicationAdministration", "1191", "completed", effectiveDateTime=AGO[1]),
    ],
)
def test_no_order_is_suggested_when_aspirin_is_ordered_or_given(ordered: Resource) -> None:
    decision = decide([*sample(), ordered])
    assert decision.reasons == ("shown",)
    assert decision.cards[0].suggestions == ()
    assert "ordered or was given already (" in decision.cards[0].detail


def test_without_a_model_there_is_no_card_and_the_record_says_why() -> None:

    facts = Facts(UUID(int=1), "encounter-start", {}, Chart.of(stroke.PATIENT_ID, NOW, sample()))
    decision = service(None, None).decide(facts)
    assert (decision.cards, decision.reasons) == ((), ("model-unavailable",))


def test_a_demonstration_installation_answers_for_untagged_patients() -> None:

    release = catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin")
    demo = service(release, catalogue.load(release), demonstration=True)
    chart = Chart.of(stroke.PATIENT_ID, NOW, sample(demo={"meta": {}}))
    assert demo.decide(Facts(UUID(int=1), "encounter-start", {}, chart)).cards


def test_the_same_call_decides_the_same_card() -> None:
    assert decide(sample()).cards[0].as_json() == decide(sample()).cards[0].as_json()


def test_the_heavier_the_stroke_the_higher_the_risk() -> None:
    heavy = [{**part, "valueInteger": 3} for part in sample()[4]["component"]]
    mild, severe = decide(sample()).output["risk"], decide(sample(nihss={"component": heavy})).output["risk"]
    assert severe > mild


def test_a_recalibrated_release_says_so() -> None:
    release = catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin", "1")
    update = {"kind": "intercept", "n": 412, "events": 230}
    more = {
        "recalibration": {"update": update, "parent": {"identity": release.identity}},
        "recalibrated_at": "2026-02-01T10:00:00+00:00",
    }
    local = dataclasses.replace(release, card=release.card | more)
    given = service(local, catalogue.load(release))
    (card,) = decide(sample(), with_=given).cards
    assert "Recalibrated for this hospital on 2026-02-01 (intercept, 412 patients, 230 dead" in card.detail
    assert "Not recalibrated" not in card.detail
