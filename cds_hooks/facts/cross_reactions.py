"""Families of drugs that an allergy may cross over within or between: penicillins and cephalosporins.

A relation is here only if a sentence of a label that says it could be read. Nothing is said of how often it
happens: labels, guidelines and studies differ widely, and most recorded penicillin allergies are none when
they are tested. A card therefore asks what happened then, and forbids nothing.

Members are known by their names: penicillins by the stem -cillin of their generic names (the stem of
derivatives of 6-aminopenicillanic acid), cephalosporins as far as a label was read that calls them so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cds_hooks.facts.value_sets import SNOMED

PENICILLIN, CEPHALOSPORIN = "penicillin", "cephalosporin"
_NAMES = {
    PENICILLIN: re.compile(r"\b(?:[a-z]*cillins?)\b"),
    CEPHALOSPORIN: re.compile(
        r"\b(?:cephalosporins?|cephalexin|cefalexin|cefadroxil|cefazolin|cefdinir|cefixime)\b"
    ),
}
_CODES = {(SNOMED, "91936005"): PENICILLIN}
"""Codes of a whole family: "Allergy to penicillin"."""


@dataclass(frozen=True, slots=True)
class CrossReaction:
    """One relation: an allergy to one family and a drug of another, or the same; and what a label says.

    `strong`: the sentence speaks of the family itself, so the card is a warning, else information.
    """

    id: str
    allergy: str
    drug: str
    product: str
    section: str
    set_id: str
    version: str
    sentence: str
    strong: bool

    @property
    def url(self) -> str:
        """Where the label stands and its sentence was read."""
        return f"https://dailymed.nlm.nih.gov/dailymed/drugInfo.cfm?setid={self.set_id}"


_AMOXICILLIN = ("amoxicillin capsules", "5.1", "f049551b-4708-eb13-e053-2a95a90afd1f",
                "DailyMed, updated 2022-12-20")  # fmt: skip
_CEPHALEXIN = ("cephalexin capsules", "4", "30b7071e-cef1-bd41-e063-6394a90ad48e",
               "DailyMed, updated 2025-03-19")  # fmt: skip

CROSS_REACTIONS: tuple[CrossReaction, ...] = (
    CrossReaction(
        "penicillin-penicillin", PENICILLIN, PENICILLIN, *_AMOXICILLIN,
        "These reactions are more likely to occur in individuals with a history of penicillin"
        " hypersensitivity and/or a history of sensitivity to multiple allergens.", True,
    ),
    CrossReaction(
        "cephalosporin-cephalosporin", CEPHALOSPORIN, CEPHALOSPORIN, *_CEPHALEXIN,
        "Cephalexin capsules are contraindicated in patients with known hypersensitivity to cephalexin or"
        " other members of the cephalosporin class of antibacterial drugs.", True,
    ),
    CrossReaction(
        "penicillin-cephalosporin", PENICILLIN, CEPHALOSPORIN, *_AMOXICILLIN,
        "There have been reports of individuals with a history of penicillin hypersensitivity who have"
        " experienced severe reactions when treated with cephalosporins.", False,
    ),
    CrossReaction(
        "cephalosporin-penicillin", CEPHALOSPORIN, PENICILLIN, *_AMOXICILLIN,
        "Before initiating therapy with amoxicillin, careful inquiry should be made regarding previous"
        " hypersensitivity reactions to penicillins, cephalosporins, or other allergens.", False,
    ),
)  # fmt: skip
"""The closest relation first."""


def families(texts: Iterable[str], codings: Iterable[tuple[str, str]] = ()) -> frozenset[str]:
    """Return the families that texts name, or codes mean.

    >>> sorted(families(["Amoxicillin 500 mg"])), families(["penicillamine 250 mg"])
    (['penicillin'], frozenset())
    >>> sorted(families([], [(SNOMED, "91936005")]))
    ['penicillin']
    """
    lowered = [text.lower()[:500] for text in texts]
    named = {family for family, name in _NAMES.items() if any(name.search(text) for text in lowered)}
    return frozenset(named | {_CODES[pair] for pair in codings if pair in _CODES})


def between(allergy: frozenset[str], drug: frozenset[str]) -> CrossReaction | None:
    """Return the closest relation between the families of an allergy and those of a drug, or None."""
    return next((row for row in CROSS_REACTIONS if row.allergy in allergy and row.drug in drug), None)
