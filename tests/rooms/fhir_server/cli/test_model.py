"""`xinglin model`: the list of releases, refusals in one line; training itself is tested with its room."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_server.cli import main


def test_list_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", "--data-dir", str(tmp_path), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["models"]
    assert (entry["model"], entry["version"], entry["state"]) == (
        "stroke-early-aspirin",
        "1",
        "demonstration",
    )
    assert entry["usable"] is True


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "other", "--data", "x"], "there is no model other; known are stroke-early-aspirin"),
        (["train", "stroke-early-aspirin"], "train needs --data FILE"),
        (["train", "stroke-early-aspirin", "--data", "/none.csv"], "No such file"),
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
