"""Fit the risk models: seeded, by folds of whole groups, the same on every machine.

LightGBM (one thread, deterministic, row-wise) and a logistic regression beside it. The fold of a
patient is a hash of his group (a hospital), so no group is in training and in test at once, and no
random generator takes part in the split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, Mask, design, expit, logistic

ROUNDS = 200
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
RIDGE = 1.0

Predict = Callable[[Floats], Floats]
Fit = Callable[[Floats, Floats], Predict]


class TrainingUnavailable(RuntimeError):
    """LightGBM cannot be loaded; the message says in one sentence what to install."""


def lightgbm() -> Any:
    """Return the lightgbm module, imported late: the command line must not pay for it.

    Raises TrainingUnavailable where the wheel or the system's libgomp is missing.
    """
    try:
        import lightgbm as module
    except (ImportError, OSError) as error:
        raise TrainingUnavailable(
            "training needs LightGBM and the system library libgomp (Debian: apt install libgomp1);"
            f" serving works without: {error}"
        ) from error
    return module


def fit_trees(x: Floats, y: Floats, names: Sequence[str] | None = None) -> Any:
    """Return a LightGBM Booster for P(y = 1); gaps are NaN, `names` are those of the columns."""
    module = lightgbm()
    data = module.Dataset(
        x, label=y, feature_name="auto" if names is None else list(names), params={"verbosity": -1}
    )
    return module.train(PARAMETERS, data, num_boost_round=ROUNDS)


def trees(x: Floats, y: Floats) -> Predict:
    """Fit LightGBM and return its prediction function."""
    booster = fit_trees(x, y)
    return lambda rows: np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


def linear(squares: tuple[int, ...] = ()) -> Fit:
    """Return the logistic comparison: a function that fits it and returns its prediction function.

    Values are standardised, gaps are put at the mean with a flag column, the columns at `squares` come
    squared as well. The small ridge is there because two of the flags may be the same patients.
    """

    def fit(x: Floats, y: Floats) -> Predict:
        means, scales = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
        scales = np.where(scales > 0, scales, 1.0)
        flagged: Mask = np.asarray(np.isnan(x).any(axis=0))
        coefficients = logistic(design(x, squares, means, scales, flagged), y, ridge=RIDGE).coefficients
        return lambda rows: expit(design(rows, squares, means, scales, flagged) @ coefficients)

    return fit


def out_of_fold(
    fit: Fit,
    x: Floats,
    y: Floats,
    folds: np.ndarray[Any, np.dtype[np.int64]],
    progress: Callable[[int], None] = lambda _fold: None,
) -> Floats:
    """Return a prediction for every patient by a model that has not seen his group."""
    p = np.full(len(y), np.nan)
    for fold in range(int(folds.max()) + 1):
        held: Mask = folds == fold
        if held.any():
            p[held] = fit(x[~held], y[~held])(x[held])
        progress(fold)
    return p
