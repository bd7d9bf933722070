"""Evidence beside a release: the reader of a model card sees what the gates found, bound to it by hashes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_hooks.models import catalogue, recorded
from fhir_server.app import create_app
from fhir_server.cli.main import main
from fhir_server.config import Config
from tests.support.models import MODEL, draft, shipped

IST = "international-stroke-trial"


@pytest.fixture
def document() -> dict[str, Any]:
    return recorded.recorded(IST)


def rewritten(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write a document with its right hash; return it."""
    made = document | {"sha256": recorded.digest(document)}
    (folder / f"{IST}.json").write_text(json.dumps(made, ensure_ascii=False), "utf-8")
    return made


def test_the_shipped_release_has_its_evidence(document: dict[str, Any]) -> None:
    found = recorded.of(shipped())
    assert found is not None
    assert (found.sha256, found.whole) == (document["sha256"], True)
    assert [(claim.arm, claim.accepted) for claim in found.claims] == [("aspirin", False), ("heparin", False)]
    assert found.control is not None
    assert found.control.accepted
    told = dict(recorded.rows(found))
    aspirin = document["gates"]["aspirin-6-months"]
    assert told["verdict"][0].startswith("refused: ")
    assert told["verdict"][2] == "accepted"
    assert told["p"][0] == f"{aspirin['null']['p_upper']:.3f} (needed: 0.025)"
    assert told["permuted allocations"][0] == "200 draws, 95 % of them −5.1 to 4.8"
    assert told["gain over the better of treating all and treating nobody"][:2] == [
        "−1.3 (95 % CI −7.5 to 5.0)", "−11.2 (95 % CI −18.7 to −3.8)",
    ]  # fmt: skip
    assert told["outside split"][0] == "COUNTRY UK, 6,252 patients"
    assert told["Qini there"][0] == "0.3 (95 % CI −5.4 to 6.1), p 0.449"
    assert all(reason in recorded.REASONS for claim in found.claims for reason in claim.reasons)


def test_evidence_of_another_model_table_or_data_is_not_its_own(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    assert recorded.of(shipped()) is None
    rewritten(document, tmp_path)
    assert recorded.of(shipped()) is not None
    for change in (
        {"model": document["model"] | {"sha256": "0" * 64}},
        {"data_sha256": "0" * 64},
        {"feature_table_sha256": "0" * 64},
    ):
        rewritten(document | change, tmp_path)
        assert recorded.of(shipped()) is None, change
    altered = json.dumps(document, ensure_ascii=False).replace('"accepted": false', '"accepted": true')
    (tmp_path / f"{IST}.json").write_text(altered, "utf-8")
    assert recorded.of(shipped()) is None, "an altered file is no evidence"


def test_a_card_that_names_its_evidence_and_one_that_took_it_over(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence: Any = pytest.importorskip("cds_hooks.training.evidence")
    verdicts = evidence.shortened(document)
    found = recorded.of(draft(tmp_path, gates=verdicts))
    assert found is not None
    assert (found.whole, found.sha256) == (True, document["sha256"])
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "none")
    alone = recorded.of(draft(tmp_path, "3", gates=verdicts))
    assert alone is not None
    assert (alone.whole, alone.control, alone.sha256) == (False, None, document["sha256"])
    assert [claim.p for claim in alone.claims] == [claim.p for claim in found.claims]
    assert [claim.gain for claim in alone.claims] == [claim.gain for claim in found.claims]


def test_a_recalibrated_release_stands_on_the_trial_of_its_parent(tmp_path: Path) -> None:
    parent = shipped()
    text = (parent.folder / catalogue.MODEL).read_text() + "\n"
    card = json.loads(json.dumps(parent.card)) | {"state": "draft", "version": "2"}
    card["model"]["sha256"] = catalogue._sha256(text.encode())
    assert recorded.of(catalogue.write(tmp_path, MODEL, "2", text, card)) is None
    shutil.rmtree(tmp_path / f"{MODEL}-2")
    card["recalibration"] = {"parent": {"sha256": parent.sha256}}
    assert recorded.of(catalogue.write(tmp_path, MODEL, "2", text, card)) is not None


def test_the_console_shows_it(fresh_database_url: str, tmp_path: Path, document: dict[str, Any]) -> None:
    app = create_app(Config(database_url=fresh_database_url, data_dir=tmp_path, worker=False))
    console: FlaskClient = app.test_client()
    page = console.get(f"/console/cds/models/{MODEL}/1").text
    for words in (
        "Individual effects are refused", document["sha256"], "−1.3 (95 % CI −7.5 to 5.0)", "0.428",
        "200 draws", "COUNTRY UK, 6,252 patients", "planted effect", document["notice"],
    ):  # fmt: skip
        assert words in page, words
    draft(tmp_path / "models", model=shipped().card["model"], schema_sha256="0" * 64)
    assert "No evidence of the gates is recorded" in console.get(f"/console/cds/models/{MODEL}/2").text


def test_the_commands_show_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: dict[str, Any], fresh_database_url: str
) -> None:
    where = ("--data-dir", str(tmp_path), "--database-url", fresh_database_url)
    assert main(["model", "card", MODEL, *where]) == 0
    text = capsys.readouterr().out
    for words in (
        "Individual effects are refused", document["sha256"], "0.428 (needed: 0.025)", "200 draws",
        "−1.3 (95 % CI −7.5 to 5.0)", "COUNTRY UK, 6,252 patients", document["notice"],
        "extracranial bleeding: +5.3 per 1000 (95 % CI 2.8 to 7.9)", "site: United Kingdom",
    ):  # fmt: skip
        assert words in text, words
    assert text.count("not assessed") == 4
    assert main(["model", "card", MODEL, "--json", *where]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["evidence"]["claims"][0]["p"] == 0.4279
    assert found["card"]["id"] == MODEL
    assert main(["model", "show", MODEL, *where]) == 0
    assert f"evidence {document['sha256'][:12]}" in capsys.readouterr().out
    assert main(["model", "card", MODEL, "--version", "9", *where]) == 1
