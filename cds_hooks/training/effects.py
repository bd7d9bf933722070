"""What aspirin did on average: the effect that a card may state, and its harms.

The 6-month effect is the odds ratio of death or dependency, adjusted for the trial's own
predicted risk as in the paper; harms are plain differences of proportions. Nothing here is
individual: the data carry no evidence that the relative effect differs between patients.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import logistic, logit
from cds_hooks.training.cohort import Cohort, Floats
from cds_hooks.training.evaluate import Mask

Z = 1.959964


def odds_ratio(cohort: Cohort) -> dict[str, Any]:
    """Return OR, 95 % CI and p of aspirin on death or dependency at six months, risk-adjusted."""
    known = ~np.isnan(cohort.dead_or_dependent)
    risk = cohort.table["EXPDD"].astype(float).to_numpy()[known]
    x = np.column_stack([np.ones(int(known.sum())), cohort.aspirin[known], logit(risk)])
    fit = logistic(x, cohort.dead_or_dependent[known])
    value, error = float(fit.coefficients[1]), float(fit.errors[1])
    return {
        "odds_ratio": round(float(np.exp(value)), 3),
        "ci": [round(float(np.exp(value + sign * Z * error)), 3) for sign in (-1, 1)],
        "log_odds_ratio": value,
        "log_odds_ratio_se": error,
        "outcome": "death or dependency at 6 months",
        "adjusted_for": "predicted risk of death or dependency (EXPDD)",
        "n": int(known.sum()),
    }


def benefit(cohort: Cohort) -> dict[str, Any]:
    """Return fewer dead or dependent per 1000 with aspirin, adjusted for predicted risk, with SE."""
    known = ~np.isnan(cohort.dead_or_dependent)
    risk = cohort.table["EXPDD"].astype(float).to_numpy()[known]
    y = cohort.dead_or_dependent[known]
    x = np.column_stack([np.ones(len(y)), cohort.aspirin[known], risk])
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    residual = y - x @ beta
    error = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * residual.var())
    return {"per_1000": round(-1000 * float(beta[1]), 1), "se": round(1000 * float(error[1]), 1)}


def difference(cohort: Cohort, columns: tuple[str, ...], rows: Mask) -> dict[str, Any]:
    """Return aspirin minus no aspirin of a 14-day outcome, per 1000, with 95 % CI."""
    outcome, treated = cohort.indicator(*columns)[rows], cohort.aspirin[rows] == 1
    p1, p0 = float(outcome[treated].mean()), float(outcome[~treated].mean())
    error = float(np.sqrt(p1 * (1 - p1) / treated.sum() + p0 * (1 - p0) / (~treated).sum()))
    low, high = p1 - p0 - Z * error, p1 - p0 + Z * error
    return {
        "per_1000": round(1000 * (p1 - p0), 1),
        "ci": [round(1000 * low, 1), round(1000 * high, 1)],
        "aspirin_percent": round(100 * p1, 2),
        "no_aspirin_percent": round(100 * p0, 2),
        "n": int(rows.sum()),
    }


def harms(cohort: Cohort) -> dict[str, Any]:
    """Return the harms of aspirin within 14 days, per 1000, in all and without heparin."""
    everyone = np.ones(len(cohort.x), dtype=bool)
    alone = cohort.heparin == 0
    return {
        "extracranial_bleeding": difference(cohort, ("TRAN14",), everyone),
        "extracranial_bleeding_without_heparin": difference(cohort, ("TRAN14",), alone),
        "haemorrhagic_stroke": difference(cohort, ("H14",), everyone),
        "haemorrhagic_stroke_without_heparin": difference(cohort, ("H14",), alone),
    }


def by_risk(cohort: Cohort, known: Mask, p: Floats, ratio: float) -> list[dict[str, Any]]:
    """Return, by fifth of baseline risk, the benefit per 1000 at a constant OR and the observed one."""
    y, treated = cohort.dead_or_dependent[known], cohort.aspirin[known] == 1
    answer = []
    for part in np.array_split(np.argsort(p, kind="stable"), 5):
        risk = float(p[part].mean())
        one, other = part[treated[part]], part[~treated[part]]
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
