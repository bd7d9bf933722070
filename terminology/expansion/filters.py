"""The filters of an include: does a code of the system pass? (R4/valueset-filter-operator.html)

A filter that cannot be judged (a property that the system does not know, a pattern that does not end)
answers None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import regex

from terminology import ucum
from terminology.code_systems import STANDARD, CodeSystem, Concept
from terminology.grammars import GRAMMARS, M49, REGIONS, UCUM, Grammar
from terminology.logic import Answer, every, negated, some

MAX_PATTERN = 1_000  # characters
PATTERN_TIMEOUT_S = 0.05
TRUE = frozenset({"true", "1"})

System = CodeSystem | Grammar
Operator = Callable[[CodeSystem, Concept, str, str], Answer]


def passes(system: System | None, code: str, filters: list[Mapping[str, Any]]) -> Answer:
    """Say whether a code passes all filters (`property`, `op`, `value`).

    >>> system = CodeSystem({"concept": [{"code": "a", "concept": [{"code": "b"}]}], "content": "complete"})
    >>> passes(system, "b", [{"property": "concept", "op": "descendent-of", "value": "a"}])
    True
    """
    return every(_one(system, code, condition) for condition in filters)


def _one(system: System | None, code: str, condition: Mapping[str, Any]) -> Answer:
    name, operator, value = (condition.get(key) for key in ("property", "op", "value"))
    if not isinstance(name, str) or not isinstance(value, str) or not isinstance(operator, str):
        return None
    if operator not in OPERATORS:
        return None
    if isinstance(system, CodeSystem):
        concept = system.find(code)
        if concept is not None:
            found = OPERATORS[operator](system, concept, _named(system, name), value)
            # What a part of a system does not say of a code may stand in the rest.
            return found if system.complete or _is_plain(name) or found == _safe(operator) else None
        if system.complete:
            return False
    return _without_system(system.url if system is not None else None, code, name, operator, value)


def _safe(operator: str) -> bool:
    """Return the answer that more facts on a code would not change."""
    return operator not in ("is-not-a", "not-in")


def _is_plain(name: str) -> bool:
    return name in ("code", "concept", "display")


def _without_system(url: str | None, code: str, name: str, operator: str, value: str) -> Answer:
    """Judge what can be judged by the code alone."""
    if url == UCUM and name == "canonical" and operator == "=":
        return ucum.measures_like(code, value)
    if url == M49 and name == "class" and operator == "=" and value == "region":
        return True if code in REGIONS else None if GRAMMARS[M49].has(code) is None else False
    if name not in ("code", "concept"):
        return None
    if operator == "regex":
        return matches(value, code)
    if operator in ("=", "in"):
        return code == value if operator == "=" else code in _listed(value)
    if operator == "not-in":
        return code not in _listed(value)
    if operator in ("is-a", "generalizes", "is-not-a", "descendent-of") and code == value:
        return operator in ("is-a", "generalizes")
    return None


def _named(system: CodeSystem, name: str) -> str:
    """Return a property under the code that it has in the system."""
    return system.standard(name) if name in STANDARD and name not in system.declared else name


def _values(system: CodeSystem, concept: Concept, name: str) -> list[str] | None:
    """Return the values of a property as text; None if the system does not know the property."""
    if name in ("code", "concept"):
        return [concept.code]
    if name == "display":
        return [concept.display] if concept.display is not None else []
    if name == "definition" and name not in system.declared:
        return [concept.definition] if concept.definition is not None else []
    if name in (system.standard("parent"), system.standard("subsumedBy")):
        return concept.parents
    if name == system.standard("child"):
        return concept.children
    values = [_text(value) for value in concept.values(name)]
    return values if values or name in STANDARD or name in system.properties else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):  # a Coding
        return str(value.get("code", ""))
    return str(value)


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


def _same(system: CodeSystem, name: str, one: str, other: str) -> bool:
    codes = name in ("code", "concept", system.standard("parent"), system.standard("child"))
    return one == other or (codes and not system.case_sensitive and one.casefold() == other.casefold())


def _among(system: CodeSystem, concept: Concept, name: str, wanted: list[str]) -> Answer:
    values = _values(system, concept, name)
    if values is None:
        return None
    return any(_same(system, name, value, other) for value in values for other in wanted)


def _equals(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    return _among(system, concept, name, [value])


def _in(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    return _among(system, concept, name, _listed(value))


def _not_in(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    return negated(_in(system, concept, name, value))


def _exists(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    values = _values(system, concept, name)
    return None if values is None else bool(values) is (value in TRUE)


def _regex(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    values = _values(system, concept, name)
    return None if values is None else some(matches(value, text) for text in values)


def _is_a(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    if system.find(value) is None:
        return False if system.complete else None
    values = _values(system, concept, name)
    return None if values is None else some(system.is_a(code, value) for code in values)


def _is_not_a(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    return negated(_is_a(system, concept, name, value))


def _descends(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    values = _values(system, concept, name)
    if values is None:
        return None
    own = system.find(value)
    return some(
        False if own is not None and system.find(code) is own else _is_a(system, concept, name, value)
        for code in values
    )


def _generalizes(system: CodeSystem, concept: Concept, name: str, value: str) -> Answer:
    if system.find(value) is None:
        return False if system.complete else None
    values = _values(system, concept, name)
    return None if values is None else some(system.is_a(value, code) for code in values)


OPERATORS: Mapping[Any, Operator] = {
    "=": _equals,
    "is-a": _is_a,
    "descendent-of": _descends,
    "is-not-a": _is_not_a,
    "regex": _regex,
    "in": _in,
    "not-in": _not_in,
    "generalizes": _generalizes,
    "exists": _exists,
}
"""Operator → (system, concept, property, value) → answer."""


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN:
        return None
    try:
        return regex.compile(pattern)
    except regex.error:
        return None


_ENDLESS: set[str] = set()


def matches(pattern: str, text: str) -> Answer:
    """Say whether a whole text matches; None for no pattern, or one that takes too long.

    >>> matches("[A-Z]{3}", "CHE"), matches("[A-Z]{2}", "CHE"), matches("(", "x")
    (True, False, None)
    >>> matches("(a|aa)+", "a" * 60 + "b")
    """
    compiled = None if pattern in _ENDLESS else _pattern(pattern)
    if compiled is None:
        return None
    try:
        return compiled.fullmatch(text, timeout=PATTERN_TIMEOUT_S) is not None
    except TimeoutError:  # asked once and not again: each attempt would cost as much
        if len(_ENDLESS) < 1_000:
            _ENDLESS.add(pattern)
        return None
