"""Override reasons: the codes by which a person says why a card was not followed.

CDS Hooks 2.0, "Reasons for rejecting a card": a card may list Codings to choose from, each with a
display. These are HL7's code system `non-adherence-reason-codes` (HL7/cds-hooks, commit fb10ca7 of
2026-06-24, Apache-2.0; drawn from AHRQ publication 25-0073): six categories and the 29 reasons
below them, 35 codes, displays letter by letter (an asterisk in one of them is HL7's own footnote
mark). Specific codes, and the same ones on every service, are what lets a hospital count why
its clinicians say no.
"""

from __future__ import annotations

from collections.abc import Mapping

from cds_hooks.cards import Coding

SYSTEM = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"

_TABLE: Mapping[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("cds-not-applicable", "PC CDS does not apply to patient"): (
        ("patient-ineligible", "Patient does not meet eligibility for recommended action"),
        ("indication-order-exists", "Patient has indication/order for intended action"),
        ("action-completed", "Recommended action was already completed"),
        ("action-unsuccessful", "Recommended action was previously unsuccessful"),
        (
            "action-performed-no-adverse-effect",
            "Intended action was performed previously without adverse effect",
        ),
        (
            "action-not-priority",
            "Recommended action is not relevant or a priority in current state of health",
        ),
    ),
    ("cds-suboptimal-context", "PC CDS delivered in suboptimal context"): (
        ("limited-time", "Could not address recommended action due to limited time"),
        ("wrong-time-workflow", "PC CDS delivered at wrong time in workflow or patient lifecycle"),
        ("inappropriate-recipient", "PC CDS delivered to inappropriate recipient/role"),
        (
            "need-more-info",
            "Could not address recommended action due to need for more information/pending results/pending"
            " consult",
        ),
    ),
    (
        "recipient-disagrees-evidence",
        "Recipient disagrees with recommendation because of issues with the evidence",
    ): (
        ("does-not-align-latest-evidence", "Recommended action does not align with the latest evidence"),
        ("expert-contradicts", "Advice from expert contradicts the recommended action"),
        ("policy-contradicts", "Institutional policy/guideline contradicts the recommended action"),
        ("recipient-does-not-trust", "Recipient does not agree with or trust the recommended action"),
    ),
    ("recipient-concerns-outcomes", "Recipient has concerns regarding potential health outcomes"): (
        ("risk-benefit-ratio", "Recipient assessment of risk/benefit ratio"),
        ("mitigate-risk-negative-outcome", "Action taken to mitigate risk of negative outcome"),
        ("likely-negative-health-outcomes", "Recommended action likely to have negative health outcomes"),
        ("patient-contraindication", "Patient has contraindication to recommended action"),
    ),
    ("does-not-align-preferences", "Recommendation does not align with patient preferences or values"): (
        ("patient-fears-discomfort", "Patient fears discomfort from complying with recommended action"),
        (
            "patient-does-not-want-change",
            "Patient does not want to change behavior or believes the change is unnecessary",
        ),
        (
            "cultural-religious-reason",
            "Patient has a cultural or religious reason for not following recommended action",
        ),
        ("prefers-alternative", "Patient prefers an alternative approach or treatment"),
        ("patient-refuses", "Patient refuses/declines (no context given)*"),
    ),
    ("not-convenient-feasible", "Recommendation is not convenient or feasible"): (
        ("inadequate-support", "Patient has inadequate caregiver/social support"),
        ("service-not-available", "Treatment or service is not practically available"),
        (
            "implementation-challenges",
            "Recommended action cannot be implemented due to technology/challenges",
        ),
        ("too-costly-uncovered", "Recommended action is too costly or not covered by insurance"),
        (
            "recipient-does-not-understand",
            "Recipient does not understand the recommended action or know how to perform the recommended"
            " action",
        ),
        (
            "comorbidity-disability",
            "Patient has co-morbidity or disability that hinders them from completing recommended action",
        ),
    ),
}

CATEGORIES: tuple[Coding, ...] = tuple(Coding(SYSTEM, code, display) for code, display in _TABLE)
"""The six categories, in the order of the code system."""

REASONS: tuple[Coding, ...] = tuple(
    Coding(SYSTEM, code, display) for reasons in _TABLE.values() for code, display in reasons
)
"""The 29 specific reasons, in the order of the code system."""

_BY_CODE = {coding.code: coding for coding in (*CATEGORIES, *REASONS)}
_CATEGORY = {code: category for (category, _), reasons in _TABLE.items() for code, _ in reasons}


def subset(*codes: str) -> tuple[Coding, ...]:
    """Return the Codings of these codes, in this order; KeyError for one that HL7 does not list.

    >>> [coding.display for coding in subset("action-completed")]
    ['Recommended action was already completed']
    """
    return tuple(_BY_CODE[code] for code in codes)


def category(code: str) -> Coding | None:
    """Return the category of a reason (a category is its own), or None for a code of somebody else.

    >>> category("patient-contraindication").code
    'recipient-concerns-outcomes'
    >>> category("our-own") is None
    True
    """
    return _BY_CODE.get(_CATEGORY.get(code, code))


# Subsets for cards: what a clinician may choose from, most frequent first ---------------------------
TREATMENT = subset(
    "action-completed",
    "patient-contraindication",
    "patient-ineligible",
    "risk-benefit-ratio",
    "prefers-alternative",
    "expert-contradicts",
    "need-more-info",
    "action-not-priority",
    "patient-refuses",
)
"""For a card that proposes to start a treatment or to add an order."""

ORDER = subset(
    "patient-ineligible",
    "indication-order-exists",
    "action-performed-no-adverse-effect",
    "risk-benefit-ratio",
    "mitigate-risk-negative-outcome",
    "does-not-align-latest-evidence",
    "expert-contradicts",
    "policy-contradicts",
    "need-more-info",
)
"""For a card that warns of an order or asks to change its drug or dose."""

PREVENTION = subset(
    "action-completed",
    "patient-ineligible",
    "patient-contraindication",
    "action-unsuccessful",
    "action-not-priority",
    "limited-time",
    "patient-does-not-want-change",
    "prefers-alternative",
    "patient-refuses",
    "too-costly-uncovered",
)
"""For a card that opens a discussion about prevention."""
