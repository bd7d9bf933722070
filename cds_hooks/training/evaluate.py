"""How good a risk model is, out of fold, in all and by subgroup and site; a fold is whole groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cds_hooks.evaluation.performance import auc, calibration_curve, decision_curve, net_benefit, performance
from cds_hooks.evaluation.regression import Floats, Mask
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


def subgroups(cohort: Cohort) -> Mapping[str, Mask]:
    """Return the groups that a card reports, as the description names them."""
    return {group.name: cohort.group(group) for group in cohort.description.subgroups}


def by_subgroup(cohort: Cohort, known: Mask, y: Floats, p: Floats) -> dict[str, dict[str, Any]]:
    """Return the performance in each subgroup; `y` and `p` belong to the rows where `known`.

    A group without both outcomes has none of these figures and is left out.
    """
    found = {name: mask[known] for name, mask in subgroups(cohort).items()}
    return {
        name: performance(y[mask], p[mask]) for name, mask in found.items() if 0 < y[mask].sum() < mask.sum()
    }
