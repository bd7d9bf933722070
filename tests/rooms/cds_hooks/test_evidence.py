"""The recorded evidence: whole, of this code, and what a few draws of it give again."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pandas")
cohorts: Any = importlib.import_module("cds_hooks.training.cohort")
comparison: Any = importlib.import_module("cds_hooks.training.comparison")
descriptions: Any = importlib.import_module("cds_hooks.training.description")
evidence: Any = importlib.import_module("cds_hooks.training.evidence")
gates: Any = importlib.import_module("cds_hooks.training.gate")
heterogeneity: Any = importlib.import_module("cds_hooks.training.heterogeneity")
learners: Any = importlib.import_module("cds_hooks.training.learners")
pipeline: Any = importlib.import_module("cds_hooks.training.pipeline")
planted: Any = importlib.import_module("cds_hooks.training.planted")

from cds_hooks.models import catalogue, recorded  # noqa: E402
from tests.support import made_trial  # noqa: E402

IST = "international-stroke-trial"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    document: dict[str, Any] = recorded.recorded(IST)
    return document


@pytest.fixture(scope="module")
def cohort(trial: Path) -> Any:
    return cohorts.load(trial)


def test_the_evidence_is_of_this_code_this_description_and_these_data(found: Any) -> None:
    assert evidence.differences(found) == [], "run `make evidence`"


def test_the_evidence_is_of_the_depositors_file(found: Any, cohort: Any) -> None:
    assert cohort.as_published
    assert (found["data_sha256"], found["x_sha256"]) == (cohort.sha256, cohort.x_sha256)
    shipped = catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin", "1")
    assert found["model"]["sha256"] == shipped.sha256
    assert found["published_numbers"] == {"equal": 29, "of": 29}


@pytest.mark.parametrize("name", ["aspirin-6-months", "heparin-6-months"])
def test_individual_effects_of_the_trial_are_refused(found: Any, name: str, tmp_path: Path) -> None:
    verdict = found["gates"][name]
    assert not verdict["accepted"]
    assert verdict["reasons"] == ["permutation-null", "external-split", "policy-gain"]
    assert verdict["null"]["draws"] == len(verdict["null"]["qini"]) >= 200
    asked = next(one for one in evidence.shipped(IST).gates if one.name == name)
    with pytest.raises(gates.EffectsRefused, match="are not published: the observed Qini"):
        gates.publish(None, asked, verdict, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_planted_effect_is_accepted(found: Any) -> None:
    verdict = found["planted"]
    assert (verdict["accepted"], verdict["reasons"]) == (True, [])
    assert verdict["null"]["draws"] >= 200
    assert verdict["observed"]["gain_over_treat_all"]["ci"][0] > 0


def test_trained_from_fhir_is_trained_from_csv_on_the_whole(found: Any) -> None:
    parity = found["fhir"]
    assert parity["rows"] == 19435
    assert parity["model_sha256"] == [found["model"]["sha256"]] * 2
    assert parity["same_inputs"]
    assert parity["same_model"]
    assert parity["largest_difference_of_predictions"] < 1e-12


@pytest.mark.parametrize("name", ["aspirin-6-months", "heparin-6-months"])
def test_two_draws_and_the_observed_figures_come_out_again(found: Any, cohort: Any, name: str) -> None:
    verdict = found["gates"][name]
    asked = next(one for one in cohort.description.gates if one.name == name)
    again = gates.judge(cohort, asked, draws=2)
    assert again["null"]["qini"] == pytest.approx(verdict["null"]["qini"][:2], abs=0.05)
    for key in ("average_effect", "qini", "gain_over_treat_all"):
        assert again["observed"][key]["value"] == pytest.approx(verdict["observed"][key]["value"], abs=0.05)
    assert again["external"]["measures"]["qini"]["value"] == pytest.approx(
        verdict["external"]["measures"]["qini"]["value"], abs=0.05
    )
    assert again["reasons"] == ["too-few-draws", *verdict["reasons"]]


def test_a_small_run_of_the_planted_effect_lacks_nothing_but_draws(cohort: Any) -> None:
    sample = cohort.take(np.arange(0, len(cohort), 3))
    grown, asked = planted.planted(sample, sample.description.gates[0], "AGE", 0.08)
    assert gates.judge(grown, asked, draws=19)["reasons"] == ["too-few-draws"]
    grown, asked = planted.planted(sample, sample.description.gates[0], "AGE", 0.0)
    assert "policy-gain" in gates.judge(grown, asked, draws=2)["reasons"]
    with pytest.raises(ValueError, match=r"size is 0.5; expected 0 to 0.15"):
        planted.planted(sample, sample.description.gates[0], "AGE", 0.5)


def test_every_learner_gives_one_finite_number_a_patient_and_the_same_again(cohort: Any) -> None:
    sample = cohort.take(np.arange(0, len(cohort), 8))
    compared = comparison.compare(sample, "heparin", "death-or-recurrent-stroke-14-days", folds=2)
    for name, learner in learners.LEARNERS.items():
        predicted = learners.cross_fitted(learner, compared)
        assert np.isfinite(predicted).all(), name
        assert np.array_equal(predicted, learners.cross_fitted(learner, compared)), name
        assert np.abs(predicted).max() < 1, name


def test_the_mean_score_is_the_design_baseline(cohort: Any) -> None:
    """AIPW: aspirin 12.6 (SE 6.0), heparin 0.5 (6.0) fewer per 1000 at six months."""
    for arm, effect in (("aspirin", 12.6), ("heparin", 0.5)):
        compared = comparison.compare(cohort, arm, "dead-or-dependent-6-months", folds=3)
        assert 1000 * compared.scores.mean() == pytest.approx(effect, abs=0.3)
        assert 1000 * compared.scores.std() / np.sqrt(len(compared)) == pytest.approx(6.0, abs=0.1)


def test_a_perfect_ranking_has_the_largest_qini_and_a_constant_one_none(cohort: Any) -> None:
    compared = comparison.compare(cohort.take(np.arange(2000)), "aspirin", "dead-or-dependent-6-months")
    best = heterogeneity.qini(compared.scores, compared.scores)
    assert best > heterogeneity.qini(compared.scores, compared.x[:, 3]) > -best
    assert heterogeneity.qini(compared.scores, np.zeros(len(compared))) == pytest.approx(0.0, abs=1e-9)
    flat = heterogeneity.measures(compared, np.full(len(compared), 0.01))
    assert flat["blp_slope"] == {"value": 0.0, "se": None, "ci": None}
    assert flat["gain_over_treat_all"]["value"] == 0.0


def test_an_altered_evidence_is_refused(found: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    with pytest.raises(recorded.EvidenceError, match="`make evidence` makes it"):
        recorded.recorded(IST)
    path = evidence.write(found)
    assert recorded.recorded(IST) == found
    path.write_text(path.read_text().replace('"accepted": false', '"accepted": true'))
    with pytest.raises(recorded.EvidenceError, match="was altered"):
        recorded.recorded(IST)


def test_the_evidence_is_of_no_other_data(cohort: Any) -> None:
    with pytest.raises(recorded.EvidenceError, match="the data have SHA-256 abc"):
        evidence.gather(replace(cohort, sha256="abc"))


def test_the_card_says_what_the_gates_said(
    found: Any, cohort: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = evidence.summary(cohort)
    assert told is not None
    assert told["evidence_sha256"] == found["sha256"]
    assert {name: one["accepted"] for name, one in told["verdicts"].items()} == {
        "aspirin-6-months": False,
        "heparin-6-months": False,
    }
    assert evidence.individual_effects(told).startswith("not published: no evidence that the effect differs")
    told["verdicts"]["aspirin-6-months"]["accepted"] = True
    assert evidence.individual_effects(told).startswith(
        "may be published, as a release of their own: aspirin"
    )
    assert evidence.summary(cohort.take(np.arange(100))) is None, "of other rows nothing is known"
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    assert evidence.summary(cohort) is None


def test_a_second_run_writes_the_same_bytes_and_a_stopped_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, rows = made_trial.write(tmp_path, patients=500)
    digest = hashlib.sha256(rows.read_bytes()).hexdigest()
    text.write_text(text.read_text().replace('file = "made.csv"', f'file = "made.csv"\nsha256 = "{digest}"'))
    made = cohorts.load(rows, descriptions.load(text))
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "evidence")
    kept = tmp_path / "kept"
    assert set(evidence.gather(made, draws=2, kept=kept, only="gate")) == {"gate new-drug-relapse"}
    told: list[str] = []
    first = evidence.gather(made, draws=2, kept=kept, progress=told.append)
    assert not any("draw" in line for line in told), "the gate was not run again"
    assert {path.stem for path in kept.iterdir()} == {
        "gate-new-drug-relapse", "learners-new-drug-relapse", "fhir",
    }  # fmt: skip
    written = evidence.write(first).read_bytes()
    told.clear()
    assert evidence.write(evidence.gather(made, draws=2)).read_bytes() == written
    evidence.gather(made, draws=3, kept=kept, only="gate", progress=told.append)
    assert any("draw 3 of 3" in line for line in told), "another question is asked again"
