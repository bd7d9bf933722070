"""The drugs of a prescription, for checks that only ever warn: by code, else by name.

Hospitals code products that no table holds. A name is then read (`Metformin 500 mg`), because a
warning that says on what it rests does less harm than silence; the card says "known by its name".
Nothing is ever suggested on a name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from cds_hooks.facts.chart import Chart, Resource
from cds_hooks.facts.chart import drug as concept_of
from cds_hooks.facts.medication import REQUESTS, STATEMENTS, Drug, active_drugs
from cds_hooks.facts.medication_products import read
from cds_hooks.facts.value_sets import codings, texts

TABLE = "prescribing.txt"


@dataclass(frozen=True, slots=True)
class Prescribed:
    """A drug with the names of its ingredients; `by_name`: no code of it is known here."""

    drug: Drug
    names: frozenset[str]
    by_name: bool
    codings: frozenset[tuple[str, str]]

    @property
    def is_known(self) -> bool:
        """Whether anything of it is known, by code or by name."""
        return bool(self.names)


def prescribed(chart: Chart, drafts: Sequence[Resource] = ()) -> tuple[Prescribed, ...]:
    """Return every drug that runs or is drafted, requests and statements, drafts among them."""
    return tuple(_read(chart, entry) for entry in active_drugs(chart, drafts, (REQUESTS, STATEMENTS)))


def _read(chart: Chart, entry: Drug) -> Prescribed:
    concept = concept_of(chart, entry.resource) or {}
    coded = frozenset(ingredient.name for ingredient in entry.ingredients)
    by_name = frozenset(name for text in texts(concept) for name in named(text))
    # a table may hold a product in part: what its name says beside the code counts as well
    return Prescribed(entry, coded | by_name, not coded, frozenset(codings(concept)))


def named(text: str) -> frozenset[str]:
    """Return the ingredients of the table that a text names, as whole words.

    >>> sorted(named("Sulfamethoxazole 800 MG / Trimethoprim 160 MG")), named("metforminium")
    (['sulfamethoxazole', 'trimethoprim'], frozenset())
    """
    return frozenset(_pattern().findall(text.lower()[:500]))


@cache
def _pattern() -> re.Pattern[str]:
    names = sorted(ingredient_names(), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(re.escape(name) for name in names) + r")\b")


@cache
def ingredient_names() -> frozenset[str]:
    """Return the names of the ingredients that the table of this service gives a code or products."""
    lines = (files(__package__) / TABLE).read_text(encoding="utf-8").splitlines()
    found = read(TABLE, lines)
    return frozenset(ingredient.name for entries in found.values() for ingredient in entries)
