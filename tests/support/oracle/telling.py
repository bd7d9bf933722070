"""Words of resources, read and compared the slow way: `_text` and `_content` by lists of lists of words.

Shares with the server the facts of R4 (which element is of which type) and no code of search.
"""

from __future__ import annotations

import re
import unicodedata
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from functools import lru_cache
from random import Random
from typing import Any

from fhir_server.definitions.structures import fields, resource_types
from tests.support.oracle.reading import folded

Resource = dict[str, Any]
Blocks = list[list[str]]
Test = Callable[[list[Blocks]], bool]
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "KANGXI", "IDEOGRAPHIC", "THAI", "LAO", "KHMER", "MYANMAR")
WITHIN = {"a", "abbr", "acronym", "b", "bdo", "big", "cite", "code", "dfn", "em", "font", "i"} | {
    "img", "kbd", "q", "samp", "small", "span", "strong", "sub", "sup", "tt", "var"
}  # fmt: skip
WITHOUT_NARRATIVE = {"Binary", "Bundle", "Parameters"}


def words_of(text: str) -> list[str]:
    """Return the words of a text, sign by sign."""
    found: list[str] = [""]
    for sign in folded(text):
        if unicodedata.name(sign, "").startswith(UNSPACED):
            found += [sign, ""]
        elif sign.isalnum() or 0x900 <= ord(sign) < 0xE00:
            found[-1] += sign
        elif found[-1]:
            found.append("")
    return [word[:64] for word in found if word]


def narrative(div: str) -> Blocks:
    """Return the words of each paragraph of a narrative."""
    found = [""]

    def go(node: xml.Element) -> None:
        part = node.tag.rpartition("}")[2].lower() not in WITHIN
        if part:
            found.append("")
        found[-1] += node.text or ""
        for child in node:
            go(child)
            found[-1] += child.tail or ""
        if part:
            found.append("")

    go(xml.fromstring(re.sub(r"&(?!(?:amp|lt|gt|quot|apos|#\w+);)\w+;", " ", div)))
    return [words for words in map(words_of, found) if words]


def blocks(resource: Resource) -> list[Blocks]:
    """Return the words of the narrative, and those of all else, as lists of paragraphs."""
    kind = resource["resourceType"]
    div = resource.get("text", {}).get("div") if isinstance(resource.get("text"), dict) else None
    own = narrative(div) if div else []
    rest = {key: value for key, value in resource.items() if key != "text" or not div}
    return [own, [block for text in said(kind, rest) for block in text if block]]


def said(path: str, value: Any) -> Iterator[Blocks]:
    """Yield the words of each text in an element."""
    if isinstance(value, list):
        for each in value:
            yield from said(path, each)
        return
    if path == "Resource":
        path = value["resourceType"]
    known = fields(path) if path in resource_types() or "." in path or path[0].isupper() else {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key.startswith("_"):
            yield from said("Element", [each for each in _listed(inner) if each])
        elif key in known:
            kind = known[key].type
            if f"{path}.{key}" in ("Reference.reference", "SampledData.data"):
                continue
            if kind in ("string", "markdown") or f"{path}.{key}" == "Coding.code":
                yield [words_of(each) for each in _listed(inner) if isinstance(each, str)]
            elif kind == "xhtml":
                yield narrative(inner)
            elif not known[key].primitive:
                yield from said(kind, inner)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@lru_cache(maxsize=2048)
def asked(text: str) -> Test:
    """Return what a question asks, by descent through its grammar."""
    tokens = [found for found in re.findall(r'"[^"]*"|[(),]|[^\s(),"]+', text) if found]
    place = 0

    def peek() -> str:
        return tokens[place].lower() if place < len(tokens) else ""

    def take() -> str:
        nonlocal place
        place += 1
        return tokens[place - 1]

    def some() -> Test:
        tests = [every()]
        while peek() in ("or", ","):
            take()
            tests.append(every())
        return lambda there: any(test(there) for test in tests)

    def every() -> Test:
        tests = [one()]
        while peek() not in ("", "or", ",", ")"):
            if peek() == "and":
                take()
            tests.append(one())
        return lambda there: all(test(there) for test in tests)

    def one() -> Test:
        token = take()
        if token.lower() == "not":
            inner = one()
            return lambda there: not inner(there)
        if token == "(":
            inside = some()
            take()
            return inside
        begins = token.endswith("*")
        wanted = words_of(token)
        return lambda there: any(_stands(block, wanted, begins) for part in there for block in part)

    return some()


def _stands(block: list[str], wanted: list[str], begins: bool) -> bool:
    size = len(wanted)
    for start in range(len(block) - size + 1):
        here = block[start : start + size]
        last = here[-1].startswith(wanted[-1]) if begins else here[-1] == wanted[-1]
        if here[:-1] == wanted[:-1] and last:
            return True
    return False


class Heap:
    """The words of all resources of an oracle, read when they are first asked for."""

    def __init__(self, by_type: dict[str, dict[str, Resource]]) -> None:
        self._by_type = by_type
        self._read: dict[str, dict[str, list[Blocks]]] = {}

    def of(self, type_name: str) -> dict[str, list[Blocks]]:
        """Return the words of each resource of a type."""
        if type_name not in self._read:
            self._read[type_name] = {
                id_: blocks(resource) for id_, resource in self._by_type.get(type_name, {}).items()
            }
        return self._read[type_name]

    def found(self, type_name: str, code: str, text: str) -> set[str]:
        """Return the ids of the resources that answer a question."""
        test = asked(text)
        parts = slice(0, 1) if code == "_text" else slice(0, 2)
        return {id_ for id_, there in self.of(type_name).items() if test(there[parts])}

    def draw(self, random: Random, type_name: str, pivot: str) -> tuple[str, str] | None:
        """Return a question that a resource answers, or nearly."""
        if pivot not in self.of(type_name):
            return None  # contained: its words are those of what contains it
        own, rest = self.of(type_name)[pivot]
        code = "_text" if own and random.random() < 0.6 else "_content"
        there = own if code == "_text" else own + rest
        if not there:
            return None
        text = self._term(random, there)
        for _ in range(random.choice((0, 0, 0, 1, 1, 2))):
            by = random.choice((" and ", " AND ", " ", " or ", ",", " and not ", " not "))
            more = self._term(random, there)
            text = f"({text}){by}{more}" if random.random() < 0.5 else f"{text}{by}{more}"
        return code, text

    def _term(self, random: Random, there: Blocks) -> str:
        block = random.choice(there)
        start = random.randrange(len(block))
        chance = random.random()
        if chance < 0.15:
            return (
                f"{block[start][: max(2, random.randrange(1, 8))]}*"
                if len(block[start]) > 1
                else block[start]
            )
        if chance < 0.4:
            size = random.choice((2, 2, 3))
            some = block[start : start + size]
            if random.random() < 0.2:
                some.reverse()
            return '"' + random.choice((" ", "-", " ,")).join(some) + '"'
        word = block[start].upper() if random.random() < 0.2 else block[start]
        return f'"{word}"' if word.lower() in ("and", "or", "not") else word
