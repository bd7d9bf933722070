"""A semi-synthetic trial: real covariates and allocation, an outcome with an effect that we planted.

The gate has to accept it: a gate that refuses everything would prove nothing. The chance of the bad
outcome is the trial's own predicted risk; treatment takes `size` from it below the median of a
variable and adds `size` above it, so that the average effect is about nil and the right policy is to
treat by that variable. Random numbers are hashes of the row's number: no generator, no seed to search.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from cds_hooks.evaluation.regression import Floats
from cds_hooks.training.cohort import Cohort
from cds_hooks.training.description import Gate, Outcome

OUTCOME = "planted"
COLUMN = "PLANTED"
MARGIN = 0.15
"""Risks are kept this far from 0 and 1, so that an effect has room."""


def planted(cohort: Cohort, gate: Gate, variable: str, size: float) -> tuple[Cohort, Gate]:
    """Return the trial with the planted outcome, and the gate that asks for it.

    The arm, learner, folds and number of draws are those of `gate`; rows without an allocation keep
    an unknown outcome. Raises ValueError for a size that the margin has no room for.
    """
    if not 0 <= size <= MARGIN:
        raise ValueError(f"size is {size}; expected 0 to {MARGIN}")
    trial = cohort.description
    risk = np.clip(cohort.numbers(trial.benchmarks[0].column), MARGIN, 1 - MARGIN)
    value = cohort.x[:, trial.names.index(variable)]
    benefit = np.where(value < np.nanmedian(value), size, -size)
    a = cohort.arm(gate.arm)
    bad = uniform(len(cohort)) < risk - a * benefit
    cells = np.where(np.isnan(a) | np.isnan(risk), "", np.where(bad, "1", "0"))
    asked = replace(gate, name=f"planted-{gate.arm}", outcome=OUTCOME)
    described = replace(
        trial,
        id=f"{trial.id}-planted-{round(1000 * size)}",
        serving=None,
        outcomes={**trial.outcomes, OUTCOME: Outcome(OUTCOME, "planted outcome", (COLUMN,), ("1",), ("0",))},
        gates=(asked,),
    )
    digest = hashlib.sha256(f"{cohort.sha256}:{gate.arm}:{variable}:{size}".encode()).hexdigest()
    table = cohort.table.assign(**{COLUMN: cells})
    return replace(cohort, description=described, table=table, sha256=digest), asked


def uniform(count: int) -> Floats:
    """Return numbers in [0, 1), one a row: hashes, so that no language and no library matters.

    >>> bool(abs(uniform(1000).mean() - 0.5) < 0.02)
    True
    """
    hashes = (hashlib.sha256(f"planted:{row}".encode()).digest()[:6] for row in range(count))
    return np.array([int.from_bytes(one, "big") / 2**48 for one in hashes])
