"""What a model was made on: the distribution of each input and of its predictions, as a card holds it.

Counts and quantiles only, of whole training sets: nobody can be found in them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats

QUANTILES = 101


def describe(names: Sequence[str], x: Floats, p: Floats, coded: Collection[str]) -> dict[str, Any]:
    """Return the distribution of every column of `x` and of the predictions `p`.

    `coded` names the columns whose numbers are codes: they are counted, the others are ranked.

    >>> found = describe(["SEX", "AGE"], np.array([[0.0, 70.0], [1.0, 80.0]]), np.array([0.2, 0.4]), {"SEX"})
    >>> found["inputs"]["SEX"]["counts"], found["inputs"]["AGE"]["quantiles"][50], found["mean_prediction"]
    ({'0.0': 1, '1.0': 1}, 75.0, 0.3)
    """
    return {
        "n": len(x),
        "inputs": {name: column(x[:, number], name in coded) for number, name in enumerate(names)},
        "predictions": column(p, False),
        "mean_prediction": round(float(np.mean(p)), 6),
        "sd_prediction": round(float(np.std(p)), 6),
    }


def column(values: Floats, coded: bool) -> dict[str, Any]:
    """Return the distribution of one column; gaps are NaN."""
    known = values[~np.isnan(values)]
    missing = round(1 - len(known) / len(values), 6) if len(values) else 0.0
    found: dict[str, Any] = {"n": len(values), "missing": missing}
    if coded:
        numbers, counts = np.unique(known, return_counts=True)
        pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
        return {**found, "counts": {str(number): count for number, count in pairs}}
    grid = np.quantile(known, np.linspace(0, 1, QUANTILES)) if len(known) else np.array([])
    return {**found, "quantiles": [round(float(value), 6) for value in grid]}


def of_card(card: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the reference of a model card, None where it holds none."""
    found = card.get("reference")
    return found if isinstance(found, Mapping) and "inputs" in found else None
