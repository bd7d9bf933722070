"""Evaluation, fairness, recalibration and drawings: against figures worked out otherwise."""

from __future__ import annotations

import math
import random
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from cds_hooks.evaluation import fairness, local, recalibration, report, table
from cds_hooks.evaluation.local import Place
from cds_hooks.evaluation.performance import TooFew, auc, decision_curve, net_benefit, performance
from cds_hooks.evaluation.recalibration import RecalibrationRefused
from cds_hooks.evaluation.sample import Sample, groups
from cds_hooks.figures import drawings
from cds_hooks.models import attributes, blocks, catalogue, features, states
from cds_hooks.models.predictor import Predictor
from cds_hooks.models.recalibrated import NotRecalibrated, recalibrated
from fhir_server.outcome import Invalid
from tests.support.models import NOW, draft, drawn, shipped

SVG = "{http://www.w3.org/2000/svg}"


# Performance ------------------------------------------------------------------------------------
def test_auc_is_the_share_of_pairs_in_order() -> None:
    generator = random.Random(3)
    y = np.array([float(generator.random() < 0.4) for _ in range(60)])
    p = np.array([round(generator.random(), 1) for _ in range(60)])
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, one in zip(p, y, strict=True) if one
        for b, other in zip(p, y, strict=True) if not other
    ]  # fmt: skip
    assert auc(y, p) == pytest.approx(sum(pairs) / len(pairs))


def test_what_is_not_defined_is_refused() -> None:
    with pytest.raises(TooFew, match="0 of 3 had the outcome"):
        performance(np.zeros(3), np.full(3, 0.5))


def test_a_perfectly_calibrated_model_is_said_to_be_one() -> None:
    found = performance(*drawn(20_000))
    assert found["calibration_slope"] == pytest.approx(1.0, abs=0.05)
    assert found["calibration_in_the_large"] == pytest.approx(0.0, abs=0.05)
    low, high = found["observed_over_expected_ci"]
    assert low < 1 < high


def test_the_decision_curve_holds_the_thresholds_of_the_table() -> None:
    y, p = drawn(500)
    curve = {row["threshold"]: row["model"] for row in decision_curve(y, p)}
    assert curve[0.5] == net_benefit(y, p)["0.5"]["model"]
    assert all(row["treat_all"] < row_before["treat_all"] for row_before, row in zip(
        decision_curve(y, p), decision_curve(y, p)[1:], strict=False))  # fmt: skip


# Fairness ---------------------------------------------------------------------------------------
def grouped(off: float, n: int = 1000) -> Sample:
    """Return men for whom the model is right and women for whom it is off."""
    y1, p1 = drawn(5 * n)
    y2, p2 = drawn(n, shift=off, seed=2)
    sex = ["M"] * 5 * n + ["F"] * n
    return Sample(
        np.concatenate([y1, y2]), np.concatenate([p1, p2]), groups(sex, [70.0] * 6 * n, ["a"] * 6 * n)
    )


def test_a_group_that_is_out_of_bounds_blocks_by_name() -> None:
    found = report.evaluate(grouped(2.0))
    assert [line.split(":")[1].strip() for line in found["fairness"]["blocked"]] == ["women"]
    assert "outside 0.8 to 1.25" in found["fairness"]["blocked"][0]


def test_a_group_that_is_a_little_off_warns() -> None:
    found = report.evaluate(grouped(0.5))
    assert found["fairness"]["blocked"] == []
    assert any(
        line.startswith("sex: women: observed over expected 1.1") for line in found["fairness"]["warned"]
    )


def test_a_small_group_is_named_and_not_judged() -> None:
    y, p = drawn(300, shift=3.0)
    sex = ["F"] * 99 + ["M"] * 201
    found = fairness.by_group(Sample(y, p, groups(sex, [60.0] * 300, [None] * 300)))
    assert found["sex: women"] == {"n": 99, "too_few": "fewer than 100 patients"}
    assert found["sex: men"]["n"] == 201
    assert set(found) == {
        "sex: women",
        "sex: men",
        "age: under 65",
        "age: 65–74",
        "age: 75–84",
        "age: 85 and over",
    }


def test_an_interval_that_touches_the_bounds_does_not_block() -> None:
    row = {"observed_over_expected": 1.4, "observed_over_expected_ci": [1.24, 1.6], "n": 100}
    assert list(fairness._outside("x", row)) == []
    assert list(fairness._outside("x", row | {"observed_over_expected_ci": [1.26, 1.6]}))


# Recalibration ----------------------------------------------------------------------------------
def test_what_fits_is_left_alone() -> None:
    assert recalibration.fit(*drawn(2000, seed=5)).kind == "none"


def test_a_shift_is_found_and_nothing_more() -> None:
    found = recalibration.fit(*drawn(4000, shift=0.6))
    assert found.kind == "intercept"
    assert found.intercept == pytest.approx(0.6, abs=0.1)


def test_a_stretch_is_found_where_the_data_carry_it() -> None:
    found = recalibration.fit(*drawn(4000, shift=-0.4, stretch=0.6))
    assert found.kind == "intercept and slope"
    assert found.slope == pytest.approx(0.6, abs=0.08)
    few = recalibration.fit(*drawn(150, shift=-1.0, stretch=0.6))
    assert (few.slope, few.p_stretch) == (1.0, None), "fewer than 100 of either outcome carry no slope"


@pytest.mark.parametrize(("n", "shift"), [(99, 0.0), (200, 6.0)])
def test_too_few_are_refused(n: int, shift: float) -> None:
    with pytest.raises(RecalibrationRefused, match="a recalibration needs 100 patients and 20 of either"):
        recalibration.fit(*drawn(n, shift=shift))


def test_the_cross_fitted_figures_are_calibrated() -> None:
    y, p = drawn(3000, shift=0.8)
    before, after = performance(y, p), performance(y, recalibration.cross_fitted(y, p))
    assert before["observed_over_expected"] > 1.2
    assert after["observed_over_expected"] == pytest.approx(1.0, abs=0.01)
    assert after["brier"] < before["brier"]


@pytest.mark.parametrize("native", [True, False])
def test_a_recalibrated_text_is_the_model_with_other_odds(native: bool) -> None:
    text = (shipped().folder / catalogue.MODEL).read_text()
    one = Predictor(text, features.NAMES, native=native)
    other = Predictor(recalibrated(text, 0.37, 0.9), features.NAMES, native=native)
    generator = random.Random(1)
    for _ in range(50):
        row = [generator.choice([0.0, 1.0, 2.0, 71.0, 150.0, math.nan]) for _ in features.NAMES]
        p = one.predict(row)
        assert other.predict(row) == pytest.approx(
            1 / (1 + math.exp(-(0.37 + 0.9 * math.log(p / (1 - p))))), abs=1e-12
        )
        shares = other.contributions(row)
        assert all(
            shares[name] == pytest.approx(0.9 * value, abs=1e-12)
            for name, value in one.contributions(row).items()
        )


def test_the_text_of_no_recalibration_predicts_the_same() -> None:
    text = (shipped().folder / catalogue.MODEL).read_text()
    row = [1.0] * len(features.NAMES)
    same = Predictor(recalibrated(text, 0.0, 1.0), features.NAMES)
    assert same.predict(row) == Predictor(text, features.NAMES).predict(row)
    for wrong in (("tree\n", 0.1, 1.0), (text, 0.1, -1.0)):
        with pytest.raises(NotRecalibrated):
            recalibrated(*wrong)


def test_a_recalibrated_release_is_one_of_its_own(tmp_path: Path) -> None:
    parent = draft(tmp_path)
    y, p = drawn(800, shift=0.7)
    sample = Sample(y, p, groups(["M"] * 400 + ["F"] * 400, [70.0] * 800, ["a"] * 800))
    place = Place("Ward 7", "Ada Lovelace", "0" * 64, 800)
    release = local.recalibrate(parent, sample, place, [tmp_path, catalogue.SHIPPED], NOW)
    assert (release.version, release.state) == ("3", "draft")
    assert release.sha256 != parent.sha256
    own = release.card["recalibration"]
    assert own["parent"]["identity"] == parent.identity
    assert own["parent"]["digest"] == parent.digest
    assert own["before"]["observed_over_expected"] > 1.1
    assert own["assessment"]["evaluation"]["all"]["observed_over_expected"] == pytest.approx(1.0, abs=0.01)
    assert own["assessment"]["data"] == {
        "where": "Ward 7",
        "by": "Ada Lovelace",
        "sha256": "0" * 64,
        "rows": 800,
    }
    assert catalogue.load(release).predict([1.0] * 22) > catalogue.load(parent).predict([1.0] * 22)
    assert attributes.unassessed(release.card["source_attributes"]) == ()
    assert blocks.blocks(release, states.standing(release, [])) == [], "it brings what showing it needs"
    assert catalogue.find([tmp_path], parent.model, "2") == parent, "the parent stays as it is"


def test_what_needs_no_recalibration_gets_none(tmp_path: Path) -> None:
    y, p = drawn(800)
    with pytest.raises(RecalibrationRefused, match="ask for no recalibration"):
        local.recalibrate(draft(tmp_path), Sample(y, p), Place("w", "b", "", 800), [tmp_path], NOW)


# Tables of patients -----------------------------------------------------------------------------
HEAD = ",".join(feature.name for feature in features.FEATURES if feature.name != "NDEF")
ONE = "7,F,M,71,N,N,Y,N,N,N,150,Y,Y,N,N,N,N,N,N,LACS,N"


def written(tmp_path: Path, *lines: str, head: str = f"{HEAD},outcome,site") -> Path:
    path = tmp_path / "patients.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_table_is_read_in_the_coding_of_the_service(tmp_path: Path) -> None:
    unconscious = ONE.replace("7,F,M", "7,u,F").replace(",N,N,Y,N,N", ",U,,Y,N,N")
    path = written(tmp_path, f"{ONE},1,north", f"{unconscious},0,south", f"{ONE},,north")
    rows = table.read(path)
    assert (len(rows), rows.left_out, list(rows.site)) == (2, 1, ["NORTH", "SOUTH"])
    assert rows.y.tolist() == [1.0, 0.0]
    assert rows.values[1]["RCONSC"] == "U"
    assert rows.values[1]["RSLEEP"] is None
    assert rows.values[1]["RATRIAL"] is None
    assert rows.matrix().shape == (2, 22)
    assert rows.sample(catalogue.load(shipped())).groups["site"]["NORTH"].tolist() == [True, False]
    assert len(table.read(path, ["site=south,west"])) == 1
    spoken = table.read(path, by=["STYPE"]).sample(catalogue.load(shipped())).groups["STYPE"]
    assert {name: mask.tolist() for name, mask in spoken.items()} == {"LACS": [True, True]}
    with pytest.raises(Invalid, match="no column 'language' to group by"):
        table.read(path, by=["language"])
    assert len(table.read(path, ["site!=south"])) == 1


@pytest.mark.parametrize(
    ("lines", "head", "where", "said"),
    [
        ([], "AGE,SEX", [], "lacks the columns RDELAY"),
        ([ONE], HEAD, [], "no column outcome"),
        ([f"{ONE.replace(',71,', ',old,')},1,a"], None, [], "line 2: AGE is no number"),
        ([f"{ONE.replace('LACS', 'LAX')},1,a"], None, [], "line 2: STYPE has to be one of LACS"),
        ([f"{ONE},,a"], None, [], "no patient with an outcome"),
        ([f"{ONE},1,a"], None, ["ward=3"], "write COLUMN=value"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, lines: list[str], head: str | None, where: list[str], said: str
) -> None:
    path = written(tmp_path, *lines, **({"head": head} if head else {}))
    with pytest.raises(Invalid, match=said):
        table.read(path, where)


# Drawings ---------------------------------------------------------------------------------------
def test_every_drawing_is_sound_and_said_in_words() -> None:
    release = shipped()
    found = drawings.of_card(release.card, release.identity)
    assert tuple(found) == drawings.NAMES
    for name, svg in found.items():
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert description is not None
        assert release.identity in str(title.text), name
        assert root.get("aria-label") == title.text
        assert len(str(description.text)) > 100
        assert not [element for element in root.iter() if element.tag in (f"{SVG}script", f"{SVG}style")]
        assert "style=" not in svg
        assert "href" not in svg
    assert "1.15 (1.14 to 1.17)" in found["subgroups"]


def test_a_drawing_of_a_place_says_so_and_escapes_its_words() -> None:
    y, p = drawn(400)
    sample = Sample(y, p, {"site": {"<b>&": np.ones(400, dtype=bool), "small": np.arange(400) < 5}})
    found = drawings.of_evaluation(report.evaluate(sample), "<here>")
    for svg in found.values():
        ElementTree.fromstring(svg)
        assert "<b>" not in svg
    assert "too few" in found["subgroups"]
