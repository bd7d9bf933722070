"""The evidence of a trial: every gate run in full, its figures in one file with hashes. `make evidence`.

A full run takes tens of minutes, so it is recorded, not repeated: `models/evidence/<trial>.json` says
from which code, description and data its figures come, and the tests compare those hashes and run a few
draws again. There is no time and no machine in it: a second run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cds_hooks.models import features
from cds_hooks.models.recorded import Document, EvidenceError, digest, path, recorded
from cds_hooks.training import comparison, fhir_trial, fit, gate, heterogeneity, learners, planted, published
from cds_hooks.training.cohort import Cohort
from cds_hooks.training.description import Description, shipped

CODE = (
    "evaluation/regression", "training/cohort", "training/comparison", "training/description",
    "training/entry", "training/fit", "training/gate", "training/heterogeneity", "training/learners",
    "training/moment", "training/planted",
)  # fmt: skip
"""The files that the figures of the gates come from."""

PLANTED_IN, PLANTED_SIZE = "AGE", 0.04
"""The planted effect: 40 fewer bad outcomes per 1000 below the median age, 40 more above."""

Progress = Callable[[str], None]


def gather(
    cohort: Cohort,
    *,
    draws: int | None = None,
    progress: Progress = lambda _text: None,
    kept: Path | None = None,
    only: str | None = None,
) -> Document:
    """Run everything and return the document; `draws` overrides the description's number.

    With `kept`, a folder, each finished stage is kept there and not run again by the next call with the
    same code, description and rows: a run that was stopped goes on, and stages (`only`, by the start of
    their names) can be run side by side. Raises EvidenceError when the cohort is not the file that the
    description names.
    """
    trial = cohort.description
    if not cohort.as_published:
        raise EvidenceError(f"the data have SHA-256 {cohort.sha256}; {trial.id} names {trial.source.sha256}")
    origin = {**_origin(trial), "data_sha256": cohort.sha256, "x_sha256": cohort.x_sha256}
    earlier = recorded(trial.id)["looks"] if path(trial.id).exists() else []
    found: Document = {}
    for name, work in _stages(cohort, draws, earlier, progress):
        if only is None or name.startswith(only):
            found[name] = _stage(kept, name, {**origin, "draws": draws}, work)
    if only is not None:
        return found
    numbers = published.reproduce(cohort)
    looks = [found[f"gate {one.name}"]["look"] for one in trial.gates]
    document = {
        **origin,
        "notice": trial.source.notice,
        "published_numbers": {"equal": sum(one["equal"] for one in numbers), "of": len(numbers)},
        "model": _model(cohort),
        "gates": {one.name: found[f"gate {one.name}"] for one in trial.gates},
        "looks": looks + [look for look in earlier if look not in looks],
        "planted": found.get("planted"),
        "learners": [found[f"learners {arm} {outcome}"] for arm in trial.arms for outcome in trial.risk],
        "fhir": found.get("fhir"),
    }
    return {**document, "sha256": digest(document)}


def _stages(
    cohort: Cohort, draws: int | None, earlier: list[Document], progress: Progress
) -> Iterator[tuple[str, Callable[[], Document]]]:
    """Give every stage that the description asks for: its name, and the work."""
    trial = cohort.description
    for one in trial.gates:
        tell = _every(progress, f"gate {one.name}")
        yield (
            f"gate {one.name}",
            partial(gate.judge, cohort, one, draws=draws, earlier=earlier, progress=tell),
        )
    if trial.gates and trial.benchmarks and PLANTED_IN in trial.names:
        yield "planted", partial(_planted, cohort, draws, progress)
    for arm in trial.arms:
        for outcome in trial.risk:
            yield f"learners {arm} {outcome}", partial(_learners, cohort, arm, outcome, progress)
    if trial.moment is not None:
        yield "fhir", partial(parity, cohort, progress)


def _stage(kept: Path | None, name: str, origin: Document, work: Callable[[], Document]) -> Document:
    if kept is None:
        return work()
    file = kept / f"{name.replace(' ', '-')}.json"
    if file.exists():
        before: Document = json.loads(file.read_text("utf-8"))
        if before["origin"] == origin:
            result: Document = before["result"]
            return result
    result = work()
    kept.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"origin": origin, "result": result}, ensure_ascii=False), "utf-8")
    return result


def _planted(cohort: Cohort, draws: int | None, progress: Progress) -> Document:
    grown, asked = planted.planted(cohort, cohort.description.gates[0], PLANTED_IN, PLANTED_SIZE)
    return {
        "effect": f"{1000 * PLANTED_SIZE:.0f} fewer per 1000 below the median of {PLANTED_IN},"
        f" {1000 * PLANTED_SIZE:.0f} more above",
        **gate.judge(grown, asked, draws=draws, progress=_every(progress, "planted effect")),
    }


def _origin(trial: Description) -> Document:
    return {
        "trial": trial.id,
        "description_sha256": trial.sha256,
        "code_sha256": code_hash(),
        "feature_table_sha256": features.schema_hash() if trial.serving else None,
        "library": f"lightgbm {fit.lightgbm().__version__}",
    }


def _model(cohort: Cohort) -> Document:
    trial = cohort.description
    y = cohort.outcome(trial.risk[0])
    known = ~np.isnan(y)
    text = str(fit.fit_trees(cohort.x[known], y[known], trial.names).model_to_string())
    return {"outcome": trial.risk[0], "n": int(known.sum()), "sha256": _sha256(text.encode())}


def _learners(cohort: Cohort, arm: str, outcome: str, progress: Progress) -> Document:
    """Return all learners on one arm and outcome, cross-fitted in all folds: reported, never a gate."""
    compared = comparison.compare(cohort, arm, outcome)
    found: Document = {"arm": arm, "outcome": outcome, "learners": {}}
    for name, learner in learners.LEARNERS.items():
        progress(f"{arm}, {outcome}: learner {name}")
        found["learners"][name] = heterogeneity.measures(compared, learners.cross_fitted(learner, compared))
    return found


def parity(cohort: Cohort, progress: Progress = lambda _text: None) -> Document:
    """Write the cohort as FHIR, read it back, train from both; return how far the predictions differ."""
    trial = cohort.description
    progress("the trial as FHIR: written")
    with TemporaryDirectory() as work:
        fhir_trial.write(cohort, Path(work))
        progress("the trial as FHIR: read back")
        back = fhir_trial.read_ndjson(Path(work), trial)
    progress("the trial as FHIR: trained from both")
    texts, predictions = [], []
    for source in (cohort, back):
        y = source.outcome(trial.risk[0])
        known = ~np.isnan(y)
        booster = fit.fit_trees(source.x[known], y[known], trial.names)
        texts.append(str(booster.model_to_string()))
        predictions.append(booster.predict(source.x, num_threads=1))
    return {
        "rows": len(back),
        "same_inputs": cohort.x_sha256 == back.x_sha256,
        "same_model": texts[0] == texts[1],
        "model_sha256": [_sha256(text.encode()) for text in texts],
        "largest_difference_of_predictions": float(np.max(np.abs(predictions[0] - predictions[1]))),
    }


# The file -----------------------------------------------------------------------------------------
def write(document: Document) -> Path:
    """Write the evidence; a second run of the same gives the same bytes."""
    target = path(document["trial"])
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
    return target


def differences(document: Document) -> list[str]:
    """Return what has changed since the evidence was made: code, description, feature table, library."""
    origin = _origin(shipped(document["trial"]))
    return [
        f"{name} is {now}; the evidence was made with {document[name]}"
        for name, now in origin.items()
        if document[name] != now
    ]


def summary(cohort: Cohort) -> Document | None:
    """Return what a model card says of the gates.

    None where no evidence of this matrix, code and description is recorded: what was found with another
    one says nothing of this one.
    """
    trial = cohort.description.id
    if not path(trial).exists():
        return None
    document = recorded(trial)
    if document["x_sha256"] != cohort.x_sha256 or differences(document):
        return None
    return shortened(document)


def shortened(document: Document) -> Document:
    """Return what a card takes over of the evidence: its hash, and of each gate the figures that count."""
    return {
        "evidence_sha256": document["sha256"],
        "verdicts": {
            name: {
                "accepted": verdict["accepted"],
                "reasons": verdict["reasons"],
                "arm": verdict["arm"],
                "outcome": verdict["outcome"],
                "learner": verdict["learner"],
                "level": verdict["level"],
                **{
                    key: verdict["observed"][key]
                    for key in (
                        "average_effect",
                        "qini",
                        "blp_slope",
                        "gain_over_treat_all",
                        "gain_over_treat_none",
                    )
                },
                "null": {key: value for key, value in verdict["null"].items() if key != "qini"},
                "external": {
                    "column": verdict["external"]["column"],
                    "test": verdict["external"]["test"],
                    "n": verdict["external"]["measures"]["n"],
                    "p": verdict["external"]["p"],
                    "qini": verdict["external"]["measures"]["qini"],
                },
            }
            for name, verdict in document["gates"].items()
        },
    }


def individual_effects(told: Document | None) -> str:
    """Return in words what may be said of single patients, after the gates of a trial.

    >>> individual_effects(None)
    'not published: no gate was run'
    """
    if told is None:
        return "not published: no gate was run"
    accepted = [name for name, verdict in told["verdicts"].items() if verdict["accepted"]]
    if accepted:
        return f"may be published, as a release of their own: {', '.join(accepted)}"
    claims = (f"{name} ({', '.join(one['reasons'])})" for name, one in told["verdicts"].items())
    return (
        f"not published: no evidence that the effect differs between patients; refused: {'; '.join(claims)}"
    )


def code_hash() -> str:
    """Return one SHA-256 over the files in CODE."""
    hashed = hashlib.sha256()
    for name in CODE:
        hashed.update(name.encode() + b"\0" + (Path(__file__).parent.parent / f"{name}.py").read_bytes())
    return hashed.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _every(progress: Progress, name: str) -> Callable[[int, int], None]:
    def tell(done: int, whole: int) -> None:
        if done % 20 == 0 or done == whole:
            progress(f"{name}: draw {done} of {whole}")

    return tell
