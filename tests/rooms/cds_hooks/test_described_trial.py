"""A trial described in one file goes from rows to gate without new code; a wrong file is refused by name."""

from __future__ import annotations

import importlib
import json
import lzma
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pandas")
cohorts: Any = importlib.import_module("cds_hooks.training.cohort")
command: Any = importlib.import_module("cds_hooks.training.__main__")
descriptions: Any = importlib.import_module("cds_hooks.training.description")
gates: Any = importlib.import_module("cds_hooks.training.gate")
pipeline: Any = importlib.import_module("cds_hooks.training.pipeline")

from cds_hooks.models import catalogue, features  # noqa: E402
from tests.support import made_trial  # noqa: E402

IST = "international-stroke-trial"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return made_trial.write(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def cohort(made: tuple[Path, Path]) -> Any:
    return cohorts.load(made[1], descriptions.load(made[0]))


def test_another_trial_runs_from_rows_to_gate_without_new_code(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(made[0]), "--data", str(made[1]), "--draws", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 3000
    assert found["published"][0]["equal"] is True
    assert 0.55 < found["evaluation"]["lightgbm"]["auc"] < 0.9
    assert set(found["evaluation"]["subgroups"]) == {"grade I", "over 60"}
    assert found["effect"]["adjusted_for"] == "cross-fitted risk of this model"
    assert found["effect"]["odds_ratio"] < 1
    assert set(found["harms"]["bleeding"]) >= {"new_drug_percent", "old_drug_percent"}
    assert found["gates"][0]["reasons"] == ["too-few-draws", "permutation-null"]
    assert command.main([str(made[0]), "--data", str(made[1]), "--draws", "3"]) == 0
    assert json.loads(capsys.readouterr().out) == found, "a second run gives the same"


def test_a_planted_effect_is_accepted_and_only_then_published(cohort: Any, tmp_path: Path) -> None:
    gate = cohort.description.gates[0]
    few = gates.judge(cohort, gate, draws=3)
    with pytest.raises(gates.EffectsRefused, match=r"fewer than 200 draws .* not beyond the re-random"):
        gates.publish(cohort, gate, few, tmp_path)
    verdict = gates.judge(cohort, gate)
    assert (verdict["accepted"], verdict["reasons"], verdict["null"]["draws"]) == (True, [], 200)
    release = gates.publish(cohort, gate, verdict, tmp_path)
    assert release.state == "draft"
    assert release.card["verdict"] == verdict
    with pytest.raises(catalogue.ReleaseError, match="another feature table"):
        catalogue.load(release)  # no service of ours reads these columns
    other = replace(gate, outcome="relapse", learner="T")
    with pytest.raises(gates.EffectsRefused, match="not about"):
        gates.publish(cohort, other, verdict, tmp_path)


def test_no_planted_effect_is_refused(tmp_path: Path) -> None:
    text, rows = made_trial.write(tmp_path, size=0.0)
    trial = cohorts.load(rows, descriptions.load(text))
    verdict = gates.judge(trial, trial.description.gates[0], draws=20)
    assert not verdict["accepted"]
    assert {"policy-gain", "external-split"} & set(verdict["reasons"])


def test_a_second_look_at_the_outside_split_is_refused(cohort: Any) -> None:
    gate = cohort.description.gates[0]
    first = gates.judge(cohort, gate, draws=1)
    assert (
        "external-split-used-before"
        not in gates.judge(cohort, gate, draws=1, earlier=[first["look"]])["reasons"]
    )
    claim = replace(gate, learner="logistic T")
    with pytest.raises(gates.GateError, match="a claim is named beforehand"):
        gates.judge(cohort, claim, draws=1)
    changed = replace(cohort, description=replace(cohort.description, gates=(claim,)))
    again = gates.judge(changed, claim, draws=1, earlier=[first["look"]])
    assert "external-split-used-before" in again["reasons"]


def test_cells_are_read_as_described(cohort: Any) -> None:
    record = {"years": "61.5", "grade": "II", "diabetes": "NA", "pain": "yes"}
    vector = cohort.description.encode(cohorts.values(record, cohort.description))
    assert vector[:2] == [61.5, 2.0]
    assert math.isnan(vector[2])
    assert vector[3:] == [1.0, 1.0]
    arm = cohort.arm("new drug")
    assert set(cohort.table["given"][np.isnan(arm)]) == {"none"}
    assert set(np.unique(cohort.outcome("relapse")[cohort.table["died"] == "yes"])) == {1.0}
    assert cohort.folds.max() == 4


def test_the_arm_never_predicts_its_own_effect_and_the_other_arm_does() -> None:
    trial = descriptions.shipped(IST)
    kept, others = trial.analysis("heparin")
    assert "RXHEP" not in [trial.names[place] for place in kept]
    assert others == ("aspirin",)
    kept, others = trial.analysis("aspirin")
    assert len(kept) == 22
    assert others == ()


def test_the_ist_is_the_table_that_serves_it(trial: Path) -> None:
    shipped = descriptions.shipped(IST)
    assert shipped.names == features.NAMES
    plain = replace(shipped, serving=None)
    cohort = cohorts.load(trial, shipped)
    records = cohort.table.to_dict("records")
    for row in range(0, len(records), 7):
        assert np.array_equal(
            plain.encode(cohorts.values(records[row], plain)), cohort.x[row], equal_nan=True
        )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "made-trial"', 'name = "x"', "the key id is missing"),
        ('salt = "made"', 'salt = "made"\nsold = 1', "unknown key sold; known are column, count, salt, unit"),
        ("count = 5", 'count = "5"', "count is '5'; expected is a whole number above 1"),
        (
            'outcomes = ["relapse"]',
            'outcomes = ["cure"]',
            "risk: there is no outcome 'cure'; known",
        ),
        ('name = "years", label = "age"', 'name = "drug_stopped", label = "x"', "came after randomisation"),
        ('name = "years", label = "age"', 'name = "relapsed", label = "x"', "came after randomisation"),
        ('name = "years", label = "age"', 'name = "clinic", label = "x"', "a site must not predict itself"),
        ('unused = ["remark"]', 'unused = ["region"]', "region is listed as unused and is used as subgroup"),
        ('[external]\ncolumn = "region"\ntest = ["east"]', "", r"a gate needs an \[external\] split"),
        ("probability = 0.6666666666666667", "probability = 2", "give the chance of being treated"),
        ("probability = 0.6666666666666667", "", "give the chance of being treated"),
        (
            'of = ["diabetes", "pain"]',
            'of = ["diabetes", "itch"]',
            "burden counts itch, which are no",
        ),
        (
            'arm = "new drug"\noutcome = "relapse"\nlearner',
            'arm = "x"\noutcome = "relapse"\nlearner',
            "no arm 'x'",
        ),
        (
            'columns = ["bled"]',
            'columns = ["bled"], measure = "odds"',
            "bleeding: measure is 'odds'; expected is",
        ),
        (
            'columns = ["bled"]',
            'columns = ["bled"], where = { grade = "I" }',
            "where grade is 'I'; expected is a",
        ),
        ("[trial]", "[trial", "is no TOML"),
    ],
)
def test_a_wrong_description_is_refused_by_name(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "wrong.toml"
    assert old in made_trial.DESCRIPTION
    path.write_text(made_trial.DESCRIPTION.replace(old, new, 1), encoding="utf-8")
    if "subgroup" in says:
        says = says.replace("subgroup", "external split")
    with pytest.raises(descriptions.DescriptionError, match=says):
        descriptions.load(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("low = 16, high = 99", "low = 18, high = 99", "AGE: low is 18.0; models/features, which serves it"),
        ('"RCONSC"', '"RCONS"', "the serving table has RDELAY, RCONSC"),
        ("codes = { M = 0, F = 1 }", "codes = { M = 1, F = 0 }", "SEX: codes is"),
    ],
)
def test_a_description_that_differs_from_the_serving_table_is_refused(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    text = (descriptions.TRIALS / f"{IST}.toml").read_text("utf-8")
    assert old in text
    (tmp_path / "ist.toml").write_text(text.replace(old, new), "utf-8")
    with pytest.raises(descriptions.DescriptionError, match=says):
        descriptions.load(tmp_path / "ist.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("remark", "comment", "columns that made-trial does not describe: comment"),
        ("years", "age", "lacks the columns years"),
        (";II;", ";IV;", "grade is 'IV'; known are I, II, III"),
        ("clinic;region", "clinic,region", "lacks the columns clinic"),
    ],
)
def test_other_rows_are_refused_by_name(
    made: tuple[Path, Path], tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "made.csv"
    path.write_text(made[1].read_text().replace(old, new))
    with pytest.raises(cohorts.CohortError, match=says):
        cohorts.load(path, descriptions.load(made[0]))


def test_a_trial_that_is_not_served_gets_no_release(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(pipeline.TrainingRefused, match="no model that is served here"):
        pipeline.train(made[1], [tmp_path], description=descriptions.load(made[0]))


def test_the_command_refuses_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["no-trial", "--data", str(tmp_path / "x.csv")]) == 2
    assert "there is no description no-trial; known are international-stroke-trial" in capsys.readouterr().err


def test_a_file_larger_than_the_bound_is_refused(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "made.csv.xz"
    packed.write_bytes(lzma.compress(made[1].read_bytes()))
    trial = descriptions.load(made[0])
    assert len(cohorts.load(packed, trial)) == 3000
    monkeypatch.setattr(cohorts, "MAX_BYTES", 10_000)
    for path in (packed, made[1]):
        with pytest.raises(cohorts.CohortError, match="is larger than 10,000 bytes"):
            cohorts.load(path, trial)


def test_a_harm_counts_the_cells_that_it_names(cohort: Any) -> None:
    event = replace(cohort.description.harms[0], columns=("drug_stopped",), yes=("yes",))
    assert cohort.counted(event).sum() == (cohort.table["drug_stopped"] == "yes").sum() > 0
    event = replace(event, columns=(), outcome="relapse")
    assert np.array_equal(cohort.counted(event), cohort.outcome("relapse"), equal_nan=True)
