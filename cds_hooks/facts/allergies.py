"""Allergies and intolerances against drugs, by ingredient.

An ingredient is compared with an ingredient; of what is wider only two families are known, penicillins and
cephalosporins (`cross_reactions`). An entry that no table knows is named, not passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cds_hooks.facts import cross_reactions
from cds_hooks.facts.chart import Chart, Resource, local_reference, status_codes
from cds_hooks.facts.cross_reactions import CrossReaction
from cds_hooks.facts.medication import ingredients
from cds_hooks.facts.prescribing import Prescribed, named
from cds_hooks.facts.value_sets import codings, texts


@dataclass(frozen=True, slots=True)
class Allergy:
    """An entry that counts: the ingredients and families it names, its codings, and how it is said."""

    resource: Resource
    ingredients: frozenset[str]
    codings: frozenset[tuple[str, str]]
    label: str
    by_name: bool
    families: frozenset[str] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether a drug can be compared with it: by ingredient or by family."""
        return bool(self.ingredients or self.families)

    @property
    def reference(self) -> str | None:
        """The entry as `AllergyIntolerance/id`; None for one that is about to be made."""
        return local_reference(self.resource)

    @property
    def certainty(self) -> str:
        """The verification status, `unconfirmed` where it is not said."""
        return next(iter(status_codes(self.resource, "verificationStatus")), "unconfirmed")

    @property
    def said(self) -> str:
        """Kind, criticality and reactions, as far as they are given."""
        reactions = self.resource.get("reaction")
        shown = [
            text
            for reaction in (reactions if isinstance(reactions, list) else ())
            if isinstance(reaction, dict)
            for concept in reaction.get("manifestation") or ()
            for text in list(texts(concept))[:1]
        ]
        kind = self.resource.get("type")
        criticality = self.resource.get("criticality")
        parts = (
            kind if isinstance(kind, str) else "allergy or intolerance",
            self.certainty,
            f"criticality {criticality}" if isinstance(criticality, str) else "",
            ", ".join(shown[:3]),
        )
        return "; ".join(part[:80] for part in parts if part)


def allergies(chart: Chart) -> tuple[Allergy, ...]:
    """Return the active entries of a chart that are not refuted; unconfirmed ones count."""
    return tuple(found for entry in chart.all("AllergyIntolerance") if (found := allergy(entry)) is not None)


def allergy(entry: Resource) -> Allergy | None:
    """Return what an entry forbids; None when it is inactive, resolved, refuted or entered in error."""
    clinical = status_codes(entry, "clinicalStatus")
    verified = status_codes(entry, "verificationStatus")
    if (clinical and "active" not in clinical) or {"refuted", "entered-in-error"} & set(verified):
        return None
    concepts = list(_concepts(entry))
    coded = frozenset(i.name for concept in concepts for i in ingredients(concept))
    by_name = frozenset(name for concept in concepts for text in texts(concept) for name in named(text))
    label = next((text for concept in concepts for text in texts(concept) if text.strip()), "")
    pairs = frozenset(pair for concept in concepts for pair in codings(concept))
    said = [text for concept in concepts for text in texts(concept)]
    return Allergy(
        entry,
        coded | by_name,
        pairs,
        label[:120] or " / ".join(sorted(coded)) or "an allergy that is not named",
        not coded,
        cross_reactions.families([*said, *coded], pairs),
    )


def _concepts(entry: Resource) -> Iterator[Mapping[str, Any]]:
    reactions = entry.get("reaction")
    listed = (
        [r.get("substance") for r in reactions if isinstance(r, dict)] if isinstance(reactions, list) else []
    )
    for concept in (entry.get("code"), *listed):
        if isinstance(concept, dict):
            yield concept


def match(found: Allergy, names: frozenset[str], coded: Iterable[tuple[str, str]]) -> str | None:
    """Return what a drug and an allergy share: an ingredient, or the very same code; None for nothing."""
    shared = sorted(found.ingredients & names)
    if shared:
        return shared[0]
    same = found.codings & {pair for pair in coded if all(pair)}
    return "the same code" if same else None


def cross(found: Allergy, drug: Prescribed) -> CrossReaction | None:
    """Return the relation of an allergy to a drug that shares no ingredient with it; None for none."""
    if match(found, drug.names, drug.codings) is not None:
        return None
    return cross_reactions.between(found.families, cross_reactions.families([*drug.names, drug.drug.label]))
