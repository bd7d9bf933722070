"""How good a risk model is: discrimination, calibration, usefulness; in all and in part.

TRIPOD's list: AUC with interval (Hanley and McNeil), Brier score, calibration slope with error,
calibration in the large (the intercept at slope 1), observed over expected, net benefit against
treat-all, the same by subgroup and by site. All figures are out of fold; a fold is whole groups (hospitals).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cds_hooks.training.cohort import Cohort
from cds_hooks.training.regression import Floats, Mask, logistic, logit

THRESHOLDS = (0.3, 0.5, 0.7)


def auc(y: Floats, p: Floats) -> float:
    """Return the area under the ROC curve; ties count half.

    >>> auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    _values, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = float(y.sum())
    negative = len(y) - positive
    return float((ranks[y == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def auc_error(area: float, positive: float, negative: float) -> float:
    """Return the standard error of an AUC (Hanley and McNeil, Radiology 1982;143:29)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positive - 1) * (q1 - area**2) + (negative - 1) * (q2 - area**2)
    return float(np.sqrt(spread / (positive * negative)))


def performance(y: Floats, p: Floats) -> dict[str, Any]:
    """Return the figures of one group of patients; rates as fractions."""
    positive = float(y.sum())
    area = auc(y, p)
    error = auc_error(area, positive, len(y) - positive)
    ones = np.ones((len(y), 1))
    slope = logistic(np.column_stack([ones, logit(p)]), y)
    large = logistic(ones, y, offset=logit(p))
    observed, expected = float(y.mean()), float(p.mean())
    ratio_error = float(np.sqrt((1 - observed) / positive))  # of log(O/E), expected taken as fixed
    ratio = observed / expected
    return {
        "n": len(y),
        "events": int(positive),
        "auc": round(area, 4),
        "auc_ci": [round(area - 1.96 * error, 4), round(area + 1.96 * error, 4)],
        "brier": round(float(np.mean((p - y) ** 2)), 4),
        "calibration_slope": round(float(slope.coefficients[1]), 4),
        "calibration_slope_se": round(float(slope.errors[1]), 4),
        "calibration_in_the_large": round(float(large.coefficients[0]), 4),
        "observed": round(observed, 4),
        "expected": round(expected, 4),
        "observed_over_expected": round(ratio, 3),
        "observed_over_expected_ci": [
            round(ratio * float(np.exp(sign * 1.96 * ratio_error)), 3) for sign in (-1, 1)
        ],
    }


def net_benefit(y: Floats, p: Floats) -> dict[str, dict[str, float]]:
    """Return net benefit by threshold of the model and of treating all (Vickers and Elkin 2006)."""
    answer = {}
    for threshold in THRESHOLDS:
        weight = threshold / (1 - threshold)
        chosen = p >= threshold
        model = float((chosen & (y == 1)).mean() - (chosen & (y == 0)).mean() * weight)
        everyone = float(y.mean() - (1 - y.mean()) * weight)
        answer[str(threshold)] = {"model": round(model, 3), "treat_all": round(everyone, 3)}
    return answer


def calibration_curve(y: Floats, p: Floats, groups: int = 10) -> list[dict[str, float]]:
    """Return mean prediction and observed rate in equal groups of rising prediction."""
    return [
        {
            "n": len(part),
            "predicted": round(float(p[part].mean()), 4),
            "observed": round(float(y[part].mean()), 4),
        }
        for part in np.array_split(np.argsort(p, kind="stable"), groups)
    ]


def subgroups(cohort: Cohort) -> Mapping[str, Mask]:
    """Return the groups that a card reports, as the description names them."""
    return {group.name: cohort.group(group) for group in cohort.description.subgroups}


def by_subgroup(cohort: Cohort, known: Mask, y: Floats, p: Floats) -> dict[str, dict[str, Any]]:
    """Return the performance in each subgroup; `y` and `p` belong to the rows where `known`.

    A group without both outcomes has none of these figures and is left out.
    """
    found = {name: mask[known] for name, mask in subgroups(cohort).items()}
    return {
        name: performance(y[mask], p[mask]) for name, mask in found.items() if 0 < y[mask].sum() < mask.sum()
    }
