"""Statements kept by the shape of their search: compiled once, and then bound to what is asked for.

Where a search asks for keys alone, its statement is the same whatever it asks for, and of each key only the
last twelve bytes are of the text that was written (keys.py). So such a statement is compiled once a
shape, its parameters are noted as places where these bytes belong, and the next search of the shape
fills them in. A shape is all else that the statement depends on: types, parameters and modifiers, which
of the texts are equal, how frequent they are (frequency.py), the order and the length of the page.

What is not such a search (ranges, words, pages behind the first) is compiled each time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhir_server.search import chart, keys
from fhir_server.search.ast import All, Chain, Clause, Criterion, Either, Has, Not, Query
from fhir_server.search.compile import Statement, compile
from fhir_server.search.frequency import ALWAYS_FEW, Frequencies
from fhir_server.search.order import Position
from fhir_server.search.plans import DENSE, FEW_HOLDERS, STRETCH
from fhir_server.search.types.protocol import Texts
from fhir_server.search.types.special import IdValue
from fhir_server.search.types.table import TYPES

MOST = 200  # shapes, of up to 10 kB each; then all are forgotten
MOST_TEXTS = 16  # in one clause; more are value sets, whose lengths are many
OURS = frozenset({keys.digest(keys.PRESENT), keys.digest(keys.ABSENT)})  # no text of a client


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key belongs: what it begins with, and which of the texts it is of."""

    head: str
    number: int


class Kept:
    """The statements of one process."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Statement | None] = {}

    def statement(
        self, query: Query, limit: int, position: Position | None, frequencies: Frequencies | None
    ) -> Statement:
        """Return what `compile` gives for a page of a search."""
        asked = _Asked(frequencies, limit * len(query.parts or ("",)) / STRETCH)
        shape = asked.of(query) if position is None else None
        if shape is None:
            return compile(query, limit, position, frequencies=frequencies)
        whole = (shape, limit)
        known = self._known
        kept = known.get(whole)
        if kept is None:
            statement = compile(query, limit, frequencies=frequencies)
            if whole not in known:
                if len(known) >= MOST:
                    self._known = known = {}  # others may be reading the old ones
                known[whole] = _with_places(statement, asked.digests)
            return statement
        digests = list(asked.digests)
        return replace(kept, parameters=[_filled(each, digests) for each in kept.parameters])


KEPT = Kept()


@dataclass(slots=True)
class _Asked:
    """Reads the shape of a search, and the digests of the texts that it asks for, each once."""

    known: Frequencies | None
    share: float
    digests: dict[str, int] = field(default_factory=dict)

    def of(self, query: Query) -> Hashable | None:
        """Return the shape; None where a statement depends on more of the values than their digests."""
        if query.parts is not None:
            parts = tuple([self.of(part) for part in query.parts])
            return None if None in parts else (parts, query.sort)
        shapes = self.all(query.clauses)
        return None if shapes is None else (query.type_name, shapes, query.sort)

    def all(self, criteria: Sequence[Criterion]) -> Hashable | None:
        """Return the shapes of several criteria."""
        shapes = tuple([self.one(each) for each in criteria])
        return None if None in shapes else shapes

    def one(self, criterion: Criterion) -> Hashable | None:
        """Return the shape of one criterion."""
        inside: Hashable | None
        match criterion:
            case Clause():
                return self.clause(criterion)
            case Chain(reference, branches, urls, contained):
                inside = self.all([each for _, each in branches])
                types = tuple([type_name for type_name, _ in branches])
                return inside and ("chain", reference, types, urls, contained, inside)
            case Has(reference, target, each, url):
                inside = self.one(each)
                return inside and ("has", reference, target, url, inside)
            case Either(criteria) | All(criteria):
                inside = self.all(criteria)
                return inside and (type(criterion).__name__, inside)
            case Not(each):
                inside = self.one(each)
                return inside and ("not", inside)

    def clause(self, clause: Clause) -> Hashable | None:
        """Return the shape of one parameter with its alternatives."""
        parameter, modifier = clause.parameter, clause.modifier
        if modifier == "missing":
            text = keys.ABSENT if clause.alternatives[0] else keys.PRESENT
            return (parameter, clause.alternatives, self.frequency(clause, [keys.digest(text)]))
        found: list[str] = []
        patient = False
        kind = TYPES[parameter.kind]
        for value in clause.alternatives:
            if isinstance(value, IdValue) and value.rid is not None:
                found.append(value.rid[8:])
                continue
            match kind.where(value, kind.columns):
                case Texts(texts):
                    found += [keys.digest(text) for text in texts]
                    patient = parameter.kind == "reference" and any(map(chart.is_patient, texts))
                case _:
                    return None
        if not 0 < len(found) <= MOST_TEXTS:
            return None
        numbers = tuple([self.digests.setdefault(each, len(self.digests)) for each in found])
        of_values = (len(clause.alternatives), patient)
        return (parameter, modifier, numbers, of_values, self.frequency(clause, found))

    def frequency(self, clause: Clause, digests: Sequence[str]) -> Hashable:
        """Return between which of the bounds that plans know the number of hits is."""
        if self.known is None:
            return ()
        parameter = clause.parameter
        heads = [keys.prefix(parameter.type_name, code) for code in parameter.sources or (parameter.code,)]
        hits = self.known.hits([head + each for head in heads for each in digests])
        size = self.known.of_type(parameter.type_name)
        return (hits > max(ALWAYS_FEW, self.share * size), hits > DENSE * size, hits > FEW_HOLDERS)


def _with_places(statement: Statement, digests: dict[str, int]) -> Statement | None:
    """Return a statement with places for parameters; None where one of them is neither a key nor ours."""
    if statement.first is not None or len(digests.keys() & OURS):
        return None
    places = [_place(each, digests) for each in statement.parameters]
    return None if None in places else replace(statement, parameters=places)


def _place(parameter: Any, digests: dict[str, int]) -> Any:
    if isinstance(parameter, int):
        return parameter  # a limit
    if isinstance(parameter, list):
        places = [_place(each, digests) for each in parameter]
        return None if None in places else places
    if not isinstance(parameter, str) or len(parameter) != 32:
        return None
    head, digest = parameter[:8], parameter[8:]
    if digest in digests:
        return Place(head, digests[digest])
    return parameter if digest in OURS else None


def _filled(place: Any, digests: Sequence[str]) -> Any:
    if isinstance(place, Place):
        return place.head + digests[place.number]
    if isinstance(place, list):
        return [_filled(each, digests) for each in place]
    return place
