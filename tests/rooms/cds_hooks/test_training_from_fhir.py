"""Trained from FHIR is trained from CSV: the same matrix, the same model, to the last bit."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pandas")
cohorts: Any = importlib.import_module("cds_hooks.training.cohort")
descriptions: Any = importlib.import_module("cds_hooks.training.description")
evidence: Any = importlib.import_module("cds_hooks.training.evidence")
fhir_store: Any = importlib.import_module("cds_hooks.training.fhir_store")
fhir_trial: Any = importlib.import_module("cds_hooks.training.fhir_trial")

from fhir_server.cli import main  # noqa: E402
from tests.support import made_trial  # noqa: E402
from tests.support.server import Server  # noqa: E402


@pytest.fixture(scope="module")
def cohort(trial: Path) -> Any:
    return cohorts.load(trial)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # Postgres has an account of its own and must get to the data
        running = Server(Path(folder) / "data", "--no-dimse")
        try:
            yield running
        finally:
            running.stop()


def test_trained_from_an_export_and_from_the_csv_predictions_are_equal(cohort: Any) -> None:
    sample = cohort.take(np.arange(0, len(cohort), 12))
    found = evidence.parity(sample)
    assert found["rows"] == len(sample) == 1620
    assert found["same_inputs"]
    assert found["same_model"]
    assert found["largest_difference_of_predictions"] < 1e-12


def test_what_a_chart_cannot_say_stands_in_the_form(cohort: Any, tmp_path: Path) -> None:
    """One row of the trial has an infarct seen on a CT that was not made."""
    contradiction = (cohort.table["RCT"] == "N") & (cohort.table["RVISINF"] == "Y")
    rows = np.flatnonzero(contradiction)
    assert len(rows) == 1
    two = cohort.take(np.array([0, *rows]))
    fhir_trial.write(two, tmp_path)
    assert fhir_trial.read_ndjson(tmp_path, two.description).x_sha256 == two.x_sha256


def test_a_trial_without_a_serving_table_goes_through_fhir_as_well(tmp_path: Path) -> None:
    text, rows = made_trial.write(tmp_path, patients=300)
    made = cohorts.load(rows, descriptions.load(text))
    export = tmp_path / "export"
    export.mkdir()
    fhir_trial.write(made, export)
    back = fhir_trial.read_ndjson(export, made.description)
    assert back.x_sha256 == made.x_sha256
    assert np.array_equal(back.outcome("relapse"), made.outcome("relapse"), equal_nan=True)
    assert np.array_equal(back.arm("new drug"), made.arm("new drug"), equal_nan=True)
    assert np.array_equal(back.folds, made.folds)


def test_what_came_after_randomisation_is_not_seen(cohort: Any, tmp_path: Path) -> None:
    few = cohort.take(np.arange(20))
    fhir_trial.write(few, tmp_path)
    path = tmp_path / "Observation.ndjson"
    later = []
    for line in path.read_text().splitlines():
        resource = json.loads(line)
        if "valueQuantity" in resource:
            resource |= {"id": f"{resource['id']}-later", "effectiveDateTime": "1999-01-01T12:00:00+00:00"}
            resource["valueQuantity"]["value"] = 71
            later.append(json.dumps(resource))
    path.write_text(path.read_text() + "\n".join(later) + "\n")
    assert len(later) == 20
    assert fhir_trial.read_ndjson(tmp_path, few.description).x_sha256 == few.x_sha256


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("Patient.ndjson", '{"resourceType": "Patient"', "Patient.ndjson, line 1 is no JSON"),
        ("Patient.ndjson", "[]", "Patient.ndjson, line 1 is no resource"),
        (
            "Patient.ndjson",
            '{"resourceType": "Patient", "id": "x"}',
            "holds no ResearchSubject of ResearchStudy/",
        ),
    ],
)
def test_an_export_that_is_none_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text + "\n")
    with pytest.raises(cohorts.CohortError, match=says):
        fhir_trial.read_ndjson(tmp_path, descriptions.shipped("international-stroke-trial"))


def test_the_chart_and_the_allocation_have_to_agree(cohort: Any) -> None:
    found = fhir_trial.resources(cohort.take(np.array([1])), 0)  # heparin L
    subject = next(one for one in found if one["resourceType"] == "ResearchSubject")
    assert subject["assignedArm"] == "RXASP=N;RXHEP=L"
    subject["assignedArm"] = "RXASP=N;RXHEP=M"
    with pytest.raises(cohorts.CohortError, match="RXHEP: the ResearchSubject says 'M', the chart says 'L'"):
        list(fhir_trial.rows_of(found, cohort.description))


def test_trained_from_the_store_the_rows_are_those_of_the_csv(cohort: Any, server: Server) -> None:
    sample = cohort.take(np.arange(0, len(cohort), 200)[:90])  # three rounds of patients, the last not full
    found = [fhir_trial.study(sample.description)]
    for row in range(len(sample)):
        found += fhir_trial.resources(sample, row)
    for start in range(0, len(found), 500):
        load(server, found[start : start + 500])
    back = fhir_store.read_store(fhir_store.rest(f"{server.url}/fhir"), sample.description)
    assert len(back) == 90
    assert back.x_sha256 == sample.x_sha256
    for outcome in sample.description.outcomes:
        assert np.array_equal(back.outcome(outcome), sample.outcome(outcome), equal_nan=True)
    with pytest.raises(cohorts.CohortError, match="the store holds no ResearchSubject of ResearchStudy/made"):
        other = descriptions.load(made_trial.write(Path(tempfile.mkdtemp()), patients=2)[0])
        fhir_store.read_store(fhir_store.rest(f"{server.url}/fhir"), other)


def test_another_server_is_not_asked() -> None:
    get = fhir_store.rest("http://127.0.0.1:9/fhir")
    with pytest.raises(cohorts.CohortError, match="another server than the base; it was not fetched"):
        get("http://127.0.0.2:9/fhir?page=2")
    with pytest.raises(cohorts.CohortError, match=r"127\.0\.0\.1:9 does not answer"):
        get("Patient?_id=1")


def test_the_command_trains_from_an_export_and_refuses_a_part_of_the_trial(
    cohort: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fhir_trial.write(cohort.take(np.arange(20)), tmp_path)
    place = ["--ndjson", str(tmp_path), "--data-dir", str(tmp_path / "data")]
    assert main(["model", "train", "stroke-early-aspirin", *place]) == 1
    assert "29 published numbers are not reproduced, first: patients randomised" in capsys.readouterr().err


def load(server: Server, resources: list[dict[str, Any]]) -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
            for one in resources
        ],
    }
    request = urllib.request.Request(
        f"{server.url}/fhir",
        data=json.dumps(bundle).encode(),
        headers={"Content-Type": "application/fhir+json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 200
