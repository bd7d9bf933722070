"""Logistic regression by iteratively reweighted least squares, and what calibration needs of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """Coefficients with standard errors; the first one belongs to the first column of X."""

    coefficients: Floats
    errors: Floats


def logistic(x: Floats, y: Floats, *, offset: Floats | None = None, ridge: float = 0.0) -> Fit:
    """Fit P(y = 1) = expit(x·b + offset); `x` carries its own column of ones.

    `ridge` is the penalty on every coefficient but the first (needed where columns coincide).
    Raises ValueError when 50 rounds do not converge.
    """
    beta = np.zeros(x.shape[1])
    base = np.zeros(len(y)) if offset is None else offset
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 0.0
    for _ in range(50):
        p = expit(x @ beta + base)
        weight = np.maximum(p * (1 - p), 1e-12)
        information = (x * weight[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(information, x.T @ (y - p) - penalty * beta)
        beta = beta + step
        if np.max(np.abs(step)) < 1e-10:
            return Fit(beta, np.sqrt(np.diag(np.linalg.inv(information))))
    raise ValueError("the logistic regression did not converge in 50 rounds")


def expit(value: Floats) -> Floats:
    """Return 1 / (1 + exp(-value)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * value)), dtype=np.float64)


def logit(p: Floats) -> Floats:
    """Return the log odds; p is kept 1e-9 away from 0 and 1."""
    kept = np.clip(p, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(kept / (1 - kept)), dtype=np.float64)


def design(x: Floats, squares: tuple[int, ...], means: Floats, scales: Floats, flagged: Mask) -> Floats:
    """Return the design matrix: ones, standardised values (gaps at the mean), gap flags, squares.

    `flagged` are the columns that get a flag: those with a gap where the means come from. A gap in
    another column stands at the mean, unflagged.
    """
    gaps = np.isnan(x)
    z = np.where(gaps, 0.0, (x - means) / scales)
    return np.column_stack([np.ones(len(x)), z, gaps[:, flagged].astype(np.float64), z[:, squares] ** 2])
