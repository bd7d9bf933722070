"""The published numbers of cv-risk: pooled cohort equations, CHA2DS2-VASc, the guidelines' thresholds.

Sources, each read: Goff 2013 (doi:10.1161/01.cir.0000437741.48606.98) Table A, coefficients, means,
baseline survival and the worked example; the ACC/AHA guideline on primary prevention of 2019
(doi:10.1161/CIR.0000000000000677) section 4.3 and the figure of the cholesterol guideline of 2018 for
statins; Lip 2010 (doi:10.1378/chest.09-1584) for the points; Friberg 2012
(doi:10.1093/eurheartj/ehr488) for ischaemic strokes a year; the ACC/AHA/ACCP/HRS guideline on atrial
fibrillation of 2023, section 6.3.1, for anticoagulation. Copies on the web have two misprints that a
test keeps out: the mean of African American women is 86.61 (86.16 is the example's sum), and
ln(age) × ln(total cholesterol) of white women is negative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from cds_hooks.facts.demographics import Sex

Equation = Literal["white", "black"]

GOFF = "https://doi.org/10.1161/01.cir.0000437741.48606.98"
STATINS = "https://doi.org/10.1161/CIR.0000000000000677"
LIP = "https://doi.org/10.1378/chest.09-1584"
FRIBERG = "https://doi.org/10.1093/eurheartj/ehr488"
FIBRILLATION = "https://pmc.ncbi.nlm.nih.gov/articles/PMC11095842/"

YOUNGEST, OLDEST = 40, 79
LDL_LIMIT = 190.0


# Pooled cohort equations ------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Coefficients:
    """One column of Table A: what the natural logarithms are multiplied by; mean sum; survival."""

    ln_age: float
    ln_age_squared: float
    ln_total: float
    ln_age_total: float
    ln_hdl: float
    ln_age_hdl: float
    ln_treated: float
    ln_age_treated: float
    ln_untreated: float
    ln_age_untreated: float
    smoker: float
    ln_age_smoker: float
    diabetes: float
    mean: float
    survival: float


TABLE_A: Mapping[tuple[Sex, Equation], Coefficients] = {
    ("female", "white"): Coefficients(
        -29.799, 4.884, 13.540, -3.114, -13.578, 3.149, 2.019, 0, 1.957, 0, 7.574, -1.665, 0.661,
        -29.18, 0.9665,
    ),
    ("female", "black"): Coefficients(
        17.114, 0, 0.940, 0, -18.920, 4.475, 29.291, -6.432, 27.820, -6.087, 0.691, 0, 0.874,
        86.61, 0.9533,
    ),
    ("male", "white"): Coefficients(
        12.344, 0, 11.853, -2.664, -7.990, 1.769, 1.797, 0, 1.764, 0, 7.837, -1.795, 0.658,
        61.18, 0.9144,
    ),
    ("male", "black"): Coefficients(
        2.469, 0, 0.302, 0, -0.307, 0, 1.916, 0, 1.809, 0, 0.549, 0, 0.645,
        19.54, 0.8954,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profile:
    """The inputs of the equations: years, mg/dL, mg/dL, mmHg."""

    sex: Sex
    age: float
    total: float
    hdl: float
    pressure: float
    treated: bool
    smoker: bool
    diabetes: bool


def individual_sum(profile: Profile, equation: Equation) -> float:
    """Return the sum of coefficient × value of Table A."""
    row = TABLE_A[profile.sex, equation]
    ln_age, ln_total, ln_hdl, ln_pressure = map(
        math.log, (profile.age, profile.total, profile.hdl, profile.pressure)
    )
    alone, with_age = (
        (row.ln_treated, row.ln_age_treated) if profile.treated else (row.ln_untreated, row.ln_age_untreated)
    )
    return (
        row.ln_age * ln_age
        + row.ln_age_squared * ln_age**2
        + (row.ln_total + row.ln_age_total * ln_age) * ln_total
        + (row.ln_hdl + row.ln_age_hdl * ln_age) * ln_hdl
        + (alone + with_age * ln_age) * ln_pressure
        + (row.smoker + row.ln_age_smoker * ln_age) * profile.smoker
        + row.diabetes * profile.diabetes
    )


def ten_year_risk(profile: Profile, equation: Equation) -> float:
    """Return the 10-year risk of a first infarction, coronary death or stroke, between 0 and 1.

    >>> round(100 * ten_year_risk(Profile("female", 55, 213, 50, 120, False, False, False), "white"), 1)
    2.1
    """
    row = TABLE_A[profile.sex, equation]
    return float(1 - row.survival ** math.exp(individual_sum(profile, equation) - row.mean))


def changed(profile: Profile) -> dict[str, Profile]:
    """Return the profile with one input at a time as it would be better: for a comparison, no effect."""
    others: dict[str, Profile] = {}
    if profile.smoker:
        others["not smoking"] = replace(profile, smoker=False)
    if profile.pressure > 120:
        others[f"pressure 120 mmHg{', treated' if profile.treated else ''}"] = replace(profile, pressure=120)
    if profile.diabetes:
        others["without diabetes"] = replace(profile, diabetes=False)
    if profile.total > 170:
        others["total cholesterol 170 mg/dL"] = replace(profile, total=170)
    return others


@dataclass(frozen=True, slots=True)
class Group:
    """A risk group of the guideline: from `low` percent, its name, what the guideline says there."""

    low: float
    name: str
    says: str


GROUPS: tuple[Group, ...] = (
    Group(0.0, "low", "emphasise lifestyle"),
    Group(
        5.0,
        "borderline",
        "if factors that raise the risk are present, discuss a moderate-intensity statin (class IIb)",
    ),
    Group(
        7.5,
        "intermediate",
        "discuss a statin; if the decision is for one, of moderate intensity, to lower LDL cholesterol by"
        " 30 % or more (class I)",
    ),
    Group(20.0, "high", "discuss a statin that lowers LDL cholesterol by 50 % or more (class I)"),
)


def group(risk: float) -> Group:
    """Return the guideline's group of a risk between 0 and 1, for ages 40 to 75.

    >>> [group(risk).name for risk in (0.049, 0.05, 0.075, 0.2)]
    ['low', 'borderline', 'intermediate', 'high']
    """
    return next(entry for entry in reversed(GROUPS) if 100 * risk >= entry.low)


# CHA2DS2-VASc -----------------------------------------------------------------------------------
STROKES_A_YEAR: tuple[float, ...] = (0.2, 0.6, 2.2, 3.2, 4.8, 7.2, 9.7, 11.2, 10.8, 12.2)
"""Ischaemic strokes per 100 patients and year without anticoagulation, by score 0 to 9 (Friberg 2012)."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the guideline says at a score: `recommended`, `reasonable` or nothing."""

    strength: Literal["recommended", "reasonable", "none"]
    text: str


def advice(score: int, sex: Sex) -> Advice:
    """Return the guideline's sentence on anticoagulation: women have one point for their sex.

    >>> advice(2, "male").strength, advice(2, "female").strength, advice(1, "female").strength
    ('recommended', 'reasonable', 'none')
    """
    without_sex = score - (sex == "female")
    if without_sex >= 2:
        return Advice(
            "recommended",
            "anticoagulation is recommended (class 1): a score of 2 or more in men, 3 or more in women, which"
            " stands for 2 % a year or more",
        )
    if without_sex == 1:
        return Advice(
            "reasonable",
            "anticoagulation is reasonable (class 2a): a score of 1 in men, 2 in women, which stands for 1 to"
            " 2 % a year",
        )
    return Advice("none", "no anticoagulation for the score alone")
