"""One report on a release and a set of patients: whole, in parts, fair or not, and in words for its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cds_hooks.evaluation import fairness
from cds_hooks.evaluation.performance import (
    above,
    calibration_curve,
    decision_curve,
    net_benefit,
    performance,
)
from cds_hooks.evaluation.sample import Sample
from cds_hooks.models.blocks import MIN_N


def evaluate(sample: Sample) -> dict[str, Any]:
    """Return every figure of a sample: performance, usefulness, calibration, groups, fairness.

    Raises TooFew when only one outcome is there.
    """
    whole = performance(sample.y, sample.p)
    groups = fairness.by_group(sample)
    return {
        "all": whole,
        "above": above(sample.p),
        "net_benefit": net_benefit(sample.y, sample.p),
        "decision_curve": decision_curve(sample.y, sample.p),
        "calibration": calibration_curve(sample.y, sample.p),
        "subgroups": groups,
        "fairness": fairness.report(whole, groups),
    }


def assessment(found: Mapping[str, Any], where: str, who: str) -> dict[str, Any]:
    """Return what is kept of an evaluation on data of this place, with the attributes that it answers.

    `where` says which patients they are, `who` did it. It answers the source attributes 23, 24, 27 and
    29: validity and fairness in external data and in local ones, which here are the same.
    """
    validity = f"{where}, evaluated by {who}: {words(found['all'])}."
    fair = fairness_words(found["fairness"], found["subgroups"])
    return {
        "where": where,
        "evaluation": dict(found),
        "fairness": found["fairness"],
        "source_attributes": {
            "23-validity-in-external-data": validity,
            "24-fairness-in-external-data": fair,
            "27-local-validity": validity,
            "29-local-fairness": fair,
        },
    }


def words(row: Mapping[str, Any]) -> str:
    """Return the figures of a group as a sentence reads them."""
    low, high = row["auc_ci"]
    return (
        f"{row['n']} patients, {row['events']} with the outcome, AUC {row['auc']:.3f}"
        f" (95 % CI {low:.3f} to {high:.3f}), Brier score {row['brier']:.4f},"
        f" calibration slope {row['calibration_slope']:.2f},"
        f" calibration in the large {row['calibration_in_the_large']:.2f},"
        f" observed over expected {row['observed_over_expected']:.2f}"
    )


def fairness_words(fair: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a fairness report as an attribute says it."""
    parts = [
        f"{name}: AUC {groups[name]['auc']:.3f}, observed over expected"
        f" {groups[name]['observed_over_expected']:.2f}"
        for name in fair["assessed"]
    ]
    if not parts:
        return f"No group has {MIN_N} patients yet, so nothing is said by group."
    verdict = f"outside the bounds: {'; '.join(fair['blocked'])}" if fair["blocked"] else "none out of bounds"
    few = f" Too few to say: {', '.join(fair['too_few'])}." if fair["too_few"] else ""
    return f"{'; '.join(parts)}; {verdict}.{few}"
