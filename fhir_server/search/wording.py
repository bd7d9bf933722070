"""`:text` on tokens: the words that go with a code (R4/search.html#token).

What a CodeableConcept, Coding or the type of an Identifier says of itself in words, `text` and `display`,
stands in idx_string under a parameter of its own, `code:text`, and is searched by the rules of strings:
case and accents aside, from the beginning. One row a distinct text; equal displays are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.search import elements, keys
from fhir_server.search.ast import Clause, Parameter
from fhir_server.search.types import string

WORDED = frozenset({"CodeableConcept", "Coding", "Identifier"})
Row = tuple[Any, ...]


@lru_cache(maxsize=4096)
def of(parameter: Parameter) -> Parameter:
    """Return the string parameter that holds the words of a token parameter.

    >>> words = of(Parameter("Observation", "combo-code", "token", "", sources=("code", "component-code")))
    >>> words.kind, words.sources
    ('string', ('code:text', 'component-code:text'))
    """
    sources = parameter.sources or (parameter.code,)
    return replace(
        parameter,
        code=f"{parameter.code}:text",
        kind="string",
        sources=tuple(f"{source}:text" for source in sources),
    )


def has_words(parameter: Parameter) -> bool:
    """Tell whether the elements of a token parameter can carry words."""
    types = elements.facts(parameter).types
    return parameter.kind == "token" and (not types or bool(types & WORDED))


def clause(parameter: Parameter, texts: list[str]) -> Clause:
    """Return `parameter:text=…`; raises Invalid where its elements have no words."""
    if not has_words(parameter):
        known = ", ".join(sorted(elements.facts(parameter).types))
        raise Invalid(f"{parameter.code}:text: its values ({known}) have neither text nor display")
    return Clause(of(parameter), None, tuple(dict.fromkeys(string.parse(text) for text in texts)))


def rows(parameter: Parameter) -> Callable[[str, Any], list[Row]] | None:
    """Return what gives the rows of one element, None where none can have words."""
    if not has_words(parameter):
        return None
    column = keys.column_hash(parameter.type_name, f"{parameter.rows}:text")

    def of_element(type_name: str, value: Any) -> list[Row]:
        if type_name not in WORDED or not isinstance(value, dict):
            return []
        return [(column, *row) for text in _words(type_name, value) for row in _rows(text)]

    return of_element


@lru_cache(maxsize=2048)
def _rows(text: str) -> tuple[Row, ...]:
    return tuple(cell for cell in string.cells("string", text) if isinstance(cell, tuple))


def _words(type_name: str, value: dict[str, Any]) -> Iterator[str]:
    if type_name == "Identifier":
        value = value.get("type") or {}
    if isinstance(text := value.get("text"), str):
        yield text
    for coding in (value,) if type_name == "Coding" else value.get("coding") or ():
        if isinstance(coding, dict) and isinstance(display := coding.get("display"), str):
            yield display
