"""How many resources have a key: what decides whether the keys are looked up first or a page is walked.

Postgres' statistics know the keys that many resources have, by their share of all (docs/decisions/0001,
"Statistics target"); one that is not among them is rarer than the rarest there. Where there are no
statistics yet, the search type tells: identifiers and references are taken for rare, codes for frequent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fhir_server.definitions.structures import type_code
from fhir_server.search import absence, elements
from fhir_server.search.ast import All, Chain, Clause, Criterion, Either, Has, Parameter
from fhir_server.search.conditions import (
    COMPLEMENTS,
    is_indexed,
    is_on_rows,
    keys_of,
)
from fhir_server.search.linked import by_row

MANY_KEYS = 200  # looked up one by one, they bring what a stretch would not
ALWAYS_FEW = 100  # resources; in so many there is nothing to be gained

STATISTICS = (
    "select e::text, f, null from pg_stats s, "
    "unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) as u(e, f) "
    "where s.schemaname = current_schema() and s.tablename = 'resource' and s.attname = 'keys' "
    "and e is not null union all "
    "select v, f, c.reltuples from pg_stats s, pg_class c, "
    "unnest(s.most_common_vals::text::text[], s.most_common_freqs) as u(v, f) "
    "where s.schemaname = current_schema() and s.tablename = 'resource' and s.attname = 'type' "
    "and c.oid = 'resource'::regclass and v is not null"
)
"""Gives key and share of all resources, and type, share and the number of all resources."""


@dataclass(frozen=True, slots=True)
class Frequencies:
    """What the statistics say: shares of all resources by key (32 hex digits) and by type code."""

    keys: Mapping[str, float] = field(default_factory=dict)
    types: Mapping[int, float] = field(default_factory=dict)
    resources: float = 0.0

    @classmethod
    def of(cls, rows: Sequence[tuple[str, float, float | None]]) -> Frequencies | None:
        """Return what the rows of STATISTICS say; None where there are no statistics.

        >>> known = Frequencies.of([("248dfcec-0000-0000-0000-000000000001", 0.25, None), ("96", 0.5, 1000)])
        >>> known.hits(["248dfcec000000000000000000000001"]), known.of_type("Observation")
        (250.0, 500.0)
        """
        keys = {text.replace("-", ""): share for text, share, total in rows if total is None}
        types = {int(text): share for text, share, total in rows if total is not None}
        total = max((total for _, _, total in rows if total is not None), default=0.0)
        return cls(keys, types, total) if keys and types and total > 0 else None

    def hits(self, any_of: Sequence[str]) -> float:
        """Return in how many resources one of the keys is, at most; a rare key counts as none."""
        return self.resources * sum(self.keys.get(key, 0.0) for key in any_of)

    def of_type(self, type_name: str) -> float:
        """Return how many resources of a type there are."""
        return self.resources * self.types.get(type_code(type_name), 0.0)


@dataclass(frozen=True, slots=True)
class Judge:
    """Tells of criteria whether few resources fulfil them: so few that a stretch would not fill a page.

    `share` is the part of a type that is no longer few.
    """

    known: Frequencies | None = None
    share: float = 0.01

    def of(self, criteria: Sequence[Criterion]) -> str | None:
        """Tell whether the keys that are asked for are such as few resources have, or many; None: no keys."""
        found = [self.of_one(each) for each in criteria]
        return "few" if "few" in found else "many" if "many" in found else None

    def of_one(self, criterion: Criterion) -> str | None:
        """Tell the same of one criterion."""
        match criterion:
            case Chain():
                return None if by_row(criterion) else "few"  # a filter would compare each key with all
            case Either(criteria):
                found = {self.of_one(each) for each in criteria}
                if None in found:
                    return "many" if is_indexed(criterion) else None
                return "many" if "many" in found else "few"
            case Has(_, _, Clause(parameter)) if parameter.code == "_id":
                return "few"
            case All(criteria):
                return self.of(criteria)
            case Clause(parameter, _, alternatives):
                kind = _kind(criterion)
                if kind is None or parameter.code == "_id" or _many_texts(alternatives):
                    return kind
                return self._counted(criterion, parameter) or kind
        return None

    def _counted(self, clause: Clause, parameter: Parameter) -> str | None:
        if self.known is None or (any_of := keys_of(clause)) is None:
            return None
        hits = self.known.hits(any_of)
        return (
            "few" if hits <= max(ALWAYS_FEW, self.share * self.known.of_type(parameter.type_name)) else "many"
        )

    def targets_of(self, chain: Chain, referring: int) -> int:
        """Return to how many targets of a chain so many resources refer, if all are like the average.

        0 where nothing is known of how many there are.
        """
        if self.known is None:
            return 0
        sources = self.known.of_type(chain.reference.type_name)
        targets = sum(self.known.of_type(type_name) for type_name, _ in chain.branches)
        return int(referring * targets / sources) if sources else 0

    def is_dense(self, criteria: Sequence[Criterion], share: float) -> bool:
        """Tell whether it is known that at least such a part of the type fulfils each of the criteria."""
        types = {each.parameter.type_name for each in criteria if isinstance(each, Clause)}
        most = max((self.known.of_type(each) for each in types), default=0.0) if self.known else 0.0
        return self.is_more(criteria, share * most)

    def is_more(self, criteria: Sequence[Criterion], than: float) -> bool:
        """Tell whether it is known that more resources than that fulfil each of the criteria."""
        for each in criteria:
            if self.known is None or not isinstance(each, Clause) or _kind(each) is None:
                return False
            any_of = keys_of(each)
            if any_of is None or self.known.hits(any_of) <= than:
                return False
        return True


def _kind(clause: Clause) -> str | None:
    """Tell how frequent a key of this kind is taken to be."""
    parameter, modifier, alternatives = clause.parameter, clause.modifier, clause.alternatives
    if modifier in COMPLEMENTS:
        return None
    if modifier == "missing" and alternatives == (True,) and not absence.is_kept(parameter):
        return None
    if parameter.kind == "words":
        return "many"
    if parameter.code == "_id":
        return "few"
    if modifier == "missing":
        return "many"
    if parameter.kind == "special" or is_on_rows(clause):
        return None
    if parameter.code.startswith("_") and modifier == "below" and parameter.kind == "uri":
        return None  # tried on one resource after the other
    if parameter.kind == "token":
        own = elements.facts(parameter).types
        if modifier in ("in", "above", "below"):
            return "few" if _many_texts(alternatives) else "many"
        return "few" if modifier == "of-type" or (own and own <= {"Identifier", "id"}) else "many"
    if parameter.kind == "composite" or parameter.code.startswith("_"):
        return "many"
    return "few"


def _many_texts(alternatives: Sequence[object]) -> bool:
    """Tell whether so many keys are asked for that comparing them row by row is dearer than the index."""
    return sum(len(getattr(value, "texts", ())) for value in alternatives) > MANY_KEYS
