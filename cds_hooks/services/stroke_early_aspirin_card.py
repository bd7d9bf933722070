"""The card of stroke-early-aspirin: what the clinician reads, and the draft that may go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cds_hooks import override_reasons
from cds_hooks.cards import Action, Card, Coding, Link, Source, Suggestion
from cds_hooks.facts.chart import local_reference
from cds_hooks.facts.stroke import current
from cds_hooks.facts.value_sets import ASPIRIN, RXNORM, SNOMED
from cds_hooks.models import features
from cds_hooks.models.catalogue import Release
from cds_hooks.models.envelope import Distance
from cds_hooks.service import Facts

DEFICITS_NEEDED = 6
PAPER = "https://doi.org/10.1016/S0140-6736(97)04011-7"
DATA = "https://doi.org/10.7488/ds/104"


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
@dataclass(frozen=True, slots=True)
class Standing:
    """What the card of a release says about everybody, in the order of the card; made once."""

    effect: Mapping[str, Any]
    opening: tuple[str, ...]
    harms: tuple[str, ...]
    evidence: tuple[str, ...]
    extension: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, release: Release) -> Standing:
        """Read it from the card of the model."""
        return cls(
            release.card["effect"],
            _opening(release),
            _harms(release.card["harms"]),
            _evidence(release),
            {
                "io.xinglin.model": {
                    "identity": release.identity,
                    "id": release.model,
                    "version": release.version,
                    "sha256": release.sha256,
                    "state": release.state,
                }
            },
        )


_SOURCE = Source(
    label="International Stroke Trial 1991–1996, model by Xinglin",
    url=PAPER,
    topic=Coding(SNOMED, "422504002", "Ischemic stroke"),
)
_LINKS = (
    Link("International Stroke Trial, Lancet 1997;349:1569", PAPER),
    Link("Trial data, version 2", DATA),
)


def card(
    facts: Facts,
    standing: Standing,
    readings: Mapping[str, features.Reading],
    assumed: tuple[str, ...],
    effect: Effect,
    shares: Mapping[str, float],
    distance: Distance,
) -> Card:
    """Return the card; with a draft of aspirin unless it is ordered or was given already."""
    ordered = current(facts.chart, ASPIRIN, timedelta(hours=24))
    suggestions = () if ordered is not None else (_suggestion(facts),)
    return Card(
        uuid=facts.uuid("card"),
        summary=f"Early aspirin in acute stroke: on average {effect.benefit:.0f} fewer dead or dependent"
        " per 1000"
        f" at 6 months (95 % CI {effect.ci[0]:.0f} to {effect.ci[1]:.0f})",
        indicator="info",
        source=_SOURCE,
        detail=_detail(facts, standing, readings, assumed, effect, shares, distance, ordered),
        suggestions=suggestions,
        selection_behavior="at-most-one" if suggestions else "",
        override_reasons=override_reasons.TREATMENT,
        links=_LINKS,
        extension=standing.extension,
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
    standing: Standing,
    readings: Mapping[str, features.Reading],
    assumed: tuple[str, ...],
    effect: Effect,
    shares: Mapping[str, float],
    distance: Distance,
    ordered: Mapping[str, Any] | None,
) -> str:
    figures = standing.effect
    lines = [
        *standing.opening,
        "| Dead or dependent at 6 months | per 1000 |",
        "|---|---|",
        f"| Baseline risk of a patient like this in the trial | {1000 * effect.risk:.1f} |",
        f"| With aspirin (odds ratio {figures['odds_ratio']}, 95 % CI {figures['ci'][0]} to"
        f" {figures['ci'][1]})"
        f" | {1000 * effect.treated:.1f} |",
        f"| **Fewer with aspirin** | **{effect.benefit:.1f}** (95 % CI {effect.ci[0]:.1f} to"
        f" {effect.ci[1]:.1f}) |",
        "",
        *standing.harms,
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
        *_completeness(readings, assumed),
        "",
        f"**Like the patients of the trial**: distance {distance.value:.1f}; there is no card"
        f" beyond {distance.limit:.1f}, where 0.5 % of them are.",
        "",
        "**What moved it most** (share in the log odds): " + _top(shares) + ".",
        "",
    ]
    if ordered is not None:
        lines += [f"Aspirin is ordered or was given already ({_place(ordered)}): no order is suggested.", ""]
    if not facts.chart.all("AllergyIntolerance"):
        lines += ["No allergy list came with this call: ask before ordering.", ""]
    return "\n".join((*lines, *standing.evidence))


def _opening(release: Release) -> tuple[str, ...]:
    demonstration = ("**Demonstration model, answers for test data. Not for patient care.**", "")
    return (
        *(demonstration if release.state == "demonstration" else ()),
        "An average effect, not an individual one: the trial gives no evidence that aspirin helps some of"
        " these"
        " patients more than others.",
        "",
    )


def _evidence(release: Release) -> tuple[str, ...]:
    card, model = release.card, release.card["evaluation"]["lightgbm"]
    return (
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
        f" {_site(card, min):.2f} to {_site(card, max):.2f}. {_recalibrated(card)}",
        "",
        "Absence of a warning here is not evidence of safety.",
        "",
        str(card["data"]["notice"]) + ".",
    )


def _harms(harms: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        "| Harm within 14 days | more per 1000 with aspirin |",
        "|---|---|",
        _harm("Transfused or fatal extracranial bleeding", harms["extracranial_bleeding"]),
        _harm("… without heparin", harms["extracranial_bleeding_without_heparin"]),
        _harm("Haemorrhagic stroke", harms["haemorrhagic_stroke"]),
    )


def _harm(label: str, figures: Mapping[str, Any]) -> str:
    low, high = figures["ci"]
    return f"| {label} | {figures['per_1000']:+.1f} (95 % CI {low:.1f} to {high:.1f}) |"


_UNITS = {"a": "years", "mm[Hg]": "mmHg"}
_NEEDED = ", ".join(
    feature.label
    for feature in features.FEATURES
    if feature.unknown == features.REQUIRED and feature.name not in ("STYPE", "NDEF")
)


def _completeness(readings: Mapping[str, features.Reading], assumed: tuple[str, ...]) -> list[str]:
    """Return what was needed, what was assumed, and which gaps were left to the model."""
    known = sum(readings[name].value is not None for name in features.DEFICITS)
    gaps = [
        feature.label
        for feature in features.FEATURES
        if feature.unknown == features.MISSING and readings[feature.name].value is None
    ]
    filled = [
        f"{feature.label} as {feature.says.get(feature.unknown, feature.unknown)}"
        for feature in (features.BY_NAME[name] for name in assumed)
    ]
    return [
        f"**Needed, and known:** {_NEEDED}; {known} of 8 deficits ({DEFICITS_NEEDED} needed).",
        f"**Not known, assumed:** {', '.join(filled) or 'nothing'}."
        f" **Not known, left open to the model:** {', '.join(gaps) or 'nothing'}.",
    ]


def _input_row(feature: features.Feature, reading: features.Reading, assumed: bool) -> str:
    if assumed:
        letter = feature.unknown
        value = f"not known, taken as: {feature.says.get(letter, letter)}"
    elif reading.value is None:
        value = "not known"
    elif isinstance(reading.value, float):
        value = f"{reading.value:.1f}".removesuffix(".0") + (
            f" {_UNITS.get(feature.unit, feature.unit)}" if feature.unit else ""
        )
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


def _recalibrated(card: Mapping[str, Any]) -> str:
    """Return whether the level of the risk was fitted to this hospital's outcomes, when and on whom."""
    found = card.get("recalibration")
    if not isinstance(found, dict):
        return "Not recalibrated for this hospital."
    update = found["update"]
    return (
        f"Recalibrated for this hospital on {str(card['recalibrated_at'])[:10]} ({update['kind']},"
        f" {update['n']} patients, {update['events']} dead or dependent), from {found['parent']['identity']}."
    )


def _site(card: Mapping[str, Any], pick: Any) -> float:
    groups = card["evaluation"]["subgroups"]
    return float(
        pick(row["observed_over_expected"] for name, row in groups.items() if name.startswith("site: "))
    )
