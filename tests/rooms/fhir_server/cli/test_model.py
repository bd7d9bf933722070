"""`xinglin model`: releases, steps by two persons, patients of this place, refusals in one line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cds_hooks.evaluation import table
from cds_hooks.models import catalogue, features
from fhir_server.cli import main, model_checks
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from tests.support.answers import record
from tests.support.models import MODEL, draft

Run = Callable[..., Any]


def test_list_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", "--data-dir", str(tmp_path), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["models"]
    assert (entry["model"], entry["version"], entry["state"]) == (
        "stroke-early-aspirin",
        "1",
        "demonstration",
    )
    assert entry["usable"] is True
    assert entry["serves"] is True


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "other", "--data", "x"], "there is no model other; known are stroke-early-aspirin"),
        (
            ["evaluate", "other", "--data", "x"],
            "is evaluated by `python -m cds_hooks.training FILE --data ROWS`",
        ),
        (["recalibrate", "other", "--data", "x"], "by its own table of inputs (docs/models.md)"),
        (["train", "stroke-early-aspirin"], "train needs --data FILE"),
        (["train", "stroke-early-aspirin", "--data", "/none.csv"], "No such file"),
        (["train", "stroke-early-aspirin", "--ndjson", "/none"], "none holds no ResearchSubject"),
        (["promote", "stroke-early-aspirin"], "promote needs --version N"),
        (["evaluate", "stroke-early-aspirin"], "evaluate needs --data FILE"),
        (["recalibrate", "stroke-early-aspirin", "--records"], "recalibrate needs --by NAME"),
        (["show"], "show needs a MODEL"),
        (["monitor", "--days", "0"], "--days is 0"),
    ],
)
def test_a_refusal_is_one_line(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", *arguments, "--data-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_an_unknown_action_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["model", "frobnicate"])
    assert raised.value.code == 2
    assert "frobnicate" in capsys.readouterr().err


# With a database --------------------------------------------------------------------------------
@pytest.fixture
def run(fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run an action on a draft of version 2; the JSON of its answer, or what it said when refused."""
    draft(tmp_path / "models", "2")

    def action(name: str, *arguments: str) -> Any:
        place = ["--data-dir", str(tmp_path), "--database-url", fresh_database_url]
        code = main(["model", name, *arguments, *place, "--json"])
        document = json.loads(capsys.readouterr().out)
        assert (code == 0) is ("error" not in document)
        return document

    return action


def step(name: str, by: str = "Ada Lovelace", reason: str = "for a test") -> tuple[str, ...]:
    return (name, MODEL, "--version", "2", "--by", by, "--reason", reason)


def patients(path: Path, run: Run, sites: tuple[str, ...] = ("north", "south")) -> Path:
    """Write 600 patients whose outcomes follow the model's own predictions."""
    generator = random.Random(7)
    predictor = catalogue.load(catalogue.find([catalogue.SHIPPED], MODEL))
    names = [feature.name for feature in features.FEATURES if feature.name != "NDEF"]
    lines = [",".join([*names, "outcome", "site"])]
    for number in range(600):
        row = {
            feature.name: generator.choice([code for code in feature.codes if code != "H"])
            if feature.codes
            else str(generator.randint(int(feature.low or 1), int(feature.high or 48)))
            for feature in features.FEATURES
        }
        values = {
            feature.name: row[feature.name] if feature.codes else float(row[feature.name])
            for feature in features.FEATURES
        }
        bad = generator.random() < predictor.predict(features.encode(values))
        lines.append(",".join([*(row[name] for name in names), str(int(bad)), sites[number % len(sites)]]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_whole_way_of_a_release(run: Run, tmp_path: Path) -> None:
    data = patients(tmp_path / "ours.csv", run)
    assert run(*step("promote"))["state"] == "shadow"
    blocked = run(*step("propose"))["error"]
    assert "27-local-validity" in blocked
    found = run("evaluate", MODEL, "--version", "2", "--data", str(data), "--record", "--by", "Ada Lovelace")
    assert found["recorded"] is True
    assert found["blocks"] == []
    assert found["evaluation"]["subgroups"]["sex: women"]["n"] > 100
    assert found["evaluation"]["all"]["observed_over_expected"] == pytest.approx(1.0, abs=0.1)
    assert run(*step("propose"))["proposed_by"] == "Ada Lovelace"
    assert "takes the approval of another person" in run(*step("promote"))["error"]
    assert run(*step("promote", "Charles Babbage"))["state"] == "active"
    listed = {entry["version"]: entry for entry in run("list")["models"]}
    assert (listed["2"]["state"], listed["2"]["serves"], listed["2"]["by"]) == (
        "active", True, "Charles Babbage",
    )  # fmt: skip
    assert listed["1"]["serves"] is False
    shown = run("show", MODEL, "--version", "2")
    assert [event["action"] for event in shown["history"]] == ["promote", "assess", "propose", "promote"]
    assert shown["source_attributes"]["27-local-validity"].startswith(
        "ours.csv, evaluated by Ada Lovelace: 600"
    )
    assert run("demote", MODEL, "--by", "Ada", "--reason", "a look")["state"] == "shadow", "the active one"
    assert (
        "no version of stroke-early-aspirin is active"
        in run("demote", MODEL, "--by", "a", "--reason", "b")["error"]
    )
    assert run(*step("retire"))["state"] == "retired"
    assert "is retired" in run(*step("promote"))["error"]


def test_a_release_is_fitted_to_the_patients_of_a_place(run: Run, tmp_path: Path) -> None:
    data = patients(tmp_path / "ours.csv", run)
    lines = data.read_text().splitlines()
    head = lines[0].split(",")
    place = head.index("outcome")
    worse = [line.split(",") for line in lines[1:]]
    for number, cells in enumerate(worse):
        cells[place] = "1" if number % 3 == 0 else cells[place]
    data.write_text("\n".join([lines[0], *(",".join(cells) for cells in worse)]) + "\n")
    found = run(
        "recalibrate",
        MODEL,
        "--version",
        "2",
        "--data",
        str(data),
        "--by",
        "Ada Lovelace",
        "--place",
        "Ward 7",
    )
    assert (found["version"], found["state"]) == ("3", "draft")
    assert found["update"]["intercept"] > 0
    assert found["after"]["observed_over_expected"] == pytest.approx(1.0, abs=0.02)
    shown = run("show", MODEL, "--version", "3")
    assert shown["parent"] == found["parent"]
    assert shown["blocks"] == []


def test_figures_on_its_own_data_are_never_its_assessment(run: Run, tmp_path: Path) -> None:
    data = patients(tmp_path / "ours.csv", run)
    release = draft(tmp_path / "models", "4", data={"sha256": table.sha256(data)})
    found = run(
        "evaluate", MODEL, "--version", release.version, "--data", str(data), "--record", "--by", "Ada"
    )
    assert "cannot be assessed on the data it was made from" in found["error"]
    found = run("recalibrate", MODEL, "--version", release.version, "--data", str(data), "--by", "Ada")
    assert "cannot be fitted to the data it was made from" in found["error"]


def test_monitors_of_an_idle_installation(run: Run) -> None:
    assert run("monitor") == {"outcomes": 0, "models": []}
    run(*step("promote"))
    (entry,) = run("monitor")["models"]
    assert (entry["level"], entry["state"], entry["demoted"]) == ("unknown", "shadow", False)


def test_plots_are_files(run: Run, tmp_path: Path) -> None:
    found = run("plots", MODEL, "--version", "1", "--out", str(tmp_path / "plots"))
    assert len(found["files"]) == 4
    assert all(Path(name).read_text().startswith("<svg") for name in found["files"])


@pytest.mark.parametrize("action", [("list",), ("show", MODEL, "--version", "2"), ("monitor",)])
def test_tables_for_people(
    action: tuple[str, ...],
    run: Run,
    fresh_database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(*step("promote"))
    place = ["--data-dir", str(tmp_path), "--database-url", fresh_database_url]
    assert main(["model", *action, *place]) == 0
    said = capsys.readouterr().out
    assert "stroke-early-aspirin@2#" in said
    assert "shadow" in said


def test_doctor_names_a_model_that_cannot_answer(
    run: Run, fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(database_url=fresh_database_url, data_dir=tmp_path)

    def finding() -> tuple[str, str]:
        (found,) = model_checks.models(config, fresh_database_url)
        return found.state, found.says

    assert finding() == ("ok", "version 1 is demonstration and whole")
    run(*step("promote"))
    assert finding() == ("ok", "version 2 is shadow and whole")
    with monkeypatch.context() as newer:
        newer.setattr(features, "schema_hash", lambda: "0" * 64)
        state, says = finding()
        assert state == "broken"
        assert "another feature table" in says
    path = tmp_path / "models" / f"{MODEL}-2" / catalogue.MODEL
    path.write_bytes(path.read_bytes() + b"\n")
    state, says = finding()
    assert state == "broken"
    assert "version 2 is shadow and does not answer: stroke-early-aspirin-2/model.txt was altered" in says


def test_outcomes_that_tell_otherwise_take_a_model_back(
    run: Run, fresh_database_url: str, tmp_path: Path
) -> None:
    data = patients(tmp_path / "ours.csv", run)
    run("evaluate", MODEL, "--version", "2", "--data", str(data), "--record", "--by", "Ada Lovelace")
    for name, by in (
        ("promote", "Ada Lovelace"),
        ("propose", "Ada Lovelace"),
        ("promote", "Charles Babbage"),
    ):
        run(*step(name, by))
    engine = Engine(fresh_database_url, size=1)
    release = catalogue.find([tmp_path / "models"], MODEL, "2")
    rows = table.read(data)
    calls = record(engine, release, list(rows.values), datetime.now(UTC))
    engine.close()
    lines = [
        f"{call},{int(bad or number % 4 != 0)}"
        for number, ((call, _patient, _risk), bad) in enumerate(zip(calls, rows.y, strict=True))
    ]
    told = tmp_path / "outcomes.csv"
    told.write_text("\n".join(["call_id,outcome", *lines]) + "\n")
    dry = run("monitor", "--outcomes", str(told), "--dry-run")
    assert dry["outcomes"] == 600
    assert (dry["models"][0]["level"], dry["models"][0]["demoted"]) == ("demotion", False)
    (entry,) = run("monitor", "--outcomes", str(told))["models"]
    assert (entry["demoted"], entry["state"], entry["outcomes"]) == (True, "shadow", 600)
    assert any("observed over expected" in reason for reason in entry["reasons"])
    assert "a monitor demoted it" in run(*step("propose"))["error"]
    again = run("recalibrate", MODEL, "--version", "2", "--records", "--by", "Ada Lovelace")
    assert again["update"]["n"] == 600
    assert again["after"]["observed_over_expected"] == pytest.approx(1.0, abs=0.02)
    found = run("evaluate", MODEL, "--version", "2", "--records", "--record", "--by", "Ada Lovelace")
    assert found["evaluation"]["subgroups"]["site: ehr"]["n"] == 600
    assert any("fairness: all" in line for line in found["blocks"]), found["blocks"]
