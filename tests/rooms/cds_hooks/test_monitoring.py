"""Drift monitors on a real database: what has moved is said, what is out of bounds goes back to shadow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from cds_hooks import registry
from cds_hooks.evaluation import table
from cds_hooks.models import blocks, catalogue, features, states
from cds_hooks.models.catalogue import Release
from cds_hooks.models.predictor import Predictor
from cds_hooks.monitoring import drift, examine, outcomes, reference
from cds_hooks.monitoring.monitors import EVERY, Monitors
from cds_hooks.monitoring.outcomes import Asked
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.monitoring import Monitoring
from fhir_server.database.engine import Engine
from fhir_server.outcome import Invalid
from tests.support.answers import record
from tests.support.models import ASSESSED, MODEL, draft, order, shipped

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
CODED = frozenset(feature.name for feature in features.FEATURES if feature.codes)


@pytest.fixture(scope="module")
def abroad(trial: Path) -> table.Patients:
    """The trial's patients outside the United Kingdom."""
    return table.read(trial, ["COUNTRY!=UK"])


@pytest.fixture(scope="module")
def british(trial: Path) -> table.Patients:
    return table.read(trial, ["COUNTRY=UK"])


@pytest.fixture(scope="module")
def foreign_text(abroad: table.Patients) -> str:
    """A model that has never seen a British hospital."""
    fit: Any = pytest.importorskip("cds_hooks.training.fit")
    return str(fit.fit_trees(abroad.matrix(), abroad.y, features.NAMES).model_to_string())


@pytest.fixture(scope="module")
def foreign_reference(abroad: table.Patients, foreign_text: str) -> dict[str, Any]:
    p = abroad.sample(Predictor(foreign_text, features.NAMES)).p
    return reference.describe(features.NAMES, abroad.matrix(), p, CODED)


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=4)
    yield engine
    engine.close()


class Place:
    """An installation with an active release, its monitors and a clock that can be moved."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder, self.now = engine, folder, NOW
        self.log, self.records = ModelLog(engine), Monitoring(engine)
        self.monitors = Monitors(self.log, self.records, [folder], lambda: self.now)

    def activate(self, release: Release) -> Release:
        for action, actor in (
            ("assess", "Ada"),
            ("promote", "Ada"),
            ("propose", "Ada"),
            ("promote", "Charles"),
        ):
            self.log.carry_out(order(action, release, actor, evidence=ASSESSED), blocks.blocks)
        return release.standing(states.ACTIVE)

    def state(self, release: Release) -> str:
        return states.standing(release, self.log.events(release.model)).state

    def mature(self, calls: list[Any], bad: Any) -> None:
        found = [
            (call, bool(one), None, "test") for (call, _patient, _risk), one in zip(calls, bad, strict=True)
        ]
        self.records.keep_outcomes(found, self.now)


@pytest.fixture
def here(engine: Engine, tmp_path: Path) -> Place:
    return Place(engine, tmp_path)


def foreign(folder: Path, text: str, known: dict[str, Any]) -> Release:
    """Write the model without British patients as a release."""
    card = json.loads(json.dumps(shipped().card)) | {"state": "draft", "version": "2", "reference": known}
    card["model"] |= {"sha256": catalogue._sha256(text.encode())}
    return catalogue.write(folder, MODEL, "2", text, card)


def some(found: table.Patients, count: int) -> tuple[list[Any], Any]:
    """Return every n-th patient, so that hospitals are mixed."""
    step = len(found) // count
    return list(found.values[::step])[:count], found.y[::step][:count]


def findings(report: dict[str, Any], level: str) -> list[str]:
    return [f"{one['monitor']} {one['what']}".strip() for one in report["findings"] if one["level"] == level]


# R11 --------------------------------------------------------------------------------------------
def test_british_patients_take_a_model_back_that_never_saw_any(
    here: Place, british: table.Patients, foreign_text: str, foreign_reference: dict[str, Any]
) -> None:
    release = here.activate(foreign(here.folder, foreign_text, foreign_reference))
    rows, y = some(british, 1500)
    here.mature(record(here.engine, release, rows, NOW), y)
    look = here.monitors.look(release)
    assert look.report["level"] == examine.DEMOTION
    assert "observed-over-expected" in findings(look.report, examine.DEMOTION)
    (ratio,) = [one for one in look.report["findings"] if one["monitor"] == "observed-over-expected"]
    assert ratio["value"] > examine.RATIO_DEMOTION[1]
    assert look.demoted
    assert here.state(release) == states.SHADOW
    event = here.log.events(MODEL)[-1]
    assert (event.action, event.monitor, event.actor) == ("demote", True, "drift monitor")
    assert "observed over expected 1." in event.reason
    kept = here.records.newest_report(release)
    assert kept is not None
    assert (kept.level, kept.outcomes) == (examine.DEMOTION, 1500)
    assert kept.report["reasons"] == look.report["reasons"]
    services = registry.services([here.folder], log=here.log)
    assert services[MODEL].model is not None
    assert services[MODEL].model.state == states.SHADOW


def test_british_patients_raise_the_flag_over_the_model_of_all(here: Place, british: table.Patients) -> None:
    """Observed over expected is 1.15 then: of itself a warning, and not a demotion."""
    release = here.activate(draft(here.folder, reference=None))
    rows, y = some(british, 2000)
    here.mature(record(here.engine, release, rows, NOW), y)
    look = here.monitors.look(release)
    assert look.report["level"] == examine.WARNING
    (ratio,) = [one for one in look.report["findings"] if one["monitor"] == "observed-over-expected"]
    assert ratio["level"] == examine.WARNING
    assert ratio["value"] == pytest.approx(1.15, abs=0.03)
    assert not look.demoted
    assert here.state(release) == states.ACTIVE


def test_patients_like_those_it_was_made_on_leave_a_model_alone(
    here: Place, abroad: table.Patients, foreign_text: str, foreign_reference: dict[str, Any]
) -> None:
    release = here.activate(foreign(here.folder, foreign_text, foreign_reference))
    rows, y = some(abroad, 1500)
    here.mature(record(here.engine, release, rows, NOW), y)
    look = here.monitors.look(release)
    assert look.report["level"] == examine.WELL, findings(look.report, examine.WARNING)
    assert look.report["reference"].startswith("the training data")
    assert here.state(release) == states.ACTIVE


def test_other_inputs_take_a_model_back_without_any_outcome(
    here: Place, abroad: table.Patients, foreign_text: str, foreign_reference: dict[str, Any]
) -> None:
    release = here.activate(foreign(here.folder, foreign_text, foreign_reference))
    rows, _y = some(abroad, 400)
    record(here.engine, release, [{**row, "AGE": 88.0} for row in rows], NOW)
    assert here.monitors.drain() == 1
    assert here.state(release) == states.SHADOW
    assert "AGE: PSI" in here.log.events(MODEL)[-1].reason


def test_what_is_often_missing_is_a_warning(
    here: Place, abroad: table.Patients, foreign_text: str, foreign_reference: dict[str, Any]
) -> None:
    release = here.activate(foreign(here.folder, foreign_text, foreign_reference))
    rows, _y = some(abroad, 900)
    gaps = [{**row, "RSLEEP": None if number % 3 == 0 else row["RSLEEP"]} for number, row in enumerate(rows)]
    record(here.engine, release, gaps, NOW)
    look = here.monitors.look(release)
    assert findings(look.report, examine.WARNING) == ["missing RSLEEP"]


def test_the_worker_looks_every_ten_minutes_and_keeps_one_report_a_day(
    here: Place, abroad: table.Patients
) -> None:
    release = here.activate(draft(here.folder, reference=None))
    record(here.engine, release, some(abroad, 300)[0], NOW)
    counted = "SELECT count(*) FROM cds_monitor_report"
    for step, expected in ((timedelta(0), 1), (timedelta(minutes=1), 1), (EVERY, 1), (timedelta(days=1), 2)):
        here.now += step
        assert here.monitors.drain() == 0
        with here.engine.connection() as connection, connection.cursor() as cursor:
            cursor.execute(counted)
            assert cursor.fetchone()[0] == expected


def test_without_a_reference_the_first_answers_are_one(here: Place, abroad: table.Patients) -> None:
    other = {**shipped().card["data"], "sha256": "0" * 64}
    release = here.activate(draft(here.folder, reference=None, data=other))
    rows, _y = some(abroad, 900)
    record(here.engine, release, rows[:500], NOW - timedelta(days=40))
    record(here.engine, release, rows[500:], NOW, prefix="q")
    look = here.monitors.look(release)
    assert look.report["reference"] == "the first 500 answers here"
    assert look.report["predictions"] == 400
    assert findings(look.report, examine.DEMOTION) == []


def test_cards_that_come_much_more_often_are_a_warning(here: Place, abroad: table.Patients) -> None:
    release = here.activate(draft(here.folder))
    rows, _y = some(abroad, 300)
    record(here.engine, release, rows, NOW - timedelta(days=31), reasons=("haemorrhage",))
    record(here.engine, release, rows[:30], NOW - timedelta(days=31), prefix="q")
    record(here.engine, release, rows, NOW, prefix="r")
    look = here.monitors.look(release)
    assert "alert-rate" in findings(look.report, examine.WARNING)


def test_what_the_console_asks_is_not_counted(here: Place, abroad: table.Patients) -> None:
    release = here.activate(draft(here.folder))
    record(here.engine, release, some(abroad, 250)[0], NOW, client="console")
    assert here.monitors.look(release).report["calls"] == 0


def test_a_release_in_shadow_beside_an_active_one_is_watched_too(here: Place, abroad: table.Patients) -> None:
    release = here.activate(draft(here.folder))
    newer = draft(here.folder, "3", title="another")
    here.log.carry_out(order("promote", newer), blocks.blocks)
    predictor = catalogue.load(newer)
    changed = catalogue.write(
        here.folder, MODEL, "4", "tree\n", shipped().card | {
            "state": "draft", "version": "4",
            "model": shipped().card["model"] | {"sha256": catalogue._sha256(b"tree\n")}},
    )  # fmt: skip
    rows, y = some(abroad, 250)
    calls = record(here.engine, release, rows, NOW)
    beside = {"version": "4", "sha256": changed.sha256, "reasons": ["suggested"], "output": {"risk": 0.25}}
    with here.engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE cds_call DISABLE TRIGGER append_only")
        cursor.execute("UPDATE cds_call SET output = output || %s", (json.dumps({"shadow": beside}),))
        connection.commit()
    here.mature(calls, y)
    report = here.monitors.look(changed).report
    assert (report["predictions"], report["outcomes"]) == (250, 250)
    assert {row.risk for row in here.records.recorded(changed, NOW - timedelta(days=30), NOW)} == {0.25}
    assert predictor.columns == features.NAMES


def test_the_sample_of_an_evaluation_is_one_answer_a_patient(here: Place, abroad: table.Patients) -> None:
    release = here.activate(draft(here.folder))
    rows, y = some(abroad, 300)
    first = record(here.engine, release, rows, NOW)
    second = record(here.engine, release, rows, NOW)
    here.mature(first, y)
    here.mature(second, 1 - y)
    sample = here.monitors.sample(release)
    assert len(sample.y) == 300
    assert sorted(sample.p.tolist()) == sorted(risk for _call, _patient, risk in first)
    assert set(sample.groups["site"]) == {"ehr"}
    assert sample.groups["sex"]["women"].sum() == sum(row["SEX"] == "F" for row in rows)


def test_an_outcome_that_is_known_is_not_kept_again(here: Place, abroad: table.Patients) -> None:
    release = here.activate(draft(here.folder))
    ((call, _patient, _risk),) = record(here.engine, release, some(abroad, 1)[0], NOW)
    keep = here.records.keep_outcomes
    assert keep([(call, True, None, "a")], NOW) == 1
    assert keep([(call, True, None, "b")], NOW) == 0
    assert keep([(call, False, None, "a correction")], NOW) == 1
    assert here.records.matured(release, NOW - timedelta(days=1))[0].bad is False


# Outcomes ---------------------------------------------------------------------------------------
CALL = Asked(uuid4(), "a", NOW)
OTHER = Asked(uuid4(), "b", NOW)


def rankin(patient: str, score: int, days: int, **more: Any) -> dict[str, Any]:
    at = (NOW + timedelta(days=days)).date().isoformat()
    return {
        "resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{patient}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "75859-9"}]},
        "effectiveDateTime": at, "valueInteger": score, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([rankin("a", 2, 183)], False),
        ([rankin("a", 3, 183)], True),
        ([rankin("a", 2, 100)], None),
        ([rankin("a", 4, 155), rankin("a", 1, 190)], False),
        ([rankin("a", 4, 183, status="entered-in-error")], None),
        ([rankin("b", 4, 183)], None),
        ([rankin("a", 9, 183)], None),
        ([{"resourceType": "Patient", "id": "a", "deceasedDateTime": "2026-07-01"}], True),
        (
            [{"resourceType": "Patient", "id": "a", "deceasedDateTime": "2027-07-01"}, rankin("a", 1, 180)],
            False,
        ),
        ([{"resourceType": "Patient", "id": "a", "deceasedBoolean": True}], None),
    ],
)
def test_outcomes_in_fhir(resources: list[dict[str, Any]], expected: bool | None, tmp_path: Path) -> None:
    path = tmp_path / "export.ndjson"
    path.write_text("\n".join(json.dumps(resource) for resource in resources) + "\n")
    found = outcomes.read(path, [CALL])
    assert [outcome.bad for outcome in found] == ([] if expected is None else [expected])


def test_outcomes_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(f"call_id,outcome\n{str(CALL.call_id).upper()},1\n{uuid4()},0\n")
    assert [(o.call_id, o.bad) for o in outcomes.read(path, [CALL, OTHER])] == [(CALL.call_id, True)]
    path.write_text("patient,outcome,observed_at\nPatient/b,0,2026-11-30\na,1,2026-05-01\n")
    assert [(o.call_id, o.bad) for o in outcomes.read(path, [CALL, OTHER])] == [(OTHER.call_id, False)]


def test_a_patient_s_id_of_two_ehrs_is_not_guessed_at(tmp_path: Path) -> None:
    here, there = (
        replace(CALL, ehr="https://north.example"),
        replace(OTHER, patient=CALL.patient, ehr="south"),
    )
    table, export = tmp_path / "outcomes.csv", tmp_path / "export.ndjson"
    table.write_text(f"patient,outcome\n{CALL.patient},1\n")
    export.write_text(json.dumps(rankin(CALL.patient, 4, 183)) + "\n")
    for path in (table, export):
        with pytest.raises(Invalid, match=r"https://north\.example, south.*--client"):
            outcomes.read(path, [here, there])
        found = outcomes.read(path, [here, there], "https://north.example")
        assert [one.call_id for one in found] == [here.call_id]
        assert outcomes.read(path, [here, there], "nobody") == []
        twice = replace(here, call_id=there.call_id)
        assert len(outcomes.read(path, [here, twice])) == 2, "one EHR, one patient, two calls"
    table.write_text(f"call_id,outcome\n{there.call_id},1\n")
    assert [one.call_id for one in outcomes.read(table, [here, there])] == [there.call_id]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,died\na,1\n", "needed are outcome"),
        ("patient,outcome\na,yes\n", "line 2: outcome has to be 0 or 1"),
        ("patient,outcome,observed_at\na,1,1.6.2026\n", "line 2: observed_at is no ISO date"),
    ],
)
def test_what_is_wrong_with_outcomes_is_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(text)
    with pytest.raises(Invalid, match=said):
        outcomes.read(path, [CALL])
    broken = tmp_path / "broken.ndjson"
    broken.write_text("{\n")
    with pytest.raises(Invalid, match="line 1: not JSON"):
        outcomes.read(broken, [CALL])


# Arithmetic -------------------------------------------------------------------------------------
def test_psi_and_ks_by_hand() -> None:
    column = {"counts": {"0.0": 30, "1.0": 70}}
    values = np.array([0.0] * 50 + [1.0] * 50)
    by_hand = (0.5 - 0.3) * np.log(0.5 / 0.3) + (0.5 - 0.7) * np.log(0.5 / 0.7)
    assert drift.psi(column, values) == pytest.approx(by_hand)
    assert drift.psi(column, np.array([2.0] * 10)) > 5, "a code that was never seen"
    grid = np.linspace(0, 1, 101).tolist()
    distance, p = drift.ks(grid, np.linspace(0, 1, 500) ** 2)
    assert distance == pytest.approx(0.25, abs=0.005)
    assert p < 1e-6
    distance, p = drift.ks(grid, np.linspace(0, 1, 500))
    assert distance < 0.01
    assert p > 0.9


def test_numbers_of_the_same_kind_do_not_drift() -> None:
    generator = np.random.default_rng(3)
    whole = np.round(generator.normal(72, 11, 5000))
    column = reference.column(whole, False)
    again = np.round(generator.normal(72, 11, 400))
    assert drift.psi(column, again) < 0.1
    assert drift.ks(column["quantiles"], again)[0] < examine.KS_WARNING


def test_little_says_nothing() -> None:
    empty = np.empty((0, len(features.NAMES)))
    report = examine.examine(None, examine.Seen(features.NAMES, empty, empty[:, 0], empty[:, 0], empty[:, 0]))
    assert report["level"] == examine.UNKNOWN
    assert {one["level"] for one in report["findings"]} == {examine.UNKNOWN}
