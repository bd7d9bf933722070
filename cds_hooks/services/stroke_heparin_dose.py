"""stroke-heparin-dose: an order of more than 5,000 IU of heparin twice daily in acute ischaemic stroke.

Evidence: International Stroke Trial (Lancet 1997;349:1569): 12,500 IU twice daily against 5,000 IU
gave more deaths or recurrent strokes, more brain haemorrhages and more major bleeds, and neither
dose helped at six months. There is no rule for whom a higher dose would be right: five trials
together did not find one (Lancet Neurol 2013;12:539). So one warning, and no targeting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cds_hooks import override_reasons
from cds_hooks.cards import Card, Coding, Link, Source
from cds_hooks.facts import demographics, heparin
from cds_hooks.facts.chart import Chart, Resource, active_conditions, day, drug, local_reference
from cds_hooks.facts.heparin import Dose
from cds_hooks.facts.laboratory import BODY_WEIGHT, Measured, observed
from cds_hooks.facts.medication import Drug, active_drugs
from cds_hooks.facts.medication_timing import Unknown
from cds_hooks.facts.stroke import Stroke, haemorrhage, stroke
from cds_hooks.facts.subjects import of_order
from cds_hooks.facts.value_sets import ATRIAL_FIBRILLATION, SNOMED, codings
from cds_hooks.service import Decision, Facts, Service

ID = "stroke-heparin-dose"
RULE = "ist-heparin-dose@1"
PAPER = "https://doi.org/10.1016/S0140-6736(97)04011-7"
DATA = "https://doi.org/10.7488/ds/104"

LOW_DAILY, LOW_SINGLE, BETWEEN_DAILY = 10_000.0, 5_000.0, 15_000.0
"""The low arm: 5,000 IU twice a day. Three times 5,000 lies between the trial's two arms."""
ACUTE = timedelta(days=14)
WEIGHT_AGE = timedelta(days=90)

PREFETCH: Mapping[str, str] = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}&clinical-status=active,recurrence,relapse",
    "procedures": "Procedure?patient={{context.patientId}}",
    "requests": "MedicationRequest?patient={{context.patientId}}&status=active",
    "reports": "DiagnosticReport?patient={{context.patientId}}&_sort=-date&_count=50",
    "weight": "Observation?patient={{context.patientId}}&code=http://loinc.org|29463-7&_sort=-date&_count=5",
}

REASONS: Mapping[str, str] = {
    "shown": "a card was shown",
    "no-heparin-order": "none of the orders is for unfractionated heparin",
    "low-molecular-weight-heparin": "the order is for a low-molecular-weight heparin or fondaparinux",
    "heparin-not-coded": "an order says heparin in words, but has no code that is known here",
    "patient-unknown": "no patient",
    "deceased": "the patient died",
    "no-acute-stroke": "no active, confirmed ischaemic or unspecified stroke",
    "stroke-not-acute": "the stroke is older than 14 days",
    "onset-in-future": "the stroke begins in the future",
    "dose-unreadable": "dose, unit or frequency of the order cannot be read",
    "weight-unknown": "the dose is per kilogram and there is no weight of the last 90 days",
    "running-order-unreadable": "a low dose is drafted beside a running order of heparin that cannot be read",
    "dose-within-low-arm": "at most 10,000 IU in 24 hours: as in the trial's low dose, or less",
}
"""Every reason that this service gives; the page lists the same."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One comparison of the trial: percent with 12,500 and 5,000 IU, the difference per 1000, its 95 % CI."""

    outcome: str
    high: float
    low: float
    per_1000: float
    ci: tuple[float, float]


HIGH_AGAINST_LOW: tuple[Figure, ...] = (
    Figure("Death or recurrent stroke within 14 days", 12.6, 10.8, 17.6, (4.8, 30.4)),
    Figure("Haemorrhagic stroke within 14 days", 1.8, 0.7, 10.3, (5.9, 14.7)),
    Figure("Transfused or fatal extracranial bleeding", 2.0, 0.6, 14.2, (9.7, 18.8)),
    Figure("Dead or dependent at 6 months", 62.6, 63.1, -4.9, (-24.1, 14.4)),
)
"""4,856 patients with 12,500 IU against 4,861 with 5,000 IU, recomputed from the trial's data (a test)."""

ANY_AGAINST_NONE_BLEEDS = Figure("Transfused or fatal extracranial bleeding", 1.3, 0.4, 9.5, (6.9, 12.1))
"""Heparin of either dose against none; the paper gives 9 (SD 1) per 1000."""


def service() -> Service:
    """Return the service."""
    return Service(
        id=ID,
        hooks=("order-sign",),
        title="Heparin dose in acute ischaemic stroke",
        description="Warns of orders for more than 5,000 IU of unfractionated heparin twice daily in acute"
        " ischaemic stroke, with the figures of the International Stroke Trial.",
        prefetch=PREFETCH,
        decide=decide,
        usage_requirements="Reads coded orders of unfractionated heparin with a dose in international units."
        " Low-molecular-weight heparins are not judged.",
    )


def decide(facts: Facts) -> Decision:
    """Return one card for the drafted heparin, or the reasons why there is none."""
    chart = facts.chart
    if chart.patient is None:
        return Decision(("patient-unknown",))
    if demographics.deceased(chart):
        return Decision(("deceased",))
    drafts = [entry for entry in active_drugs(chart, _drafted(facts)) if entry.draft]
    kinds = {id(entry): heparin.kind(chart, entry.resource) for entry in drafts}
    ordered = [entry for entry in drafts if kinds[id(entry)] == "unfractionated"]
    if not ordered:
        for found, reason in (
            ("low-molecular-weight", "low-molecular-weight-heparin"), ("in-words", "heparin-not-coded"),
        ):  # fmt: skip
            if found in kinds.values():
                return Decision((reason,))
        return Decision(("no-heparin-order",))
    present = stroke(chart)
    if present is None:
        return Decision(("no-acute-stroke",))
    if (past := _not_acute(chart, present)) is not None:
        return Decision((past,), inputs=_inputs(present, None, ()))
    return _judge(facts, present, ordered)


def _drafted(facts: Facts) -> list[Resource]:
    bundle = facts.context.get("draftOrders")
    entries = bundle.get("entry") if isinstance(bundle, dict) else None
    return [
        entry["resource"]
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict)
    ]


def _not_acute(chart: Chart, present: Stroke) -> str | None:
    """Return why the stroke is not an acute one, or None; an unknown onset counts as acute."""
    if present.onset is not None:
        if present.onset > chart.now:
            return "onset-in-future"
        return "stroke-not-acute" if chart.now - present.onset > ACUTE else None
    dates = [day(present.condition.get(key)) for key in ("onsetDateTime", "recordedDate")]
    known = next((found for found in dates if found is not None), None)
    if known is not None and (chart.now.date() - known) > ACUTE:
        return "stroke-not-acute"
    return None


def _judge(facts: Facts, present: Stroke, ordered: list[Drug]) -> Decision:
    chart = facts.chart
    found = observed(chart, BODY_WEIGHT, chart.now - WEIGHT_AGE)
    weight = found if isinstance(found, Measured) else None
    doses: list[tuple[Drug, Dose]] = []
    for entry in ordered:
        one = heparin.dose(chart, entry.resource, weight)
        if isinstance(one, Unknown):
            reason = one.code if one.code == "weight-unknown" else "dose-unreadable"
            return Decision((reason,), inputs=_inputs(present, weight, doses), output={"why": one.text})
        doses.append((entry, one))
    inputs = _inputs(present, weight, doses)
    daily = sum(one.daily for _entry, one in doses)
    single = max((one.single for _entry, one in doses if one.single is not None), default=None)
    output: dict[str, Any] = {"daily_iu": daily, "single_iu": single}
    beside = _running(chart, facts)
    if daily <= LOW_DAILY:
        sums = [heparin.dose(chart, entry.resource, weight) for entry in beside]
        if any(isinstance(one, Unknown) for one in sums):
            return Decision(("running-order-unreadable",), inputs=inputs, output=output)
        together = daily + sum(one.daily for one in sums if isinstance(one, Dose))
        if together <= LOW_DAILY:
            return Decision(("dose-within-low-arm",), inputs=inputs, output=output)
        output["together_iu"] = together
    others = sorted({pair for entry in ordered for pair in heparin.other_indications(chart, entry.resource)})
    between = daily <= BETWEEN_DAILY and single is not None and single <= LOW_SINGLE
    output |= {"between_the_arms": between, "other_indications": [name for name, _place in others]}
    card = _card(facts, present, doses, weight, daily, others, between=between,
                 together=output.get("together_iu"))  # fmt: skip
    output["about"] = [
        of_order(card.uuid, entry, {i.name for i in entry.ingredients}, codings(drug(chart, entry.resource)))
        for entry in ordered
    ]
    return Decision(("shown",), (card,), inputs, output)


def _running(chart: Chart, facts: Facts) -> list[Drug]:
    """Return the orders of unfractionated heparin that run already."""
    return [
        entry
        for entry in active_drugs(chart, _drafted(facts))
        if not entry.draft and heparin.kind(chart, entry.resource) == "unfractionated"
    ]


def _inputs(present: Stroke, weight: Measured | None, doses: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "onset": {
            "value": present.onset.isoformat() if present.onset else None,
            "reference": present.reference,
        }
    }
    if weight is not None:
        inputs["weight"] = {"value": weight.value, "unit": weight.unit, "time": weight.at.isoformat(),
                            "reference": weight.reference}  # fmt: skip
    inputs["orders"] = [
        {"reference": entry.reference, "daily_iu": one.daily, "arithmetic": list(one.arithmetic)}
        for entry, one in doses
    ]
    return inputs


# The card ---------------------------------------------------------------------------------------
def _card(
    facts: Facts,
    present: Stroke,
    doses: list[tuple[Drug, Dose]],
    weight: Measured | None,
    daily: float,
    others: list[tuple[str, str]],
    *,
    between: bool,
    together: float | None = None,
) -> Card:
    amount = f"Heparin {daily:,.0f} IU in 24 h in acute ischaemic stroke"
    if others:
        summary, indicator = f"{amount}: {others[0][0]} is recorded; the stroke trial is silent on it", "info"
    elif together is not None:
        summary, indicator = (
            f"Heparin drafted beside a running order: together {together:,.0f} IU in 24 h",
            "info",
        )
    elif between:
        summary, indicator = f"{amount}: between the trial's doses, 5,000 and 12,500 IU twice daily", "info"
    else:
        summary, indicator = f"{amount}: the higher dose did harm in the trial (12.6 vs 10.8 %)", "warning"
    return Card(
        uuid=facts.uuid("card"),
        summary=summary,
        indicator=indicator,
        source=Source(
            label="International Stroke Trial, Lancet 1997;349:1569",
            url=PAPER,
            topic=Coding(SNOMED, "422504002", "Ischemic stroke"),
        ),
        detail="\n".join(_detail(facts, present, doses, weight, daily, others, between, together)),
        override_reasons=override_reasons.ORDER,
        links=(
            Link("International Stroke Trial, Lancet 1997;349:1569", PAPER),
            Link("Trial data, version 2", DATA),
        ),
        extension={"io.xinglin.rule": {"identity": RULE}},
    )


def _detail(
    facts: Facts,
    present: Stroke,
    doses: list[tuple[Drug, Dose]],
    weight: Measured | None,
    daily: float,
    others: list[tuple[str, str]],
    between: bool,
    together: float | None,
) -> list[str]:
    chart = facts.chart
    lines = [
        f"**Ordered: {daily:,.0f} IU of unfractionated heparin in 24 hours.** The trial's doses were"
        " 10,000 IU (5,000 twice daily) and 25,000 IU (12,500 twice daily).",
        "",
    ]
    for name, place in others:
        lines += [
            f"**{name[0].upper()}{name[1:]} is recorded ({place}).** The trial says nothing about heparin for"
            " it; weigh that reason against the figures below.",
            "",
        ]
    bleed = haemorrhage(chart, present.onset or chart.now - ACUTE)
    if bleed is not None:
        lines += [
            f"**An intracranial haemorrhage is recorded ({local_reference(bleed) or 'without an id'}).**",
            "",
        ]
    if together is not None:
        lines += [
            f"Beside it runs an order of heparin (below). If both are given, that is **{together:,.0f} IU in"
            " 24 hours**; if the new order replaces the old one, end the old one.",
            "",
        ]
    if between:
        lines += [
            "5,000 IU three times a day was not studied; it lies between the two arms below.",
            "",
        ]
    lines += [
        "| International Stroke Trial | 12,500 IU twice daily | 5,000 IU twice daily | difference per 1000 |",
        "|---|---|---|---|",
        *(
            f"| {row.outcome} | {row.high} % | {row.low} % | {row.per_1000:+.1f} (95 % CI {row.ci[0]:.1f} to"
            f" {row.ci[1]:.1f}) |"
            for row in HIGH_AGAINST_LOW
        ),
        "",
        f"Heparin of either dose against none: {ANY_AGAINST_NONE_BLEEDS.per_1000:+.1f} transfused or fatal"
        f" extracranial bleeds per 1000 (95 % CI {ANY_AGAINST_NONE_BLEEDS.ci[0]} to"
        f" {ANY_AGAINST_NONE_BLEEDS.ci[1]}), and no difference in death or dependency at 6 months (62.9 % in"
        " both groups).",
        "",
        "An average effect, not an individual one. Nobody is singled out for a higher dose: in five"
        " trials together net benefit did not grow with the risk of thrombosis nor with a lower risk of"
        " bleeding (Lancet Neurol 2013;12:539).",
        "",
        "| Input | Value | Time | Source |",
        "|---|---|---|---|",
        f"| stroke | onset {_onset(present)} | — | {present.reference or '—'} |",
    ]
    if next(active_conditions(chart, ATRIAL_FIBRILLATION), None) is not None:
        lines.append("| atrial fibrillation | yes; so had 17 % of the trial's patients | — | Condition |")
    if weight is not None and any("per kg" in text for _entry, one in doses for text in one.arithmetic):
        lines.append(
            f"| weight | {weight.value:g} kg | {weight.at.isoformat()} | {weight.reference or '—'} |"
        )
    for entry, one in doses:
        for text in one.arithmetic:
            lines.append(f"| order | {text} | — | {entry.reference or 'draft'} |")
    for other in active_drugs(chart, _drafted(facts)):
        if not other.draft and heparin.kind(chart, other.resource) in (
            "unfractionated",
            "low-molecular-weight",
        ):
            lines.append(f"| already ordered, not counted | heparin | — | {other.reference or '—'} |")
    lines += [
        "",
        "**Evidence.** International Stroke Trial, 19,435 patients in 36 countries, 1991–1996, subcutaneous"
        " heparin for up to 14 days begun within 48 hours of onset, open, randomised (Lancet"
        " 1997;349:1569–81). Before thrombolysis and thrombectomy; intravenous infusions were not studied and"
        " are compared by their daily dose.",
        "",
        "Absence of a warning here is not evidence of safety.",
        "",
        "Contains information from the International Stroke Trial database (version 2), " + DATA + ", made"
        " available under the ODC Attribution License.",
    ]
    return lines


def _onset(present: Stroke) -> str:
    if present.onset is not None:
        return present.onset.isoformat(timespec="minutes")
    return str(present.condition.get("onsetDateTime") or "not known to the hour")
