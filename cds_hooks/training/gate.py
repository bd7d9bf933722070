"""The gate: may individual effects be published? Only when four things hold, all named beforehand.

1. A re-randomisation null: the arm is permuted inside each group (hospital), everything is fitted
   again, at least 200 times; the Qini coefficient that was observed is beyond what chance gives.
   Ordinary standard errors are no test here: cross-fitting makes them 8–25 % too small.
2. An outside split: the learner is fitted outside of the named countries and looked at once in them.
3. The policy gain: what treating by prediction saves, against the better of treating all and treating
   nobody, has a 95 % interval above 0. A ranking that changes no decision is no reason to show one.
4. One learner and one outcome an arm, in the description. A second look at the same outside split with
   another learner or outcome is refused for good; the levels are divided by the number of gates.

A refusal is the usual result and no failure: the average effect is then what a card may say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, Mask
from cds_hooks.models import catalogue
from cds_hooks.models.catalogue import Release
from cds_hooks.training import heterogeneity, learners
from cds_hooks.training.cohort import Cohort
from cds_hooks.training.comparison import Comparison, compare
from cds_hooks.training.description import External, Gate
from cds_hooks.training.heterogeneity import qini

LEVEL = 0.05
DRAWS = 200
"""Fewer draws of the null are for trying things out: they accept nothing."""
EXTERNAL_DRAWS = 1000

Verdict = dict[str, Any]
Progress = Callable[[int, int], None]

REASONS: Mapping[str, str] = {
    "too-few-draws": f"fewer than {DRAWS} draws of the re-randomisation null were run",
    "permutation-null": "the observed Qini coefficient is not beyond the re-randomisation null",
    "external-split": "the prediction does not rank the patients of the outside split",
    "policy-gain": "the interval of the gain over the better uniform policy does not exclude 0",
    "external-split-used-before": "the outside split was looked at before, with another learner or outcome",
}


class GateError(ValueError):
    """The gate cannot be run as the description names it."""


class EffectsRefused(RuntimeError):
    """Individual effects are not published; the message says which conditions failed."""


def judge(
    cohort: Cohort,
    gate: Gate,
    *,
    draws: int | None = None,
    earlier: Iterable[Mapping[str, Any]] = (),
    progress: Progress = lambda _done, _all: None,
) -> Verdict:
    """Run the gate and return its verdict: observed figures, null, outside split, criteria, reasons.

    `draws` overrides the description's number (fewer than 200 cannot accept); `earlier` are the looks
    that `look` gave in former runs. The same cohort and gate give the same verdict. Raises GateError
    for a gate that the description does not hold, or an outside split that leaves a side empty.
    """
    trial = cohort.description
    learner = learners.LEARNERS.get(gate.learner)
    if learner is None:
        raise GateError(
            f"gate {gate.name}: there is no learner {gate.learner!r};"
            f" known are {', '.join(learners.LEARNERS)}"
        )
    if gate not in trial.gates:
        raise GateError(f"gate {gate.name} is not the one that {trial.id} names; a claim is named beforehand")
    if trial.external is None:
        raise GateError(f"gate {gate.name}: {trial.id} names no [external] split")
    count = gate.draws if draws is None else draws
    level = LEVEL / max(len(trial.gates), 1)
    comparison = compare(cohort, gate.arm, gate.outcome, gate.folds)
    refits = Refits(comparison, gate)
    observed = heterogeneity.measures(comparison, refits.predictions(comparison.a))
    exact = refits.qini(comparison.a)
    null = []
    for draw in range(count):
        null.append(refits.draw(trial.id, draw))
        progress(draw + 1, count)
    outside = external(cohort, gate, trial.external)
    p = (1 + sum(one >= exact for one in null)) / (1 + count)
    gains = [observed[key]["ci"][0] for key in ("gain_over_treat_all", "gain_over_treat_none")]
    this = look(cohort, gate)
    criteria = {
        "too-few-draws": count >= DRAWS,
        "permutation-null": p <= level,
        "external-split": outside["p"] <= level and min(outside["gains"]) > 0,
        "policy-gain": min(gains) > 0,
        "external-split-used-before": not any(_other_look(this, former) for former in earlier),
    }
    return {
        "gate": gate.name,
        "arm": gate.arm,
        "outcome": gate.outcome,
        "learner": gate.learner,
        "folds": gate.folds,
        "level": level,
        "observed": observed,
        "null": {
            "draws": count,
            "permuted": f"arm inside {trial.folds.column}, everything fitted again",
            "p_upper": round(p, 4),
            "p_lower": round((1 + sum(one <= exact for one in null)) / (1 + count), 4),
            **_spread(null),
            "qini": [round(one, 3) for one in null],
        },
        "external": outside,
        "look": this,
        "accepted": all(criteria.values()),
        "reasons": [name for name, held in criteria.items() if not held],
    }


class Refits:
    """One comparison, ready to be fitted again and again with other allocations.

    What does not look at the arm (the folds, the risks) is computed once, for all draws alike.
    """

    def __init__(self, comparison: Comparison, gate: Gate) -> None:
        self._comparison = comparison
        self._gate = gate
        self._learner = learners.LEARNERS[gate.learner]
        self._parts: list[tuple[Mask, Comparison]] = []
        for fold in np.unique(comparison.folds):
            held: Mask = comparison.folds == fold
            part = comparison.take(~held)
            if gate.learner == "R":
                _ = part.inner_risk  # arm-blind: kept by with_arm
            self._parts.append((held, part))

    def predictions(self, a: Floats) -> Floats:
        """Return the out-of-fold predicted benefits under an allocation."""
        answer = np.full(len(a), np.nan)
        for held, part in self._parts:
            answer[held] = self._learner(part.with_arm(a[~held]))(self._comparison.x[held])
        return answer

    def qini(self, a: Floats) -> float:
        """Return the Qini coefficient under an allocation, per 1000."""
        _ = self._comparison.risk  # arm-blind: kept by with_arm
        return qini(self._comparison.with_arm(a).scores, self.predictions(a))

    def draw(self, trial: str, number: int) -> float:
        """Return the Qini coefficient of one draw of the null; the draw's number is its seed."""
        return self.qini(self._comparison.shuffled(f"{trial}:{self._gate.name}:{number}"))


def external(cohort: Cohort, gate: Gate, split: External) -> dict[str, Any]:
    """Fit outside of the named groups and look at them once.

    The p value is of the Qini coefficient under permutation of the arm in the test part.
    Raises GateError when a part is empty or a fold group lies on both sides.
    """
    comparison = compare(cohort, gate.arm, gate.outcome, gate.folds)
    known = ~np.isnan(cohort.outcome(gate.outcome)) & ~np.isnan(cohort.arm(gate.arm))
    inside: Mask = np.asarray(cohort.table[split.column].isin(split.test), dtype=bool)[known]
    if inside.all() or not inside.any():
        raise GateError(f"the outside split {split.column} in {', '.join(split.test)} leaves one side empty")
    if both := set(comparison.groups[inside]) & set(comparison.groups[~inside]):
        raise GateError(
            f"the outside split cuts through {len(both)} {cohort.description.folds.unit}: patients of one of"
            " them would be on both sides"
        )
    test = comparison.take(inside)
    predicted = learners.LEARNERS[gate.learner](comparison.take(~inside))(test.x)
    found = heterogeneity.measures(test, predicted)
    exact, weight = qini(test.scores, predicted), 0.5 - heterogeneity.ranks(predicted)
    left, chance = test.y - test.risk, test.probability * (1 - test.probability)
    null = []
    for draw in range(EXTERNAL_DRAWS):
        a = test.shuffled(f"{cohort.description.id}:{gate.name}:external:{draw}")
        null.append(-1000 * float(np.mean((a - test.probability) / chance * left * weight)))
    return {
        "column": split.column,
        "test": list(split.test),
        "n_train": int((~inside).sum()),
        "measures": found,
        "draws": EXTERNAL_DRAWS,
        "p": round((1 + sum(one >= exact for one in null)) / (1 + EXTERNAL_DRAWS), 4),
        "gains": [found[key]["value"] for key in ("gain_over_treat_all", "gain_over_treat_none")],
    }


def look(cohort: Cohort, gate: Gate) -> dict[str, Any]:
    """Return what one look at the outside split was: kept, so that no second one is taken for the first."""
    split = cohort.description.external
    return {
        "data_sha256": cohort.sha256,
        "arm": gate.arm,
        "outcome": gate.outcome,
        "learner": gate.learner,
        "split": [split.column, *split.test] if split else [],
    }


def _other_look(this: Mapping[str, Any], former: Mapping[str, Any]) -> bool:
    same = all(this[key] == former[key] for key in ("data_sha256", "arm"))
    return same and any(this[key] != former[key] for key in ("outcome", "learner", "split"))


def _spread(null: list[float]) -> dict[str, float | None]:
    if not null:
        return dict.fromkeys(("mean", "sd", "low", "high", "min", "max"))
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "mean": round(float(np.mean(null)), 2),
        "sd": round(float(np.std(null)), 2),
        "low": round(float(low), 2),
        "high": round(float(high), 2),
        "min": round(min(null), 2),
        "max": round(max(null), 2),
    }


# Publication --------------------------------------------------------------------------------------
PUBLISHED_LEARNERS = ("R",)


def publish(cohort: Cohort, gate: Gate, verdict: Verdict, folder: Path) -> Release:
    """Write a model of individual effects as a draft release, if and only if its gate accepted it.

    Raises EffectsRefused naming the conditions that failed, or that the verdict is about other data,
    another claim, or a learner whose release is not built (R is).
    """
    if not verdict["accepted"]:
        text = "; ".join(REASONS[reason] for reason in verdict["reasons"])
        raise EffectsRefused(f"individual effects of {gate.name} are not published: {text}")
    if verdict["look"] != look(cohort, gate):
        raise EffectsRefused(f"the verdict is not about {gate.name} on these data")
    if gate.learner not in PUBLISHED_LEARNERS:
        raise EffectsRefused(
            f"a release of the learner {gate.learner} is not built; built are {', '.join(PUBLISHED_LEARNERS)}"
        )
    trial = cohort.description
    kept, others = trial.analysis(gate.arm)
    names = [*(trial.names[place] for place in kept), *(f"arm_{other}" for other in others)]
    whole = compare(cohort, gate.arm, gate.outcome)
    text = str(learners.effect_booster(whole.x, *learners.r_targets(whole), names).model_to_string())
    model = f"{trial.id}-{gate.name}-effects"
    version = str(catalogue.highest([folder], model) + 1)
    card = {
        "id": model,
        "version": version,
        "state": "draft",
        "title": f"Individual effects of {gate.arm} on {trial.outcomes[gate.outcome].label}",
        "model": {
            "kind": f"LightGBM, {gate.learner}-learner",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "columns": names,
            "rounds": learners.EFFECT_ROUNDS,
            "parameters": learners.EFFECT_PARAMETERS,
        },
        "data": {"sha256": cohort.sha256, "x_sha256": cohort.x_sha256, "rows": len(whole)},
        "description": {"id": trial.id, "sha256": trial.sha256},
        "schema_sha256": None,
        "verdict": verdict,
    }
    return catalogue.write(folder, model, version, text, card)
