"""The cards of opioid-mme: every order with dose, factor and share, what is not counted, what was decided."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cds_hooks.cards import Action, Card, Link, Source, Suggestion
from cds_hooks.facts.medication import Drug
from cds_hooks.facts.medication_dose import NOTES, UG_AN_HOUR
from cds_hooks.facts.units import UCUM
from cds_hooks.facts.value_sets import RXNORM
from cds_hooks.override_reasons import subset
from cds_hooks.service import Facts
from cds_hooks.services.opioid_mme_rules import (
    BOXED_WARNING,
    CITATION,
    CLOSED,
    GUIDELINE,
    NALOXONE_DOSE,
    NALOXONE_SPRAY,
    NOT_COUNTED,
)
from cds_hooks.services.opioid_mme_sum import Finding, Sum

_REASONS = subset(
    "risk-benefit-ratio",
    "mitigate-risk-negative-outcome",
    "action-completed",
    "patient-ineligible",
    "indication-order-exists",
    "expert-contradicts",
    "need-more-info",
    "patient-refuses",
)
_NOTES = {
    **NOTES,
    "implausible": "1000 MME a day or more from one order: check dose and unit",
    "supply-over": "the supply that was ordered should have run out: check that it is still taken",
}
_SOURCE = Source(
    label="CDC Clinical Practice Guideline for Prescribing Opioids for Pain, 2022", url=GUIDELINE
)

_TOGETHER = "Opioid and benzodiazepine together: risk of profound sedation, respiratory depression and death"


def cards(facts: Facts, finding: Finding) -> Iterator[Card]:
    """Give the card of the sum and the card of benzodiazepines, as far as there is something to say."""
    offered = (_naloxone(facts),) if finding.offers_naloxone else ()
    if finding.level in ("mme-90", "mme-50", "not-all-counted"):
        yield Card(
            uuid=facts.uuid("mme"),
            summary=_summary(finding),
            indicator="warning" if finding.level == "mme-90" else "info",
            source=_SOURCE,
            detail=_detail(facts, finding),
            suggestions=offered if finding.level != "not-all-counted" else (),
            selection_behavior="at-most-one" if offered and finding.level != "not-all-counted" else "",
            override_reasons=_REASONS,
            links=(Link("CDC guideline 2022", GUIDELINE),),
        )
        offered = offered if finding.level == "not-all-counted" else ()
    if finding.overlap:
        yield Card(
            uuid=facts.uuid("benzodiazepine"),
            summary=_TOGETHER,
            indicator="warning",
            source=_SOURCE,
            detail=_overlap(facts, finding),
            suggestions=offered,
            selection_behavior="at-most-one" if offered else "",
            override_reasons=_REASONS,
            links=(
                Link("FDA, 31 August 2016: boxed warning", BOXED_WARNING),
                Link("CDC guideline 2022", GUIDELINE),
            ),
        )


def _summary(finding: Finding) -> str:
    found = finding.sum
    least = "" if found.is_whole else "at least "
    if finding.level == "not-all-counted":
        missing = sum(1 for line in found.lines if any(code not in CLOSED for code in line.codes))
        known = f"{least}{_number(found.total)} MME a day" if found.total else "MME a day not known"
        return f"Opioids: {known}; {missing} {_plural(missing, 'order')} could not be counted"
    mark = "90 or more" if finding.level == "mme-90" else "50 or more"
    before = "" if found.before == found.total else f" (before: {_number(found.before)})"
    return f"Opioids: {least}{_number(found.total)} MME a day with this order{before}, that is {mark}"


# The sum ----------------------------------------------------------------------------------------
def _detail(facts: Facts, finding: Finding) -> str:
    found = finding.sum
    least = "" if found.is_whole else "at least "
    lines = [
        "| Morphine milligram equivalents (MME) | a day |",
        "|---|---|",
        f"| **With the drafts of this call** | **{least}{_number(found.total)}** |",
        f"| Without them | {_number(found.before)} |",
    ]
    if found.apart != found.total:
        lines.append(f"| If orders of one opioid at one dose are the same order | {_number(found.apart)} |")
    lines.append("")
    if found.day is not None:
        lines += [f"The highest day begins on {found.day.isoformat()}; until then it is less.", ""]
    lines += [*_counted(found), *_not_counted(found), *_decided(found)]
    if finding.level == "mme-90":
        lines += [
            "**90 MME a day or more.** The guideline of 2016 asked to avoid this or to justify it carefully;"
            " that of"
            " 2022 names no such limit and warns against abrupt or rapid reduction in patients who take such"
            " doses.",
            "",
        ]
    if finding.level in ("mme-50", "mme-90"):
        lines += [
            "**50 MME a day or more.** Reassess benefits and risks carefully before going on (CDC 2016,"
            " recommendation 5; 2022, recommendation 4, for any increase), and offer naloxone (2022,"
            " recommendation 8). It is no limit, and no reason to stop or reduce abruptly.",
            "",
        ]
        lines += _about_naloxone(finding)
    return "\n".join([*lines, *_about(facts, finding)])


def _counted(found: Sum) -> Iterator[str]:
    counted = [line for line in found.lines if line.counts]
    if not counted:
        yield "No opioid could be counted."
        yield ""
        return
    yield "**What was added**"
    yield ""
    yield "| Order | Dose a day | Factor | MME a day | Share | Ordered | Source |"
    yield "|---|---|---|---|---|---|---|"
    for line in counted:
        dose, factor = line.dose, line.factor
        assert dose is not None
        assert factor is not None
        unit = "µg/h" if dose.unit == UG_AN_HOUR else "mg"
        share = f"{100 * line.share / found.total:.0f} %" if found.total else "—"
        yield (
            f"| {_name(line.drug)} | {line.name} {_number(dose.value)} {unit} | {_number(factor.value)}"
            f" | {_number(line.share)} | {share} | {_when(line.drug)} | {_source(line.drug)} |"
        )
    yield ""


def _not_counted(found: Sum) -> Iterator[str]:
    told = [line for line in found.lines if line.codes]
    if not told:
        return
    yield "**Not counted**"
    yield ""
    for line in told:
        for problem in line.problems:
            text = NOT_COUNTED[problem.code]
            more = f" ({_plain(problem.text)})" if problem.text and problem.text != text else ""
            part = "one instruction of " if line.counts else ""
            yield f"- {part}{_name(line.drug)}, {_source(line.drug)}: {text}{more}"
        if line.behind:
            amount = f"{_number(line.mme)} MME"
            yield f"- {_name(line.drug)}, {_source(line.drug)} ({amount}): {NOT_COUNTED[line.behind]}"
    yield ""


def _decided(found: Sum) -> Iterator[str]:
    told = [(line, note) for line in found.lines if line.counts for note in line.notes]
    cautions = {line.name: line.factor.caution for line in found.lines if line.counts and line.factor}
    if not told and not any(cautions.values()):
        return
    yield "**How it was read**"
    yield ""
    for line, note in told:
        yield f"- {_name(line.drug)}: {_NOTES[note]}"
    for name, caution in sorted(cautions.items()):
        if caution:
            yield f"- {name}: {caution}"
    yield ""


def _about(facts: Facts, finding: Finding) -> Iterator[str]:
    if finding.age_unknown:
        yield "The age is not known to the day; the guideline is for people of 18 years and over."
        yield ""
    yield (
        "**Read it with care.** An estimate from published factors, not a dose for this patient: equivalence"
        " differs"
        " between people. Never use it to convert one opioid into another; a new opioid is started well"
        " below its"
        " calculated MME. The factors are not for treating opioid use disorder. The guideline does not apply"
        " to"
        " pain from cancer or sickle cell disease, to palliative or to end-of-life care: diagnoses are not"
        " read"
        " here. Only orders and statements of this chart are read, not the prescription monitoring programme."
    )
    yield ""
    yield (
        "No risk, benefit or harm is computed for this patient: the guideline gives none per person, its"
        " thresholds"
        " come from observational studies."
    )
    yield ""
    yield f"**Source.** {CITATION}."
    yield ""
    yield "Absence of a warning here is not evidence of safety."


# Benzodiazepines --------------------------------------------------------------------------------
def _overlap(facts: Facts, finding: Finding) -> str:
    lines = ["| | Drug | Ordered | Source |", "|---|---|---|---|"]
    for kind, drugs in (("opioid", finding.opioids), ("benzodiazepine", finding.benzodiazepines)):
        for drug in sorted(drugs, key=lambda entry: (not entry.draft, entry.label, entry.reference or "")):
            known = "" if drug.ingredients else " (by its name; no code that is known here)"
            lines.append(f"| {kind} | {_name(drug)}{known} | {_when(drug)} | {_source(drug)} |")
    found = finding.sum
    least = "" if found.is_whole else "at least "
    lines += [
        "",
        f"Opioids together: {least}{_number(found.total)} MME a day.",
        "",
        "Use particular caution, and weigh whether the benefits outweigh the risks (CDC guideline 2022,"
        " recommendation 11). The labels of both carry a boxed warning since 2016: together only where"
        " alternatives"
        " are inadequate, at the lowest doses and for the shortest time; tell patient and caregivers the"
        " signs of"
        " slowed breathing and sedation (FDA).",
        "",
        *_about_naloxone(finding),
        f"**Source.** {CITATION}; FDA Drug Safety Communication of 31 August 2016.",
        "",
        "Absence of a warning here is not evidence of safety.",
    ]
    return "\n".join(lines)


# Naloxone ---------------------------------------------------------------------------------------
def _about_naloxone(finding: Finding) -> list[str]:
    if finding.no_naloxone == "naloxone-ordered":
        return ["Naloxone is ordered or taken already: none is offered.", ""]
    if finding.no_naloxone == "naloxone-allergy":
        return ["An allergy or intolerance to naloxone is on the list: none is offered.", ""]
    return []


def _naloxone(facts: Facts) -> Suggestion:
    code, name = NALOXONE_SPRAY
    order: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept": {
            "coding": [{"system": RXNORM, "code": code, "display": name}],
            "text": "Naloxone 4 mg nasal spray",
        },
        "subject": {"reference": f"Patient/{facts.chart.patient_id}"},
        "authoredOn": facts.chart.now.isoformat(timespec="seconds"),
        "dosageInstruction": [
            {
                "text": NALOXONE_DOSE,
                "asNeededBoolean": True,
                "doseAndRate": [{"doseQuantity": {"value": 4, "unit": "mg", "system": UCUM, "code": "mg"}}],
            }
        ],
    }
    if encounter := facts.context.get("encounterId"):
        order["encounter"] = {"reference": f"Encounter/{encounter}"}
    allergies = facts.chart.all("AllergyIntolerance")
    asked = "" if allergies else "; no allergy came with this call, ask before ordering"
    action = Action(
        "create", f"Draft a proposal of naloxone nasal spray, to be reviewed and signed{asked}", order
    )
    return Suggestion("Offer naloxone 4 mg nasal spray", facts.uuid("naloxone"), (action,))


# Words ------------------------------------------------------------------------------------------
def _number(value: float) -> str:
    """Return a number for people, never rounded over a threshold.

    >>> _number(60.0), _number(49.96), _number(0.15), _number(49.999)
    ('60', '49.96', '0.15', '49.999')
    """
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _plain(text: str) -> str:
    """Return a text of somebody else so that it cannot break a table or become a link."""
    return re.sub(r"[\s|`*_<>\[\]\\#]+", " ", text).strip()


def _name(drug: Drug) -> str:
    return f"{_plain(drug.label)}{' (draft)' if drug.draft else ''}"


def _when(drug: Drug) -> str:
    stated = drug.resource.get("dateAsserted", drug.resource.get("authoredOn"))
    return _plain(stated)[:40] if isinstance(stated, str) else "no date"


def _source(drug: Drug) -> str:
    return drug.reference or str(drug.resource.get("resourceType"))
