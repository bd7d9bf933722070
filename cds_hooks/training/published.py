"""The trial's published numbers, recomputed from the data: the acceptance test of the loader.

International Stroke Trial Collaborative Group, Lancet 1997;349:1569–81, abstract and tables.
Twenty-nine counts and percentages; each must be equal at the decimals that the paper prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cds_hooks.training.cohort import Cohort


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of the paper: `arm` picks the patients, `event` what is counted in them.

    Arms: all, aspirin, no aspirin, heparin, no heparin, medium dose, low dose.
    Events: patients, or the outcome columns of which any is 1, or `dead or dependent`.
    """

    name: str
    arm: str
    event: Sequence[str]
    paper: str
    percent: bool = True


def _pairs(
    label: str, event: Sequence[str], figures: Sequence[str], *, percent: bool = True
) -> list[Quantity]:
    arms = ("aspirin", "no aspirin", "heparin", "no heparin")
    return [
        Quantity(f"{label}, {arm}", arm, event, paper, percent)
        for arm, paper in zip(arms, figures, strict=True)
    ]


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("patients randomised", "all", (), "19435", percent=False),
    Quantity("allocated aspirin", "aspirin", (), "9720", percent=False),
    Quantity("allocated no aspirin", "no aspirin", (), "9715", percent=False),
    Quantity("allocated heparin", "heparin", (), "9717", percent=False),
    Quantity("allocated no heparin", "no heparin", (), "9718", percent=False),
    *_pairs("deaths within 14 days", ("ID14",), ("872", "909", "876", "905"), percent=False),
    *_pairs("deaths within 14 days %", ("ID14",), ("9.0", "9.4", "9.0", "9.3")),
    *_pairs("recurrent ischaemic stroke %", ("ISC14", "NK14"), ("2.8", "3.9", "2.9", "3.8")),
    *_pairs("haemorrhagic stroke %", ("H14",), ("0.9", "0.8", "1.2", "0.4")),
    *_pairs("death or recurrent stroke %", ("ID14", "STRK14"), ("11.3", "12.4", "11.7", "12.0")),
    Quantity("death or recurrent stroke %, heparin 12,500 IU", "medium dose", ("ID14", "STRK14"), "12.6"),
    Quantity("death or recurrent stroke %, heparin 5,000 IU", "low dose", ("ID14", "STRK14"), "10.8"),
    Quantity("dead or dependent at 6 months %, heparin", "heparin", ("dead or dependent",), "62.9"),
    Quantity("dead or dependent at 6 months %, no heparin", "no heparin", ("dead or dependent",), "62.9"),
)


def reproduce(cohort: Cohort) -> list[dict[str, Any]]:
    """Return name, paper, computed (at the paper's decimals), exact and equal for all 29 numbers."""
    answer = []
    for quantity in QUANTITIES:
        exact = _compute(cohort, quantity)
        computed = exact.quantize(Decimal(quantity.paper), rounding=ROUND_HALF_UP)
        answer.append(
            {
                "name": quantity.name,
                "paper": _number(Decimal(quantity.paper)),
                "computed": _number(computed),
                "exact": round(float(exact), 4),
                "equal": computed == Decimal(quantity.paper),
            }
        )
    return answer


def _compute(cohort: Cohort, quantity: Quantity) -> Decimal:
    chosen = _arm(cohort, quantity.arm)
    if not quantity.event:
        return Decimal(int(chosen.sum()))
    if quantity.event == ("dead or dependent",):
        outcome = cohort.dead_or_dependent[chosen]
        outcome = outcome[~np.isnan(outcome)]
    else:
        outcome = cohort.indicator(*quantity.event)[chosen]
    hits = Decimal(int(outcome.sum()))
    return hits * 100 / Decimal(len(outcome)) if quantity.percent else hits


def _arm(cohort: Cohort, arm: str) -> NDArray[np.bool_]:
    table = cohort.table
    return np.asarray(
        {
            "all": table["RXASP"].isin(["Y", "N"]),
            "aspirin": table["RXASP"] == "Y",
            "no aspirin": table["RXASP"] == "N",
            "heparin": table["RXHEP"].isin(["L", "M"]),
            "no heparin": table["RXHEP"] == "N",
            "medium dose": table["RXHEP"] == "M",
            "low dose": table["RXHEP"] == "L",
        }[arm]
    )


def _number(value: Decimal) -> int | float:
    return (
        int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    )
