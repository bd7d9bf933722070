"""What a treatment did on average: the effect that a card may state, and its harms.

The effect is the odds ratio of the bad outcome, adjusted for predicted risk: for the benchmark where
the description has one (the trial's own prediction, as in its paper), else for the cross-fitted risk
of our own model. Harms are plain differences of proportions. Nothing here is individual.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, Mask, logistic, logit
from cds_hooks.training.cohort import Cohort
from cds_hooks.training.description import Effect, Event

Z = 1.959964


class NoEffect(ValueError):
    """The description names no effect, or the rows hold no comparison."""


def odds_ratio(cohort: Cohort, own_risk: Floats | None = None) -> dict[str, Any]:
    """Return OR, 95 % CI and p of the effect's arm on its outcome, risk-adjusted.

    `own_risk` (a cross-fitted risk for every row) is used where there is no benchmark.
    """
    known, y, treated, risk, adjusted_for = _compared(cohort, own_risk)
    fit = logistic(np.column_stack([np.ones(len(y)), treated, logit(risk)]), y)
    value, error = float(fit.coefficients[1]), float(fit.errors[1])
    return {
        "odds_ratio": round(float(np.exp(value)), 3),
        "ci": [round(float(np.exp(value + sign * Z * error)), 3) for sign in (-1, 1)],
        "log_odds_ratio": value,
        "log_odds_ratio_se": error,
        "outcome": cohort.description.outcomes[_effect(cohort).outcome].label,
        "adjusted_for": adjusted_for,
        "n": int(known.sum()),
    }


def benefit(cohort: Cohort, own_risk: Floats | None = None) -> dict[str, Any]:
    """Return fewer bad outcomes per 1000 with the treatment, adjusted for predicted risk, with SE."""
    _known, y, treated, risk, _adjusted_for = _compared(cohort, own_risk)
    x = np.column_stack([np.ones(len(y)), treated, risk])
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    residual = y - x @ beta
    error = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * residual.var())
    return {"per_1000": round(-1000 * float(beta[1]), 1), "se": round(1000 * float(error[1]), 1)}


def difference(cohort: Cohort, event: Event) -> dict[str, Any]:
    """Return treated minus control of an event, per 1000, with 95 % CI and both percentages."""
    arm = cohort.description.arms[_effect(cohort).arm]
    allocated, counted = cohort.arm(arm.name), cohort.counted(event)
    rows = cohort.where(event.where) & ~np.isnan(allocated) & ~np.isnan(counted)
    outcome, treated = counted[rows], allocated[rows] == 1
    p1, p0 = float(outcome[treated].mean()), float(outcome[~treated].mean())
    error = float(np.sqrt(p1 * (1 - p1) / treated.sum() + p0 * (1 - p0) / (~treated).sum()))
    low, high = p1 - p0 - Z * error, p1 - p0 + Z * error
    return {
        "per_1000": round(1000 * (p1 - p0), 1),
        "ci": [round(1000 * low, 1), round(1000 * high, 1)],
        f"{_key(arm.name)}_percent": round(100 * p1, 2),
        f"{_key(arm.control_name)}_percent": round(100 * p0, 2),
        "n": int(rows.sum()),
    }


def harms(cohort: Cohort) -> dict[str, Any]:
    """Return the harms that the description lists, per 1000."""
    return {event.name: difference(cohort, event) for event in cohort.description.harms}


def by_risk(cohort: Cohort, known: Mask, p: Floats, ratio: float) -> list[dict[str, Any]]:
    """Return, by fifth of baseline risk, the benefit per 1000 at a constant OR and the observed one.

    `p` belongs to the rows where `known`.
    """
    effect = _effect(cohort)
    y, treated = cohort.outcome(effect.outcome)[known], cohort.arm(effect.arm)[known] == 1
    control = cohort.arm(effect.arm)[known] == 0
    answer = []
    for part in np.array_split(np.argsort(p, kind="stable"), 5):
        risk = float(p[part].mean())
        one, other = part[treated[part]], part[control[part]]
        rates = float(y[one].mean()), float(y[other].mean())
        error = np.sqrt(sum(r * (1 - r) / len(group) for r, group in zip(rates, (one, other), strict=True)))
        treated_risk = ratio * risk / (1 - risk + ratio * risk)
        answer.append(
            {
                "baseline_risk": round(risk, 4),
                "benefit_per_1000": round(1000 * (risk - treated_risk), 1),
                "observed_per_1000": round(1000 * (rates[1] - rates[0]), 1),
                "observed_se": round(1000 * float(error), 1),
            }
        )
    return answer


def _effect(cohort: Cohort) -> Effect:
    if cohort.description.effect is None:
        raise NoEffect(f"{cohort.description.id} names no [effect]: a cohort without arms has risks only")
    return cohort.description.effect


def _compared(cohort: Cohort, own_risk: Floats | None) -> tuple[Mask, Floats, Floats, Floats, str]:
    """Return the rows of the comparison, their outcome, arm and risk, and what the risk is."""
    effect = _effect(cohort)
    y, treated = cohort.outcome(effect.outcome), cohort.arm(effect.arm)
    known = ~np.isnan(y) & ~np.isnan(treated)
    for benchmark in cohort.description.benchmarks:
        if benchmark.outcome == effect.outcome:
            risk = cohort.numbers(benchmark.column)
            known &= ~np.isnan(risk)
            return known, y[known], treated[known], risk[known], f"{benchmark.label} ({benchmark.column})"
    if own_risk is None:
        raise NoEffect(
            f"{cohort.description.id} has no benchmark of {effect.outcome}; give the model's own risk"
        )
    known &= ~np.isnan(own_risk)
    return known, y[known], treated[known], own_risk[known], "cross-fitted risk of this model"


def _key(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")
