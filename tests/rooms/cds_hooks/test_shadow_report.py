"""R10: what ran in shadow, held against outcomes: what would have been shown, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds_hooks.models import features
from cds_hooks.monitoring import shadow
from cds_hooks.operation.modes import Mode
from cds_hooks.records.monitoring import Monitoring
from cds_hooks.records.store import Store
from conformance.samples import stroke
from fhir_server.app import create_app
from fhir_server.cli.main import main
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from tests.rooms.cds_hooks.test_modes import Fixed
from tests.support.answers import record
from tests.support.cds import NOW, SERVICE, body, client
from tests.support.models import shipped

URL = f"/cds-services/{SERVICE}"
DAY = timedelta(days=1)
SAMPLE: dict[str, features.Value] = {
    "RDELAY": 7, "RCONSC": "F", "SEX": "F", "AGE": 74, "RSLEEP": "N", "RATRIAL": "N", "RCT": "Y",
    "RVISINF": "N", "RHEP24": "N", "RASP3": "N", "RSBP": 168, **{f"RDEF{n}": "N" for n in range(1, 9)},
    "STYPE": "PACS", "NDEF": 0, "RXHEP": "N",
}  # fmt: skip


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=4)
    yield engine
    engine.close()


def told(engine: Engine, *, days: float = 30) -> list[dict[str, Any]]:
    return shadow.report(engine, NOW - timedelta(days=days), NOW + DAY)


def execute(engine: Engine, statement: str, *values: Any) -> None:
    """Change records as no program may, for a test."""
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE cds_call DISABLE TRIGGER USER")
        cursor.execute(statement, values)
        cursor.execute("ALTER TABLE cds_call ENABLE TRIGGER USER")
        connection.commit()


def test_what_would_have_been_shown_is_counted_and_who_it_would_have_been_about(engine: Engine) -> None:
    store = Store(engine)
    hidden, _ = client(store, modes=Fixed(Mode.SHADOW))
    on, _ = client(store, modes=Fixed(Mode.ON))
    assert hidden.post(URL, json=body()).json == {"cards": []}
    assert hidden.post(URL, json=body()).json == {"cards": []}
    bare = [one for one in stroke.resources(NOW) if one["resourceType"] == "Patient"]
    hidden.post(URL, json=body(given=bare))
    assert (on.post(URL, json=body()).json or {})["cards"], "what is shown is no shadow"
    (one,) = told(engine)
    calls = store.latest()
    assert one["release"] == shipped().identity
    assert (one["calls"], one["would_have_shown"], one["share"]) == (3, 2, 0.6667)
    assert (one["patients"], one["patients_that_would_have_been_shown"]) == (1, 1)
    assert one["cards"] == {"info": 2}
    assert one["reasons"]["suggested"] == 2
    assert one["reasons"]["no-acute-stroke"] == 1
    assert "shadow" not in one["reasons"]
    assert one["outcomes"] == {
        "patients": 0,
        "with_a_card": {"patients": 0, "bad": 0, "with_risk": 0, "expected": None},
        "without": {"patients": 0, "bad": 0, "with_risk": 0, "expected": None},
        "calibration": {"patients": 0, "too_few": "0 outcomes with a risk; 100 are needed"},
    }
    assert shadow.report(engine, NOW + DAY, NOW + 2 * DAY) == []
    first = min(calls, key=lambda call: call.received_at)
    shown = [call for call in calls if call.mode == "shadow" and call.output.get("risk")]
    Monitoring(engine).keep_outcomes([(call.call_id, True, None, "test") for call in shown], NOW)
    (one,) = told(engine)
    assert one["outcomes"]["with_a_card"] == {
        "patients": 1, "bad": 1, "with_risk": 1, "expected": round(shown[0].output["risk"], 2),
    }, "of a patient's calls the first counts"  # fmt: skip
    assert first.patient is not None


def test_two_ehrs_may_have_a_patient_of_one_id_each(engine: Engine) -> None:
    hidden, _ = client(Store(engine), modes=Fixed(Mode.SHADOW))
    for _ in range(3):
        hidden.post(URL, json=body())
    execute(engine, "UPDATE cds_call SET client = 'north', own_ids = false")
    execute(engine, "UPDATE cds_call SET client = 'north#tenant=7' WHERE pk = (SELECT max(pk) FROM cds_call)")
    (one,) = told(engine)
    assert (one["calls"], one["patients"], one["patients_that_would_have_been_shown"]) == (3, 2, 2)
    calls = [call.call_id for call in Store(engine).latest()]
    Monitoring(engine).keep_outcomes([(call, True, None, "test") for call in calls], NOW)
    assert told(engine)[0]["outcomes"]["with_a_card"]["patients"] == 2
    matured_ = Monitoring(engine).matured(shipped(), NOW - DAY)
    assert sorted(str(each.client) for each in matured_) == ["north", "north#tenant=7"]
    execute(engine, "UPDATE cds_call SET own_ids = true")
    assert told(engine)[0]["patients"] == 1, "ids of our own store are ours, whoever calls"
    assert len(Monitoring(engine).matured(shipped(), NOW - DAY)) == 1


def test_a_trial_from_the_console_is_left_out(engine: Engine) -> None:
    hidden, _ = client(Store(engine), modes=Fixed(Mode.SHADOW))
    hidden.post(URL, json=body())
    execute(engine, "UPDATE cds_call SET client = 'console'")
    assert told(engine) == []


def matured(engine: Engine, count: int = 300, until: datetime = NOW) -> tuple[Any, Any]:
    """Record that many answers in shadow, a third of them silent, with outcomes; return risks and ends."""
    generator = np.random.default_rng(7)
    patients = [
        SAMPLE | {"AGE": int(age), "RSBP": int(pressure)}
        for age, pressure in zip(
            generator.integers(40, 95, count), generator.integers(110, 220, count), strict=True
        )
    ]
    calls = record(engine, shipped(), patients, until)
    execute(engine, "UPDATE cds_call SET mode = 'shadow', answer = '{\"cards\":[]}'")
    execute(
        engine,
        "UPDATE cds_call SET computed = CASE WHEN substr(patient, 2)::int %% 3 = 0 THEN '{\"cards\":[]}'"
        ' ELSE \'{"cards":[{"indicator":"info"},{"indicator":"warning"}]}\' END',
    )
    risks = np.array([risk for _call, _patient, risk in calls])
    ends = generator.random(count) < risks
    Monitoring(engine).keep_outcomes(
        [(call, bool(bad), None, "test") for (call, _patient, _risk), bad in zip(calls, ends, strict=True)],
        until,
    )
    return risks, ends


def test_outcomes_are_held_against_what_was_computed(engine: Engine) -> None:
    risks, ends = matured(engine)
    (one,) = told(engine)
    silent = np.arange(300) % 3 == 0
    outcomes = one["outcomes"]
    assert (one["calls"], one["would_have_shown"]) == (300, 200)
    assert one["cards"] == {"info": 200, "warning": 200}
    assert outcomes["with_a_card"] == {
        "patients": 200, "bad": int(ends[~silent].sum()), "with_risk": 200,
        "expected": pytest.approx(risks[~silent].sum(), abs=0.01),
    }  # fmt: skip
    assert outcomes["without"]["bad"] == int(ends[silent].sum())
    figures = outcomes["calibration"]["figures"]
    assert figures["observed_over_expected"] == pytest.approx(ends.mean() / risks.mean(), abs=0.001)
    groups = outcomes["calibration"]["groups"]
    assert [row["n"] for row in groups] == [60] * 5
    assert [row["predicted"] for row in groups] == sorted(row["predicted"] for row in groups)
    lowest = np.argsort(risks, kind="stable")[:60]
    assert groups[0]["observed"] == pytest.approx(ends[lowest].mean(), abs=0.0001)


def test_a_correction_of_an_outcome_counts_and_an_old_outcome_does_not(engine: Engine) -> None:
    matured(engine, 3)
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT call_id FROM cds_call ORDER BY pk")
        calls = [row[0] for row in cursor.fetchall()]
    records = Monitoring(engine)
    records.keep_outcomes([(call, True, None, "again") for call in calls], NOW)
    (one,) = told(engine)
    assert one["outcomes"]["with_a_card"]["bad"] + one["outcomes"]["without"]["bad"] == 3
    late = shadow.report(engine, NOW - DAY, NOW + timedelta(days=400))
    assert [found["outcomes"]["patients"] for found in late] in ([], [0])


def test_a_release_beside_another_one_is_told_of_by_itself(engine: Engine) -> None:
    record(engine, shipped(), [SAMPLE] * 4, NOW)
    beside = {
        "version": "9", "sha256": "ab" * 32, "reasons": ["suggested"], "output": {"risk": 0.4},
    }  # fmt: skip
    execute(
        engine,
        "UPDATE cds_call SET output = output || jsonb_build_object('shadow', %s::jsonb)",
        json.dumps(beside),
    )
    quiet = json.dumps(beside | {"reasons": ["deceased"], "output": {}})
    execute(
        engine,
        "UPDATE cds_call SET output = output || jsonb_build_object('shadow', %s::jsonb) WHERE patient = 'p3'",
        quiet,
    )
    (one,) = told(engine)
    assert (one["release"], one["beside"]) == (f"{SERVICE}@9#{'ab' * 6}", True)
    assert (one["calls"], one["would_have_shown"], one["cards"]) == (4, 3, {})
    assert one["reasons"] == {"suggested": 3, "deceased": 1}


def test_it_is_said_by_the_command_and_on_the_pages(
    engine: Engine, fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matured(engine, until=datetime.now(UTC))
    where = ("--database-url", fresh_database_url, "--data-dir", str(tmp_path))
    assert main(["cds", "report", SERVICE, "--json", *where]) == 0
    (one,) = json.loads(capsys.readouterr().out)["shadow"]
    assert one["would_have_shown"] == 200
    assert main(["cds", "report", *where]) == 0
    text = capsys.readouterr().out
    assert "in shadow: 300 calls, 200 would have come to a card (66.7 %); 200 of 300 patients" in text
    assert "cards that would have been shown: 200 info, 200 warning" in text
    assert "calibration of the risk: observed over expected" in text
    assert main(["cds", "report", "cv-risk", *where]) == 1
    capsys.readouterr()
    app = create_app(Config(database_url=fresh_database_url, data_dir=tmp_path, worker=False))
    console = app.test_client()
    for path in (f"/console/cds/models/{SERVICE}/1", "/console/cds/rates"):
        page = console.get(path).text
        assert f"In shadow: {shipped().identity}" in page, path
        assert "Fifth of the predicted risk" in page
        assert "200 of 300 patients" in page
        assert "style=" not in page
