"""Train one model from its data to a release: the recipe of `stroke-early-aspirin`, start to end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cds_hooks.models import catalogue, features
from cds_hooks.models.catalogue import Release
from cds_hooks.training import cohort as cohorts
from cds_hooks.training import effects, envelope, evaluate, fit, published, source_attributes
from cds_hooks.training.cohort import Cohort

STROKE_EARLY_ASPIRIN = "stroke-early-aspirin"
NOTICE = (
    "Contains information from the International Stroke Trial database (version 2),"
    " https://doi.org/10.7488/ds/104, made available under the ODC Attribution License"
)
Progress = Callable[[str], None]


class TrainingRefused(RuntimeError):
    """The data or the result is not what the recipe demands; nothing was written."""


def train(
    path: Path,
    folders: list[Path],
    *,
    state: str = "draft",
    progress: Progress = lambda _text: None,
    now: datetime | None = None,
) -> Release:
    """Train from the trial's CSV and write a release into the first of `folders`.

    The version is one above the highest of all folders; where the first one holds the same model
    text already, that release is returned. Raises TrainingRefused when a published number is not reproduced,
    CohortError when the file is something else.
    """
    cohort = cohorts.load(path)
    progress(f"{len(cohort.table):,} patients read, SHA-256 {cohort.sha256[:12]}…")
    reproduced = published.reproduce(cohort)
    if wrong := [entry["name"] for entry in reproduced if not entry["equal"]]:
        raise TrainingRefused(f"{len(wrong)} published numbers are not reproduced, first: {wrong[0]}")
    progress(f"{len(reproduced)} of {len(reproduced)} published numbers reproduced")
    evaluation, risk_groups = assess(cohort, progress)
    known = ~np.isnan(cohort.dead_or_dependent)
    text = fit.fit_trees(cohort.x[known], cohort.dead_or_dependent[known]).model_to_string()
    digest = hashlib.sha256(text.encode()).hexdigest()
    version = _version(folders, digest)
    if (folders[0] / f"{STROKE_EARLY_ASPIRIN}-{version}").exists():
        progress(f"the same model is there already as version {version}")
        return catalogue.find(folders[:1], STROKE_EARLY_ASPIRIN, version)
    effect = effects.odds_ratio(cohort)
    card = {
        "id": STROKE_EARLY_ASPIRIN,
        "version": version,
        "state": state,
        "title": "Risk of death or dependency six months after stroke, and the mean effect of early aspirin",
        "trained_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "model": {
            "kind": "LightGBM",
            "library": fit.lightgbm().__version__,
            "sha256": digest,
            "rounds": fit.ROUNDS,
            "parameters": fit.PARAMETERS,
            "outcome": "dead or dependent at 6 months (OCCODE 1 or 2 of 1–4)",
        },
        "code_sha256": _code_hash(),
        "data": {
            "name": "International Stroke Trial database, version 2",
            "doi": "10.7488/ds/104",
            "sha256": cohort.sha256,
            "as_published": cohort.sha256 == cohorts.PUBLISHED_SHA256,
            "rows": len(cohort.table),
            "period": "1991 to 1996",
            "licence": "ODC-By-1.0",
            "notice": NOTICE,
        },
        "schema": features.schema(),
        "schema_sha256": features.schema_hash(),
        "never_missing_in_training": [
            name
            for name, gaps in zip(features.NAMES, np.isnan(cohort.x).sum(axis=0).tolist(), strict=True)
            if not gaps
        ],
        "envelope": envelope.fit(features.NAMES, cohort.x),
        "evaluation": evaluation,
        "published": reproduced,
        "effect": effect,
        "average_benefit": effects.benefit(cohort),
        "benefit_by_risk": risk_groups(effect["odds_ratio"]),
        "harms": effects.harms(cohort),
        "individual_effects": "not published: no evidence that the effect differs between patients",
        "source_attributes": source_attributes.stroke_early_aspirin(evaluation, effect, state),
    }
    return catalogue.write(folders[0], STROKE_EARLY_ASPIRIN, version, text, card)


def assess(
    cohort: Cohort, progress: Progress = lambda _text: None
) -> tuple[dict[str, Any], Callable[[float], list[dict[str, Any]]]]:
    """Return the out-of-fold evaluation, and a function from an odds ratio to benefit by risk."""
    y = cohort.dead_or_dependent
    known = ~np.isnan(y)
    x, y, folds = cohort.x[known], y[known], cohort.folds[known]

    def step(name: str) -> Callable[[int], None]:
        return lambda fold: progress(f"{name}: fold {fold + 1} of {cohorts.FOLDS}")

    p = fit.out_of_fold(fit.trees, x, y, folds, step("LightGBM"))
    linear = fit.out_of_fold(fit.linear, x, y, folds, step("logistic"))
    paper = cohort.table["EXPDD"].astype(float).to_numpy()[known]
    early = cohort.indicator("ID14", "STRK14")
    early_p = fit.out_of_fold(fit.trees, cohort.x, early, cohort.folds, step("14 days"))
    evaluation = {
        "scheme": "out of fold; 10 folds of whole hospitals, fold = SHA-256('ist-v1:' + HOSPNUM) mod 10",
        "fold_sizes": np.bincount(cohort.folds, minlength=cohorts.FOLDS).tolist(),
        "lightgbm": evaluate.performance(y, p),
        "logistic": evaluate.performance(y, linear),
        "published_prediction_EXPDD": evaluate.performance(y, paper),
        "death_or_recurrent_stroke_14_days": evaluate.performance(early, early_p),
        "net_benefit": {"lightgbm": evaluate.net_benefit(y, p), "logistic": evaluate.net_benefit(y, linear)},
        "calibration": evaluate.calibration_curve(y, p),
        "subgroups": evaluate.by_subgroup(cohort, known, y, p),
    }
    return evaluation, lambda ratio: effects.by_risk(cohort, known, p, ratio)


def report(release: Release) -> dict[str, Any]:
    """Return what `xinglin model train --json` prints."""
    model = release.card["evaluation"]["lightgbm"]
    return {
        "model": release.model,
        "version": release.version,
        "state": release.state,
        "sha256": release.sha256,
        "folder": str(release.folder),
        "auc": model["auc"],
        "brier": model["brier"],
        "calibration_slope": model["calibration_slope"],
        "calibration_in_the_large": model["calibration_in_the_large"],
        "effect": release.card["effect"],
        "average_benefit": release.card["average_benefit"],
        "harms": release.card["harms"],
        "published": [
            {key: entry[key] for key in ("name", "paper", "computed")} for entry in release.card["published"]
        ],
    }


def _version(folders: list[Path], digest: str) -> str:
    """Return the version of the same model in the first folder, else one above the highest of all.

    A number is never given twice: a release trained here must not stand before a shipped one.
    """
    own = [entry for entry in catalogue.releases(folders[:1]) if entry.model == STROKE_EARLY_ASPIRIN]
    same = [entry.version for entry in own if entry.sha256 == digest]
    return same[0] if same else str(catalogue.highest(folders, STROKE_EARLY_ASPIRIN) + 1)


def _code_hash() -> str:
    """Return one SHA-256 over the source files that a training runs."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(features.__file__)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
