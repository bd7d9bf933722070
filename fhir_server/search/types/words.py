"""_text and _content: words in the narrative of a resource, or in all of it (R4/search.html#text, #content).

    question  = both (("or" | ",") both)*
    both      = term (["and"] term)*
    term      = "not" term | "(" question ")" | "phrase in quotes" | word | begin*

`and`, `or` and `not` in any case; `and` binds closer, and stands between words that nothing stands
between. A word with signs inside (`beta-blocker`, `I25.10`) is a phrase. `not` needs something beside it
that is looked for. What a word is, is in search/words.py; how words are stored, in search/readable.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.search.ast import Clause, Criterion, Parameter
from fhir_server.search.readable import head
from fhir_server.search.types.protocol import (
    Cell,
    Columns,
    Environment,
    Extractor,
    Match,
    Row,
    SearchType,
)
from fhir_server.search.words import is_alone, words

DEEPEST = 32  # parentheses in each other
MOST_WORDS = 100  # in one question
SHORTEST = 2  # signs before a star
TOKEN = re.compile(
    r'\s+|(?P<sign>[(),])|"(?P<phrase>(?:[^"\\]|\\.)*)"|(?P<word>(?:\\.|[^\s(),"\\])+)', re.DOTALL
)


@dataclass(frozen=True, slots=True)
class WordsValue:
    """A question as the text of a tsquery, which is made of letters, digits and operators alone."""

    query: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A tsquery, and whether it names something that must be there."""

    query: str
    found: bool


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> WordsValue:
    """Read a question.

    >>> parse("bone OR liv*", None, Parameter("Basic", "_text", "words")).query
    "'Ĉbone' | 'Ĉliv':*"

    Raises Invalid (400), which says at which sign.
    """
    type_name, code = (parameter.type_name, parameter.code) if parameter else ("Basic", "_text")
    heads = [head(type_name, True)]
    if code == "_content":
        heads.append(head(type_name, False))
    reading = _Reading(text, heads)
    part = reading.question(0)
    if reading.kind != "end":
        raise reading.refusal("expected and, or, a word, or the end")
    if not part.found:
        raise Invalid("all of it is negated; `not` needs a word beside it that is looked for")
    return WordsValue(part.query)


class _Reading:
    """Reads a question from left to right."""

    def __init__(self, text: str, heads: Sequence[str]) -> None:
        self.text, self.heads = text, heads
        self.place = self.next = self.words = 0
        self.kind = self.token = ""
        self.step()

    def step(self) -> None:
        """Go on to the next token."""
        while True:
            self.place = self.next
            if self.place == len(self.text):
                self.kind, self.token = "end", ""
                return
            found = TOKEN.match(self.text, self.place)
            if found is None:
                what = "the closing quote of a phrase" if self.text[self.place] == '"' else "a sign behind \\"
                raise self.refusal(f"expected {what}")
            self.next = found.end()
            if found.lastgroup is None:
                continue
            self.kind, self.token = found.lastgroup, found[found.lastgroup]
            if self.kind == "sign":
                self.kind = self.token
            elif self.kind == "word" and self.token.lower() in ("and", "or", "not"):
                self.kind = self.token.lower()
            return

    def refusal(self, expected: str) -> Invalid:
        """Return the refusal of what stands here."""
        rest = self.text[self.place : self.place + 20]
        return Invalid(
            f"at sign {self.place + 1}: {expected}; got {rest!r}" if rest else f"{expected}; got the end"
        )

    def question(self, depth: int) -> _Part:
        """Read what is joined by `or`."""
        parts = [self.both(depth)]
        while self.kind in ("or", ","):
            self.step()
            parts.append(self.both(depth))
        return _joined(parts, " | ", all(part.found for part in parts))

    def both(self, depth: int) -> _Part:
        """Read what is joined by `and`, or by nothing."""
        parts = [self.term(depth)]
        while self.kind in ("and", "not", "(", "phrase", "word"):
            if self.kind == "and":
                self.step()
            parts.append(self.term(depth))
        return _joined(parts, " & ", any(part.found for part in parts))

    def term(self, depth: int) -> _Part:
        """Read one term."""
        if depth > DEEPEST:
            raise self.refusal(f"not more than {DEEPEST} parentheses and nots in each other")
        if self.kind == "not":
            self.step()
            inner = self.term(depth + 1)
            return _Part(f"!({inner.query})", False)
        if self.kind == "(":
            self.step()
            inner = self.question(depth + 1)
            if self.kind != ")":
                raise self.refusal("expected )")
            self.step()
            return _Part(f"({inner.query})", inner.found)
        if self.kind not in ("phrase", "word"):
            raise self.refusal("expected a word")
        return self.looked_for()

    def looked_for(self) -> _Part:
        """Read a word, its beginning, or a phrase."""
        plain = re.sub(r"\\(.)", r"\1", self.token, flags=re.DOTALL)
        begins = self.kind == "word" and self.token.endswith("*")
        each = words(plain)
        if not each:
            raise self.refusal("expected a letter or digit in it")
        self.words += len(each)
        if self.words > MOST_WORDS:
            raise self.refusal(f"not more than {MOST_WORDS} words")
        if is_alone(each[-1]):
            begins = False
        elif begins and len(each[-1]) < SHORTEST:
            raise self.refusal(f"expected at least {SHORTEST} signs before *")
        self.step()
        found = []
        for sign in self.heads:
            lexemes = [f"'{sign}{word}'" for word in each]
            if begins:
                lexemes[-1] += ":*"
            found.append(_Part(" <-> ".join(lexemes), True))
        joined = _joined(found, " | ", True)
        return _Part(f"({joined.query})", True) if len(found) > 1 or len(each) > 1 else joined


def _joined(parts: Sequence[_Part], by: str, found: bool) -> _Part:
    if len(parts) == 1:
        return _Part(parts[0].query, found)
    return _Part(by.join(f"({part.query})" if " | " in part.query else part.query for part in parts), found)


def where(value: WordsValue, columns: Columns) -> Match:
    """Return the condition on the row of words."""
    return Row("words @@ %s::tsquery", (value.query,))


def asked(criteria: Sequence[Criterion]) -> list[Clause]:
    """Return those of the criteria that ask for words."""
    return [each for each in criteria if isinstance(each, Clause) and each.parameter.kind == "words"]


def together(clauses: Sequence[Clause]) -> str:
    """Return the tsquery that asks for what all clauses ask for."""
    queries = [_either(clause) for clause in clauses]
    return queries[0] if len(queries) == 1 else " & ".join(f"({query})" for query in queries)


def _either(clause: Clause) -> str:
    queries = [value.query for value in clause.alternatives if isinstance(value, WordsValue)]
    return queries[0] if len(queries) == 1 else " | ".join(f"({query})" for query in queries)


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives nothing: words are read of a resource as a whole, by readable.py."""

    def cells(type_name: str, value: Any) -> Sequence[Cell]:
        return []

    return cells


SEARCH_TYPE = SearchType(
    name="words", extract=extract, parse=parse, where=where, table="idx_text", modifiers=frozenset()
)
