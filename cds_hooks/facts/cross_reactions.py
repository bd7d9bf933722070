"""Families of drugs that an allergy may cross over within or between: penicillins and cephalosporins.

A relation is here only if a sentence of a label that says it could be read. Nothing is said of how often it
happens: labels, guidelines and studies differ widely, and most recorded penicillin allergies are none when
they are tested. A card therefore asks what happened then, and forbids nothing.

Members are known by their names: penicillins by the stem -cillin of their generic names (the stem of
derivatives of 6-aminopenicillanic acid), cephalosporins one by one, each with the label that was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cds_hooks.facts.value_sets import SNOMED

PENICILLIN, CEPHALOSPORIN = "penicillin", "cephalosporin"
CEPHALOSPORINS: Mapping[str, str] = {
    "cefaclor": "0878bdc2-0410-4938-9890-96523aa81c2f",
    "cefadroxil": "02566385-46f3-255a-e063-6294a90a1d1c",
    "cefazolin": "00dd6da7-50a8-44c9-b2dc-7948973df392",
    "cefdinir": "06fbdb63-d32f-4212-9962-f1de15597dda",
    "cefepime": "02aa374f-37b4-456a-b5de-cfd3bbb6ce6e",
    "cefiderocol": "75c0c785-38e0-4049-a6fb-b77581f5b35c",
    "cefixime": "068e6edd-a5fe-40d8-8dcf-ac82b78dced4",
    "cefotetan": "33b13b93-58ce-44c7-b9a2-af3b3a333f80",
    "cefoxitin": "2a9d1e7b-96ee-4e6c-a1e8-47b76b924422",
    "cefpodoxime": "1b405104-650b-c8e3-e063-6294a90a9e8a",
    "cefprozil": "14527f4a-ce99-449d-a5a5-9edd7fb28dee",
    "ceftazidime": "112c5457-8d71-49f5-b531-9761d7d38c93",
    "ceftriaxone": "03283208-8616-4117-9d2b-aa8046017a4f",
    "cefuroxime": "07170ee3-1a24-424f-a2a2-00bc92e98f85",
    "cephalexin": "02b5cd6f-3df8-43c1-879d-217fcf55231a",
}
"""SPL set id of one label of each, as openFDA gave it in July 2026 (RETRIEVED). Each label forbids its drug
after an allergy to cephalosporins; that of cefiderocol, which calls it one, after one to beta-lactams."""

RETRIEVED = "https://github.com/Devarshp0511/medguard-rag/blob/431717a04fd4777114cedd5cf42a1e31dc73c793/data/raw/openfda"
"""Where the labels of CEPHALOSPORINS were read: one file a drug, with its set id."""

_NAMES = {
    PENICILLIN: re.compile(r"\b(?:[a-z]*cillins?)\b"),
    CEPHALOSPORIN: re.compile(r"\b(?:cephalosporins?|cefalexin|" + "|".join(CEPHALOSPORINS) + r")\b"),
    "cefepime": re.compile(r"\bcefepime\b"),
    "cefiderocol": re.compile(r"\bcefiderocol\b"),
}
"""The two families, and two drugs of which a label says more than of their family."""

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

    @property
    def kind(self) -> str:
        """The drug of the relation in a sentence: a member of a family, or one drug by its name."""
        return f"a {self.drug}" if self.drug in (PENICILLIN, CEPHALOSPORIN) else self.drug


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
        "penicillin-cefepime", PENICILLIN, "cefepime",
        "cefepime for injection", "4", CEPHALOSPORINS["cefepime"],
        "SPL id dcfcbe55-750e-4f29-9ebe-fbf25d4083cd, as openFDA gave it in July 2026",
        "Cefepime for Injection is contraindicated in patients who have shown immediate hypersensitivity"
        " reactions to cefepime or the cephalosporin class of antibacterial drugs, penicillins or other"
        " beta-lactam antibacterial drugs.", True,
    ),
    CrossReaction(
        "penicillin-cefiderocol", PENICILLIN, "cefiderocol",
        "FETROJA", "4", CEPHALOSPORINS["cefiderocol"],
        "SPL id 64c35e73-1daa-4a82-a3c2-a737dec6eeae, as openFDA gave it in July 2026",
        "FETROJA is contraindicated in patients with a known history of severe hypersensitivity to"
        " cefiderocol or other beta-lactam antibacterial drugs, or any other component of FETROJA", True,
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
