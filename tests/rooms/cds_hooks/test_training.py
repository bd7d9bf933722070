"""The trial's data: the 29 published numbers, the reference model, the effects (Lancet 1997;349:1569)."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("pandas")
cohorts: Any = importlib.import_module("cds_hooks.training.cohort")
effects: Any = importlib.import_module("cds_hooks.training.effects")
evaluate: Any = importlib.import_module("cds_hooks.training.evaluate")
pipeline: Any = importlib.import_module("cds_hooks.training.pipeline")
published: Any = importlib.import_module("cds_hooks.training.published")

from cds_hooks import registry  # noqa: E402
from cds_hooks.models import catalogue, envelope, features  # noqa: E402
from cds_hooks.monitoring import reference  # noqa: E402
from cds_hooks.training import beside, source_attributes  # noqa: E402
from cds_hooks.training import description as descriptions  # noqa: E402
from tests.support.models import draft, shipped  # noqa: E402

FOLD_SIZES = [1660, 1774, 1317, 1825, 2196, 2163, 1654, 2550, 2543, 1753]


@pytest.fixture(scope="module")
def cohort(trial: Path) -> Any:
    return cohorts.load(trial)


def test_all_29_published_numbers_are_reproduced_at_the_papers_decimals(cohort: Any, trial: Path) -> None:
    computed = {entry["name"]: entry["computed"] for entry in published.reproduce(cohort)}
    with (trial.parent / "published.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(computed) == 29
    assert {row["name"]: f"{computed[row['name']]:.{row['decimals']}f}" for row in rows} == {
        row["name"]: row["paper"] for row in rows
    }


def test_the_file_is_the_depositors(cohort: Any) -> None:
    assert cohort.as_published
    assert cohort.x.shape == (19435, 22)


def test_folds_are_whole_hospitals_by_hash(cohort: Any) -> None:
    assert np.bincount(cohort.folds).tolist() == FOLD_SIZES
    assert cohort.table.assign(fold=cohort.folds).groupby("HOSPNUM")["fold"].nunique().max() == 1


def test_gaps_are_the_pilots_and_nothing_else(cohort: Any) -> None:
    gaps = dict(zip(features.NAMES, np.isnan(cohort.x).sum(axis=0).tolist(), strict=True))
    assert {name: count for name, count in gaps.items() if count} == {
        "RATRIAL": 984,
        "RASP3": 984,
        "RHEP24": 344,
    }


def test_features_without_gaps_in_training_are_never_left_unknown_in_serving(cohort: Any) -> None:
    # LightGBM reads an unknown as 0 where it saw no gap in training: 0 mmHg, age 0
    gaps = np.isnan(cohort.x).any(axis=0)
    for feature, gap in zip(features.FEATURES, gaps, strict=True):
        assert gap == (feature.unknown == features.MISSING), feature.name


def test_the_syndrome_rule_gives_the_recorded_one(cohort: Any) -> None:
    rows = cohort.table.to_dict("records")
    assert np.mean([features.syndrome(row) == row["STYPE"] for row in rows]) == pytest.approx(
        0.986, abs=0.0005
    )


def test_the_range_of_the_feature_table_is_that_of_the_trial(cohort: Any) -> None:
    for feature in features.FEATURES:
        if feature.low is not None and feature.name not in ("RDELAY", "NDEF"):
            column = cohort.x[:, features.NAMES.index(feature.name)]
            assert (feature.low, feature.high) == (column.min(), column.max()), feature.name


def test_average_effect_and_harms(cohort: Any) -> None:
    assert {key: effects.odds_ratio(cohort)[key] for key in ("odds_ratio", "ci")} == {
        "odds_ratio": 0.93,
        "ci": [0.87, 0.994],
    }
    assert effects.benefit(cohort) == {"per_1000": 13.0, "se": 6.1}
    harms = effects.harms(cohort)
    assert harms["extracranial_bleeding"]["per_1000"] == 5.3
    assert harms["extracranial_bleeding_without_heparin"]["per_1000"] == 1.9


def rounded(value: Any) -> Any:
    """Return `value` with ten digits of each float: sums may run in another order on another machine."""
    if isinstance(value, dict):
        return {key: rounded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [rounded(member) for member in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


@pytest.mark.slow
def test_training_reaches_the_reference_and_repeats_itself(trial: Path, tmp_path: Path) -> None:
    release = pipeline.train(trial, [tmp_path, catalogue.SHIPPED])
    figures = release.card["evaluation"]["lightgbm"]
    assert figures["auc"] == pytest.approx(0.7988, abs=0.003)
    assert figures["brier"] == pytest.approx(0.1744, abs=0.001)
    assert 0.97 <= figures["calibration_slope"] <= 1.05
    assert release.card["evaluation"]["logistic"]["auc"] == pytest.approx(0.7983, abs=0.003)
    assert release.card["evaluation"]["published_prediction_EXPDD"]["auc"] == pytest.approx(
        0.7878, abs=0.0005
    )
    assert release.card["evaluation"]["death_or_recurrent_stroke_14_days"]["auc"] == pytest.approx(
        0.7465, abs=0.003
    )
    groups = release.card["evaluation"]["subgroups"]
    for name, expected in {
        "site: United Kingdom": 1.15,
        "site: Italy": 0.95,
        "site: Switzerland": 0.99,
        "site: 33 other countries": 0.88,
    }.items():
        assert groups[name]["observed_over_expected"] == pytest.approx(expected, abs=0.01)
    first = catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin", "1")
    assert release.sha256 == first.sha256
    assert release.version == "2"
    assert registry.services([tmp_path])["stroke-early-aspirin"].model.version == "1", "a draft hides nothing"
    assert release.state == "draft"
    evaluation = {key: release.card["evaluation"][key] for key in first.card["evaluation"]}
    assert rounded(evaluation) == rounded(first.card["evaluation"])
    for key in ("effect", "harms", "schema", "published", "benefit_by_risk", "average_benefit"):
        assert rounded(release.card[key]) == rounded(first.card[key])
    beside_, where = reference.of(first) or ({}, "")
    assert where == "the training data, as the file beside the card describes them"
    assert beside_["seed"] == release.card["seed"] == first.card["model"]["parameters"]["seed"]
    made = json.loads(json.dumps(release.card["reference"]))
    assert rounded({key: beside_[key] for key in made}) == rounded(made), "what a card would hold today"
    report = pipeline.report(release)
    assert json.loads(json.dumps(report))["published"][0] == {
        "name": "patients randomised",
        "paper": 19435,
        "computed": 19435,
    }


def test_a_reference_is_written_beside_the_release_of_the_same_model_only(tmp_path: Path) -> None:
    release = draft(tmp_path)
    made = reference.describe(["AGE"], np.array([[70.0], [80.0]]), np.array([0.2, 0.4]), set())
    text = (release.folder / catalogue.MODEL).read_text()
    study = pipeline.Study(cast(Any, None), text, [], {}, made, None, None, [], {})
    path = beside.reference(release, study)
    assert path == tmp_path / f"{release.folder.name}.reference.json"
    found, _where = reference.of(release) or ({}, "")
    assert {key: found[key] for key in made} == json.loads(json.dumps(made)), "before that of the program"
    with pytest.raises(pipeline.TrainingRefused, match="another seed"):
        beside.reference(release, dataclasses.replace(study, text="another model"))


@pytest.mark.parametrize("change", [{"n": 1}, {"model_sha256": "0" * 64}, {"inputs": None}, None])
def test_a_reference_that_was_altered_or_is_of_another_model_is_none(
    tmp_path: Path, change: dict[str, Any] | None
) -> None:
    release = draft(tmp_path, data={**shipped().card["data"], "sha256": "1" * 64})
    assert reference.of(release) is None, "that of the program is for other data"
    document = json.loads(next(catalogue.SHIPPED.glob("*.reference.json")).read_text())
    document |= {"data_sha256": "1" * 64}
    document["sha256"] = envelope.digest(document)
    path = tmp_path / "x.reference.json"
    path.write_text(json.dumps(document))
    assert reference.of(release) is not None
    path.write_text("{" if change is None else json.dumps(document | change))
    assert reference.of(release) is None


def test_the_31_source_attributes_are_all_there() -> None:
    attributes = catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin").card["source_attributes"]
    assert tuple(sorted(attributes)) == source_attributes.KEYS
    assert len(attributes) == 31
    assert all(text.strip() for text in attributes.values())
    unassessed = {key[:2] for key, text in attributes.items() if text == source_attributes.NOT_ASSESSED}
    assert unassessed == {"23", "24", "27", "29"}


def test_auc_counts_ties_half_and_a_perfect_model_is_one() -> None:
    assert evaluate.auc(np.array([0.0, 1.0]), np.array([0.2, 0.9])) == 1.0
    assert evaluate.auc(np.array([0.0, 1.0, 1.0]), np.array([0.5, 0.5, 0.5])) == 0.5


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("A,B\n1,2\n")
    with pytest.raises(cohorts.CohortError, match="lacks the columns AGE"):
        cohorts.load(path)


@pytest.mark.parametrize(("text", "month"), [("sty-91", 1), ("LUT-93", 2), ("PA\x9f-92", 10), ("paź-95", 10)])
def test_polish_months(text: str, month: int) -> None:
    moment = descriptions.shipped("international-stroke-trial").moment
    assert moment is not None
    assert moment.of(text).month == month
