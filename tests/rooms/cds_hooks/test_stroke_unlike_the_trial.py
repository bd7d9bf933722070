"""Patients unlike those of the trial get no answer: outside a range, or by their distance (R6)."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks.models import catalogue, envelope, features
from cds_hooks.models.envelope import Envelope, EnvelopeError
from cds_hooks.services.stroke_early_aspirin import ID, service
from cds_hooks.training import envelope as fitting
from conformance.samples import stroke
from tests.support.cds import NOW, decide
from tests.support.stroke_chart import AGO, Resource, concept, drug, resource, sample

RELEASE = catalogue.find([catalogue.SHIPPED], ID, "1")


def patient(
    *,
    born: str = "1952-01-15",
    pressure: float = 168,
    scores: dict[str, int] | None = None,
    fibrillation: bool = False,
    aspirin: bool = False,
    alert: str = "248234008",
    hours: float = 7,
    infarct: bool = False,
    other: str | None = None,
) -> list[Resource]:
    """A patient with every required input; `scores` are items of the NIH Stroke Scale, the rest 0."""
    seen = "ct-infarct-visible" if infarct else "ct-no-haemorrhage"
    items = {code: (scores or {}).get(code, 0) for code, _display, _score in stroke.SCALE}
    changed = sample(
        demo={"birthDate": born},
        pressure={"component": [{
            "code": concept(stroke.LOINC, "8480-6"),
            "valueQuantity": {"value": pressure, "system": stroke.UCUM, "code": "mm[Hg]"},
        }]},
        nihss={"component": [
            {"code": concept(stroke.LOINC, code), "valueInteger": score}
            for code, score in items.items() if code != "70184-7"
        ]},
        consciousness={"valueCodeableConcept": concept(stroke.SNOMED, alert)},
        ct={"conclusionCode": [concept(stroke.OWN, seen)]},
    )  # fmt: skip
    if hours != 7:
        later = stroke.resources(NOW, onset_hours=hours)
        onset = next(r["onsetDateTime"] for r in later if "onsetDateTime" in r)
        changed = [{**r, "onsetDateTime": onset} if "onsetDateTime" in r else r for r in changed]
    if fibrillation:
        changed.append(resource("Condition", code=concept(stroke.SNOMED, "49436004")))
    if aspirin:
        changed.append(drug("MedicationStatement", "1191"))
    return changed


FACE, ARM, LEG, ATAXIA, SENSORY = "70189-6", "70190-4", "70191-2", "70192-0", "70193-8"
LANGUAGE, VISUAL, NEGLECT = "70194-6", "70188-8", "70196-1"
UNCONSCIOUS = "418107008"
EVERYTHING = dict.fromkeys((FACE, ARM, LEG, ATAXIA, SENSORY, LANGUAGE, VISUAL, NEGLECT), 2)

BY_DISTANCE: dict[str, list[Resource]] = {
    "sixteen years, 240 mmHg": patient(born="2010-01-15", pressure=240, scores={ARM: 2, FACE: 1}),
    "sixteen years, fibrillation": patient(born="2010-01-15", fibrillation=True, scores={ARM: 2}),
    "eighteen years, 240 mmHg, unconscious": patient(born="2008-01-15", pressure=240, alert=UNCONSCIOUS),
    "twenty years, 250 mmHg": patient(born="2006-01-15", pressure=250, scores={ARM: 2, LEG: 1}),
    "twenty-two years, every deficit": patient(born="2004-01-15", scores=EVERYTHING),
    "twenty-five years, fibrillation, on aspirin": patient(
        born="2001-01-15", fibrillation=True, aspirin=True, scores={ATAXIA: 1, SENSORY: 1}
    ),
    "ninety-nine years, 290 mmHg, no deficit of a limb": patient(
        born="1926-06-01", pressure=290, scores={SENSORY: 1, ATAXIA: 1}
    ),
    "295 mmHg, no deficit": patient(pressure=295, scores={SENSORY: 1}),
    "290 mmHg, unconscious": patient(pressure=290, alert=UNCONSCIOUS, scores={ARM: 2}),
    "70 mmHg, thirty years": patient(born="1996-01-15", pressure=70, scores={ATAXIA: 1, VISUAL: 1}),
    "unconscious without a deficit": patient(alert=UNCONSCIOUS),
    "unconscious, ataxia alone": patient(alert=UNCONSCIOUS, scores={ATAXIA: 2}),
    "unconscious, thirty years, sensory loss alone": patient(
        born="1996-01-15", alert=UNCONSCIOUS, scores={SENSORY: 1}
    ),
    "unconscious, ataxia and sensory loss, 48 hours": patient(
        alert=UNCONSCIOUS, hours=47.9, scores={ATAXIA: 2, SENSORY: 1}
    ),
    "thirty years, fibrillation, visible infarct, ataxia, 110 mmHg": patient(
        born="1996-01-15", fibrillation=True, infarct=True, pressure=110, scores={ATAXIA: 1, SENSORY: 1}
    ),
}

OUT_OF_RANGE: dict[str, tuple[str, list[Resource]]] = {
    "fifteen years": ("out-of-range-AGE", patient(born="2010-06-01")),
    "a child": ("out-of-range-AGE", patient(born="2020-06-01")),
    "a hundred years": ("out-of-range-AGE", patient(born="1926-01-01")),
    "69 mmHg": ("out-of-range-RSBP", patient(pressure=69)),
    "296 mmHg": ("out-of-range-RSBP", patient(pressure=296)),
    "48 hours and six minutes": ("onset-over-48h", patient(hours=48.1)),
    "a week": ("onset-over-48h", patient(hours=168)),
    "haemorrhage on CT": (
        "haemorrhage", sample(ct={"conclusionCode": [concept(stroke.SNOMED, "230711001")]})),
    "a lobar haemorrhage among the conditions": (
        "haemorrhage", [*sample(), resource("Condition", code=concept(stroke.SNOMED, "230710000"))]),
    "warfarin": ("anticoagulation", [*sample(), drug("MedicationRequest", "11289")]),
    "apixaban, stated": ("anticoagulation", [*sample(), drug("MedicationStatement", "1364430")]),
    "phenprocoumon": ("anticoagulation", [*sample(), drug("MedicationStatement", "8150")]),
    "heparin within a day": (
        "anticoagulation",
        [*sample(), drug("MedicationAdministration", "5224", "completed", effectiveDateTime=AGO[20])]),
    "alteplase": (
        "thrombolysis",
        [*sample(), drug("MedicationAdministration", "8410", "completed", effectiveDateTime=AGO[3])]),
    "thrombectomy": (
        "thrombolysis",
        [*sample(), resource("Procedure", status="completed", code=concept(stroke.SNOMED, "439541007"))]),
    "a stroke by venous thrombosis": (
        "venous-thrombosis",
        [*sample(), resource("Condition", code=concept(stroke.SNOMED, "195230003"))]),
}  # fmt: skip


def test_there_are_thirty_of_them() -> None:
    assert len(BY_DISTANCE) + len(OUT_OF_RANGE) >= 30


@pytest.mark.parametrize("name", BY_DISTANCE)
def test_refused_by_distance(name: str) -> None:
    decision = decide(BY_DISTANCE[name])
    assert decision.reasons == ("out-of-distribution",)
    assert decision.cards == ()
    assert decision.output["distance"] > decision.output["limit"] > 0
    assert set(decision.output["largest"]) <= set(features.NAMES)


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_refused_by_a_rule(name: str) -> None:
    reason, chart = OUT_OF_RANGE[name]
    decision = decide(chart)
    assert reason in decision.reasons
    assert decision.cards == ()


@pytest.mark.parametrize(
    "ordinary",
    [
        patient(scores={ARM: 2, FACE: 1}),
        patient(born="1940-01-15", fibrillation=True, scores={ARM: 2, LEG: 2, LANGUAGE: 2}),
        patient(born="1970-01-15", pressure=140, scores={ARM: 1, LEG: 1}),
        patient(born="1932-01-15", alert="271782001", scores=EVERYTHING | {ATAXIA: 0, SENSORY: 0}),
    ],
)
def test_ordinary_patients_are_inside(ordinary: list[Resource]) -> None:
    decision = decide(ordinary)
    assert decision.cards
    assert decision.output["distance"] < envelope.of(RELEASE).limit


def test_the_limit_is_the_one_of_the_training_data(trial: Path) -> None:
    from cds_hooks.training import cohort

    data = cohort.load(trial)
    made, kept = Envelope.read(fitting.fit(features.NAMES, data.x)), envelope.of(RELEASE)
    assert kept.columns == made.columns == fitting.columns()
    assert kept.limit == pytest.approx(made.limit, rel=1e-9)
    assert kept.rows == len(data.x) == 19435
    outside = sum(kept.distance(features.NAMES, list(row)).outside for row in data.x[::5])
    assert outside / len(data.x[::5]) == pytest.approx(0.005, abs=0.002)


def test_a_matrix_by_hand() -> None:
    """Two independent columns: the distance is the sum of squared deviations in units of the variance."""
    x = np.array([[a, b] for a in (-1.0, 1.0) for b in (-2.0, 2.0)] * 50)
    made = Envelope.read(fitting.fit(("a", "b"), x, ("a", "b")))
    variance = x.var(axis=0, ddof=1)
    there = made.distance(("a", "b"), (3.0, -2.0))
    assert there.value == pytest.approx(9 / variance[0] + 4 / variance[1])
    assert there.largest == ("a", "b")
    assert made.distance(("a", "b"), (math.nan, math.nan)).value == pytest.approx(0.0)


def test_a_column_that_never_varies_is_left_out() -> None:
    x = np.array([[a, 1.0, b] for a in (-1.0, 1.0) for b in (-2.0, 2.0)] * 50)
    document = fitting.fit(("a", "same", "b"), x, ("a", "same", "b"))
    assert document["columns"] == ["a", "b"]
    assert "same" in document["left_out"]
    with pytest.raises(ValueError, match="depend on each other"):
        fitting.fit(("a", "b"), x[:, [0, 0]], ("a", "b"))


@given(st.lists(st.floats(-5, 5), min_size=len(features.NAMES), max_size=len(features.NAMES)))
def test_a_distance_is_never_negative(row: list[float]) -> None:
    assert envelope.of(RELEASE).distance(features.NAMES, row).value >= -1e-9


# Without an envelope there is no answer ---------------------------------------------------------------
def _beside(folder: Path, **changes: Any) -> catalogue.Release:
    card = {**RELEASE.card, "data": {**RELEASE.card["data"], "sha256": "0" * 64}}
    source = next(catalogue.SHIPPED.glob("*.envelope.json"))
    document = json.loads(source.read_text()) | {"data_sha256": "0" * 64}
    document["sha256"] = envelope.digest(document)
    (folder / "x.envelope.json").write_text(json.dumps(document | changes))
    return dataclasses.replace(RELEASE, folder=folder / "x-1", card=card)


def test_a_file_beside_the_release_is_found(tmp_path: Path) -> None:
    assert envelope.of(_beside(tmp_path)).limit == envelope.of(RELEASE).limit


@pytest.mark.parametrize(
    "change", [{"limit": 1e9}, {"mean": [0.0]}, {"data_sha256": "1"}, {"precision": None}]
)
def test_an_altered_envelope_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    release = _beside(tmp_path, **change)
    with pytest.raises(EnvelopeError):
        envelope.of(release)
    assert "envelope" not in release.card
    decision = decide(sample(), with_=service(release, catalogue.load(RELEASE)))
    assert (decision.reasons, decision.cards) == (("envelope-unavailable",), ())


def test_a_card_may_hold_its_envelope() -> None:
    document = json.loads(next(catalogue.SHIPPED.glob("*.envelope.json")).read_text())
    release = dataclasses.replace(RELEASE, card=RELEASE.card | {"envelope": document})
    assert envelope.of(release).limit == envelope.of(RELEASE).limit
