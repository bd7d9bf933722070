"""stroke-heparin-dose: the dose of an order, who is warned, what is told apart, the trial's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks import override_reasons
from cds_hooks.cards import SUMMARY_LIMIT
from cds_hooks.facts import heparin
from cds_hooks.facts.chart import Chart
from cds_hooks.facts.heparin import Dose
from cds_hooks.facts.medication_timing import Unknown
from cds_hooks.service import Decision, Facts
from cds_hooks.services import stroke_heparin_dose as rule
from conformance.samples import stroke
from tests.support.cds import NOW
from tests.support.golden import golden_card
from tests.support.stroke_chart import AGO, ICD10, RXNORM, SUBJECT, Resource, concept, resource, sample

GTS = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"
UFH, PRODUCT = "5224", "1361615"  # the ingredient; 5,000 units per millilitre


def quantity(value: Any, code: str = "[iU]") -> Resource:
    return {"value": value, "system": stroke.UCUM, "code": code}


def every(times: float, unit: str = "d", period: float = 1) -> Resource:
    return {"repeat": {"frequency": times, "period": period, "periodUnit": unit}}


def dosage(amount: Resource | None = None, times: float = 2, **more: Any) -> Resource:
    entry = {"doseQuantity": amount} if amount else {}
    return {"timing": every(times), "doseAndRate": [entry]} | more


def order(*dosages: Resource, drug: Any = UFH, identifier: str = "draft", **more: Any) -> Resource:
    named = drug if isinstance(drug, dict) else concept(RXNORM, drug)
    return {
        "resourceType": "MedicationRequest", "id": identifier, "status": "draft", "intent": "order",
        "subject": SUBJECT, "medicationCodeableConcept": named, "dosageInstruction": list(dosages),
    } | more  # fmt: skip


def decide(*drafts: Resource, chart: list[Resource] | None = None) -> Decision:
    given_ = sample() if chart is None else chart
    bundle = {"resourceType": "Bundle", "entry": [{"resource": draft} for draft in drafts]}
    context = {"userId": "Practitioner/1", "patientId": stroke.PATIENT_ID, "draftOrders": bundle}
    made = Chart.of(stroke.PATIENT_ID, NOW, [*given_, *drafts])
    return rule.service().decide(Facts(UUID(int=2), "order-sign", context, made))


def weight(value: float = 80, code: str = "kg", at: str = AGO[60]) -> Resource:
    return resource(
        "Observation", status="final", code=concept(stroke.LOINC, "29463-7"), effectiveDateTime=at,
        valueQuantity=quantity(value, code),
    )  # fmt: skip


MEDIUM = order(dosage(quantity(12500)))

DOSES: list[tuple[str, Resource, float]] = [
    ("12,500 IU twice daily", MEDIUM, 25000),
    ("5,000 IU twice daily", order(dosage(quantity(5000))), 10000),
    ("5,000 IU three times a day", order(dosage(quantity(5000), 3)), 15000),
    ("7,500 IU every 12 hours", order(dosage(quantity(7500)) | {"timing": every(1, "h", 12)}), 15000),
    ("BID as a code", order(dosage(quantity(12500)) | {"timing": {"code": concept(GTS, "BID")}}), 25000),
    ("12.5 thousand units", order(dosage(quantity(12.5, "k[iU]"))), 25000),
    ("USP units", order(dosage(quantity(12500, "[USP'U]"))), 25000),
    ("the other spelling of the unit", order(dosage(quantity(12500, "[IU]"))), 25000),
    ("2.5 mL of 5,000 units per mL", order(dosage(quantity(2.5, "mL")), drug=PRODUCT), 25000),
    ("1 mL of 5,000 units per mL", order(dosage(quantity(1, "mL")), drug=PRODUCT), 10000),
    ("a range: its upper end", order({"timing": every(2), "doseAndRate": [
        {"doseRange": {"low": quantity(5000), "high": quantity(12500)}}]}), 25000),
    ("1,000 IU an hour", order({"doseAndRate": [{"rateQuantity": quantity(1000, "[iU]/h")}]}), 24000),
    ("25,000 IU over 24 hours", order({"doseAndRate": [
        {"rateRatio": {"numerator": quantity(25000), "denominator": quantity(24, "h")}}]}), 25000),
    ("10 mL an hour of 100 units per mL", order(
        {"doseAndRate": [{"rateQuantity": quantity(10, "mL/h")}]}, drug="1658717"), 24000),
    ("18 IU per kg and hour", order({"doseAndRate": [{"rateQuantity": quantity(18, "[iU]/kg/h")}]}), 34560),
    ("a bolus once and an infusion", order(
        {"timing": {"repeat": {"count": 1}}, "doseAndRate": [{"doseQuantity": quantity(80, "[iU]/kg")}]},
        {"doseAndRate": [{"rateQuantity": quantity(18, "[iU]/kg/h")}]}), 40960),
    ("steps: the largest", order(
        dosage(quantity(12500), sequence=1), dosage(quantity(5000), sequence=2)), 25000),
    ("two injections at different times", order(dosage(quantity(5000), 1), dosage(quantity(7500), 1)), 12500),
]  # fmt: skip


@pytest.mark.parametrize(("name", "draft", "daily"), DOSES, ids=[row[0] for row in DOSES])
def test_the_daily_dose(name: str, draft: Resource, daily: float) -> None:
    chart = Chart.of(stroke.PATIENT_ID, NOW, [*sample(), weight(), draft])
    from cds_hooks.facts.laboratory import BODY_WEIGHT, Measured, observed

    kilograms = observed(chart, BODY_WEIGHT, NOW - rule.WEIGHT_AGE)
    assert isinstance(kilograms, Measured)
    found = heparin.dose(chart, draft, kilograms)
    assert isinstance(found, Dose)
    assert found.daily == pytest.approx(daily)
    assert found.arithmetic[-1].endswith("in 24 hours")
    decision = decide(draft, chart=[*sample(), weight()])
    assert bool(decision.cards) is (daily > 10_000)


UNREADABLE: list[tuple[str, Resource]] = [
    ("enzyme units", order(dosage(quantity(12500, "U")))),
    ("units without a system", order(dosage({"value": 12500, "unit": "IU"}))),
    ("milligrams", order(dosage(quantity(100, "mg")))),
    ("millilitres of an unknown strength", order(dosage(quantity(2.5, "mL")))),
    ("no frequency", order({"doseAndRate": [{"doseQuantity": quantity(12500)}]})),
    ("a frequency in words", order(dosage(quantity(12500)) | {"timing": {"code": {"text": "twice"}}})),
    ("words only", order({"text": "12500 IU s.c. twice daily"})),
    ("no dosage", order()),
    ("a bound", order(dosage(quantity(12500) | {"comparator": ">"}))),
    ("one dosage of two", order(dosage(quantity(12500)), dosage(quantity(1, "mg")))),
    ("a rate without a time", order({"doseAndRate": [{"rateRatio": {"numerator": quantity(25000)}}]})),
]


@pytest.mark.parametrize(("name", "draft"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_a_dose_that_cannot_be_read_is_never_guessed(name: str, draft: Resource) -> None:
    decision = decide(draft)
    assert (decision.reasons, decision.cards) == (("dose-unreadable",), ())
    assert decision.output["why"]


def test_per_kilogram_without_a_weight() -> None:
    draft = order({"doseAndRate": [{"rateQuantity": quantity(18, "[iU]/kg/h")}]})
    assert decide(draft).reasons == ("weight-unknown",)
    assert decide(draft, chart=[*sample(), weight(at="2025-01-01T08:00:00Z")]).reasons == ("weight-unknown",)


SILENT: list[tuple[str, str, list[Resource], list[Resource]]] = [
    ("no order of heparin", "no-heparin-order", sample(),
     [order(dosage(quantity(300, "mg"), 1), drug="1191")]),
    ("no draft at all", "no-heparin-order", sample(), []),
    ("enoxaparin", "low-molecular-weight-heparin", sample(),
     [order(dosage(quantity(40, "mg")), drug="67108")]),
    ("a dalteparin syringe", "low-molecular-weight-heparin", sample(),
     [order(dosage(quantity(5000)), drug="978725")]),
    ("enoxaparin in words", "low-molecular-weight-heparin", sample(),
     [order(dosage(quantity(12500)), drug={"text": "Enoxaparin (low molecular weight heparin)"})]),
    ("heparin in words", "heparin-not-coded", sample(),
     [order(dosage(quantity(12500)), drug={"text": "Heparin 25000 IU"})]),
    ("prophylaxis", "dose-within-low-arm", sample(), [order(dosage(quantity(5000)))]),
    ("10,000 IU once a day", "dose-within-low-arm", sample(), [order(dosage(quantity(10000), 1))]),
    ("no stroke", "no-acute-stroke", sample(stroke=None), [MEDIUM]),
    ("a refuted stroke", "no-acute-stroke",
     sample(stroke={"verificationStatus": concept("x", "refuted")}), [MEDIUM]),
    ("an old stroke", "stroke-not-acute", sample(stroke={"onsetDateTime": AGO[400]}), [MEDIUM]),
    ("an old stroke, to the day", "no-acute-stroke",
     sample(stroke={"onsetDateTime": "2025-06-01"}), [MEDIUM]),
    ("a stroke twelve days ago without an hour", "no-acute-stroke",
     sample(stroke={"onsetDateTime": "2026-02-10"}), [MEDIUM]),
    ("a stroke to come", "onset-in-future",
     sample(stroke={"onsetDateTime": "2026-03-02T15:01:00Z"}), [MEDIUM]),
    ("no patient", "patient-unknown", sample()[1:], [MEDIUM]),
    ("a patient who died", "deceased", sample(demo={"deceasedBoolean": True}), [MEDIUM]),
    ("an order not to give it", "no-heparin-order", sample(), [MEDIUM | {"doNotPerform": True}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "chart", "drafts"), [row[1:] for row in SILENT], ids=[row[0] for row in SILENT]
)
def test_silent(reason: str, chart: list[Resource], drafts: list[Resource]) -> None:
    decision = decide(*drafts, chart=chart)
    assert (decision.reasons, decision.cards) == ((reason,), ())
    assert reason in rule.REASONS


def test_the_warning() -> None:
    decision = decide(MEDIUM)
    (card,) = decision.cards
    shown = card.as_json()
    (about,) = decision.output["about"]
    assert (about["card"], about["order"]) == (shown["uuid"], f"MedicationRequest/{MEDIUM['id']}")
    assert about["codes"], "heparin is known by its codes"
    assert shown["indicator"] == "warning"
    assert len(shown["summary"]) < SUMMARY_LIMIT
    assert "12.6 vs 10.8 %" in shown["summary"]
    for text in (
        "12,500 IU × 2 a day = 25,000 IU in 24 hours", "| 12.6 % | 10.8 % | +17.6 (95 % CI 4.8 to 30.4) |",
        "+9.5 transfused or fatal extracranial bleeds per 1000 (95 % CI 6.9 to 12.1)",
        "average effect, not an individual one", "Nobody is singled out", "Lancet Neurol 2013;12:539",
        "1991–1996", "MedicationRequest/draft", "Condition/stroke-demo-stroke", "not evidence of safety",
        "ODC Attribution License",
    ):  # fmt: skip
        assert text in shown["detail"], text
    assert "suggestions" not in shown
    assert shown["overrideReasons"] == [reason.as_json() for reason in override_reasons.ORDER]
    assert shown["extension"]["io.xinglin.rule"]["identity"] == rule.RULE


def test_word_for_word() -> None:
    golden_card("stroke-heparin-dose", decide(MEDIUM).cards[0].as_json())
    infusion = order({"doseAndRate": [{"rateQuantity": quantity(18, "[iU]/kg/h")}]})
    embolism = resource("Condition", code=concept(stroke.SNOMED, "59282003"))
    chart = [*sample(), weight(), {**embolism, "id": "embolism"}]
    golden_card("stroke-heparin-dose-embolism", decide(infusion, chart=chart).cards[0].as_json())


def test_three_times_5000_lies_between_the_arms() -> None:
    decision = decide(order(dosage(quantity(5000), 3)))
    (card,) = decision.cards
    assert (card.indicator, decision.output["between_the_arms"]) == ("info", True)
    assert "not studied" in card.detail
    assert decide(order(dosage(quantity(7500)))).cards[0].indicator == "warning"


OTHER: list[tuple[str, Resource]] = [
    ("venous thromboembolism", resource("Condition", code=concept(stroke.SNOMED, "59282003"))),
    ("venous thromboembolism", resource("Condition", code=concept(ICD10, "I82.401"))),
    ("venous thromboembolism", resource("Condition", code={"text": "Pulmonary embolism"})),
    ("cerebral venous thrombosis", resource("Condition", code=concept(ICD10, "I63.6"))),
    ("prosthetic heart valve", resource("Condition", code=concept(ICD10, "Z95.2"))),
    ("prosthetic heart valve",
     resource("Procedure", status="completed", code=concept(stroke.SNOMED, "431339008"))),
    ("acute coronary syndrome", resource("Condition", code=concept(ICD10, "I21.4"))),
    ("thrombus in the heart", resource("Condition", code=concept(stroke.SNOMED, "91335003"))),
    ("arterial embolism", resource("Condition", code=concept(ICD10, "I74.3"))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "more"), OTHER)
def test_another_indication_is_named_not_ignored(name: str, more: Resource) -> None:
    decision = decide(MEDIUM, chart=[*sample(), more])
    (card,) = decision.cards
    assert card.indicator == "info"
    assert name in card.summary
    assert f"is recorded ({more['resourceType']}/more)" in card.detail
    assert name in decision.output["other_indications"]


def test_the_reason_of_the_order_counts() -> None:
    draft = MEDIUM | {"reasonCode": [concept(stroke.SNOMED, "128053003")]}
    assert "venous thromboembolism is recorded" in decide(draft).cards[0].summary


@pytest.mark.parametrize(
    "harmless",
    [
        resource("Condition", code=concept(ICD10, "I26.99"), clinicalStatus=concept("x", "resolved")),
        resource("Condition", code=concept(ICD10, "I26.99"), verificationStatus=concept("x", "refuted")),
        resource("Procedure", status="not-done", code=concept(stroke.SNOMED, "431339008")),
        resource("Condition", code=concept(stroke.SNOMED, "49436004")),  # fibrillation is no exception
    ],
)
def test_what_does_not_soften_the_warning(harmless: Resource) -> None:
    assert decide(MEDIUM, chart=[*sample(), harmless]).cards[0].indicator == "warning"


def test_a_haemorrhage_is_named() -> None:
    bleed = resource("Condition", code=concept(ICD10, "I61.9"))
    assert (
        "intracranial haemorrhage is recorded (Condition/more)"
        in decide(MEDIUM, chart=[*sample(), bleed]).cards[0].detail
    )


def test_drafts_are_added_and_running_orders_are_named() -> None:
    two = [order(dosage(quantity(5000))), order(dosage(quantity(5000)), identifier="second")]
    decision = decide(*two)
    assert decision.output["daily_iu"] == 20000
    running = order(dosage(quantity(5000)), identifier="old", status="active", authoredOn=AGO[20])
    assert (
        "| already ordered, not counted | heparin | — | MedicationRequest/old |"
        in decide(MEDIUM, chart=[*sample(), running]).cards[0].detail
    )


def test_a_low_dose_beside_a_running_order_is_named() -> None:
    draft = order(dosage(quantity(5000)))
    running = order(dosage(quantity(5000)), identifier="old", status="active", authoredOn=AGO[20])
    decision = decide(draft, chart=[*sample(), running])
    (card,) = decision.cards
    assert (card.indicator, decision.output["together_iu"]) == ("info", 20000)
    assert "together 20,000 IU" in card.summary
    assert "MedicationRequest/old" in card.detail
    vague = running | {"dosageInstruction": [{"text": "as before"}]}
    assert decide(draft, chart=[*sample(), vague]).reasons == ("running-order-unreadable",)
    assert decide(draft, chart=[*sample(), running | {"status": "stopped"}]).reasons == (
        "dose-within-low-arm",
    )


def test_a_stroke_of_yesterday_without_an_hour_is_acute() -> None:
    assert decide(MEDIUM, chart=sample(stroke={"onsetDateTime": "2026-03-01"})).cards


@given(st.integers(1, 40_000), st.integers(1, 6))
def test_the_warning_depends_on_the_daily_dose_alone(units: int, times: int) -> None:
    decision = decide(order(dosage(quantity(units), times)))
    assert bool(decision.cards) is (units * times > 10_000)
    assert decision.output["daily_iu"] == pytest.approx(units * times)


@given(st.floats(0.1, 50))
def test_units_do_not_matter(thousands: float) -> None:
    one = heparin.dose(Chart("p", NOW), order(dosage(quantity(thousands, "k[iU]"))), None)
    other = heparin.dose(Chart("p", NOW), order(dosage(quantity(thousands * 1000))), None)
    assert isinstance(one, Dose)
    assert isinstance(other, Dose)
    assert one.daily == pytest.approx(other.daily)
    assert isinstance(heparin.dose(Chart("p", NOW), order(dosage(quantity(thousands, "U"))), None), Unknown)


def test_the_figures_are_those_of_the_trial(trial: Path) -> None:
    """Percentages, differences and intervals on the card, recomputed from the trial's rows."""
    import numpy as np

    from cds_hooks.training import cohort
    from cds_hooks.training.description import Event

    data = cohort.load(trial)
    arm = data.table["RXHEP"]
    high, low, none = ((arm == letter).to_numpy() for letter in "MLN")
    outcomes = [
        *(
            data.counted(Event("", {}, None, columns))
            for columns in (("ID14", "STRK14"), ("H14",), ("TRAN14",))
        ),
        data.outcome("dead-or-dependent-6-months"),
    ]

    def compare(y: Any, a: Any, b: Any) -> tuple[float, ...]:
        known = ~np.isnan(y)
        p, q, n, m = y[a & known].mean(), y[b & known].mean(), (a & known).sum(), (b & known).sum()
        error = 1.96 * (p * (1 - p) / n + q * (1 - q) / m) ** 0.5
        return 100 * p, 100 * q, 1000 * (p - q), 1000 * (p - q - error), 1000 * (p - q + error)

    for figure, y in zip(rule.HIGH_AGAINST_LOW, outcomes, strict=True):
        told = (figure.high, figure.low, figure.per_1000, *figure.ci)
        assert told == pytest.approx(compare(y, high, low), abs=0.051)
    bleeds = rule.ANY_AGAINST_NONE_BLEEDS
    told = (bleeds.high, bleeds.low, bleeds.per_1000, *bleeds.ci)
    assert told == pytest.approx(compare(outcomes[2], high | low, none), abs=0.051)
    assert (high.sum(), low.sum()) == (4856, 4861)
    assert (
        round(100 * (data.table["RATRIAL"] == "Y").sum() / data.table["RATRIAL"].isin(["Y", "N"]).sum()) == 17
    )
