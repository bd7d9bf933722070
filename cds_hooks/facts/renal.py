"""Kidney function for prescribing: eGFR by CKD-EPI 2021, creatinine clearance by Cockcroft and Gault.

Both are made for adults whose creatinine is steady. Where it is not (dialysis, acute kidney injury, a
creatinine that moves, one that is old), nothing is estimated and the reason has a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from cds_hooks.facts import demographics
from cds_hooks.facts.chart import Chart, Resource, active_conditions, local_reference, taken_at
from cds_hooks.facts.laboratory import (
    BODY_WEIGHT,
    CREATININE_IN_SERUM,
    Measured,
    Problem,
    history,
    observed,
)
from cds_hooks.facts.value_sets import SNOMED, CodeSet

OLDEST = timedelta(days=365)
"""How old creatinine and weight may be."""
FRESH = timedelta(days=90)
"""From here on the card says that the creatinine is old."""
ADULT_YEARS = 18

DIALYSIS = CodeSet(
    "dialysis",
    {
        SNOMED: (
            "236435004",  # end stage renal failure on dialysis
            "108241001",  # dialysis procedure
            "265764009",  # renal dialysis
            "302497006",  # haemodialysis
            "71192002",  # peritoneal dialysis
        )
    },
    words=r"dialysis|haemodiafiltration|hemodiafiltration|renal replacement",
)
ACUTE_KIDNEY_INJURY = CodeSet(
    "acute kidney injury",
    {},
    icd10=("N17",),
    words=r"acute (kidney|renal) (injury|failure|insufficiency)|\bAKI\b",
)


def ckd_epi_2021(creatinine_mg_dl: float, age_years: int, sex: str) -> float:
    """Return the eGFR in mL/min/1.73 m² (CKD-EPI creatinine equation of 2021, without race).

    Inker et al., N Engl J Med 2021;385:1737; `sex` is FHIR's `male` or `female`.

    >>> round(ckd_epi_2021(1.2, 55, "male"), 1)
    71.4
    """
    female = _is_female(sex)
    ratio = creatinine_mg_dl / (0.7 if female else 0.9)
    low, high = min(ratio, 1.0), max(ratio, 1.0)
    value: float = 142 * low ** (-0.241 if female else -0.302) * high**-1.200 * 0.9938**age_years
    return value * 1.012 if female else value


def cockcroft_gault(creatinine_mg_dl: float, age_years: int, sex: str, weight_kg: float) -> float:
    """Return the creatinine clearance in mL/min (Cockcroft and Gault, Nephron 1976;16:31).

    With the weight that is given: labels that name a weight name the actual one.

    >>> round(cockcroft_gault(1.0, 40, "male", 72), 1), round(cockcroft_gault(1.0, 40, "female", 72), 1)
    (100.0, 85.0)
    """
    value = (140 - age_years) * weight_kg / (72 * creatinine_mg_dl)
    return 0.85 * value if _is_female(sex) else value


def _is_female(sex: str) -> bool:
    if sex not in ("male", "female"):
        raise ValueError("both equations are made for female and male only")
    return sex == "female"


@dataclass(frozen=True, slots=True)
class Kidney:
    """What is known of the kidneys: values as they are shown (one decimal), and why others are missing.

    `refusals` forbid every estimate, `clearance_refusals` that of the clearance alone; both map a
    code to a sentence. `cautions` are sentences for the card.
    """

    age_years: int | None = None
    sex: str | None = None
    creatinine: Measured | None = None
    weight: Measured | None = None
    egfr: float | None = None
    clearance: float | None = None
    refusals: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    clearance_refusals: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cautions: tuple[str, ...] = ()


def kidney(chart: Chart) -> Kidney:
    """Return the kidney function of a patient as far as it may be estimated."""
    refusals: dict[str, str] = {}
    age, sex = demographics.age(chart), demographics.sex(chart)
    if age is None:
        refusals["age-unknown"] = "the birth date is not known to the day"
    elif age < ADULT_YEARS:
        refusals["not-an-adult"] = f"younger than {ADULT_YEARS} years: the equations are made for adults"
    if sex is None:
        refusals["sex-unknown"] = "Patient.gender is neither female nor male; both equations need it"
    creatinine = observed(chart, CREATININE_IN_SERUM, chart.now - OLDEST)
    if isinstance(creatinine, Problem):
        refusals[creatinine.code] = creatinine.text
    refusals |= _states(chart)
    weight = observed(chart, BODY_WEIGHT, chart.now - OLDEST)
    without_weight = {weight.code: weight.text} if isinstance(weight, Problem) else {}
    found = Kidney(
        age,
        sex,
        creatinine if isinstance(creatinine, Measured) else None,
        weight if isinstance(weight, Measured) else None,
        refusals=MappingProxyType(refusals),
        clearance_refusals=MappingProxyType(refusals | without_weight),
    )
    return found if refusals else _estimated(found, chart)


def _estimated(found: Kidney, chart: Chart) -> Kidney:
    assert found.creatinine is not None
    assert found.age_years is not None
    assert found.sex is not None
    creatinine = round(found.creatinine.value, 6)  # one value in every unit, to the last digit
    egfr = round(ckd_epi_2021(creatinine, found.age_years, found.sex), 1)
    clearance = None
    cautions: list[str] = []
    if chart.now - found.creatinine.at > FRESH:
        days = (chart.now - found.creatinine.at).days
        cautions.append(f"The creatinine is {days} days old: measure again before relying on it.")
    if found.weight is not None:
        weight = round(found.weight.value, 6)
        clearance = round(cockcroft_gault(creatinine, found.age_years, found.sex, weight), 1)
    return Kidney(
        found.age_years,
        found.sex,
        found.creatinine,
        found.weight,
        egfr,
        clearance,
        found.refusals,
        found.clearance_refusals,
        tuple(cautions),
    )


# States in which creatinine says nothing --------------------------------------------------------
def _states(chart: Chart) -> dict[str, str]:
    found: dict[str, str] = {}
    if (resource := _dialysis(chart)) is not None:
        found["dialysis"] = f"on dialysis ({_place(resource)}): creatinine does not tell the clearance"
    injury = next(active_conditions(chart, ACUTE_KIDNEY_INJURY), None)
    if injury is not None:
        found["acute-kidney-injury"] = f"acute kidney injury ({_place(injury[0])}): creatinine is not steady"
    if (text := _unsteady(chart)) is not None:
        found["creatinine-unsteady"] = text
    return found


def _dialysis(chart: Chart) -> Resource | None:
    for condition, _certainty in active_conditions(chart, DIALYSIS):
        return condition
    for procedure in chart.all("Procedure"):
        if procedure.get("status") in ("not-done", "preparation") or not DIALYSIS.holds(
            procedure.get("code")
        ):
            continue
        at = taken_at(procedure)
        if at is None or at >= chart.now - timedelta(days=30):
            return procedure
    return None


def _unsteady(chart: Chart) -> str | None:
    """Return how the creatinine moved in the last week, by KDIGO's measures in either direction.

    KDIGO 2012: 0.3 mg/dL within 48 hours, or 1.5 times within seven days. A fall of that size is
    no steady state either.
    """
    values = list(history(chart, CREATININE_IN_SERUM, chart.now - OLDEST))
    if not values:
        return None
    newest = values[0]
    for earlier in values[1:]:
        apart = newest.at - earlier.at
        change = round(abs(newest.value - earlier.value), 6)
        ratio = round(max(newest.value, earlier.value) / min(newest.value, earlier.value), 6)
        if apart <= timedelta(hours=48) and change >= 0.3:
            return "creatinine changed by 0.3 mg/dL or more within 48 hours: not steady"
        if apart <= timedelta(days=7) and ratio >= 1.5:
            return "creatinine changed 1.5 times or more within seven days: not steady"
    return None


def _place(resource: Resource) -> str:
    return local_reference(resource) or str(resource.get("resourceType"))
