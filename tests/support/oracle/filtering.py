"""`_filter` read and answered a second time, as sets of ids; and random filters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.oracle import reading
from tests.support.oracle.table import Entry, entries
from tests.support.oracle.table import entry as entry_of

if TYPE_CHECKING:
    from tests.support.oracle.matching import Oracle
    from tests.support.oracle.queries import Generator

WORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[()\[\]]|[^\s()\[\]]+)')
DATES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
Compare = Callable[[str], set[str]]


class Answer:
    """What one filter finds."""

    def __init__(self, oracle: Oracle, text: str) -> None:
        self.oracle = oracle
        self.words = WORD.findall(text)

    def of(self, type_name: str) -> set[str]:
        """Return the ids of a type that fulfil it."""
        return self._filter()(type_name)

    def _next(self) -> str:
        return str(self.words.pop(0)) if self.words else ""

    def _filter(self) -> Compare:
        found = self._term()
        while self.words and self.words[0] in ("and", "or"):
            word = self._next()
            found = _joined(word, found, self._term())
        return found

    def _term(self) -> Compare:
        word = self._next()
        if word == "not" and self.words[0] == "(":
            inner = self._term()
            return lambda kind: set(self.oracle.by_type.get(kind, ())) - inner(kind)
        if word == "(":
            inner = self._filter()
            assert self._next() == ")"
            return inner
        steps: list[tuple[str, Compare | None]] = []
        while True:
            names = word.lstrip(".").split(".")
            steps += [(name, None) for name in names]
            if not self.words or self.words[0] != "[":
                break
            self._next()
            steps[-1] = (names[-1], self._filter())
            assert self._next() == "]"
            word = self._next()
        operator, value = self._next(), self._next()
        if value.startswith('"'):
            value = json.loads(value)
        return lambda kind: self._path(kind, steps, operator, value)

    def _path(
        self, kind: str, steps: list[tuple[str, Compare | None]], operator: str, value: str
    ) -> set[str]:
        (code, inside), rest = steps[0], steps[1:]
        entry = entry_of(kind, code)
        if not rest:
            return leaf(self.oracle, entry, operator, value)
        good = set()
        for target in entry.targets:
            if rest[0][0] in entries().get(target, {}):
                here = self.oracle
                for name, self.oracle in ((target, here.outer), ("#", here.outer.inner)):
                    found = self._path(target, rest, operator, value)
                    if inside is not None:
                        found &= inside(target)
                    good |= {(name, id_) for id_ in found}
                self.oracle = here
        kinds = {kind for kind, _ in good}
        return {
            id_
            for id_, values in self.oracle.values(entry).items()
            if good & set(self.oracle.pointed(entry, id_, values, kinds))
        }


def _joined(word: str, left: Compare, right: Compare) -> Compare:
    if word == "and":
        return lambda kind: left(kind) & right(kind)
    return lambda kind: left(kind) | right(kind)


def leaf(oracle: Oracle, entry: Entry, operator: str, value: str) -> set[str]:
    """Return the ids whose values of a parameter fulfil one comparison."""
    every = oracle.values(entry)
    if operator == "pr":
        return {id_ for id_, values in every.items() if bool(values) == (value == "true")}
    if operator in ("ne", "ni") and entry.kind not in ("date", "number", "quantity"):
        opposite = {"ne": "eq", "ni": "in"}[operator]
        return set(every) - leaf(oracle, entry, opposite, value)
    if entry.kind == "composite":
        whole = oracle._composite(entry, value)
        return {id_ for id_, values in every.items() if any(whole(each) for _, each in values)}
    test = _test(oracle, entry, operator, value)
    return {id_ for id_, values in every.items() if any(test(*each) for each in values)}


def _test(oracle: Oracle, entry: Entry, operator: str, value: str) -> Callable[[str, Any], bool]:
    from tests.support.oracle import matching

    if entry.kind == "string":
        return _string(operator, reading.folded(value))
    if entry.kind == "date" and operator == "po":
        asked = reading.date_span(value)

        def overlaps(shape: str, stored: Any) -> bool:
            span = matching.date_of(shape, stored)
            return span is not None and span.low < asked.high and asked.low < span.high

        return overlaps
    if entry.kind in ("date", "number", "quantity"):
        return oracle._one(entry, "", operator + value)
    if entry.kind == "token":
        modifier = {"ss": "below", "sb": "above", "in": "in"}.get(operator, "")
        return oracle._one(entry, modifier, value)
    return oracle._one(entry, "", value.replace("\\", "\\\\").replace("|", "\\|"))


def _string(operator: str, text: str) -> Callable[[str, Any], bool]:
    from tests.support.oracle import matching

    def test(shape: str, value: Any) -> bool:
        for word in map(reading.folded, matching._words(shape, value)):
            if operator == "eq" and word == text and text:
                return True
            if operator == "co" and text in word:
                return True
            if operator == "sw" and word.startswith(text):
                return True
            if operator == "ew" and word.endswith(text):
                return True
        return False

    return test


def draw(generator: Generator, type_name: str, pivot: str, depth: int = 0) -> str:
    """Return a random filter that the pivot fulfils, or nearly."""
    random = generator.random
    chance = random.random()
    if depth < 3 and chance < 0.35:
        count = random.choice((2, 2, 3))
        terms = [draw(generator, type_name, pivot, depth + 1) for _ in range(count)]
        text = terms[0]
        for term in terms[1:]:
            text += f" {random.choice(('and', 'or'))} {term}"
        return f"({text})" if depth or random.random() < 0.2 else text
    if depth < 3 and chance < 0.45:
        return f"not ({draw(generator, type_name, pivot, depth + 1)})"
    if chance < 0.6 and (chained := _chained(generator, type_name, pivot, depth)):
        return chained
    known = [each for each in entries()[type_name].values() if generator.oracle.values(each).get(pivot)]
    entry = random.choice(known if random.random() < 0.9 else list(entries()[type_name].values()))
    return comparison(generator, entry, pivot)


def _chained(generator: Generator, type_name: str, pivot: str, depth: int) -> str | None:
    random, oracle = generator.random, generator.oracle
    references = [each for each in entries()[type_name].values() if each.kind == "reference"]
    random.shuffle(references)
    for entry in references:
        targets = [
            (kind, id_)
            for kind, id_ in oracle._local(oracle.values(entry).get(pivot, []))
            if kind in entries() and kind in entry.targets and id_ in oracle.by_type.get(kind, {})
        ]
        # Other types may have the parameter too, and mean another kind of value by it.
        if len(entry.targets) == 1 and targets:
            kind, id_ = targets[0]
            inner = comparison(generator, random.choice(list(entries()[kind].values())), id_)
            if random.random() < 0.3:
                return f"{entry.code}[{draw(generator, kind, id_, 3)}].{inner}"
            return f"{entry.code}.{inner}"
    return None


def comparison(generator: Generator, entry: Entry, pivot: str) -> str:
    """Return one comparison of a parameter with a value near that of the pivot."""
    random = generator.random
    if not entry.code.startswith("_") and entry.kind != "composite" and random.random() < 0.08:
        return f"{entry.code} pr {random.choice(('true', 'false'))}"
    shape, value = generator.value(entry, pivot)
    operator, text = "eq", ""
    plain_eq = random.choice(("eq", "eq", "eq", "ne"))
    match entry.kind:
        case "string":
            operator, text = _words(generator, shape, value)
        case "token" if entry.code == "_id":
            operator, text = plain_eq, str(value or pivot)
        case "token":
            kind = shape.partition("@")[0]
            coded = entry.places[0].shape.partition("@")[0] in ("CodeableConcept", "Coding", "code")
            if coded and kind != "nothing" and random.random() < 0.25:
                operator = random.choice(("in", "ni", "ss", "sb"))
                modifier = {"in": ":in", "ni": ":not-in", "ss": ":below", "sb": ":above"}[operator]
                text = generator.codes(modifier, shape, value)
            else:
                operator, text = plain_eq, generator.token(shape, value)
        case "reference":
            operator = random.choice(("eq", "re", "re", "ne"))
            text = str(value or "x") if shape == "canonical" else ""
            text = text or reading.plain(generator.reference("", value if isinstance(value, dict) else {}))
        case "uri":
            operator, text = plain_eq, str(value or "urn:x")
        case "date":
            text = reading.prefix_of(generator.date(shape, value))[1]
            operator = random.choice((*DATES, "po", "ge", "le")) if entry.code != "_lastUpdated" else "ge"
        case "number" | "quantity":
            write = generator.number if entry.kind == "number" else generator.quantity
            text = reading.prefix_of(write(shape, value))[1]
            operator = random.choice(DATES)
        case "composite":
            operator, text = plain_eq, generator.composite(entry, value)
    if re.search(r'[\s()\[\]"]', text) or not text or random.random() < 0.3:
        text = json.dumps(text or "x", ensure_ascii=random.random() < 0.5)
    return f"{entry.code} {operator} {text}"


def _words(generator: Generator, shape: str, value: Any) -> tuple[str, str]:
    from tests.support.oracle import matching

    random = generator.random
    words = [word for word in matching._words(shape, value) if reading.folded(word)] if value else []
    word = random.choice(words) if words else "Smith"
    operator = random.choice(("eq", "ne", "co", "sw", "ew"))
    cut = random.randint(1, 6)
    part = {"co": word[1 : 1 + cut], "sw": word[:cut], "ew": word[-cut:]}.get(operator, word)
    return operator, random.choice((str.lower, str.upper, str))(part if part.strip() else word)
