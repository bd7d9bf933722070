"""`_filter` (R4/search_filter.html): its whole grammar → the criteria that everything else is made of.

    filter    = term (("and" | "or") term)*        from left to right, neither binds closer
    term      = ["not"] "(" filter ")" | path operator value
    path      = name ["[" filter "]"] ["." path]

A text is read twice: once into a tree, which tells mistakes of writing, then for a resource type,
which tells names and operators that do not fit. Every refusal says at which sign of the text. Names
are search parameters; a path goes on behind a reference, and what stands in brackets must be true of
the same resource that the rest of the path is asked of.

`ne` is the complement of `eq`, as `:not` is, except on dates, numbers and quantities, where it is the
prefix. `eq` on a string is the whole text, case and accents aside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from fhir_server.outcome import FhirError, Invalid, NotSupported
from fhir_server.search import values
from fhir_server.search.ast import All, Clause, Criterion, Either, Not, Parameter
from fhir_server.search.moments import DateValue
from fhir_server.search.types.string import StringValue

DEEPEST = 32  # parentheses in each other
LONGEST = 200  # comparisons in one filter
NAME = re.compile(r"[A-Za-z0-9_-]+")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
TOKEN = re.compile(r"[^\s)\]]+")
SPACE = re.compile(r"\s*")

ORDERED = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_NOT_ADDED_UP = frozenset({"missing", "not", "not-in"})
"""Modifiers whose alternatives are not what an OR of clauses asks: not 1 or not 2 is everything."""

OPERATORS = {
    "string": ("eq", "ne", "co", "sw", "ew", "pr"),
    "token": ("eq", "ne", "ss", "sb", "in", "ni", "pr"),
    "reference": ("eq", "ne", "re", "pr"),
    "uri": ("eq", "ne", "pr"),
    "date": (*ORDERED, "po", "pr"),
    "number": (*ORDERED, "pr"),
    "quantity": (*ORDERED, "pr"),
    "composite": ("eq", "ne"),
    "near": ("eq", "ne", "pr"),
    "words": ("eq", "ne"),
    "_id": ("eq", "ne"),
    "_lastUpdated": (*ORDERED, "po"),
}
T = TypeVar("T")
EVERY = frozenset(operator for known in OPERATORS.values() for operator in known)
STRING_MODES = {"eq": "whole", "ne": "whole", "co": "contains", "sw": "starts", "ew": "ends"}
TOKEN_MODIFIERS = {"ss": "below", "sb": "above", "in": "in", "ni": "not-in", "ne": "not", "eq": None}


@dataclass(frozen=True, slots=True)
class Step:
    """One name of a path, what stands in brackets behind it, and at which sign it begins."""

    name: str
    place: int
    inside: Node | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path operator value`."""

    path: tuple[Step, ...]
    operator: str
    value: str
    place: int


@dataclass(frozen=True, slots=True)
class Junction:
    """Terms that all (`and`) or at least one of which (`or`) must hold."""

    word: str
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`not (…)`."""

    term: Node


Node = Comparison | Junction | Negation


def read(text: str) -> Node:
    """Return the tree of a filter.

    >>> tree = read('given eq "peter" and not (birthdate ge 2014-10-10)')
    >>> tree.word, tree.terms[0].value, tree.terms[1].term.operator
    ('and', 'peter', 'ge')

    Raises Invalid (400), which says at which sign.
    """
    reading = _Reading(text)
    tree = reading.filter(0)
    reading.skip()
    if reading.place < len(text):
        raise reading.refusal("expected and, or, or the end")
    return tree


class _Reading:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.comparisons = text, 0, 0

    def refusal(self, expected: str) -> FhirError:
        """Return the refusal of what stands here."""
        rest = self.text[self.place : self.place + 20]
        return _at(Invalid, self.place, f"{expected}; got {rest!r}" if rest else f"{expected}; got the end")

    def skip(self) -> None:
        """Go on behind white space."""
        found = SPACE.match(self.text, self.place)
        self.place = found.end() if found else self.place

    def sign(self, sign: str) -> bool:
        """Go on behind a sign if it stands here."""
        if self.text.startswith(sign, self.place):
            self.place += len(sign)
            return True
        return False

    def filter(self, depth: int) -> Node:
        """Read terms and what joins them."""
        if depth > DEEPEST:
            raise self.refusal(f"not more than {DEEPEST} parentheses in each other")
        tree = self.term(depth)
        while True:
            before = self.place
            self.skip()
            word = NAME.match(self.text, self.place)
            if word is None or word[0] not in ("and", "or"):
                self.place = before
                return tree
            self.place = word.end()
            term = self.term(depth)
            if isinstance(tree, Junction) and tree.word == word[0]:
                tree = Junction(word[0], (*tree.terms, term))
            else:
                tree = Junction(word[0], (tree, term))

    def term(self, depth: int) -> Node:
        """Read one term."""
        self.skip()
        negated = re.compile(r"not\s*(?=\()").match(self.text, self.place)
        if negated:
            self.place = negated.end()
        if self.sign("("):
            # A filter in parentheses is a term of its own: (a or b) or c is no list of three.
            inner = self.filter(depth + 1)
            self.skip()
            if not self.sign(")"):
                raise self.refusal("expected )")
            return Negation(inner) if negated else inner
        return self.comparison(depth)

    def comparison(self, depth: int) -> Comparison:
        """Read path, operator and value."""
        start = self.place
        self.comparisons += 1
        if self.comparisons > LONGEST:
            raise self.refusal(f"not more than {LONGEST} comparisons")
        path = [self.step(depth)]
        while self.sign("."):
            path.append(self.step(depth))
        if path[-1].inside is not None:
            raise self.refusal("expected . and a parameter behind ]")
        self.skip()
        place = self.place
        operator = NAME.match(self.text, place)
        if operator is None or operator[0] not in EVERY:
            raise self.refusal(f"expected an operator ({', '.join(sorted(EVERY))})")
        self.place = operator.end()
        if not self.text[self.place : self.place + 1].isspace():
            raise self.refusal(f"expected a space and a value behind {operator[0]}")
        self.skip()
        return Comparison(tuple(path), operator[0], self.value(), start)

    def step(self, depth: int) -> Step:
        """Read one name, with a filter in brackets."""
        name = NAME.match(self.text, self.place)
        if name is None:
            raise self.refusal("expected the name of a search parameter")
        place, self.place = self.place, name.end()
        if not self.sign("["):
            return Step(name[0], place)
        inside = self.filter(depth + 1)
        self.skip()
        if not self.sign("]"):
            raise self.refusal("expected ]")
        return Step(name[0], place, inside)

    def value(self) -> str:
        """Read a text in quotes, or a word."""
        if self.text.startswith('"', self.place):
            quoted = STRING.match(self.text, self.place)
            if quoted is None:
                raise self.refusal("expected the closing quote of the text")
            try:
                text: str = json.loads(quoted[0], strict=False)
            except ValueError:
                raise self.refusal("expected a text with the escapes of JSON") from None
            if not text:
                raise self.refusal("expected a text that is not empty")
            self.place = quoted.end()
            return text
        word = TOKEN.match(self.text, self.place)
        if word is None:
            raise self.refusal("expected a value")
        self.place = word.end()
        return word[0]


class Reader(Protocol):
    """What is known of names and values; parse.Reader."""

    def parameter(self, type_name: str, code: str) -> Parameter:
        """Return the parameter `code` of a type."""
        ...

    def visit(self, reason: str) -> None:
        """Count one SELECT more."""
        ...

    def valued(self, parameter: Parameter, modifier: str | None, text: str) -> Clause:
        """Return a parameter with one value."""
        ...

    def branching(
        self,
        reference: Parameter,
        target: str | None,
        code: str,
        inside: Callable[[str], Criterion],
        depth: int,
    ) -> Criterion:
        """Return that a reference leads to what `inside` asks of its type."""
        ...


def criterion(reader: Reader, type_name: str, text: str) -> Criterion:
    """Return what a filter asks of a resource type.

    Raises Unknown, Invalid or NotSupported (400), which say at which sign.
    """
    return _Meaning(reader).of(read(text), type_name, 0)


def _either(criteria: Sequence[Criterion]) -> Criterion:
    """Return an OR; clauses that ask for the same in the same way are one, as `_id=1,2` is.

    So one condition looks for all values, not one union with a branch for each.
    """
    values_of: dict[tuple[Parameter, str | None], list[Hashable]] = {}
    others: list[Criterion] = []
    for each in criteria:
        if isinstance(each, Clause) and each.modifier not in _NOT_ADDED_UP:
            values_of.setdefault((each.parameter, each.modifier), []).extend(each.alternatives)
        else:
            others.append(each)
    clauses = [Clause(*asked, tuple(dict.fromkeys(found))) for asked, found in values_of.items()]
    found = (*clauses, *others)
    return found[0] if len(found) == 1 else Either(found)


class _Meaning:
    """Says trees as criteria."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def of(self, node: Node, type_name: str, depth: int) -> Criterion:
        """Return what a tree asks of a type."""
        match node:
            case Junction(word, terms):
                inside = tuple(self.of(term, type_name, depth) for term in terms)
                return All(inside) if word == "and" else _either(inside)
            case Negation(term):
                return Not(self.of(term, type_name, depth))
            case Comparison():
                return self.comparison(node, type_name, depth)

    def comparison(self, node: Comparison, type_name: str, depth: int) -> Criterion:
        """Return what one comparison asks."""
        first, rest = node.path[0], node.path[1:]
        parameter = _located(first.place, lambda: self.reader.parameter(type_name, first.name))
        self.reader.visit(f"the filter asks more than can be asked at once ({node.operator} of {first.name})")
        if not rest:
            return _located(node.place, lambda: self.leaf(parameter, node.operator, node.value))
        further = replace(node, path=rest)

        def inside(target: str) -> Criterion:
            criteria = [self.comparison(further, target, depth + 1)]
            if first.inside is not None:
                criteria.append(self.of(first.inside, target, depth + 1))
            return criteria[0] if len(criteria) == 1 else All(tuple(criteria))

        return _located(
            first.place, lambda: self.reader.branching(parameter, None, rest[0].name, inside, depth)
        )

    def leaf(self, parameter: Parameter, operator: str, value: str) -> Criterion:
        """Return what an operator asks of a parameter."""
        kind = parameter.code if parameter.kind == "special" else parameter.kind
        known = OPERATORS.get(kind, ())
        if operator not in known:
            raise NotSupported(
                f"{operator} is not for {parameter.code}, which is {kind}; possible are {', '.join(known)}"
            )
        if operator == "pr":
            if value not in ("true", "false"):
                raise Invalid(f"pr is followed by true or false; got {value!r}")
            return Clause(parameter, "missing", (value == "false",))
        made: Callable[..., Clause] = self.reader.valued
        if kind == "string":
            whole = made(parameter, None, values.escape(value))
            modes = tuple(
                replace(each, mode=STRING_MODES[operator])
                for each in whole.alternatives
                if isinstance(each, StringValue)
            )
            clause = replace(whole, alternatives=modes)
            return Not(clause) if operator == "ne" else clause
        if kind == "token":
            escape = values.escape if operator in ("in", "ni") else str
            return made(parameter, TOKEN_MODIFIERS[operator], escape(value))
        if kind in ("reference", "uri", "composite", "near", "_id", "words"):
            as_it_is = kind in ("composite", "near", "words")
            clause = made(parameter, None, value if as_it_is else values.escape(value))
            return Not(clause) if operator == "ne" else clause
        if values.prefixed(value) != ("eq", value):
            raise Invalid(f"{value!r} begins with a prefix; the operator {operator} says it already")
        if operator == "po":
            clause = made(parameter, None, value)
            spans = tuple(
                replace(each, prefix="po") for each in clause.alternatives if isinstance(each, DateValue)
            )
            return replace(clause, alternatives=spans)
        return made(parameter, None, operator + value)


def _at(kind: type[FhirError], place: int, text: str) -> FhirError:
    return kind(f"_filter, at sign {place + 1}: {text}")


def _located(place: int, work: Callable[[], T]) -> T:
    """Return what `work` returns; a refusal gets the place where its cause stands."""
    try:
        return work()
    except FhirError as error:
        if str(error).startswith("_filter, at sign"):
            raise
        raise _at(type(error), place, str(error)) from None
