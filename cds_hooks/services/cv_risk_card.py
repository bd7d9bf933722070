"""The two cards of cv-risk: a discussion about a statin, and one about anticoagulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cds_hooks import override_reasons
from cds_hooks.cards import Card, Coding, Link, Source
from cds_hooks.facts.cardiovascular import Finding, Race
from cds_hooks.facts.chart import active_conditions, local_reference
from cds_hooks.facts.laboratory import Measured
from cds_hooks.facts.value_sets import BLEEDING_TENDENCY, HAEMORRHAGE, SNOMED
from cds_hooks.service import Facts
from cds_hooks.services.cv_risk_rules import (
    FIBRILLATION,
    FRIBERG,
    GOFF,
    LIP,
    STATINS,
    STROKES_A_YEAR,
    Advice,
    Equation,
    Profile,
    changed,
    group,
    ten_year_risk,
)

PCE, SCORE = "pooled-cohort-equations-2013@1", "cha2ds2-vasc@1"

_WHY_RANGE = {
    "missing": "no race is recorded (US Core race extension)",
    "other": "the recorded race is neither White nor Black or African American",
    "several": "more than one race is recorded",
}
_EQUATION = {"white": "equation for white patients", "black": "equation for African American patients"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything that the statin card shows: inputs, and the risks of each equation and treatment."""

    profile: Profile
    total: Measured
    hdl: Measured
    pressure: Measured
    smoking: Finding
    treated: Finding
    diabetes: Finding
    ldl: Measured | None
    race: Race
    risks: Mapping[tuple[Equation, bool], float]

    @property
    def low(self) -> float:
        """The lowest of the risks, between 0 and 1."""
        return min(self.risks.values())

    @property
    def high(self) -> float:
        """The highest of the risks, between 0 and 1."""
        return max(self.risks.values())


@dataclass(frozen=True, slots=True)
class Point:
    """One line of the score: what is asked, how many points it gave, where it stands."""

    label: str
    points: int
    place: str


# Statin -----------------------------------------------------------------------------------------
def statin(facts: Facts, estimate: Estimate) -> Card:
    """Return the card of the pooled cohort equations."""
    names = list(dict.fromkeys(group(risk).name for risk in (estimate.low, estimate.high)))
    return Card(
        uuid=facts.uuid("statin"),
        summary=f"10-year risk of a first heart attack or stroke: {_percent(estimate)}"
        f" ({' to '.join(names)}); discuss a statin",
        indicator="info",
        source=Source(
            label="Pooled cohort equations, ACC/AHA 2013",
            url=GOFF,
            topic=Coding(SNOMED, "55822004", "Hyperlipidemia"),
        ),
        detail="\n".join(_statin_detail(facts, estimate)),
        override_reasons=override_reasons.PREVENTION,
        links=(
            Link("ACC/AHA guideline on the assessment of cardiovascular risk, 2013", GOFF),
            Link("ACC/AHA guideline on primary prevention, 2019", STATINS),
        ),
        extension={"io.xinglin.rule": {"identity": PCE}},
    )


def _percent(estimate: Estimate) -> str:
    low, high = f"{100 * estimate.low:.1f}", f"{100 * estimate.high:.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _statin_detail(facts: Facts, estimate: Estimate) -> list[str]:
    profile = estimate.profile
    lines = [
        "An average of people with the same figures, not a prophecy for this one.",
        "",
        "| Equation | Pressure counted as | 10-year risk | per 1000 |",
        "|---|---|---|---|",
        *(
            f"| {_EQUATION[equation]} | {'treated' if on else 'untreated'} | {100 * risk:.1f} % |"
            f" {1000 * risk:.0f} |"
            for (equation, on), risk in estimate.risks.items()
        ),
        "",
    ]
    if estimate.race in _WHY_RANGE:
        lines += [
            f"**Why a range.** The equations were made for white and for African American patients only;"
            f" {_WHY_RANGE[estimate.race]}, so both are shown and none is chosen. Race stands here for"
            " differences in living conditions and care that the cohorts did not measure. Newer equations"
            " (PREVENT, 2023) do without it.",
            "",
        ]
    if estimate.treated.value is None:
        lines += [
            f"**Treatment of the pressure is not certain** ({estimate.treated.note}): both are shown.",
            "",
        ]
    lines += ["**For the discussion.**", ""]
    for entry in dict.fromkeys(group(risk) for risk in (estimate.low, estimate.high)):
        lines.append(f"- {entry.name.capitalize()} risk ({_bounds(entry.low)}): {entry.says}.")
    if profile.diabetes and profile.age <= 75:
        lines.append(
            "- Diabetes, age 40 to 75: a moderate-intensity statin is indicated whatever the risk (class I);"
            " the risk helps to choose the intensity."
        )
    if profile.age > 75:
        lines.append("- Over 75 years: the guideline's groups end at 75; a clinical assessment instead.")
    if estimate.ldl is not None and estimate.ldl.value < 70:
        lines.append("- LDL cholesterol is below 70 mg/dL: the guideline's groups begin at 70.")
    lines += [
        "",
        *_compared(estimate),
        "| Input | Value | Time | Source |",
        "|---|---|---|---|",
        f"| age | {profile.age} years | — | Patient/{facts.chart.patient_id} |",
        f"| sex | {profile.sex} | — | Patient/{facts.chart.patient_id} |",
        f"| race | {_race(estimate.race)} | — | Patient/{facts.chart.patient_id} |",
        _measured("total cholesterol", estimate.total),
        _measured("HDL cholesterol", estimate.hdl),
        _measured("LDL cholesterol", estimate.ldl),
        _measured("systolic pressure", estimate.pressure),
        _found("treated for hypertension", estimate.treated),
        _found("smokes", estimate.smoking),
        _found("diabetes", estimate.diabetes),
        "",
        "**Evidence.** Cohorts of the United States, ages 40 to 79 (ACC/AHA 2013, Table A). They"
        " overestimate today's risk: in one later cohort (MESA) 10.8 % were predicted"
        " and 6.0 % observed. People with earlier infarction, stroke, heart failure or atrial fibrillation,"
        " or on a statin, are outside.",
        "",
        "What a statin would do for this patient, and its harms (muscle symptoms, new diabetes), are not"
        " computed here. Absence of a card is not evidence of safety.",
    ]
    return lines


def _bounds(low: float) -> str:
    return {0.0: "below 5 %", 5.0: "5 to 7.5 %", 7.5: "7.5 to 20 %", 20.0: "20 % or more"}[low]


def _compared(estimate: Estimate) -> list[str]:
    """Return what the same equation gives with one input changed: the weight of each, not an effect."""
    equation, on = max(estimate.risks, key=lambda key: estimate.risks[key])
    others = changed(replace(estimate.profile, treated=on))
    if not others:
        return []
    told = ", ".join(f"{name} {100 * ten_year_risk(other, equation):.1f} %" for name, other in others.items())
    return [
        f"**What weighs most.** The {_EQUATION[equation]} gives {100 * estimate.high:.1f} %; with one input"
        f" changed: {told}. These are other people's risks, not the effect of a treatment.",
        "",
    ]


def _race(race: str) -> str:
    return {"white": "White", "black": "Black or African American", "other": "another category",
            "several": "several categories", "missing": "not recorded"}[race]  # fmt: skip


def _measured(label: str, found: Measured | None) -> str:
    if found is None:
        return f"| {label} | not known | — | — |"
    given = f" (given as {found.given})" if found.given else ""
    unit = "mmHg" if found.unit == "mm[Hg]" else found.unit
    value = f"{found.value:.1f}".removesuffix(".0")
    return f"| {label} | {value} {unit}{given} | {found.at.date().isoformat()} | {found.reference or '—'} |"


def _found(label: str, found: Finding) -> str:
    value = {True: "yes", False: "no", None: "not certain"}[found.value]
    return f"| {label} | {value} | {found.time or '—'} | {found.reference or found.note or '—'} |"


# Anticoagulation --------------------------------------------------------------------------------
def anticoagulation(facts: Facts, points: Sequence[Point], score: int, said: Advice, place: str) -> Card:
    """Return the card of CHA2DS2-VASc."""
    rate = STROKES_A_YEAR[score]
    return Card(
        uuid=facts.uuid("anticoagulation"),
        summary=f"Atrial fibrillation, CHA2DS2-VASc {score} ({rate} % strokes a year), no anticoagulant"
        " recorded",
        indicator="warning" if said.strength == "recommended" else "info",
        source=Source(
            label="CHA2DS2-VASc; ACC/AHA/ACCP/HRS 2023",
            url=FIBRILLATION,
            topic=Coding(SNOMED, "49436004", "Atrial fibrillation"),
        ),
        detail="\n".join(_score_detail(facts, points, score, rate, said, place)),
        override_reasons=override_reasons.PREVENTION,
        links=(
            Link("CHA2DS2-VASc: Chest 2010;137:263", LIP),
            Link("Strokes by score: Eur Heart J 2012;33:1500", FRIBERG),
            Link("ACC/AHA/ACCP/HRS guideline on atrial fibrillation, 2023", FIBRILLATION),
        ),
        extension={"io.xinglin.rule": {"identity": SCORE}},
    )


def _score_detail(
    facts: Facts, points: Sequence[Point], score: int, rate: float, said: Advice, place: str
) -> list[str]:
    lines = [
        f"**{said.text[0].upper()}{said.text[1:]}.** To be decided together with the patient.",
        "",
        "| | Points | Source |",
        "|---|---|---|",
        *(f"| {entry.label} | {entry.points} | {entry.place} |" for entry in points),
        f"| **CHA2DS2-VASc** | **{score}** | atrial fibrillation: {place} |",
        "",
        f"**{10 * rate:.0f} of 1000** patients with this score had an ischaemic stroke in a year without"
        " anticoagulation: an average of the Swedish Atrial Fibrillation cohort (Friberg 2012), not this"
        " patient's own risk."
        " Other cohorts gave lower and higher figures.",
        "",
    ]
    for codes in (HAEMORRHAGE, BLEEDING_TENDENCY):
        for condition, _certainty in active_conditions(facts.chart, codes):
            lines += [
                f"**Recorded: {codes.name} ({local_reference(condition) or 'Condition'}).** The bleeding risk"
                " has to be weighed; this score does not.",
                "",
            ]
    lines += [
        "What is not recorded counts as absent, so the score may be too low. Not for mitral stenosis or"
        " mechanical valves. The guideline prefers direct oral anticoagulants to warfarin, and aspirin is no"
        " alternative. Bleeding risk, kidney function and the choice of drug are not judged here.",
        "",
        "Absence of a card is not evidence of safety.",
    ]
    return lines
