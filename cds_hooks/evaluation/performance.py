"""How good predicted risks were: discrimination, calibration, usefulness.

TRIPOD's list: AUC with interval (Hanley and McNeil), Brier score, calibration slope with error,
calibration in the large (the intercept at slope 1), observed over expected, net benefit against
treat-all, share above a threshold. `y` is 0 or 1, `p` a probability; both are arrays of one length.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, logistic, logit

THRESHOLDS = (0.3, 0.5, 0.7)
Z = 1.96


class TooFew(ValueError):
    """A group has no event, or nothing but events: what was asked for is not defined there."""


def auc(y: Floats, p: Floats) -> float:
    """Return the area under the ROC curve; ties count half.

    >>> auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875

    Raises TooFew when only one outcome is there.
    """
    _values, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = float(y.sum())
    negative = len(y) - positive
    if not positive or not negative:
        raise TooFew(f"{positive:.0f} of {len(y)} had the outcome; both kinds are needed")
    return float((ranks[y == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def auc_error(area: float, positive: float, negative: float) -> float:
    """Return the standard error of an AUC (Hanley and McNeil, Radiology 1982;143:29)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positive - 1) * (q1 - area**2) + (negative - 1) * (q2 - area**2)
    return float(np.sqrt(max(spread, 0.0) / (positive * negative)))


def performance(y: Floats, p: Floats) -> dict[str, Any]:
    """Return the figures of one group of patients; rates as fractions.

    Raises TooFew when only one outcome is there.
    """
    positive = float(y.sum())
    area = auc(y, p)
    error = auc_error(area, positive, len(y) - positive)
    ones = np.ones((len(y), 1))
    slope = logistic(np.column_stack([ones, logit(p)]), y)
    large = logistic(ones, y, offset=logit(p))
    ratio, low, high = observed_over_expected(y, p)
    return {
        "n": len(y),
        "events": int(positive),
        "auc": round(area, 4),
        "auc_ci": [round(area - Z * error, 4), round(area + Z * error, 4)],
        "brier": round(float(np.mean((p - y) ** 2)), 4),
        "calibration_slope": round(float(slope.coefficients[1]), 4),
        "calibration_slope_se": round(float(slope.errors[1]), 4),
        "calibration_in_the_large": round(float(large.coefficients[0]), 4),
        "observed": round(float(y.mean()), 4),
        "expected": round(float(p.mean()), 4),
        "observed_over_expected": round(ratio, 3),
        "observed_over_expected_ci": [round(low, 3), round(high, 3)],
    }


def observed_over_expected(y: Floats, p: Floats) -> tuple[float, float, float]:
    """Return O/E with its 95 % interval; the expected number is taken as fixed.

    >>> [round(value, 2) for value in observed_over_expected(np.array([1.0, 0.0]), np.array([0.4, 0.4]))]
    [1.25, 0.31, 5.0]

    Raises TooFew when nobody had the outcome.
    """
    positive, observed, expected = float(y.sum()), float(y.mean()), float(p.mean())
    if not positive or not expected:
        raise TooFew(f"nobody of {len(y)} had the outcome")
    ratio = observed / expected
    spread = np.exp(Z * np.sqrt((1 - observed) / positive))  # the error is that of log(O/E)
    return ratio, float(ratio / spread), float(ratio * spread)


def calibration_in_the_large(y: Floats, p: Floats) -> tuple[float, float]:
    """Return the intercept at slope 1 with its standard error: 0 when as many had it as were expected.

    Raises TooFew when only one outcome is there.
    """
    if not 0 < y.sum() < len(y):
        raise TooFew(f"{y.sum():.0f} of {len(y)} had the outcome; both kinds are needed")
    fit = logistic(np.ones((len(y), 1)), y, offset=logit(p))
    return float(fit.coefficients[0]), float(fit.errors[0])


def net_benefit(
    y: Floats, p: Floats, thresholds: tuple[float, ...] = THRESHOLDS
) -> dict[str, dict[str, float]]:
    """Return net benefit by threshold of the model and of treating all (Vickers and Elkin 2006)."""
    answer = {}
    for threshold in thresholds:
        weight = threshold / (1 - threshold)
        chosen = p >= threshold
        model = float((chosen & (y == 1)).mean() - (chosen & (y == 0)).mean() * weight)
        everyone = float(y.mean() - (1 - y.mean()) * weight)
        answer[str(threshold)] = {"model": round(model, 3), "treat_all": round(everyone, 3)}
    return answer


def decision_curve(y: Floats, p: Floats) -> list[dict[str, float]]:
    """Return net benefit at every second percent from 2 to 98, for a drawing; treating none has 0."""
    rows = net_benefit(y, p, tuple(round(0.02 * step, 2) for step in range(1, 50)))
    return [{"threshold": float(threshold), **row} for threshold, row in rows.items()]


def above(p: Floats, thresholds: tuple[float, ...] = THRESHOLDS) -> dict[str, float]:
    """Return the share of predictions at or above each threshold: how many would be told.

    >>> above(np.array([0.2, 0.4, 0.6, 0.8]))
    {'0.3': 0.75, '0.5': 0.5, '0.7': 0.25}
    """
    return {str(threshold): round(float((p >= threshold).mean()), 4) for threshold in thresholds}


def calibration_curve(y: Floats, p: Floats, groups: int = 10) -> list[dict[str, float]]:
    """Return mean prediction and observed rate in equal groups of rising prediction."""
    return [
        {
            "n": len(part),
            "predicted": round(float(p[part].mean()), 4),
            "observed": round(float(y[part].mean()), 4),
        }
        for part in np.array_split(np.argsort(p, kind="stable"), groups)
        if len(part)
    ]


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson, J Am Stat Assoc 1927;22:209).

    >>> [round(bound, 3) for bound in (*wilson(0.5, 100), *wilson(0.0, 10))]
    [0.404, 0.596, 0.0, 0.278]
    """
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
