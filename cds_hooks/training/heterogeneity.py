"""Does a predicted benefit predict? Qini, slope, groups and policy gain, with intervals, per 1000.

Everything is a mean of the AIPW scores (`comparison`), so everything has a standard error; it is taken
over whole groups (hospitals), as patients of one hospital are alike. Predictions have to be out of fold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats
from cds_hooks.training.comparison import Comparison, Whole

Z = 1.959964


def ranks(predicted: Floats) -> Floats:
    """Return the rank of each row from 0 (largest predicted benefit) to 1; ties share theirs.

    >>> ranks(np.array([0.3, 0.1, 0.2, 0.2])).round(3).tolist()
    [0.125, 0.875, 0.5, 0.5]
    """
    _values, place, counts = np.unique(-predicted, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray((middle[place] - 0.5) / len(predicted))


def qini(scores: Floats, predicted: Floats) -> float:
    """Return the Qini coefficient per 1000.

    It is the area between the gain of treating the best first and that of treating at random, over
    all shares treated; with AIPW scores this area is the mean of score · (½ - rank).
    """
    return 1000 * float(np.mean(scores * (0.5 - ranks(predicted))))


def measures(comparison: Comparison, predicted: Floats) -> dict[str, Any]:
    """Return Qini, BLP slope, policy gains and the average effect; benefit is fewer bad outcomes.

    The policy treats where the predicted benefit is above 0; its gain is told against treating all
    and against treating nobody. `blp_slope` is the slope of the score on the prediction (Chernozhukov
    and others, arXiv:1712.04802): 1 where predictions are right, 0 where they say nothing.
    """
    scores, groups = comparison.scores, comparison.groups
    policy = predicted > 0
    return {
        "n": len(comparison),
        "average_effect": _mean(scores, groups),
        "qini": _mean(scores * (0.5 - ranks(predicted)), groups),
        "blp_slope": _slope(scores, predicted, groups),
        "share_treated": round(float(policy.mean()), 4),
        "gain_over_treat_all": _mean(np.where(policy, 0.0, -scores), groups),
        "gain_over_treat_none": _mean(np.where(policy, scores, 0.0), groups),
        "spread_of_predictions": round(1000 * float(predicted.std()), 1),
        "by_fifth_of_prediction": [
            round(1000 * float(scores[part].mean()), 1)
            for part in np.array_split(np.argsort(-predicted, kind="stable"), 5)
        ],
    }


def _mean(values: Floats, groups: Whole) -> dict[str, Any]:
    """Return a mean per 1000 with the standard error over groups and the 95 % interval."""
    value = float(values.mean())
    error = _clustered(values - value, groups) / len(values)
    return _told(1000 * value, 1000 * error, 2)


def _slope(scores: Floats, predicted: Floats, groups: Whole) -> dict[str, Any]:
    centred = predicted - predicted.mean()
    square = float(centred @ centred)
    if square == 0.0:
        return {"value": 0.0, "se": None, "ci": None}  # one prediction for all: there is no slope
    slope = float(centred @ scores) / square
    residual = scores - scores.mean() - slope * centred
    return _told(slope, _clustered(residual * centred, groups) / square, 3)


def _told(value: float, error: float, digits: int) -> dict[str, Any]:
    low, high = value - Z * error, value + Z * error
    return {
        "value": round(value, digits),
        "se": round(error, digits),
        "ci": [round(low, digits), round(high, digits)],
    }


def _clustered(residuals: Floats, groups: Whole) -> float:
    """Return the standard error of a sum whose terms hang together inside groups."""
    sums = np.bincount(groups, weights=residuals)
    sums = sums[np.bincount(groups) > 0]
    count = len(sums)
    return float(np.sqrt(np.sum(sums**2) * count / max(count - 1, 1)))
