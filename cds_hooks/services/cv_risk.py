"""cv-risk: ten-year risk of a first heart attack or stroke, and the stroke risk of atrial fibrillation.

Two published rules on one hook. Without atrial fibrillation: the pooled cohort equations of 2013,
for a discussion about a statin. With it: CHA2DS2-VASc, for one about anticoagulation. The equations
were made from people free of both, so the first is silent where the second speaks.

The equations exist for white and for African American patients. Race is taken from the US Core
extension alone; where it is missing, another, or several, both results are shown as a range and the
card says why. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from cds_hooks.facts import cardiovascular as facts_of
from cds_hooks.facts import demographics
from cds_hooks.facts.cardiovascular import Finding, Race
from cds_hooks.facts.chart import Chart, active_conditions, local_reference
from cds_hooks.facts.demographics import Sex
from cds_hooks.facts.laboratory import (
    HDL_CHOLESTEROL,
    SYSTOLIC_PRESSURE,
    TOTAL_CHOLESTEROL,
    Measured,
    Problem,
    observed,
)
from cds_hooks.facts.stroke import current, unreadable_drug
from cds_hooks.facts.subjects import of_start
from cds_hooks.facts.value_sets import ANTICOAGULANT
from cds_hooks.service import Decision, Facts, Service
from cds_hooks.services import cv_risk_card
from cds_hooks.services.cv_risk_card import Estimate, Point
from cds_hooks.services.cv_risk_rules import (
    LDL_LIMIT,
    OLDEST,
    YOUNGEST,
    Equation,
    Profile,
    advice,
    ten_year_risk,
)

ID = "cv-risk"
LIPIDS_AGE = timedelta(days=5 * 365)
PRESSURE_AGE = timedelta(days=2 * 365)
SMOKING_AGE = timedelta(days=5 * 365)

PREFETCH: Mapping[str, str] = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}",
    "procedures": "Procedure?patient={{context.patientId}}",
    "lipids": "Observation?patient={{context.patientId}}&code="
    + ",".join(
        f"http://loinc.org|{code}"
        for code in ("2093-3", "14647-2", "2085-9", "14646-4", "2089-1", "13457-7", "18262-6", "96259-7")
    )
    + "&_sort=-date&_count=50",
    "pressure": "Observation?patient={{context.patientId}}&code=http://loinc.org|85354-9,http://loinc.org|8480-6"
    "&_sort=-date&_count=5",
    "smoking": "Observation?patient={{context.patientId}}&code=http://loinc.org|72166-2&_sort=-date&_count=5",
    "requests": "MedicationRequest?patient={{context.patientId}}&status=active,on-hold",
    "statements": "MedicationStatement?patient={{context.patientId}}",
}

REASONS: Mapping[str, str] = {
    "shown": "a card was shown",
    "patient-unknown": "no patient",
    "deceased": "the patient died",
    "sex-unknown": "sex neither female nor male",
    "age-unknown": "birth date not known to the day",
    "age-outside-40-79": "the equations are for ages 40 to 79",
    "known-ascvd": "coronary, cerebral or peripheral arterial disease is recorded, by code or in words",
    "heart-failure": "heart failure is recorded; the equations were made without",
    "in-atrial-fibrillation": "atrial fibrillation is recorded; the equations were made without",
    "ldl-190-or-more": "LDL cholesterol of 190 mg/dL or more: treated without a risk estimate",
    "on-statin": "a statin is taken or ordered, by code or in words",
    "medication-unreadable": "a running drug has no name that can be read",
    "smoking-unknown": "no usable smoking status of the last five years",
    "diabetes-unclear": "diabetes is unconfirmed, or stands in words that no code confirms",
    "total-cholesterol-…": "total cholesterol is missing, too old, unreadable or implausible",
    "hdl-cholesterol-…": "HDL cholesterol is missing, too old, unreadable or implausible",
    "ldl-cholesterol-…": "an LDL cholesterol is there and cannot be read",
    "systolic-pressure-…": "systolic pressure is missing, older than two years, unreadable or implausible",
    "risk-below-5-percent": "the risk is below 5 %",
    "no-atrial-fibrillation": "no active, confirmed atrial fibrillation or flutter",
    "age-below-18": "CHA2DS2-VASc is for adults",
    "valvular-atrial-fibrillation": "mitral stenosis or a prosthetic valve: the score is not for them",
    "on-anticoagulant": "an anticoagulant is taken or ordered",
    "low-stroke-risk": "no point but that for female sex",
}
"""Every reason; those of measurements carry a suffix (`-missing`, `-old`, `-unreadable` …)."""


def service() -> Service:
    """Return the service."""
    return Service(
        id=ID,
        hooks=("patient-view",),
        title="Cardiovascular risk: statin and anticoagulation",
        description="Ten-year risk of a first heart attack or stroke (pooled cohort equations 2013) for a"
        " discussion about a statin; in atrial fibrillation CHA2DS2-VASc for one about anticoagulation.",
        prefetch=PREFETCH,
        decide=decide,
        usage_requirements="Needs coded lipids, pressure and smoking status with UCUM units. Uses the US Core"
        " race extension where it is given, and shows a range where it is not.",
    )


def decide(facts: Facts) -> Decision:
    """Return a card of the rule that fits the patient, or every reason why there is none."""
    chart = facts.chart
    if chart.patient is None:
        return Decision(("patient-unknown",))
    if demographics.deceased(chart):
        return Decision(("deceased",))
    sex, age = demographics.sex(chart), demographics.age(chart)
    if sex is None or age is None:
        missing = [*(["sex-unknown"] if sex is None else []), *(["age-unknown"] if age is None else [])]
        return Decision(tuple(missing))
    fibrillation = [
        condition
        for condition, certainty in active_conditions(chart, facts_of.FIBRILLATION_OR_FLUTTER)
        if certainty == "confirmed"
    ]
    if fibrillation:
        return _score(facts, sex, age, local_reference(fibrillation[0]) or "Condition")
    estimate = _estimate(facts, sex, age)
    return Decision((*estimate.reasons, *(() if estimate.cards else ("no-atrial-fibrillation",))),
                    estimate.cards, estimate.inputs, estimate.output)  # fmt: skip


# Pooled cohort equations ------------------------------------------------------------------------
def _estimate(facts: Facts, sex: Sex, age: int) -> Decision:
    chart = facts.chart
    reasons = list(_not_for(chart, age))
    total = observed(chart, TOTAL_CHOLESTEROL, chart.now - LIPIDS_AGE)
    hdl = observed(chart, HDL_CHOLESTEROL, chart.now - LIPIDS_AGE)
    ldl = observed(chart, facts_of.LDL_CHOLESTEROL, chart.now - LIPIDS_AGE)
    pressure = observed(chart, SYSTOLIC_PRESSURE, chart.now - PRESSURE_AGE)
    smoking = facts_of.smoking(chart, chart.now - SMOKING_AGE)
    reasons += [found.code for found in (total, hdl, pressure) if isinstance(found, Problem)]
    if isinstance(ldl, Problem) and not ldl.code.endswith(("-missing", "-old")):
        reasons.append(ldl.code)
    if isinstance(ldl, Measured) and ldl.value >= LDL_LIMIT:
        reasons.append("ldl-190-or-more")
    if smoking.value is None:
        reasons.append("smoking-unknown")
    diabetes = _diabetes(chart)
    if diabetes.value is None:
        reasons.append("diabetes-unclear")
    inputs = _inputs(age, sex, total=total, hdl=hdl, ldl=ldl, pressure=pressure, smoking=smoking)
    if isinstance(total, Problem) or isinstance(hdl, Problem) or isinstance(pressure, Problem) or reasons:
        return Decision(tuple(reasons), inputs=inputs)
    treated = facts_of.on(chart, facts_of.ANTIHYPERTENSIVE)
    profile = Profile(
        sex, age, total.value, hdl.value, pressure.value, bool(treated.value), bool(smoking.value),
        bool(diabetes.value),
    )  # fmt: skip
    race = facts_of.race(chart)
    risks = {
        (equation, on): ten_year_risk(replace(profile, treated=on), equation)
        for equation in _equations(race)
        for on in ((profile.treated,) if treated.value is not None else (False, True))
    }
    estimate = Estimate(profile, total, hdl, pressure, smoking, treated, diabetes,
                        ldl if isinstance(ldl, Measured) else None, race, risks)  # fmt: skip
    inputs |= {
        "treated": _told(treated), "diabetes": _told(diabetes), "race": {"value": race},
    }  # fmt: skip
    output: dict[str, Any] = {
        "risks": {
            f"{equation}, {'treated' if on else 'untreated'}": risk for (equation, on), risk in risks.items()
        },
        "low": estimate.low,
        "high": estimate.high,
    }
    if 100 * estimate.high < 5:
        return Decision(("risk-below-5-percent",), inputs=inputs, output=output)
    card = cv_risk_card.statin(facts, estimate)
    output["about"] = [of_start(card.uuid, facts_of.STATIN)]
    return Decision(("shown",), (card,), inputs, output)


def _equations(race: Race) -> tuple[Equation, ...]:
    if race == "black":
        return ("black",)
    return ("white",) if race == "white" else ("white", "black")


def _not_for(chart: Chart, age: int) -> Iterator[str]:
    """Give every reason why the equations are not for this patient."""
    if not YOUNGEST <= age <= OLDEST:
        yield "age-outside-40-79"
    if next(facts_of.ascvd(chart), None) is not None:
        yield "known-ascvd"
    if next(facts_of.ever(chart, facts_of.HEART_FAILURE), None) is not None:
        yield "heart-failure"
    if next(facts_of.ever(chart, facts_of.FIBRILLATION_OR_FLUTTER), None) is not None:
        yield "in-atrial-fibrillation"
    statin = facts_of.on(chart, facts_of.STATIN)
    if statin.value or "in words" in statin.note:
        yield "on-statin"
    known = (facts_of.STATIN, facts_of.ANTIHYPERTENSIVE)
    if unreadable_drug(chart, known) is not None or (statin.value is None and "in words" not in statin.note):
        yield "medication-unreadable"


def _diabetes(chart: Chart) -> Finding:
    """Return whether diabetes is recorded; None where words name one that no code confirms."""
    unsure: Finding | None = None
    for condition, certainty in active_conditions(chart, facts_of.DIABETES):
        place = local_reference(condition) or "Condition"
        if certainty == "confirmed" and facts_of.DIABETES.holds_code(condition.get("code")):
            return Finding(True, place)
        unsure = Finding(None, place, note="unconfirmed, or in words only")
    return unsure or Finding(False, note="not among the active conditions")


def _told(finding: Finding) -> dict[str, Any]:
    return asdict(finding)


def _inputs(age: int, sex: Sex, *, smoking: Finding, **found: Measured | Problem) -> dict[str, Any]:
    inputs: dict[str, Any] = {"age": {"value": age}, "sex": {"value": sex}, "smoking": _told(smoking)}
    for name, entry in found.items():
        if isinstance(entry, Measured):
            inputs[name] = {"value": entry.value, "unit": entry.unit, "time": entry.at.isoformat(),
                            "reference": entry.reference}  # fmt: skip
        else:
            inputs[name] = {"value": None, "reason": entry.code, "reference": entry.reference}
    return inputs


# CHA2DS2-VASc -----------------------------------------------------------------------------------
def _score(facts: Facts, sex: Sex, age: int, fibrillation: str) -> Decision:
    chart = facts.chart
    reasons = ["age-below-18"] if age < 18 else []
    if next(facts_of.ever(chart, facts_of.VALVULAR), None) or _valvular_in_words(chart):
        reasons.append("valvular-atrial-fibrillation")
    if current(chart, ANTICOAGULANT, timedelta(days=7)) is not None:
        reasons.append("on-anticoagulant")
    if unreadable_drug(chart, (facts_of.STATIN, facts_of.ANTIHYPERTENSIVE)) is not None:
        reasons.append("medication-unreadable")
    points = tuple(_points(chart, sex, age))
    score = sum(entry.points for entry in points)
    inputs = {entry.label: {"points": entry.points, "reference": entry.place} for entry in points}
    output: dict[str, Any] = {"score": score}
    said = advice(score, sex)
    if not reasons and said.strength == "none":
        reasons.append("low-stroke-risk")
    if reasons:
        return Decision((*reasons, "in-atrial-fibrillation"), inputs=inputs, output=output)
    card = cv_risk_card.anticoagulation(facts, points, score, said, fibrillation)
    output["about"] = [of_start(card.uuid, ANTICOAGULANT)]
    return Decision(("shown", "in-atrial-fibrillation"), (card,), inputs, output)


def _valvular_in_words(chart: Chart) -> bool:
    return next(active_conditions(chart, facts_of.VALVULAR), None) is not None


def _points(chart: Chart, sex: Sex, age: int) -> Iterator[Point]:
    """Give the eight lines of the score (Lip 2010); age gives 2 or 1, never both."""
    who = f"Patient/{chart.patient_id}"
    for label, value, sets in (
        ("C congestive heart failure", 1, (facts_of.HEART_FAILURE,)),
        ("H hypertension", 1, (facts_of.HYPERTENSION,)),
        ("D diabetes", 1, (facts_of.DIABETES,)),
        ("S2 stroke, TIA or thromboembolism", 2, (facts_of.STROKE_OR_EMBOLISM,)),
        (
            "V vascular disease (infarction, peripheral arterial disease, aortic plaque)",
            1,
            (facts_of.MYOCARDIAL_INFARCTION, facts_of.PERIPHERAL_DISEASE),
        ),
    ):
        place = next((local_reference(found) or found["resourceType"]
                      for codes in sets for found in facts_of.ever(chart, codes)), None)  # fmt: skip
        yield Point(label, value if place else 0, place or "not recorded")
    yield Point("A2 age 75 or more", 2 if age >= 75 else 0, who)
    yield Point("A age 65 to 74", 1 if 65 <= age <= 74 else 0, who)
    yield Point("Sc female sex", 1 if sex == "female" else 0, who)
