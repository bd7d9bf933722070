"""From the data to a release: load, published numbers, risk model, evaluation, effects, card."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, Mask
from cds_hooks.models import catalogue, features
from cds_hooks.models.catalogue import Release
from cds_hooks.monitoring import reference
from cds_hooks.training import cohort as cohorts
from cds_hooks.training import effects, envelope, evaluate, evidence, fit, published, source_attributes
from cds_hooks.training.cohort import Cohort
from cds_hooks.training.description import Description

STROKE_EARLY_ASPIRIN = "stroke-early-aspirin"
Progress = Callable[[str], None]


class TrainingRefused(RuntimeError):
    """The data or the result is not what the recipe demands; nothing was written."""


@dataclass(frozen=True)
class Study:
    """What was found in a cohort: the model's text, its figures, the effects."""

    cohort: Cohort
    text: str
    published: list[dict[str, Any]]
    evaluation: dict[str, Any]
    reference: dict[str, Any]
    effect: dict[str, Any] | None
    average_benefit: dict[str, Any] | None
    benefit_by_risk: list[dict[str, Any]]
    harms: dict[str, Any]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the model's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def study(cohort: Cohort, progress: Progress = lambda _text: None) -> Study:
    """Run the recipe on a cohort of any description; nothing is written.

    Raises TrainingRefused when a published number is not reproduced.
    """
    trial = cohort.description
    progress(f"{len(cohort):,} patients read, SHA-256 {cohort.sha256[:12]}…")
    reproduced = published.reproduce(cohort)
    if wrong := [entry["name"] for entry in reproduced if not entry["equal"]]:
        raise TrainingRefused(f"{len(wrong)} published numbers are not reproduced, first: {wrong[0]}")
    if reproduced:
        progress(f"{len(reproduced)} of {len(reproduced)} published numbers reproduced")
    evaluation, known, p = _evaluate(cohort, progress)
    coded = {variable.name for variable in trial.variables if variable.codes}
    seen = reference.describe(trial.names, cohort.x, p, coded)
    y = cohort.outcome(trial.risk[0])
    text = str(fit.fit_trees(cohort.x[known], y[known], trial.names).model_to_string())
    if trial.effect is None:
        return Study(cohort, text, reproduced, evaluation, seen, None, None, [], {})
    own = np.full(len(cohort), np.nan)
    own[known] = p
    effect = effects.odds_ratio(cohort, own)
    return Study(
        cohort, text, reproduced, evaluation, seen, effect, effects.benefit(cohort, own),
        effects.by_risk(cohort, known, p, effect["odds_ratio"]), effects.harms(cohort),
    )  # fmt: skip


def train(
    path: Path,
    folders: list[Path],
    *,
    state: str = "draft",
    progress: Progress = lambda _text: None,
    now: datetime | None = None,
    description: Description | None = None,
) -> Release:
    """Train from a trial's CSV (default: the IST) and write a release into the first of `folders`.

    The version is one above the highest of all folders; where the first one holds the same model
    text already, that release is returned. Raises TrainingRefused when a published number is not
    reproduced or the trial's model is not one that this program serves, CohortError when the file is
    something else.
    """
    return release(cohorts.load(path, description), folders, state=state, progress=progress, now=now)


def release(
    cohort: Cohort,
    folders: list[Path],
    *,
    state: str = "draft",
    progress: Progress = lambda _text: None,
    now: datetime | None = None,
) -> Release:
    """Train from a cohort, wherever it was read, and write a release; as `train`."""
    trial = cohort.description
    if trial.serving != STROKE_EARLY_ASPIRIN:
        raise TrainingRefused(
            f"{trial.id} is no model that is served here ([trial] serving is {trial.serving!r});"
            " `python -m cds_hooks.training` gives its figures without a release"
        )
    found = study(cohort, progress)
    version = _version(folders, found.sha256)
    if (folders[0] / f"{STROKE_EARLY_ASPIRIN}-{version}").exists():
        progress(f"the same model is there already as version {version}")
        return catalogue.find(folders[:1], STROKE_EARLY_ASPIRIN, version)
    gates = evidence.summary(cohort)
    card = {
        "id": STROKE_EARLY_ASPIRIN,
        "version": version,
        "state": state,
        "title": "Risk of death or dependency six months after stroke, and the mean effect of early aspirin",
        "trained_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "model": {
            "kind": "LightGBM",
            "library": fit.lightgbm().__version__,
            "sha256": found.sha256,
            "rounds": fit.ROUNDS,
            "parameters": fit.PARAMETERS,
            "outcome": "dead or dependent at 6 months (OCCODE 1 or 2 of 1–4)",
        },
        "code_sha256": _code_hash(),
        "code_commit": _code_commit(),
        "seed": fit.PARAMETERS["seed"],
        "description": {"id": trial.id, "sha256": trial.sha256},
        "data": _data(cohort),
        "schema": features.schema(),
        "schema_sha256": features.schema_hash(),
        "never_missing_in_training": [
            name
            for name, gaps in zip(trial.names, np.isnan(cohort.x).sum(axis=0).tolist(), strict=True)
            if not gaps
        ],
        "envelope": envelope.fit(trial.names, cohort.x),
        "reference": found.reference,
        "evaluation": found.evaluation,
        "published": found.published,
        "effect": found.effect,
        "average_benefit": found.average_benefit,
        "benefit_by_risk": found.benefit_by_risk,
        "harms": found.harms,
        "individual_effects": evidence.individual_effects(gates),
        "gates": gates,
        "source_attributes": source_attributes.stroke_early_aspirin(
            found.evaluation, found.effect or {}, state
        ),
    }
    return catalogue.write(folders[0], STROKE_EARLY_ASPIRIN, version, found.text, card)


def _data(cohort: Cohort) -> dict[str, Any]:
    source = cohort.description.source
    return {
        "name": source.name,
        "doi": source.doi,
        "sha256": cohort.sha256,
        "as_published": cohort.as_published,
        "rows": len(cohort),
        "period": source.period,
        "licence": source.licence,
        "notice": source.notice,
    }


def assess(
    cohort: Cohort, progress: Progress = lambda _text: None
) -> tuple[dict[str, Any], Callable[[float], list[dict[str, Any]]]]:
    """Return the out-of-fold evaluation, and a function from an odds ratio to benefit by risk."""
    evaluation, known, p = _evaluate(cohort, progress)
    return evaluation, lambda ratio: effects.by_risk(cohort, known, p, ratio)


def _evaluate(cohort: Cohort, progress: Progress) -> tuple[dict[str, Any], Mask, Floats]:
    """Return the evaluation, the rows whose first outcome is known, and their cross-fitted risk."""
    trial = cohort.description
    outcome = cohort.outcome(trial.risk[0])
    known: Mask = ~np.isnan(outcome)
    x, y, folds = cohort.x[known], outcome[known], cohort.folds[known]

    def step(name: str) -> Callable[[int], None]:
        return lambda fold: progress(f"{name}: fold {fold + 1} of {trial.folds.count}")

    p = fit.out_of_fold(fit.trees, x, y, folds, step("LightGBM"))
    linear = fit.out_of_fold(fit.linear(trial.squares), x, y, folds, step("logistic"))
    evaluation = {
        "scheme": f"out of fold; {trial.folds.count} folds of whole {trial.folds.unit}, fold ="
        f" SHA-256('{trial.folds.salt}:' + {trial.folds.column}) mod {trial.folds.count}",
        "fold_sizes": np.bincount(cohort.folds, minlength=trial.folds.count).tolist(),
        "lightgbm": evaluate.performance(y, p),
        "logistic": evaluate.performance(y, linear),
        "net_benefit": {"lightgbm": evaluate.net_benefit(y, p), "logistic": evaluate.net_benefit(y, linear)},
        "calibration": evaluate.calibration_curve(y, p),
        "decision_curve": evaluate.decision_curve(y, p),
        "subgroups": evaluate.by_subgroup(cohort, known, y, p),
    }
    for benchmark in trial.benchmarks:
        paper = cohort.numbers(benchmark.column)
        compared = ~np.isnan(paper) & ~np.isnan(cohort.outcome(benchmark.outcome))
        evaluation[f"published_prediction_{benchmark.column}"] = evaluate.performance(
            cohort.outcome(benchmark.outcome)[compared], paper[compared]
        )
    for name in trial.risk[1:]:
        other = cohort.outcome(name)
        rows = ~np.isnan(other)
        risk = fit.out_of_fold(fit.trees, cohort.x[rows], other[rows], cohort.folds[rows], step(name))
        evaluation[name.replace("-", "_")] = evaluate.performance(other[rows], risk)
    return evaluation, known, p


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
    """Return one SHA-256 over the files that a training runs: sources and descriptions."""
    digest = hashlib.sha256()
    room = Path(__file__).parent
    measured = sorted((room.parent / "evaluation").glob("*.py"))
    table = Path(features.__file__)
    for path in (*sorted(room.glob("*.py")), *sorted(room.glob("trials/*.toml")), *measured, table):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _code_commit() -> str | None:
    """Return the commit that is checked out ("-dirty" where files differ), None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
