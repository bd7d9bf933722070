"""The rules of opioid-mme as data: factors, thresholds, what is not counted, with their sources.

Every factor, threshold and sentence was read in a published text; nothing is computed from them here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cds_hooks.facts.medication_dose import MG_A_DAY, UG_AN_HOUR

GUIDELINE = "https://www.cdc.gov/mmwr/volumes/71/rr/rr7103a1.htm"
BOXED_WARNING = "https://www.fda.gov/Drugs/DrugSafety/ucm518473.htm"
CITATION = (
    "Dowell D, Ragan KR, Jones CM, et al. CDC Clinical Practice Guideline for Prescribing Opioids for Pain,"
    " United States, 2022. MMWR Recomm Rep 2022;71(3):1–95"
)

NOTICE, HIGH = 50.0, 90.0
"""MME a day.

50: recommendation 5 of the guideline of 2016 (reassess "when considering increasing dosage to ≥50"), kept by
that of 2022 for every increase (recommendation 4) and among the reasons to offer naloxone (recommendation 8).
90: recommendation 5 of the guideline of 2016 ("should avoid increasing dosage to ≥90 MME/day or carefully
justify a decision to titrate dosage to >90 MME/day"); the guideline of 2022 no longer names it, and neither
number is a limit.
"""

IMPLAUSIBLE = 1000.0
"""MME a day of one order from which the card asks to check dose and unit: a bound of ours, not published."""


@dataclass(frozen=True, slots=True)
class Factor:
    """MME a day for one unit of an opioid, with what the guideline says beside it."""

    value: float
    unit: str
    form: str
    caution: str = ""


ORAL, TRANSDERMAL = "oral", "transdermal"

_TWO_WAYS = (
    "acts in a second way beside the µ receptor; whether overdose depends on its dose in the same manner is"
    " not"
    " known"
)
FACTORS: Mapping[str, Factor] = {
    "codeine": Factor(0.15, MG_A_DAY, ORAL),
    "fentanyl": Factor(
        2.4, UG_AN_HOUR, TRANSDERMAL, "absorption from a patch is affected by heat and other factors"
    ),
    "hydrocodone": Factor(1.0, MG_A_DAY, ORAL),
    "hydromorphone": Factor(5.0, MG_A_DAY, ORAL),
    "methadone": Factor(
        4.7,
        MG_A_DAY,
        ORAL,
        "one factor for every dose (the sliding scale of 2016 is gone); long and variable half-life,"
        " respiratory"
        " depression peaks later and lasts longer than analgesia",
    ),
    "morphine": Factor(1.0, MG_A_DAY, ORAL),
    "oxycodone": Factor(1.5, MG_A_DAY, ORAL),
    "oxymorphone": Factor(3.0, MG_A_DAY, ORAL),
    "tapentadol": Factor(0.4, MG_A_DAY, ORAL, _TWO_WAYS),
    "tramadol": Factor(0.2, MG_A_DAY, ORAL, _TWO_WAYS),
}
"""Table of the CDC guideline 2022, "Morphine milligram equivalent doses for commonly prescribed opioids for
pain management", read in cqframework/opioid-mme-r4 at 1357f454, input/pagecontent/conversion-factors.md and
codesystem-CDCMMEClinicalConversionFactors.json (publisher: CDC)."""

FORMS: Mapping[str, frozenset[str]] = {
    ORAL: frozenset({
        "Oral Tablet", "Oral Capsule", "Extended Release Oral Tablet", "Extended Release Oral Capsule",
        "Oral Solution", "Oral Suspension", "Extended Release Suspension", "Disintegrating Oral Tablet",
        "Effervescent Oral Tablet", "Tablet for Oral Suspension",
    }),
    TRANSDERMAL: frozenset({"Transdermal System"}),
}  # fmt: skip
"""RxNorm dose forms for which a factor stands; injections, suppositories, sprays and lozenges have none."""

ORAL_ROUTE = "26643006"
"""SNOMED CT "Oral route": says the form where the drug is coded as an ingredient alone."""


# What is not counted ----------------------------------------------------------------------------
NOT_COUNTED: Mapping[str, str] = {
    # may be taken, and is missing from the sum: the sum is "at least"
    "no-factor": "the guideline gives no factor for this opioid",
    "no-factor-for-form": "the guideline's factor does not stand for this form",
    "form-unknown": "neither the form of the drug nor an oral route is coded",
    "not-coded": "its name reads like an opioid; no RxNorm code that is known here",
    "drug-unknown": "the drug of an order that runs cannot be known",
    "codes-disagree": "the codes of the drug name different drugs",
    "strength-unknown": "the strength is not known",
    "unit-missing": "the dose has no coded unit",
    "unit-unusable": "the unit of the dose does not fit the product",
    "dose-missing": "no dose is given in numbers",
    "dose-not-a-number": "the dose is no number above 0",
    "dose-without-end": "the range of the dose has no upper end",
    "dose-of-combination": "milligrams of a product with several ingredients",
    "dosage-missing": "there is no dosage",
    "dosage-in-words": "the dosage is in words only",
    "timing-missing": "how often is not said",
    "timing-in-words": "how often is said in words or in a code that is not known here",
    "timing-unclear": "the timing does not say how many times a day",
    "prn-without-limit": "as needed, without a frequency or a maximum per period",
    "rate-unusable": "the rate has no unit that fits the product",
    "rate-without-duration": "a rate that is given at times, without how long",
    "patch-too-often": "a patch more often than every 48 hours",
    # known not to belong to the sum
    "buprenorphine": "buprenorphine: partial agonist with a ceiling, no factor in the guideline",
    "entered-in-error": "entered in error",
    "ended": "completed, stopped or cancelled",
    "on-hold": "on hold",
    "not-taken": "stated as not taken",
    "not-to-be-given": "an order not to give it",
    "not-an-order": "a proposal or an option, not an order",
    "expired": "its last day is past",
    "replaced": "replaced by a draft of this call",
    "same-order": "the same order again, or its refill: the greater counts",
    "stated-and-ordered": "stated as taken, and ordered: the greater counts",
}  # fmt: skip
"""Why an opioid is not in the sum, by code."""

CLOSED = frozenset({
    "buprenorphine", "entered-in-error", "ended", "on-hold", "not-taken", "not-to-be-given", "not-an-order",
    "expired", "replaced", "same-order", "stated-and-ordered",
})  # fmt: skip
"""Codes of NOT_COUNTED that leave the sum whole."""

NAMES: Mapping[str, re.Pattern[str]] = {
    "opioid": re.compile(
        r"\b(codeine|dihydrocodeine|hydrocodone|oxycodone|morphine|hydromorphone|oxymorphone|fentanyl|sufentanil"
        r"|alfentanil|remifentanil|methadone|tramadol|tapentadol|meperidine|pethidine|levorphanol|butorphanol"
        r"|pentazocine|nalbuphine|buprenorphine|propoxyphene|opium|levomethadyl|percocet|oxycontin|roxicodone"
        r"|vicodin|norco|lortab|dilaudid|duragesic|nucynta|ultram|ultracet|opana|demerol|suboxone|subutex"
        r"|butrans|belbuca|kadian|ms contin)\b",
        re.IGNORECASE,
    ),
    "benzodiazepine": re.compile(
        r"\b(alprazolam|bromazepam|chlordiazepoxide|clobazam|clonazepam|clorazepate|diazepam|estazolam"
        r"|flunitrazepam|flurazepam|halazepam|lorazepam|lormetazepam|midazolam|nitrazepam|oxazepam|prazepam"
        r"|quazepam|remimazolam|temazepam|triazolam|xanax|valium|ativan|klonopin|restoril|halcion|librium"
        r"|tranxene|versed|onfi)\b",
        re.IGNORECASE,
    ),
    "naloxone": re.compile(r"\b(naloxone|narcan|kloxxado|zimhi|nalmefene)\b", re.IGNORECASE),
}
"""Words by which an uncoded drug is recognised: to warn and to name it, never to count it."""


REASONS: Mapping[str, str] = {
    "patient-unknown": "no Patient came with the call",
    "deceased": "the patient died",
    "under-18": "under 18 years; the guideline is for adults",
    "no-opioid-ordered": "no draft of this call is an opioid or a benzodiazepine, by code or by name",
    "no-opioid": "a benzodiazepine is drafted, and no opioid runs or is drafted",
    "below-50": "under 50 MME a day, every opioid counted, no benzodiazepine",
    "mme-50": "50 MME a day or more, under 90",
    "mme-90": "90 MME a day or more",
    "not-all-counted": "under 50 MME a day, and an opioid that may be taken is not in the sum",
    "benzodiazepine-overlap": "an opioid and a benzodiazepine, at least one of them a draft",
    "naloxone-suggested": "a draft of naloxone is offered",
    "naloxone-ordered": "naloxone is ordered or taken already: none is offered",
    "naloxone-allergy": "allergy or intolerance to naloxone: none is offered",
    "age-unknown": "the age is not known; the card says so",
}
"""The reasons of this service, beside the codes of NOT_COUNTED for the orders that came with the call."""


# Naloxone ---------------------------------------------------------------------------------------
NALOXONE = "7242"
NALOXONE_SPRAY = ("1725059", "naloxone hydrochloride 40 MG/ML Nasal Spray")
"""RxNorm; one spray of 0.1 mL holds 4 mg (openFDA NDC 72162-2376: 4 mg/.1mL, rxcui 1725059)."""
NALOXONE_DOSE = (
    "One spray (4 mg) into one nostril for a suspected opioid overdose, and call emergency services; if"
    " there is"
    " no response after 2 to 3 minutes, another spray into the other nostril"
)
"""Paraphrased from the label of naloxone hydrochloride nasal spray 4 mg."""
