"""Fit the risk models: seeded, by hospital folds, the same on every machine.

LightGBM (one thread, deterministic, row-wise) and a logistic regression beside it. The fold of a
patient is a hash of his hospital, so no hospital is in training and in test at once, and no
random generator takes part in the split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import design, expit, logistic
from cds_hooks.models import features
from cds_hooks.training.cohort import FOLDS, Floats
from cds_hooks.training.evaluate import Mask

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
SQUARED = tuple(features.NAMES.index(name) for name in ("AGE", "RSBP"))
RIDGE = 1.0

Predict = Callable[[Floats], Floats]


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


def fit_trees(x: Floats, y: Floats) -> Any:
    """Return a LightGBM Booster for P(y = 1); gaps are NaN."""
    module = lightgbm()
    data = module.Dataset(x, label=y, feature_name=list(features.NAMES), params={"verbosity": -1})
    return module.train(PARAMETERS, data, num_boost_round=ROUNDS)


def trees(x: Floats, y: Floats) -> Predict:
    """Fit LightGBM and return its prediction function."""
    booster = fit_trees(x, y)
    return lambda rows: np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


def linear(x: Floats, y: Floats) -> Predict:
    """Fit the logistic comparison and return its prediction function.

    Values are standardised, gaps are put at the mean with a flag column, AGE and RSBP come squared
    as well. The small ridge is there because two of the flags are the same pilot patients.
    """
    means, scales = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    scales = np.where(scales > 0, scales, 1.0)
    flagged = np.isnan(x).any(axis=0)

    def matrix(rows: Floats) -> Floats:
        marked = np.vstack([rows, np.where(flagged, np.nan, means)])  # one more row so that all flags exist
        return design(marked, SQUARED, means, scales)[:-1]

    coefficients = logistic(matrix(x), y, ridge=RIDGE).coefficients
    return lambda rows: expit(matrix(rows) @ coefficients)


def out_of_fold(
    fit: Callable[[Floats, Floats], Predict],
    x: Floats,
    y: Floats,
    folds: np.ndarray[Any, np.dtype[np.int64]],
    progress: Callable[[int], None] = lambda _fold: None,
) -> Floats:
    """Return a prediction for every patient by a model that has not seen his hospital."""
    p = np.full(len(y), np.nan)
    for fold in range(FOLDS):
        held: Mask = folds == fold
        if held.any():
            p[held] = fit(x[~held], y[~held])(x[held])
        progress(fold)
    return p
