"""Whether a model is as good for some as for others, and what keeps it from being shown.

By sex, age band and site (whatever groups the sample names): AUC, observed over expected, slope, share
above the thresholds, each with its number of patients; nothing is said of fewer than 100. A group whose
95 % interval of observed over expected lies wholly outside 0.8 to 1.25 blocks: no random error explains
it then. One that merely is likely to be off by a tenth, or ranks clearly worse than all, is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cds_hooks.evaluation.performance import TooFew, Z, above, performance
from cds_hooks.evaluation.sample import Sample
from cds_hooks.models.blocks import BOUNDS, MIN_N, out_of_bounds

WARN = (0.9, 1.1)
WORSE_AUC = 0.05


def by_group(sample: Sample) -> dict[str, dict[str, Any]]:
    """Return the figures of every group of at least 100 patients, else how many they are.

    The names are `kind: name`, as in `sex: women`.
    """
    answer: dict[str, dict[str, Any]] = {}
    for kind, members in sample.groups.items():
        for name, mask in members.items():
            answer[f"{kind}: {name}"] = _figures(sample, mask)
    return answer


def _figures(sample: Sample, mask: Any) -> dict[str, Any]:
    y, p = sample.y[mask], sample.p[mask]
    if len(y) < MIN_N:
        return {"n": len(y), "too_few": f"fewer than {MIN_N} patients"}
    try:
        found = performance(y, p)
        slope, error = found["calibration_slope"], found["calibration_slope_se"]
        interval = [round(slope - Z * error, 4), round(slope + Z * error, 4)]
        return {**found, "calibration_slope_ci": interval, "above": above(p)}
    except (TooFew, ValueError) as error:
        return {"n": len(y), "too_few": str(error)}


def report(whole: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fairness report: the rule, and which groups block or warn, in words.

    `whole` are the figures of all patients together, `groups` those of `by_group`.
    """
    known = {name: row for name, row in groups.items() if "too_few" not in row}
    return {
        "rule": f"a group of at least {MIN_N} blocks when the 95 % interval of observed over expected lies"
        f" outside {BOUNDS[0]} to {BOUNDS[1]}",
        "assessed": sorted(known),
        "too_few": sorted(name for name in groups if name not in known),
        "blocked": [
            *_outside("all", whole),
            *(line for name, row in known.items() for line in _outside(name, row)),
        ],
        "warned": [line for name, row in known.items() for line in _doubtful(name, row, whole)],
    }


def _outside(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    if out_of_bounds(row):
        yield f"{name}: observed over expected {_ratio(row)}, outside {BOUNDS[0]} to {BOUNDS[1]}"


def _doubtful(name: str, row: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    low, high = row["observed_over_expected_ci"]
    ratio = row["observed_over_expected"]
    if not WARN[0] <= ratio <= WARN[1] and not low <= 1 <= high:
        yield f"{name}: observed over expected {_ratio(row)}"
    if row["auc_ci"][1] < whole["auc"] - WORSE_AUC:
        yield f"{name}: AUC {row['auc']:.3f}, of all {whole['auc']:.3f}"


def _ratio(row: Mapping[str, Any]) -> str:
    low, high = row["observed_over_expected_ci"]
    return f"{row['observed_over_expected']:.2f} (95 % CI {low:.2f} to {high:.2f}, n {row['n']})"
