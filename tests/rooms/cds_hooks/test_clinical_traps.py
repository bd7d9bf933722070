"""Traps for any service: a drug without a name, one dose said twice, a reference that misleads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cds_hooks.facts import heparin
from cds_hooks.facts.chart import Chart, drug
from cds_hooks.facts.heparin import Dose
from cds_hooks.facts.stroke import unreadable_drug
from cds_hooks.facts.value_sets import CodeSet
from conformance.samples import stroke
from tests.support.cds import NOW, decide
from tests.support.opioids import RXNORM, UCUM, concept, times

Resource = dict[str, Any]
SUBJECT = {"reference": f"Patient/{stroke.PATIENT_ID}"}
WARFARIN_5_MG = "855332"
NOBODY_KNOWS = "999999999"
"""A product that no table here holds: without a name nobody can know that it is not the anticoagulant."""


def request(code: Resource, kind: str = "MedicationRequest", status: str = "active", **more: Any) -> Resource:
    return {
        "resourceType": kind,
        "id": "more",
        "status": status,
        "subject": SUBJECT,
        "medicationCodeableConcept": code,
        **more,
    }


def ago(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).isoformat()


@pytest.mark.parametrize(
    "resource",
    [
        request(concept(NOBODY_KNOWS)),
        request(concept(NOBODY_KNOWS, text=" ")),
        request(concept("1", "urn:local")),
        request(concept(NOBODY_KNOWS), "MedicationStatement"),
        request(concept(NOBODY_KNOWS), "MedicationAdministration", "completed", effectiveDateTime=ago(20)),
        request(concept(NOBODY_KNOWS), "MedicationAdministration", "completed"),
    ],
)
def test_a_drug_of_codes_alone_is_not_harmless(resource: Resource) -> None:
    decision = decide([*stroke.resources(NOW), resource])
    assert decision.cards == ()
    assert {"medication-unreadable", "anticoagulation"} & set(decision.reasons)


@pytest.mark.parametrize(
    "resource",
    [
        request(concept("314076", text="Lisinopril 10 MG Oral Tablet")),
        request(concept("856999")),
        request(concept(NOBODY_KNOWS), status="stopped"),
        request(concept(NOBODY_KNOWS), "MedicationAdministration", "not-done", effectiveDateTime=ago(1)),
        request(concept(NOBODY_KNOWS), "MedicationAdministration", "completed", effectiveDateTime=ago(100)),
    ],
)
def test_a_drug_that_is_known_or_over_does_not_stand_in_the_way(resource: Resource) -> None:
    assert decide([*stroke.resources(NOW), resource]).cards


@pytest.mark.parametrize("kind", ["MedicationRequest", "MedicationStatement", "MedicationAdministration"])
def test_a_product_counts_by_its_ingredient(kind: str) -> None:
    """A set lists warfarin; the order names the tablet, by its code alone."""
    given = request(concept(WARFARIN_5_MG), kind, effectiveDateTime=ago(1))
    decision = decide([*stroke.resources(NOW), given])
    assert decision.cards == ()
    assert "anticoagulation" in decision.reasons


def test_a_service_may_know_more_drugs() -> None:
    chart = Chart.of(stroke.PATIENT_ID, NOW, [request(concept(NOBODY_KNOWS))])
    assert unreadable_drug(chart) is not None
    assert unreadable_drug(chart, (CodeSet("somebody's", {RXNORM: (NOBODY_KNOWS,)}),)) is None


def test_one_dose_said_in_two_ways_is_given_once() -> None:
    told = [{"doseQuantity": {"value": value, "system": UCUM, "code": code}} for value, code in
            ((5000, "[iU]"), (5, "k[iU]"))]  # fmt: skip
    order = request(concept("5224"), dosageInstruction=[{"doseAndRate": told, "timing": times(2)}])
    found = heparin.dose(Chart.of(stroke.PATIENT_ID, NOW, [order]), order, None)
    assert isinstance(found, Dose)
    assert found.daily == 10_000


def test_a_contained_medication_is_reached_by_its_mark_alone() -> None:
    inside = {"resourceType": "Medication", "id": "1", "code": {"text": "inside"}}
    outside = {"resourceType": "Medication", "id": "1", "code": {"text": "outside"}}
    chart = Chart.of(stroke.PATIENT_ID, NOW, [outside])
    order = {"resourceType": "MedicationRequest", "contained": [inside]}
    for reference, text in (
        ("#1", "inside"),
        ("Medication/1", "outside"),
        ("Medication/1/_history/4", "outside"),
    ):
        assert drug(chart, {**order, "medicationReference": {"reference": reference}}) == {"text": text}
    assert drug(chart, {**order, "medicationReference": {"reference": "Medication/11"}}) is None
