"""stroke-early-aspirin: what starting aspirin within 48 hours of a stroke does on average.

Evidence: International Stroke Trial (Lancet 1997;349:1569), 19,435 patients, 1991–1996. The model
gives the risk of being dead or dependent at six months; the benefit is that risk at the trial's
average odds ratio. No individual effect is claimed: none was found. Where the trial has nothing
to say about a patient, or something that we need is not known, the service says nothing; the
record of the call holds every reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from cds_hooks.facts import demographics
from cds_hooks.facts.chart import Chart, Resource, active_conditions, status_codes
from cds_hooks.facts.stroke import (
    Stroke,
    current,
    haemorrhage,
    head_ct,
    reperfusion,
    stroke,
    unreadable_drug,
)
from cds_hooks.facts.value_sets import (
    ANTICOAGULANT,
    ASPIRIN_ALLERGY,
    BLEEDING_TENDENCY,
    NO_ALLERGY,
    OWN,
    VENOUS_STROKE,
    Said,
)
from cds_hooks.models import envelope, features
from cds_hooks.models.catalogue import Release
from cds_hooks.models.envelope import Envelope, EnvelopeError
from cds_hooks.models.predictor import Predictor
from cds_hooks.service import Decision, Facts, Model, Service
from cds_hooks.services.stroke_early_aspirin_card import DEFICITS_NEEDED, Effect, Standing, card

ID = "stroke-early-aspirin"
WINDOW = timedelta(hours=48)
TAG_SYSTEM, TEST_DATA = "urn:xinglin:tag", "test-data"

PREFETCH: Mapping[str, str] = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}&clinical-status=active,recurrence,relapse",
    "pressure": "Observation?patient={{context.patientId}}&code=http://loinc.org|85354-9,http://loinc.org|8480-6"
    "&_sort=-date&_count=5",
    "neurology": "Observation?patient={{context.patientId}}&code="
    + ",".join(
        [
            *(f"http://loinc.org|{code}" for code in (
                "72089-6", "70184-7", "67775-7", "9269-2", "70188-8", "70189-6", "70190-4", "70967-5",
                "70191-2", "70968-3", "70192-0", "70193-8", "70194-6", "70196-1",
            )),
            *(f"{OWN}|{code}" for code in (
                "consciousness", "noted-on-waking", "syndrome", "deficit-face", "deficit-arm", "deficit-leg",
                "deficit-language", "deficit-visual-field", "deficit-visuospatial", "deficit-brainstem",
                "deficit-other",
            )),
        ]
    )
    + "&_sort=-date&_count=100",
    "reports": "DiagnosticReport?patient={{context.patientId}}&_sort=-date&_count=50",
    "requests": "MedicationRequest?patient={{context.patientId}}&status=active,on-hold,draft,unknown",
    "administrations": "MedicationAdministration?patient={{context.patientId}}",
    "statements": "MedicationStatement?patient={{context.patientId}}",
    "procedures": "Procedure?patient={{context.patientId}}",
    "allergies": "AllergyIntolerance?patient={{context.patientId}}",
}  # fmt: skip


def service(release: Release | None, predictor: Predictor | None, *, demonstration: bool = False) -> Service:
    """Return the service on a release; without one it answers with no cards and says why in the record.

    A release in state demonstration answers for patients tagged as test data, and for everybody
    only when the installation is itself a `demonstration`.
    """
    decider = _Decider(release, predictor, _envelope(release), demonstration)
    return Service(
        id=ID,
        hooks=("encounter-start", "order-select"),
        title="Early aspirin in acute ischaemic stroke",
        description="Baseline risk, average benefit and harm of starting aspirin within 48 hours of an acute"
        " ischaemic stroke, from the International Stroke Trial. An average effect, not an individual one.",
        prefetch=PREFETCH,
        decide=decider.decide,
        usage_requirements="Needs the onset to the hour, a coded head CT conclusion, systolic pressure,"
        " consciousness"
        " and at least six of eight deficits (or NIH Stroke Scale items). Not for time-critical alarms.",
        model=None
        if release is None
        else Model(
            release.model, release.version, release.sha256, release.state, release.card["source_attributes"]
        ),
    )


def _envelope(release: Release | None) -> Envelope | None:
    try:
        return envelope.of(release) if release is not None else None
    except EnvelopeError:
        return None  # every call then says `envelope-unavailable`: no answer without this check


@dataclass(frozen=True)
class _Decider:
    release: Release | None
    predictor: Predictor | None
    envelope: Envelope | None
    demonstration: bool

    def decide(self, facts: Facts) -> Decision:
        """Return one card, or the reasons why there is none."""
        if self.release is None or self.predictor is None:
            return Decision(("model-unavailable",))
        chart = facts.chart
        if chart.patient is None:
            return Decision(("patient-unknown",))
        present = stroke(chart)
        if present is None:
            return Decision(("no-acute-stroke",))
        if self.release.state not in ("active", "shadow") and not self._may_demonstrate(chart):
            return Decision(("not-test-data",))
        readings = features.read(chart)
        inputs = {
            name: {"value": reading.value, "time": reading.time, "reference": reading.reference}
            for name, reading in readings.items()
        }
        if reasons := tuple(refusals(chart, present, readings)):
            return Decision(reasons, inputs=inputs)
        if self.envelope is None:
            return Decision(("envelope-unavailable",), inputs=inputs)
        values, assumed = features.assume({name: reading.value for name, reading in readings.items()})
        vector = features.encode(values)
        distance = self.envelope.distance(features.NAMES, vector)
        if distance.outside:
            output = {
                "distance": distance.value, "limit": distance.limit, "largest": list(distance.largest)
            }  # fmt: skip
            return Decision(("out-of-distribution",), inputs=inputs, output=output)
        risk = self.predictor.predict(vector)
        effect = Effect.at(risk, self._standing.effect)
        shares = self.predictor.contributions(vector)
        shown = card(facts, self._standing, readings, assumed, effect, shares, distance)
        output = {
            "risk": risk,
            "benefit_per_1000": effect.benefit,
            "benefit_ci": list(effect.ci),
            "assumed": list(assumed),
            "distance": distance.value,
            "engine": self.predictor.engine,
        }
        return Decision(("suggested" if shown.suggestions else "shown",), (shown,), inputs, output)

    @cached_property
    def _standing(self) -> Standing:
        assert self.release is not None
        return Standing.of(self.release)

    def _may_demonstrate(self, chart: Chart) -> bool:
        if self.release is None or self.release.state != "demonstration":
            return False
        return self.demonstration or is_test_data(chart)


def is_test_data(chart: Chart) -> bool:
    """Say whether the patient is tagged as test data."""
    meta = chart.patient.get("meta", {}) if chart.patient else {}
    tags = meta.get("tag", []) if isinstance(meta, dict) else []
    return any(
        isinstance(tag, dict) and (tag.get("system"), tag.get("code")) == (TAG_SYSTEM, TEST_DATA)
        for tag in tags
    )


# Refusals ---------------------------------------------------------------------------------------
def refusals(chart: Chart, present: Stroke, readings: Mapping[str, features.Reading]) -> Iterator[str]:
    """Give every reason to say nothing about this patient, as codes."""
    onset = present.onset
    if onset is None:
        yield "onset-unknown"
    elif chart.now - onset > WINDOW:
        yield "onset-over-48h"
    elif onset > chart.now:
        yield "onset-in-future"
    since = onset or chart.now - WINDOW
    found = head_ct(chart, since)
    if haemorrhage(chart, since) is not None:
        yield "haemorrhage"
    elif found is None or found.finding == "unknown":
        yield "ct-unknown"
    if next(active_conditions(chart, VENOUS_STROKE), None) is not None:
        yield "venous-thrombosis"
    if reperfusion(chart, since) is not None:
        yield "thrombolysis"
    if current(chart, ANTICOAGULANT, WINDOW) is not None:
        yield "anticoagulation"
    if unreadable_drug(chart) is not None:
        yield "medication-unreadable"
    if is_allergic(chart):
        yield "aspirin-allergy"
    elif has_unreadable_allergy(chart):
        yield "allergy-unreadable"
    if next(active_conditions(chart, BLEEDING_TENDENCY), None) is not None:
        yield "contraindication"
    if demographics.deceased(chart):
        yield "deceased"
    yield from _unusable(readings)


def _unusable(readings: Mapping[str, features.Reading]) -> Iterator[str]:
    for feature in features.FEATURES:
        value = readings[feature.name].value
        if feature.name in ("RDELAY", "RCT", "RVISINF"):
            continue  # onset and CT have reasons of their own
        if value is None and feature.unknown == features.REQUIRED:
            yield f"missing-{feature.name}"
        elif isinstance(value, float) and not _within(value, feature.low, feature.high):
            yield f"out-of-range-{feature.name}"
    known = sum(readings[name].value is not None for name in features.DEFICITS)
    if known < DEFICITS_NEEDED:
        yield "deficits-missing"


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def is_allergic(chart: Chart) -> bool:
    """Say whether an active allergy or intolerance to aspirin or NSAIDs is on the list, sure or not."""
    return any(ASPIRIN_ALLERGY.holds_said(said) for _entry, told in _allergies(chart) for said in told)


def has_unreadable_allergy(chart: Chart) -> bool:
    """Say whether an active entry of the list names nothing that can be read: it may be aspirin.

    Entries about food or the environment alone do not count, nor does "no known allergy".
    """
    for entry, told in _allergies(chart):
        categories = entry.get("category")
        if isinstance(categories, list) and categories and not {"medication", "biologic"} & set(categories):
            continue
        named = any(text.strip() for said in told for text in said.texts)
        known = any(
            ASPIRIN_ALLERGY.holds_any(said.codings) or NO_ALLERGY.holds_any(said.codings) for said in told
        )
        if not named and not known:
            return True
    return False


def _allergies(chart: Chart) -> tuple[tuple[Resource, tuple[Said, ...]], ...]:
    """Return the entries that count, and what each says about its substance and those of its reactions."""
    return chart.once("allergies", lambda: tuple((e, _substances(e)) for e in _active(chart)))


def _active(chart: Chart) -> Iterator[Resource]:
    for entry in chart.all("AllergyIntolerance"):
        clinical = status_codes(entry, "clinicalStatus")
        if (clinical and "active" not in clinical) or "refuted" in status_codes(entry, "verificationStatus"):
            continue
        yield entry


def _substances(entry: Resource) -> tuple[Said, ...]:
    reactions = entry.get("reaction")
    listed = reactions if isinstance(reactions, list) else []
    concepts = (entry.get("code"), *(r.get("substance") for r in listed if isinstance(r, dict)))
    return tuple(map(Said.by, concepts))
