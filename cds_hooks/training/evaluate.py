"""How good a risk model is, out of fold, in all and by subgroup and site; a fold is whole hospitals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cds_hooks.evaluation.performance import auc, calibration_curve, decision_curve, net_benefit, performance
from cds_hooks.evaluation.regression import Floats
from cds_hooks.training.cohort import Cohort

__all__ = [
    "auc",
    "by_subgroup",
    "calibration_curve",
    "decision_curve",
    "net_benefit",
    "performance",
    "subgroups",
]

Mask = NDArray[np.bool_]


def subgroups(cohort: Cohort) -> Mapping[str, Mask]:
    """Return the groups that a card reports: sex, age band, syndrome, consciousness, site."""
    table = cohort.table
    age = table["AGE"].astype(float)
    country = table["COUNTRY"]
    masks: dict[str, Any] = {
        "women": table["SEX"] == "F",
        "men": table["SEX"] == "M",
        "under 65": age < 65,
        "65–74": (age >= 65) & (age < 75),
        "75–84": (age >= 75) & (age < 85),
        "85 and over": age >= 85,
        "fully alert": table["RCONSC"] == "F",
        "drowsy or unconscious": table["RCONSC"] != "F",
        "site: United Kingdom": country == "UK",
        "site: Italy": country == "ITAL",
        "site: Switzerland": country == "SWIT",
        "site: 33 other countries": ~country.isin(["UK", "ITAL", "SWIT"]),
    }
    masks |= {f"syndrome: {code}": table["STYPE"] == code for code in ("LACS", "POCS", "PACS", "TACS")}
    return {name: np.asarray(mask, dtype=bool) for name, mask in masks.items()}


def by_subgroup(cohort: Cohort, known: Mask, y: Floats, p: Floats) -> dict[str, dict[str, Any]]:
    """Return the performance in each subgroup; `y` and `p` belong to the rows where `known`."""
    return {name: performance(y[mask[known]], p[mask[known]]) for name, mask in subgroups(cohort).items()}
