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
from typing import Any

from cds_hooks import override_reasons
from cds_hooks.cards import Action, Card, Coding, Link, Source, Suggestion
from cds_hooks.facts.chart import Chart, active_conditions, local_reference, status_codes
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
    ASPIRIN,
    ASPIRIN_ALLERGY,
    BLEEDING_TENDENCY,
    OWN,
    RXNORM,
    SNOMED,
)
from cds_hooks.models import features
from cds_hooks.models.catalogue import Release
from cds_hooks.models.predictor import Predictor
from cds_hooks.service import Decision, Facts, Model, Service

ID = "stroke-early-aspirin"
WINDOW = timedelta(hours=48)
DEFICITS_NEEDED = 6
TAG_SYSTEM, TEST_DATA = "urn:xinglin:tag", "test-data"
PAPER = "https://doi.org/10.1016/S0140-6736(97)04011-7"
DATA = "https://doi.org/10.7488/ds/104"

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
    decider = _Decider(release, predictor, demonstration)
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


@dataclass(frozen=True)
class _Decider:
    release: Release | None
    predictor: Predictor | None
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
        values, assumed = features.assume({name: reading.value for name, reading in readings.items()})
        vector = features.encode(values)
        risk = self.predictor.predict(vector)
        effect = Effect.at(risk, self.release.card["effect"])
        shares = self.predictor.contributions(vector)
        card = _card(facts, self.release, readings, assumed, effect, shares)
        output = {
            "risk": risk,
            "benefit_per_1000": effect.benefit,
            "benefit_ci": list(effect.ci),
            "assumed": list(assumed),
            "engine": self.predictor.engine,
        }
        return Decision(("suggested" if card.suggestions else "shown",), (card,), inputs, output)

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
    if reperfusion(chart, since) is not None:
        yield "thrombolysis"
    if current(chart, ANTICOAGULANT, WINDOW) is not None:
        yield "anticoagulation"
    if unreadable_drug(chart) is not None:
        yield "medication-unreadable"
    if is_allergic(chart):
        yield "aspirin-allergy"
    if next(active_conditions(chart, BLEEDING_TENDENCY), None) is not None:
        yield "contraindication"
    if chart.patient is not None and (
        chart.patient.get("deceasedDateTime") or chart.patient.get("deceasedBoolean")
    ):
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
    for entry in chart.all("AllergyIntolerance"):
        clinical = status_codes(entry, "clinicalStatus")
        if (clinical and "active" not in clinical) or "refuted" in status_codes(entry, "verificationStatus"):
            continue
        reactions = entry.get("reaction")
        substances = (
            [r.get("substance") for r in reactions if isinstance(r, dict)]
            if isinstance(reactions, list)
            else []
        )
        if any(ASPIRIN_ALLERGY.holds(concept) for concept in (entry.get("code"), *substances)):
            return True
    return False


# The effect -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Effect:
    """Baseline risk and, at the average odds ratio, fewer bad outcomes per 1000 with the 95 % CI."""

    risk: float
    treated: float
    benefit: float
    ci: tuple[float, float]

    @classmethod
    def at(cls, risk: float, effect: Mapping[str, Any]) -> Effect:
        """Apply the odds ratio of a model card to a risk.

        >>> effect = Effect.at(0.47, {"odds_ratio": 0.93, "ci": [0.87, 0.994]})
        >>> round(effect.benefit), [round(bound) for bound in effect.ci]
        (18, [1, 34])
        """
        treated, best, least = (
            ratio * risk / (1 - risk + ratio * risk) for ratio in (effect["odds_ratio"], *effect["ci"])
        )
        return cls(risk, treated, 1000 * (risk - treated), (1000 * (risk - least), 1000 * (risk - best)))


# The card ---------------------------------------------------------------------------------------
def _card(
    facts: Facts,
    release: Release,
    readings: Mapping[str, features.Reading],
    assumed: tuple[str, ...],
    effect: Effect,
    shares: Mapping[str, float],
) -> Card:
    ordered = current(facts.chart, ASPIRIN, timedelta(hours=24))
    suggestions = () if ordered is not None else (_suggestion(facts),)
    return Card(
        uuid=facts.uuid("card"),
        summary=f"Early aspirin in acute stroke: on average {effect.benefit:.0f} fewer dead or dependent"
        " per 1000"
        f" at 6 months (95 % CI {effect.ci[0]:.0f} to {effect.ci[1]:.0f})",
        indicator="info",
        source=Source(
            label="International Stroke Trial 1991–1996, model by Xinglin",
            url=PAPER,
            topic=Coding(SNOMED, "422504002", "Ischemic stroke"),
        ),
        detail=_detail(facts, release, readings, assumed, effect, shares, ordered),
        suggestions=suggestions,
        selection_behavior="at-most-one" if suggestions else "",
        override_reasons=override_reasons.TREATMENT,
        links=(
            Link("International Stroke Trial, Lancet 1997;349:1569", PAPER),
            Link("Trial data, version 2", DATA),
        ),
        extension={
            "io.xinglin.model": {
                "identity": release.identity,
                "id": release.model,
                "version": release.version,
                "sha256": release.sha256,
                "state": release.state,
            }
        },
    )


def _suggestion(facts: Facts) -> Suggestion:
    encounter = facts.context.get("encounterId")
    resource: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept": {
            "coding": [{"system": RXNORM, "code": "1191", "display": "aspirin"}],
            "text": "Aspirin 300 mg",
        },
        "subject": {"reference": f"Patient/{facts.chart.patient_id}"},
        "authoredOn": facts.chart.now.isoformat(timespec="seconds"),
        "dosageInstruction": [
            {
                "text": "300 mg once daily for 14 days or until discharge, first dose as soon as possible;"
                " by mouth"
                " if swallowing is safe, else by nasogastric tube or rectally",
                "timing": {
                    "repeat": {
                        "boundsDuration": {
                            "value": 14,
                            "unit": "d",
                            "system": "http://unitsofmeasure.org",
                            "code": "d",
                        },
                        "frequency": 1,
                        "period": 1,
                        "periodUnit": "d",
                    }
                },
                "doseAndRate": [
                    {
                        "doseQuantity": {
                            "value": 300,
                            "unit": "mg",
                            "system": "http://unitsofmeasure.org",
                            "code": "mg",
                        }
                    }
                ],
            }
        ],
    }
    if encounter:
        resource["encounter"] = {"reference": f"Encounter/{encounter}"}
    action = Action("create", "Draft a proposal of aspirin 300 mg daily, to be reviewed and signed", resource)
    return Suggestion("Aspirin 300 mg daily, first dose now", facts.uuid("suggestion"), (action,))


def _detail(
    facts: Facts,
    release: Release,
    readings: Mapping[str, features.Reading],
    assumed: tuple[str, ...],
    effect: Effect,
    shares: Mapping[str, float],
    ordered: Mapping[str, Any] | None,
) -> str:
    card = release.card
    figures, harms, model = card["effect"], card["harms"], card["evaluation"]["lightgbm"]
    lines: list[str] = []
    if release.state == "demonstration":
        lines += ["**Demonstration model, answers for test data. Not for patient care.**", ""]
    lines += [
        "An average effect, not an individual one: the trial gives no evidence that aspirin helps some of"
        " these"
        " patients more than others.",
        "",
        "| Dead or dependent at 6 months | per 1000 |",
        "|---|---|",
        f"| Baseline risk of a patient like this in the trial | {1000 * effect.risk:.1f} |",
        f"| With aspirin (odds ratio {figures['odds_ratio']}, 95 % CI {figures['ci'][0]} to"
        f" {figures['ci'][1]})"
        f" | {1000 * effect.treated:.1f} |",
        f"| **Fewer with aspirin** | **{effect.benefit:.1f}** (95 % CI {effect.ci[0]:.1f} to"
        f" {effect.ci[1]:.1f}) |",
        "",
        "| Harm within 14 days | more per 1000 with aspirin |",
        "|---|---|",
        _harm("Transfused or fatal extracranial bleeding", harms["extracranial_bleeding"]),
        _harm("… without heparin", harms["extracranial_bleeding_without_heparin"]),
        _harm("Haemorrhagic stroke", harms["haemorrhagic_stroke"]),
        "",
        "**What the risk was computed from**",
        "",
        "| Input | Value | Time | Source |",
        "|---|---|---|---|",
        *(
            _input_row(feature, readings[feature.name], feature.name in assumed)
            for feature in features.FEATURES
        ),
        "",
        "**What moved it most** (share in the log odds): " + _top(shares) + ".",
        "",
    ]
    if ordered is not None:
        lines += [f"Aspirin is ordered or was given already ({_place(ordered)}): no order is suggested.", ""]
    if not facts.chart.all("AllergyIntolerance"):
        lines += ["No allergy list came with this call: ask before ordering.", ""]
    lines += [
        "**Evidence.** International Stroke Trial, 19,435 patients in 36 countries, 1991–1996: aspirin 300"
        " mg daily within"
        " 48 hours of onset against none, open, randomised (Lancet 1997;349:1569–81). Before thrombolysis and"
        " thrombectomy; outcomes today are better, so the baseline risk is probably too high here. Half of"
        " the"
        " patients behind the risk were given aspirin.",
        "",
        f"**Model** {release.identity}: AUC {model['auc']:.2f}, calibration slope"
        f" {model['calibration_slope']:.2f} in"
        " hospitals it had not seen; between countries observed over expected ranged from"
        f" {_site(card, min):.2f} to {_site(card, max):.2f}. Not recalibrated for this hospital.",
        "",
        "Absence of a warning here is not evidence of safety.",
        "",
        str(card["data"]["notice"]) + ".",
    ]
    return "\n".join(lines)


def _harm(label: str, figures: Mapping[str, Any]) -> str:
    low, high = figures["ci"]
    return f"| {label} | {figures['per_1000']:+.1f} (95 % CI {low:.1f} to {high:.1f}) |"


def _input_row(feature: features.Feature, reading: features.Reading, assumed: bool) -> str:
    if assumed:
        letter = feature.unknown
        value = f"not known, taken as: {feature.says.get(letter, letter)}"
    elif reading.value is None:
        value = "not known"
    elif isinstance(reading.value, float):
        value = f"{reading.value:.1f}".removesuffix(".0") + (f" {feature.unit}" if feature.unit else "")
    else:
        value = feature.says.get(reading.value, reading.value)
    source = reading.reference or reading.note or "—"
    time = None if feature.name == "AGE" else reading.time  # the time of an age is the birth date
    return f"| {feature.label} | {value} | {time or '—'} | {source} |"


def _top(shares: Mapping[str, float], count: int = 5) -> str:
    ranked = sorted(shares.items(), key=lambda item: -abs(item[1]))[:count]
    return ", ".join(f"{features.BY_NAME[name].label} {value:+.2f}" for name, value in ranked)


def _place(resource: Mapping[str, Any]) -> str:
    return local_reference(resource) or str(resource.get("resourceType"))


def _site(card: Mapping[str, Any], pick: Any) -> float:
    groups = card["evaluation"]["subgroups"]
    return float(
        pick(row["observed_over_expected"] for name, row in groups.items() if name.startswith("site: "))
    )
