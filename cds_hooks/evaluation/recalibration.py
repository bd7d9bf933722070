"""Local recalibration: the same ranking, with probabilities that fit this hospital.

Discrimination travels, calibration does not (the trial's own sites run from 0.88 to 1.15 observed over
expected). The log odds are shifted, and stretched where the data carry it: p' = expit(a + b·logit p).
Which of the two is decided by likelihood-ratio tests from the fuller update downwards, so that few
patients cannot bend a good model. What is reported afterwards is cross-fitted: nobody's outcome took
part in his own prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, expit, logistic, logit

MIN_N = 100
MIN_EVENTS = 20
"""Of the outcome and of its absence, for a shift."""

MIN_EVENTS_SLOPE = 100
"""Of the outcome and of its absence, for a stretch."""

LEVEL = 0.05
FOLDS = 5


class RecalibrationRefused(ValueError):
    """The data are too few for it, or it is not needed; the message says which."""


@dataclass(frozen=True)
class Recalibration:
    """The update of the log odds, with what spoke for it."""

    intercept: float
    slope: float
    n: int
    events: int
    p_shift: float
    p_stretch: float | None

    @property
    def kind(self) -> str:
        """`none`, `intercept` or `intercept and slope`."""
        if self.slope != 1.0:
            return "intercept and slope"
        return "intercept" if self.intercept != 0.0 else "none"

    def apply(self, p: Floats) -> Floats:
        """Return the recalibrated probabilities."""
        return expit(self.intercept + self.slope * logit(p))

    def as_json(self) -> dict[str, Any]:
        """Return it as a card holds it."""
        return {
            "kind": self.kind,
            "intercept": self.intercept,
            "slope": self.slope,
            "n": self.n,
            "events": self.events,
            "p_of_shift": self.p_shift,
            "p_of_stretch": self.p_stretch,
        }


def fit(y: Floats, p: Floats) -> Recalibration:
    """Return the update that the outcomes ask for; `kind` none when they ask for nothing.

    Raises RecalibrationRefused for fewer than 100 patients or 20 of either outcome.
    """
    events, others = int(y.sum()), int(len(y) - y.sum())
    if len(y) < MIN_N or min(events, others) < MIN_EVENTS:
        raise RecalibrationRefused(
            f"{len(y)} patients, {events} with the outcome and {others} without; a recalibration needs"
            f" {MIN_N} patients and {MIN_EVENTS} of either"
        )
    z, ones = logit(p), np.ones((len(y), 1))
    shift = float(logistic(ones, y, offset=z).coefficients[0])
    none, shifted = _log_likelihood(y, z), _log_likelihood(y, shift + z)
    p_shift = _chi_squared_tail(2 * (shifted - none), 1)
    p_stretch: float | None = None
    if min(events, others) >= MIN_EVENTS_SLOPE:
        both = logistic(np.column_stack([ones, z]), y).coefficients
        fuller = _log_likelihood(y, both[0] + both[1] * z)
        p_stretch = _chi_squared_tail(2 * (fuller - shifted), 1)
        if p_stretch < LEVEL and _chi_squared_tail(2 * (fuller - none), 2) < LEVEL and both[1] > 0:
            return Recalibration(float(both[0]), float(both[1]), len(y), events, p_shift, p_stretch)
    kept = shift if p_shift < LEVEL else 0.0
    return Recalibration(kept, 1.0, len(y), events, p_shift, p_stretch)


def cross_fitted(y: Floats, p: Floats) -> Floats:
    """Return recalibrated predictions, each by an update that has not seen its own outcome.

    Every fifth patient is held out in turn; the order is that of the sample.
    """
    answer = np.array(p, dtype=np.float64)
    place = np.arange(len(y)) % FOLDS
    for fold in range(FOLDS):
        held = place == fold
        answer[held] = fit(y[~held], p[~held]).apply(p[held])
    return answer


def _log_likelihood(y: Floats, z: Floats) -> float:
    return float(np.sum(y * z - np.logaddexp(0.0, z)))


def _chi_squared_tail(value: float, degrees: int) -> float:
    """Return P(chi² > value) for one or two degrees of freedom.

    >>> round(_chi_squared_tail(3.841, 1), 3), round(_chi_squared_tail(5.991, 2), 3)
    (0.05, 0.05)
    """
    value = max(value, 0.0)
    return math.erfc(math.sqrt(value / 2)) if degrees == 1 else math.exp(-value / 2)
