"""Learners of individual effects: T, S, X, DR, R, logistic T, and constant odds ratio on risk.

Each takes a training part and gives a function from covariates to predicted benefit (fewer bad
outcomes, as a difference of risks). Künzel and others, PNAS 2019;116:4156 (T, S, X); Kennedy,
arXiv:2004.14497 (DR); Nie and Wager, Biometrika 2021;108:299 (R); Kent and others, PATH statement,
Ann Intern Med 2020;172:35 (risk modelling). The chance of treatment is the randomisation's own.
None of them is shown to anybody: `gate` decides whether one may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, expit, logistic, logit
from cds_hooks.training import fit
from cds_hooks.training.comparison import Comparison
from cds_hooks.training.fit import Predict

EFFECT_ROUNDS = 100
EFFECT_PARAMETERS: dict[str, Any] = fit.PARAMETERS | {
    "objective": "regression",
    "learning_rate": 0.02,
    "num_leaves": 7,
    "min_data_in_leaf": 300,
}
"""Of the trees that learn effects: shallow and slow, as effects are small."""

Learner = Callable[[Comparison], Predict]


def t_learner(part: Comparison) -> Predict:
    """Fit one risk model an arm (trees); their difference is the benefit."""
    treated, control = part.take(part.a == 1), part.take(part.a == 0)
    p1, p0 = fit.trees(treated.x, treated.y), fit.trees(control.x, control.y)
    return lambda rows: p0(rows) - p1(rows)


def s_learner(part: Comparison) -> Predict:
    """Fit one risk model (trees) that sees the arm as a column; switch it."""
    p = fit.trees(np.column_stack([part.x, part.a]), part.y)

    def predict(rows: Floats) -> Floats:
        none, all_ = np.zeros(len(rows)), np.ones(len(rows))
        return p(np.column_stack([rows, none])) - p(np.column_stack([rows, all_]))

    return predict


def x_learner(part: Comparison) -> Predict:
    """Impute each arm's missing outcome by the other arm's risk model; regress, and mix by the chance."""
    treated, control = part.take(part.a == 1), part.take(part.a == 0)
    p1 = fit.linear(part.squares)(treated.x, treated.y)
    p0 = fit.linear(part.squares)(control.x, control.y)
    of_treated = effect_trees(treated.x, p0(treated.x) - treated.y)
    of_control = effect_trees(control.x, control.y - p1(control.x))
    e = part.probability
    return lambda rows: e * of_control(rows) + (1 - e) * of_treated(rows)


def dr_learner(part: Comparison) -> Predict:
    """Regress the doubly robust score, with one risk model an arm, cross-fitted in the inner groups."""
    risks = {}
    for arm in (1, 0):
        risks[arm] = np.full(len(part), np.nan)
        for group in np.unique(part.inner):
            held = part.inner == group
            rows = ~held & (part.a == arm)
            risks[arm][held] = fit.linear(part.squares)(part.x[rows], part.y[rows])(part.x[held])
    e = part.probability
    score = (
        (risks[0] - risks[1])
        - part.a / e * (part.y - risks[1])
        + (1 - part.a) / (1 - e) * (part.y - risks[0])
    )
    return effect_trees(part.x, score)


def r_learner(part: Comparison) -> Predict:
    """Regress what the risk leaves over on what the chance of treatment leaves over (Robinson)."""
    return effect_trees(part.x, *r_targets(part))


def r_targets(part: Comparison) -> tuple[Floats, Floats]:
    """Return the R-learner's targets (benefit) and weights; the risk is arm-blind and cross-fitted."""
    left = part.a - part.probability
    return -(part.y - part.inner_risk) / left, left**2


def logistic_t_learner(part: Comparison) -> Predict:
    """Fit one logistic risk model an arm; their difference is the benefit."""
    treated, control = part.take(part.a == 1), part.take(part.a == 0)
    p1 = fit.linear(part.squares)(treated.x, treated.y)
    p0 = fit.linear(part.squares)(control.x, control.y)
    return lambda rows: p0(rows) - p1(rows)


def constant_odds_ratio(part: Comparison) -> Predict:
    """Fit one odds ratio on cross-fitted baseline risk: the relative effect is the same for all."""
    control = part.take(part.a == 0)
    known = np.full(len(part), np.nan)
    for group in np.unique(part.inner):
        held = part.inner == group
        rows = ~held & (part.a == 0)
        known[held] = fit.linear(part.squares)(part.x[rows], part.y[rows])(part.x[held])
    ones = np.ones(len(part))
    log_ratio = logistic(np.column_stack([ones, part.a, logit(known)]), part.y).coefficients[1]
    p0 = fit.linear(part.squares)(control.x, control.y)

    def predict(rows: Floats) -> Floats:
        risk = p0(rows)
        return risk - expit(logit(risk) + log_ratio)

    return predict


LEARNERS: Mapping[str, Learner] = {
    "T": t_learner,
    "S": s_learner,
    "X": x_learner,
    "DR": dr_learner,
    "R": r_learner,
    "logistic T": logistic_t_learner,
    "constant OR": constant_odds_ratio,
}


def effect_booster(x: Floats, target: Floats, weight: Floats | None = None, names: Any = "auto") -> Any:
    """Return the LightGBM Booster of a regression of effects."""
    module = fit.lightgbm()
    data = module.Dataset(x, label=target, weight=weight, feature_name=names, params={"verbosity": -1})
    return module.train(EFFECT_PARAMETERS, data, num_boost_round=EFFECT_ROUNDS)


def effect_trees(x: Floats, target: Floats, weight: Floats | None = None) -> Predict:
    """Fit the regression of effects and return its prediction function."""
    booster = effect_booster(x, target, weight)
    return lambda rows: np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


def cross_fitted(learner: Learner, comparison: Comparison) -> Floats:
    """Return the predicted benefit of every row by a learner that has not seen its fold."""
    answer = np.full(len(comparison), np.nan)
    for fold in np.unique(comparison.folds):
        held = comparison.folds == fold
        answer[held] = learner(comparison.take(~held))(comparison.x[held])
    return answer
