"""One arm against its control, on one outcome: the rows, the groups, the scores that learners are judged by.

The score of a patient is the doubly robust (AIPW) estimate of his benefit, fewer bad outcomes being
positive: -(A - p) / (p (1 - p)) · (Y - m(X)), with the randomisation's own probability p and a
cross-fitted m(X) = E[Y | X]. Its mean is the average effect; it knows nothing of any learner. m does
not look at the arm, so it is the same under every re-randomisation (at p = ½ the score equals AIPW
with one outcome model an arm, as only the mean of the two enters).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cds_hooks.evaluation.regression import Floats, Mask
from cds_hooks.training import fit
from cds_hooks.training.cohort import Cohort

INNER = 3
"""Groups of whole hospitals inside a training part, for what a learner needs beside the effect."""

Whole = NDArray[np.int64]


class ComparisonError(ValueError):
    """The rows do not hold the comparison; the message says what is missing."""


@dataclass(frozen=True)
class Comparison:
    """Covariates, outcome, arm (1.0/0.0), folds and the group of each row, and the chance of treatment."""

    x: Floats
    y: Floats
    a: Floats
    folds: Whole
    inner: Whole
    groups: Whole
    probability: float
    squares: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Mask) -> Comparison:
        """Return some of the rows."""
        return Comparison(
            self.x[rows], self.y[rows], self.a[rows], self.folds[rows], self.inner[rows],
            self.groups[rows], self.probability, self.squares,
        )  # fmt: skip

    def with_arm(self, a: Floats) -> Comparison:
        """Return the comparison with another allocation; what does not depend on the arm is kept."""
        other = Comparison(
            self.x, self.y, a, self.folds, self.inner, self.groups, self.probability, self.squares
        )
        for name in ("risk", "inner_risk"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @cached_property
    def risk(self) -> Floats:
        """m(X), by models that have not seen the fold (the inner groups, where there is one fold only)."""
        parts = self.folds if len(np.unique(self.folds)) > 1 else self.inner
        return fit.out_of_fold(fit.linear(self.squares), self.x, self.y, parts)

    @cached_property
    def inner_risk(self) -> Floats:
        """m(X), by models that have not seen the inner group: for learners, inside a training part."""
        return fit.out_of_fold(fit.linear(self.squares), self.x, self.y, self.inner)

    @property
    def scores(self) -> Floats:
        """The AIPW score of each row: its unbiased, noisy benefit."""
        p = self.probability
        return -(self.a - p) / (p * (1 - p)) * (self.y - self.risk)

    def shuffled(self, seed: str) -> Floats:
        """Return the arm permuted inside each group, the same for the same seed.

        >>> two = np.array([0, 0, 1, 1])
        >>> c = Comparison(np.zeros((4, 1)), np.zeros(4), np.array([1.0, 0, 0, 1]), two, two, two, 0.5)
        >>> sorted(c.shuffled("x")[:2].tolist()), sorted(c.shuffled("x")[2:].tolist())
        ([0.0, 1.0], [0.0, 1.0])
        """
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
        keys = np.random.Generator(np.random.PCG64(number)).random(len(self))
        answer = np.empty_like(self.a)
        answer[np.argsort(self.groups, kind="stable")] = self.a[np.lexsort((keys, self.groups))]
        return answer


def compare(cohort: Cohort, arm: str, outcome: str, folds: int | None = None) -> Comparison:
    """Return the comparison of an arm on an outcome: rows of both that are known.

    `folds` merges the description's folds into fewer (fold mod folds); None keeps them. The arm's own
    column is no covariate, the other arms of a factorial trial are. Raises ComparisonError when a
    part is empty.
    """
    trial = cohort.description
    y, a = cohort.outcome(outcome), cohort.arm(arm)
    rows: Mask = ~np.isnan(y) & ~np.isnan(a)
    for name, part in (("treated", a[rows] == 1), ("control", a[rows] == 0), ("bad outcome", y[rows] == 1)):
        if not part.any():
            raise ComparisonError(f"{trial.id}: no {name} patient among those with {arm} and {outcome} known")
    kept, others = trial.analysis(arm)
    columns = [cohort.x[:, kept], *(cohort.arm(other)[:, None] for other in others)]
    cells = cohort.table[trial.folds.column].to_numpy()
    _names, groups = np.unique(cells.astype(str), return_inverse=True)
    inner = np.array([_inner(trial.folds.salt, cell) for cell in cells], dtype=np.int64)
    merged = cohort.folds if folds is None else cohort.folds % folds
    squares = tuple(place for place, column in enumerate(kept) if column in trial.squares)
    return Comparison(
        np.column_stack(columns)[rows], y[rows], a[rows], merged[rows], inner[rows],
        groups.astype(np.int64)[rows], trial.arms[arm].probability, squares,
    )  # fmt: skip


def _inner(salt: str, group: str) -> int:
    return int(hashlib.sha256(f"{salt}:inner:{group}".encode()).hexdigest(), 16) % INNER
