"""A trial's published numbers, recomputed from the data: the acceptance test of the loader.

They stand in the description ([report] published): counts and percentages of patients, each of which
must be equal at the decimals that the paper prints. Of the International Stroke Trial (Lancet
1997;349:1569–81, abstract and tables) there are twenty-nine.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np

from cds_hooks.training.cohort import Cohort
from cds_hooks.training.description import Event


def reproduce(cohort: Cohort) -> list[dict[str, Any]]:
    """Return name, paper, computed (at the paper's decimals), exact and equal for every number."""
    answer = []
    for event in cohort.description.published:
        exact = _compute(cohort, event)
        paper = Decimal(event.paper or "0")
        computed = exact.quantize(paper, rounding=ROUND_HALF_UP)
        answer.append(
            {
                "name": event.name,
                "paper": _number(paper),
                "computed": _number(computed),
                "exact": round(float(exact), 4),
                "equal": computed == paper,
            }
        )
    return answer


def _compute(cohort: Cohort, event: Event) -> Decimal:
    chosen = cohort.where(event.where)
    if event.outcome is None and not event.columns:
        return Decimal(int(chosen.sum()))
    counted = cohort.counted(event)[chosen]
    counted = counted[~np.isnan(counted)]
    hits = Decimal(int(counted.sum()))
    return hits * 100 / Decimal(len(counted)) if event.percent else hits


def _number(value: Decimal) -> int | float:
    return (
        int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    )
