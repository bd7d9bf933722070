"""The drawings of a release: of its making, and of the patients of this place that it was fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cds_hooks.figures.curves import calibration, decision_curve
from cds_hooks.figures.forest import AUC, RATIO, forest

NAMES = ("calibration", "decision-curve", "subgroups", "subgroups-auc")


def of_card(card: Mapping[str, Any], identity: str) -> dict[str, str]:
    """Return name → SVG of everything that a card holds figures of.

    The drawings of a recalibration begin with `local-`.
    """
    found = of_evaluation(card.get("evaluation", {}), identity)
    local = card.get("recalibration", {}).get("assessment", {}).get("evaluation", {})
    for name, svg in of_evaluation(local, f"{identity}, here").items():
        found[f"local-{name}"] = svg
    return found


def of_evaluation(evaluation: Mapping[str, Any], heading: str) -> dict[str, str]:
    """Return name → SVG of one evaluation; what it holds no figures of is left out."""
    found: dict[str, str] = {}
    if rows := evaluation.get("calibration"):
        found["calibration"] = calibration(rows, heading)
    if curve := _curve(evaluation):
        found["decision-curve"] = decision_curve(curve, heading)
    if groups := evaluation.get("subgroups"):
        whole = evaluation.get("all") or evaluation.get("lightgbm")
        rows = {**({"all": whole} if whole else {}), **groups}
        found["subgroups"] = forest(rows, RATIO, heading)
        found["subgroups-auc"] = forest(rows, AUC, heading)
    return found


def _curve(evaluation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the decision curve, else the few thresholds that an older card holds."""
    if curve := evaluation.get("decision_curve"):
        return list(curve)
    few = evaluation.get("net_benefit", {})
    few = few.get("lightgbm", few)
    return [{"threshold": float(threshold), **row} for threshold, row in few.items()]
