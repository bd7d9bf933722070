"""opioid-mme: morphine milligram equivalents a day with the order that is about to be given.

Source: CDC Clinical Practice Guideline for Prescribing Opioids for Pain, 2022 (factors, 50 MME, naloxone,
benzodiazepines), and of 2016 for 90 MME. The service speaks when a draft of the call is an opioid or a
benzodiazepine; it adds what runs, names what it cannot count, and offers a draft of naloxone. It directs
nothing: no order is changed, and no dose is proposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cds_hooks.cards import Card
from cds_hooks.facts import demographics
from cds_hooks.facts.chart import Chart, Resource, status_codes
from cds_hooks.facts.chart import drug as concept_of
from cds_hooks.facts.medication import REQUESTS, STATEMENTS, Drug, drugs, ingredients
from cds_hooks.facts.medication_timing import first_moment
from cds_hooks.facts.subjects import of_order
from cds_hooks.facts.value_sets import codings, texts
from cds_hooks.hooks.hook import resources
from cds_hooks.service import Decision, Facts, Service
from cds_hooks.services import opioid_mme_card
from cds_hooks.services.opioid_mme_rules import CITATION, GUIDELINE, HIGH, NAMES, NOTICE
from cds_hooks.services.opioid_mme_sum import Finding, Sum, add

ID = "opioid-mme"

PREFETCH: Mapping[str, str] = {
    "patient": "Patient/{{context.patientId}}",
    "requests": "MedicationRequest?patient={{context.patientId}}&status=active,on-hold,unknown",
    "statements": "MedicationStatement?patient={{context.patientId}}&status=active,intended,on-hold,unknown",
    "allergies": "AllergyIntolerance?patient={{context.patientId}}",
}


def service() -> Service:
    """Return the service; it rests on rules alone."""
    return Service(
        id=ID,
        hooks=("order-select", "order-sign", "medication-refill"),
        title="Opioid dose in morphine milligram equivalents",
        description="Sum of morphine milligram equivalents a day over active opioid orders and the draft, by"
        " the CDC guideline of 2022; notices from 50 and 90; benzodiazepines beside opioids; naloxone.",
        prefetch=PREFETCH,
        decide=decide,
        evidence=f"{CITATION} ({GUIDELINE})",
        usage_requirements="Needs drugs coded in RxNorm (ingredient or product), doses with coded units, and"
        " a coded timing; what cannot be counted is named on the card. For adults with pain, not in cancer,"
        " sickle cell disease, palliative and end-of-life care.",
    )


def decide(facts: Facts) -> Decision:
    """Return up to two cards (the sum; benzodiazepines), or the reasons why there is none."""
    chart = facts.chart
    if chart.patient is None:
        return Decision(("patient-unknown",))
    if demographics.deceased(chart):
        return Decision(("deceased",))
    adult = is_adult(chart)
    if adult is False:
        return Decision(("under-18",))
    drafts = list(_bundled(facts.context, "draftOrders"))
    refills = list(_bundled(facts.context, "medications"))
    found = list(drugs(chart, [*drafts, *refills], (REQUESTS, STATEMENTS)))
    running = [drug for drug in found if not drug.inactive]
    opioids = [drug for drug in running if is_of(drug, "opioid")]
    calming = [drug for drug in running if is_of(drug, "benzodiazepine")]
    if not any(drug.draft for drug in (*opioids, *calming)):
        return Decision(("no-opioid-ordered",))
    if not opioids:
        return Decision(("no-opioid",))
    mme = add(found, chart.now, refills)
    finding = Finding(
        mme, tuple(opioids), tuple(calming), naloxone(chart, running), adult is None, _level(mme, opioids)
    )
    cards = tuple(opioid_mme_card.cards(facts, finding))
    output = _output(mme)
    if about := [of for card in cards for of in _about(facts, card, finding)]:
        # in an order of their own: the same orders in another order are the same answer
        output["about"] = sorted(about, key=lambda of: (of["order"], of["dosage"], of["drugs"], of["card"]))
    return Decision(tuple(_reasons(finding)), cards, _inputs(mme), output)


def _level(found: Sum, opioids: Sequence[Drug]) -> str:
    if not any(drug.draft for drug in opioids):
        return ""
    if found.total >= HIGH:
        return "mme-90"
    if found.total >= NOTICE:
        return "mme-50"
    return "below-50" if found.is_whole else "not-all-counted"


def is_of(drug: Drug, kind: str) -> bool:
    """Say whether a drug is of a kind, by its codes, or by its name where no code is known."""
    return bool(drug.of_kind(kind)) or (not drug.ingredients and bool(NAMES[kind].search(drug.label)))


def is_adult(chart: Chart) -> bool | None:
    """Say whether the patient is 18 or older; None where the birth date does not say it."""
    text = chart.patient.get("birthDate") if chart.patient else None
    born = first_moment(text)
    if born is None or born > chart.now:
        return None
    years = demographics.whole_years(born.date(), chart.now.date())
    if years < 18:
        return False
    return True if len(str(text)) >= 10 or years > 18 else None


# Naloxone ---------------------------------------------------------------------------------------
def naloxone(chart: Chart, running: Sequence[Drug]) -> str:
    """Return why no naloxone is offered (`naloxone-ordered`, `naloxone-allergy`), or "".

    Naloxone inside a product with buprenorphine or pentazocine rescues nobody and does not count.
    """
    for drug in running:
        alone = [entry.name for entry in drug.ingredients] == ["naloxone"]
        named = not drug.ingredients and not is_of(drug, "opioid") and NAMES["naloxone"].search(drug.label)
        if alone or named:
            return "naloxone-ordered"
    return (
        "naloxone-allergy" if any(_is_to_naloxone(entry) for entry in chart.all("AllergyIntolerance")) else ""
    )


def _is_to_naloxone(allergy: Resource) -> bool:
    clinical = status_codes(allergy, "clinicalStatus")
    if (clinical and "active" not in clinical) or "refuted" in status_codes(allergy, "verificationStatus"):
        return False
    reactions = allergy.get("reaction")
    told = [entry.get("substance") for entry in reactions or () if isinstance(entry, dict)]
    for concept in (allergy.get("code"), *told):
        if any(entry.name == "naloxone" for entry in ingredients(concept)):
            return True
        if any(NAMES["naloxone"].search(text) for text in texts(concept)):
            return True
    return False


# For the record ---------------------------------------------------------------------------------
def _about(facts: Facts, card: Card, finding: Finding) -> Iterator[dict[str, Any]]:
    """Give the drafts that a card is about: of opioids, and on the card of both kinds of benzodiazepines."""
    kinds = {"opioid": finding.opioids}
    if card.uuid == facts.uuid("benzodiazepine"):
        kinds["benzodiazepine"] = finding.benzodiazepines
    for kind, found in kinds.items():
        for entry in found:
            if entry.draft:
                names = [ingredient.name for ingredient in entry.of_kind(kind)]
                yield of_order(card.uuid, entry, names, codings(concept_of(facts.chart, entry.resource)))


def _bundled(context: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    bundle = context.get(name)
    if isinstance(bundle, dict):
        yield from (entry for entry in resources(bundle) if entry.get("resourceType") == REQUESTS)


def _reasons(finding: Finding) -> Iterator[str]:
    if finding.level:
        yield finding.level
    if finding.overlap:
        yield "benzodiazepine-overlap"
    if finding.level in ("mme-50", "mme-90") or finding.overlap:
        yield finding.no_naloxone or "naloxone-suggested"
    if finding.age_unknown:
        yield "age-unknown"
    yield from sorted({code for line in finding.sum.lines for code in line.codes})


def _inputs(found: Sum) -> dict[str, Any]:
    return {
        f"{number}": {
            "drug": line.drug.label,
            "opioid": line.name,
            "reference": line.drug.reference,
            "draft": line.drug.draft,
            "dose": line.dose.value if line.dose else None,
            "unit": line.dose.unit if line.dose else None,
            "factor": line.factor.value if line.factor else None,
        }
        for number, line in enumerate(found.lines, 1)
    }


def _output(found: Sum) -> dict[str, Any]:
    return {
        "mme_per_day": found.total,
        "mme_per_day_before": found.before,
        "mme_per_day_if_repeats_are_one": found.apart,
        "from_day": found.day.isoformat() if found.day else None,
        "whole": found.is_whole,
        "lines": [
            {
                "opioid": line.name,
                "reference": line.drug.reference,
                "mme": line.share,
                "codes": list(line.codes),
            }
            for line in found.lines
        ],
    }
