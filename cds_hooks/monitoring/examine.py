"""The monitors of one release over one time: what each measured, how bad it is, and why in words.

Two levels. A *warning* asks somebody to look: PSI above 0.1, a shift of the mean, of what is missing or of
how often a card comes, observed over expected outside 0.9 to 1.1 by more than chance. A *demotion* takes
a model from clinicians: PSI of an input or of the predictions above 0.25, observed over expected outside
0.8 to 1.25 by more than chance. So an observed over expected of 1.15, as the trial's British patients have
it, raises the flag, and 1.3 takes the model back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cds_hooks.evaluation.performance import TooFew, calibration_in_the_large, observed_over_expected
from cds_hooks.evaluation.regression import Floats
from cds_hooks.monitoring import drift

UNKNOWN, WELL, WARNING, DEMOTION = "unknown", "well", "warning", "demotion"
LEVELS = (UNKNOWN, WELL, WARNING, DEMOTION)

PSI_WARNING, PSI_DEMOTION = 0.1, 0.25
RATIO_WARNING, RATIO_DEMOTION = (0.9, 1.1), (0.8, 1.25)
KS_WARNING = 0.1
MISSING_WARNING = 0.1
MEAN_WARNING = 0.05
ALERTS_WARNING = (0.5, 2.0)
CHANCE_Z = 3.0
CHANCE_P = 0.001
MIN_PREDICTIONS = 200
"""Fewer say nothing about a distribution: PSI of ten bins is above 0.1 by chance alone."""

MIN_OUTCOMES = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """What one monitor found; `value` None where there is too little to say."""

    monitor: str
    level: str
    value: float | None
    words: str
    what: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What was recorded of a release: inputs (a row a prediction, NaN for a gap), predictions, outcomes.

    `matured` are predictions with outcomes, `calls` how many were answered and `alerts` how many of them
    came to a card; `calls_before` and `alerts_before` are the same of the time before.
    """

    names: Sequence[str]
    x: Floats
    p: Floats
    matured_p: Floats
    matured_y: Floats
    calls: int = 0
    alerts: int = 0
    calls_before: int = 0
    alerts_before: int = 0


def examine(reference: Mapping[str, Any] | None, seen: Seen) -> dict[str, Any]:
    """Return the report: its level, the reasons for a demotion, and every finding."""
    findings = [*_inputs(reference, seen), *_mean(reference, seen), *_outcomes(seen), *_alerts(seen)]
    worst = max((LEVELS.index(finding.level) for finding in findings), default=0)
    return {
        "level": LEVELS[worst],
        "reasons": [finding.words for finding in findings if finding.level == LEVELS[worst] and worst > 1],
        "predictions": len(seen.p),
        "outcomes": len(seen.matured_y),
        "calls": seen.calls,
        "findings": [asdict(finding) for finding in findings],
    }


def _inputs(reference: Mapping[str, Any] | None, seen: Seen) -> Iterator[Finding]:
    if reference is None or len(seen.p) < MIN_PREDICTIONS:
        words = (
            "the card holds no reference distribution"
            if reference is None
            else f"{len(seen.p)} predictions; {MIN_PREDICTIONS} are needed"
        )
        yield Finding("psi", UNKNOWN, None, words)
        return
    for number, name in enumerate(seen.names):
        if name in reference["inputs"]:
            yield from _column(name, reference["inputs"][name], seen.x[:, number])
    yield from _column("predictions", reference["predictions"], seen.p)


def _column(name: str, reference: Mapping[str, Any], values: Floats) -> Iterator[Finding]:
    known = values[~np.isnan(values)]
    missing = 1 - len(known) / len(values)
    gap = missing - reference["missing"]
    level = WARNING if abs(gap) > MISSING_WARNING else WELL
    words = f"{name}: {missing:.0%} missing, {reference['missing']:.0%} when it was made"
    yield Finding("missing", level, round(missing, 4), words, name)
    if len(known) < MIN_PREDICTIONS:
        yield Finding(
            "psi", UNKNOWN, None, f"{name}: {len(known)} known values; {MIN_PREDICTIONS} are needed", name
        )
        return
    value = drift.psi(reference, known)
    level = DEMOTION if value > PSI_DEMOTION else WARNING if value > PSI_WARNING else WELL
    yield Finding("psi", level, round(value, 4), f"{name}: PSI {value:.2f}", name)
    if "quantiles" in reference:
        distance, p = drift.ks(reference["quantiles"], known)
        level = WARNING if distance > KS_WARNING and p < CHANCE_P else WELL
        words = f"{name}: KS distance {distance:.2f} (p {p:.2g})"
        yield Finding("ks", level, round(distance, 4), words, name, {"p": p})


def _mean(reference: Mapping[str, Any] | None, seen: Seen) -> Iterator[Finding]:
    if reference is None or len(seen.p) < MIN_PREDICTIONS:
        return
    mean, expected = float(seen.p.mean()), float(reference["mean_prediction"])
    error = float(seen.p.std()) / math.sqrt(len(seen.p)) or 1e-9
    far = abs(mean - expected) > MEAN_WARNING and abs(mean - expected) / error > CHANCE_Z
    words = f"mean prediction {mean:.3f}, {expected:.3f} when it was made"
    yield Finding("mean-prediction", WARNING if far else WELL, round(mean, 4), words)


def _outcomes(seen: Seen) -> Iterator[Finding]:
    y, p = seen.matured_y, seen.matured_p
    if len(y) < MIN_OUTCOMES:
        words = f"{len(y)} matured outcomes; {MIN_OUTCOMES} are needed"
        yield Finding("observed-over-expected", UNKNOWN, None, words)
        return
    try:
        ratio, low, high = observed_over_expected(y, p)
        large, error = calibration_in_the_large(y, p)
    except (TooFew, ValueError) as problem:
        yield Finding("observed-over-expected", UNKNOWN, None, str(problem))
        return
    by_chance = low <= 1 <= high
    level = WELL
    if not by_chance and not RATIO_WARNING[0] <= ratio <= RATIO_WARNING[1]:
        level = WARNING
    if not by_chance and not RATIO_DEMOTION[0] <= ratio <= RATIO_DEMOTION[1]:
        level = DEMOTION
    words = f"observed over expected {ratio:.2f} (95 % CI {low:.2f} to {high:.2f}, {len(y)} outcomes)"
    yield Finding(
        "observed-over-expected", level, round(ratio, 4), words,
        more={"ci": [round(low, 4), round(high, 4)], "n": len(y), "events": int(y.sum())},
    )  # fmt: skip
    words = f"calibration in the large {large:+.2f} (standard error {error:.2f})"
    yield Finding("calibration-in-the-large", WELL, round(large, 4), words, more={"se": round(error, 4)})


def _alerts(seen: Seen) -> Iterator[Finding]:
    if seen.calls < MIN_PREDICTIONS:
        return
    rate = seen.alerts / seen.calls
    words = f"a card for {rate:.1%} of {seen.calls} calls"
    level = WELL
    if seen.calls_before >= MIN_PREDICTIONS:
        before = seen.alerts_before / seen.calls_before
        z = drift.difference_of_shares(seen.alerts, seen.calls, seen.alerts_before, seen.calls_before)
        outside = not ALERTS_WARNING[0] * before <= rate <= ALERTS_WARNING[1] * before
        level = WARNING if outside and abs(z) > CHANCE_Z else WELL
        words += f", {before:.1%} before"
    yield Finding("alert-rate", level, round(rate, 4), words)
