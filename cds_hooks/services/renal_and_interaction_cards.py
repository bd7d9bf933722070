"""The cards of renal-and-interaction: what was found, on which inputs, by which sentence, and what not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds_hooks.cards import SUMMARY_LIMIT, Card, Link, Source
from cds_hooks.facts.allergies import Allergy
from cds_hooks.facts.cross_reactions import CrossReaction
from cds_hooks.facts.interactions import PAPER, TABLE, Pair
from cds_hooks.facts.laboratory import Measured
from cds_hooks.facts.prescribing import Prescribed
from cds_hooks.facts.renal import Kidney
from cds_hooks.override_reasons import ORDER
from cds_hooks.service import Facts
from cds_hooks.services.renal_and_interaction_rules import APIXABAN, CLEARANCE, EGFR, UNITS, Rule

NO_SAFETY = (
    "**Absence of an alert is not evidence of safety**: this service looks for what it lists, no more."
)
BY_INGREDIENT = (
    "Allergies are compared by ingredient; of families only penicillins and cephalosporins are known."
)
_WARNING = frozenset({"contraindicated", "avoid", "not to be started"})
_CKD_EPI = Link("CKD-EPI 2021: N Engl J Med 2021;385:1737", "https://doi.org/10.1056/NEJMoa2102953")
_EQUATIONS: Mapping[str, str] = {
    EGFR: "eGFR by CKD-EPI 2021 (creatinine, age, sex; no race)",
    CLEARANCE: "clearance by Cockcroft and Gault, with the actual body weight (too high in obesity)",
    APIXABAN: "of: age 80 a or more, weight 60 kg or less, creatinine 1.5 mg/dL or more",
}


@dataclass(frozen=True, slots=True)
class Unchecked:
    """What could not be looked at: drugs and allergies that no table knows; whether a list came at all."""

    drugs: tuple[str, ...]
    allergies: tuple[str, ...]
    has_allergy_list: bool


def renal(
    facts: Facts, order: Prescribed, rule: Rule, value: float, known: Kidney, unchecked: Unchecked
) -> Card:
    """Return the card of one label rule that holds for one order."""
    measured = f"{value:g} {UNITS[rule.measure]}"
    label = rule.label
    return Card(
        uuid=facts.uuid(f"renal:{rule.id}:{_place(order)}"),
        summary=_short(f"{plain(order.drug.label)}: {rule.strength} at {rule.measure} {measured}"),
        indicator="warning" if rule.strength in _WARNING else "info",
        source=Source(label.name, label.address),
        detail="\n".join(
            [
                f"**{plain(order.drug.label)}** ({_place(order)}): {rule.measure} {measured}."
                f" The label's range is {rule.range} {UNITS[rule.measure]}:"
                f" **{rule.strength}**. {rule.advice}",
                "",
                f"> {label.sentence}",
                "",
                f"{label.product}, {label.section}; SPL set id {label.set_id}; {label.version}.",
                "",
                *_inputs(facts, order, known, with_weight=rule.measure != EGFR),
                f"| {rule.measure} | {measured} | computed | {_EQUATIONS[rule.measure]} |",
                "",
                *known.cautions,
                *([""] if known.cautions else []),
                *_end(order, unchecked),
            ]
        ),
        override_reasons=ORDER,
        links=(Link(f"Where the sentence was read: {label.product}", label.url), _CKD_EPI)
        if rule.measure == EGFR
        else (Link(f"Where the sentence was read: {label.product}", label.url),),
        extension=_evidence(rule.id),
    )


def renal_unknown(
    facts: Facts,
    unanswered: Mapping[str, Sequence[str]],
    why: Mapping[str, str],
    known: Kidney,
    unchecked: Unchecked,
) -> Card:
    """Return the card that says that a drug depends on the kidneys and their function is not known."""
    drugs = ", ".join(sorted(unanswered))
    reasons = ", ".join(code.replace("-", " ") for code in why)
    return Card(
        uuid=facts.uuid("renal-unknown"),
        summary=_short(f"Kidney function not computed for {drugs}: {reasons}"),
        indicator="info",
        source=Source("Labels of the drugs named (US)"),
        detail="\n".join(
            [
                "The labels of these drugs depend on kidney function, and nothing was computed:",
                "",
                *(
                    f"- **{drug}** needs {' and '.join(needed)}"
                    for drug, needed in sorted(unanswered.items())
                ),
                "",
                "Why not:",
                "",
                *(f"- {plain(text)} (`{code}`)" for code, text in why.items()),
                "",
                *_known(known),
                *_end(None, unchecked),
            ]
        ),
        override_reasons=ORDER,
    )


def interaction(
    facts: Facts,
    order: Prescribed,
    pair: Pair,
    others: Sequence[tuple[Prescribed, str, str]],
    unchecked: Unchecked,
) -> Card:
    """Return the card of one pair of classes that an order makes with drugs that run or are drafted."""
    met = ", ".join(sorted({theirs for _, _, theirs in others}))
    mine = others[0][1]
    return Card(
        uuid=facts.uuid(f"pair:{pair.id}:{_place(order)}"),
        summary=_short(f"{mine} with {met}: {pair.consequence}"),
        indicator="warning",
        source=Source("ONC high-priority drug interactions, JAMIA 2012;19:735", PAPER),
        detail="\n".join(
            [
                f"**{pair.title}.** {pair.consequence[:1].upper()}{pair.consequence[1:]}: {pair.mechanism}."
                f" **{pair.action}**",
                "",
                "| Drug | Ingredient | Status | Source |",
                "|---|---|---|---|",
                _drug_row(order, mine),
                *(_drug_row(other, theirs) for other, _, theirs in others),
                "",
                f"Seriousness: {pair.seriousness}. Evidence: {pair.evidence}. Frequency: {pair.frequency}."
                f" Not looked at: {pair.modifiers}, drugs that ended in the last weeks.",
                "",
                f"> {pair.label.sentence}",
                "",
                f"{pair.label.place} Labels of the other drugs of its class were not read.",
                "",
                *_end(order, unchecked),
            ]
        ),
        override_reasons=ORDER,
        links=(
            Link("The list (table 2)", TABLE),
            Link(f"Where the sentence was read: {pair.label.product}", pair.label.url),
        ),
        extension=_evidence(pair.id),
    )


def allergy(facts: Facts, order: Prescribed, entry: Allergy, shared: str, unchecked: Unchecked) -> Card:
    """Return the card of an order that holds what the patient is allergic to."""
    return Card(
        uuid=facts.uuid(f"allergy:{_place(order)}:{entry.reference}"),
        summary=_short(f"Allergy or intolerance to {shared} is on the list: {plain(order.drug.label)}"),
        indicator="warning",
        source=Source("The patient's allergy list"),
        detail="\n".join(
            [
                f"**{plain(order.drug.label)}** holds {shared}, and the list names it.",
                "",
                *_allergy_table(facts, entry),
                _drug_row(order, shared),
                "",
                *_end(order, unchecked),
            ]
        ),
        override_reasons=ORDER,
        extension=_evidence("ingredient-allergy"),
    )


def cross_reaction(
    facts: Facts, drug: Prescribed, entry: Allergy, row: CrossReaction, unchecked: Unchecked
) -> Card:
    """Return the card of a drug whose family an allergy may cross over to; it asks, and forbids nothing."""
    label = plain(drug.drug.label)
    return Card(
        uuid=facts.uuid(f"cross:{_place(drug)}:{entry.reference}:{row.id}"),
        summary=_short(
            f"{row.drug.capitalize()}, and {row.allergy} allergy or intolerance is noted: {label}"
        ),
        indicator="warning" if row.strong else "info",
        source=Source(f"Label of {row.product} (US)", row.url),
        detail="\n".join(
            [
                f"**{label}** is {row.kind}; the entry names a {row.allergy}, not this drug itself. Ask"
                " what happened then, how soon after the drug, and how long ago, before deciding.",
                "",
                f"> {row.sentence}",
                "",
                f"Label of {row.product}, {row.section}; SPL set id {row.set_id}; {row.version}. It speaks of"
                " its own drug and of the family. How often allergies cross over is told differently by"
                " labels and studies.",
                "",
                *_allergy_table(facts, entry),
                _drug_row(drug, row.drug),
                "",
                *_end(drug, unchecked),
            ]
        ),
        override_reasons=ORDER,
        links=(Link(f"Where the sentence was read: {row.product}", row.url),),
        extension=_evidence(row.id),
    )


def new_allergy(facts: Facts, entry: Allergy, running: Sequence[Prescribed], unchecked: Unchecked) -> Card:
    """Return the card of a new allergy against drugs that run or are drafted."""
    names = ", ".join(plain(drug.drug.label) for drug in running)
    return Card(
        uuid=facts.uuid("new-allergy"),
        summary=_short(f"On the medication list and now an allergy or intolerance: {names}"),
        indicator="warning",
        source=Source("The patient's medication list"),
        detail="\n".join(
            [
                "The allergy that is being added meets drugs that run or are drafted. Decide what to stop.",
                "",
                *_allergy_table(facts, entry),
                *(_drug_row(drug, ", ".join(sorted(drug.names & entry.ingredients))) for drug in running),
                "",
                *_end(None, unchecked, any(drug.by_name and drug.is_known for drug in running)),
            ]
        ),
        override_reasons=ORDER,
        extension=_evidence("ingredient-allergy"),
    )


# Parts ------------------------------------------------------------------------------------------
def _inputs(facts: Facts, order: Prescribed, known: Kidney, *, with_weight: bool) -> list[str]:
    patient = f"Patient/{facts.chart.patient_id}"
    return [
        "| Input | Value | Time | Source |",
        "|---|---|---|---|",
        _drug_row(order, ""),
        f"| Age | {known.age_years} a | {facts.chart.now.date().isoformat()} | {patient} |",
        f"| Sex | {known.sex} | — | {patient} |",
        *_measured("Creatinine", known.creatinine),
        *(_measured("Weight (actual)", known.weight) if with_weight else ()),
    ]


def _measured(name: str, value: Measured | None) -> list[str]:
    if value is None:
        return []
    shown = f"{value.value:.2f}".rstrip("0").rstrip(".")
    at = value.at.isoformat(timespec="minutes")
    return [f"| {name} | {shown} {value.unit} | {at} | {value.reference or '—'} |"]


def _known(known: Kidney) -> list[str]:
    found = [*_measured("Creatinine", known.creatinine), *_measured("Weight (actual)", known.weight)]
    return ["| Input | Value | Time | Source |", "|---|---|---|---|", *found, ""] if found else []


def _allergy_table(facts: Facts, entry: Allergy) -> list[str]:
    at = entry.resource.get("recordedDate")
    shown = plain(at) if isinstance(at, str) else facts.chart.now.date().isoformat()
    return [
        "| Input | Value | Time | Source |",
        "|---|---|---|---|",
        f"| {plain(entry.label)} | {plain(entry.said)} | {shown} | {entry.reference or 'being added'} |",
    ]


def _drug_row(entry: Prescribed, ingredient: str) -> str:
    resource = entry.drug.resource
    status = "draft" if entry.drug.draft else str(resource.get("status", "unknown"))[:20]
    known = "by its name" if entry.by_name else "by its code"
    middle = f"{ingredient}, known {known}" if ingredient else f"known {known}"
    return f"| {plain(entry.drug.label)} | {middle} | {plain(status)} | {_place(entry)} |"


def _end(order: Prescribed | None, unchecked: Unchecked, by_name: bool = False) -> list[str]:
    lines: list[str] = []
    if by_name or (order is not None and order.by_name):
        lines += ["The drug was recognised by its name, not by a code: check that it is the one meant.", ""]
    if unchecked.drugs:
        lines += [f"Not recognised, so not checked: {_listed(unchecked.drugs)}.", ""]
    if unchecked.allergies:
        lines += [f"Allergies not recognised, so not compared: {_listed(unchecked.allergies)}.", ""]
    if not unchecked.has_allergy_list:
        lines += ["No allergy list came with this call: ask before ordering.", ""]
    return [*lines, BY_INGREDIENT, "", NO_SAFETY]


def _listed(labels: Sequence[str]) -> str:
    shown = [plain(label) for label in dict.fromkeys(labels)]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _place(entry: Prescribed) -> str:
    return entry.drug.reference or "an order without an id"


def _evidence(rule: str) -> dict[str, dict[str, str]]:
    return {"io.xinglin.rule": {"id": rule}}


def _short(text: str) -> str:
    limit = SUMMARY_LIMIT - 1
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def plain(text: str) -> str:
    """Return a text of somebody else as it may stand in a card: on one line, without Markdown.

    >>> plain("Metformin | 500 **mg**\\n<b>")
    'Metformin 500 mg b'
    """
    return re.sub(r"\s+", " ", re.sub(r"[|*_`<>\[\]#\\\x00-\x1f]", " ", text)).strip()[:120] or "(no name)"
