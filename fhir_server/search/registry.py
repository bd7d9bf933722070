"""The search parameters of each type: those of R4 and those that clients have stored.

A parameter whose expression is a union of other parameters' expressions (Observation.combo-code is
code or component-code) has no rows of its own: `sources` names the parameters whose rows answer it.
So is one that says the same as another (Patient.phonetic and Patient.name).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from fhir_server.definitions import search_parameters, structures
from fhir_server.definitions.search_parameters import SearchParameter
from fhir_server.search import elements
from fhir_server.search.ast import Component, Parameter

# In R4's list, but not searched through the index; see types/special.py.
SPECIAL = frozenset({"_id", "_lastUpdated", "_query", "_filter"})
WORDED = frozenset({"_text", "_content"})  # asked of the words of a resource; types/words.py
DROPPED = frozenset({"example"})  # the example of R4/searchparameter-example.html is in the package


class Registry:
    """Answers which parameters a type has; one instance for a server, with put and remove.

    >>> Registry().get("Patient", "gender").kind
    'token'
    >>> Registry().get("Observation", "combo-code").sources
    ('code', 'component-code')
    """

    def __init__(self) -> None:
        self._stored: dict[str, dict[str, Parameter]] = {}
        self._changes: dict[str, int] = {}

    def for_type(self, type_name: str) -> Mapping[str, Parameter]:
        """Return all parameters of a resource type by code.

        Raises KeyError when R4 has no such resource type.
        """
        standard = _standard(type_name)
        stored = self._stored.get(type_name)
        return {**standard, **stored} if stored else standard

    def get(self, type_name: str, code: str) -> Parameter | None:
        """Return one parameter of a type, or None."""
        stored = self._stored.get(type_name)
        if stored and code in stored:
            return stored[code]
        return _standard(type_name).get(code)

    def put(self, parameter: Parameter) -> None:
        """Add a stored parameter, or replace one that was stored before.

        R4's own codes keep R4's meaning: rows of both would stand under one key.
        """
        if parameter.code in _standard(parameter.type_name):
            raise ValueError(f"{parameter.code} of {parameter.type_name} is defined by R4 itself")
        self._stored.setdefault(parameter.type_name, {})[parameter.code] = parameter
        self._changes[parameter.type_name] = self.version(parameter.type_name) + 1

    def remove(self, type_name: str, code: str) -> None:
        """Forget a stored parameter; one that is not there is no error."""
        self._stored.get(type_name, {}).pop(code, None)
        self._changes[type_name] = self.version(type_name) + 1

    def version(self, type_name: str) -> int:
        """Return how often the stored parameters of a type changed: compiled indexers are as old as that."""
        return self._changes.get(type_name, 0)

    def pending(self, type_name: str, code: str) -> str | None:
        """Return why a parameter that is known cannot be searched by yet, None for all others."""
        return None


@cache
def standard() -> Registry:
    """Return the registry of R4's own parameters, for callers that keep none; never put into it."""
    return Registry()


def parameter_of(definition: SearchParameter, type_name: str) -> Parameter:
    """Return what a definition means on one of its types, its own rows assumed."""
    kind = "special" if definition.code in SPECIAL else definition.type
    if kind == "special" and definition.code == "near":
        kind = "near"
    if definition.code in WORDED:
        kind = "words"
    allowed = definition.target
    expression = definition.expression
    if expression is not None:
        expression = " | ".join(elements.branches(expression, type_name)) or None
    if kind == "reference":
        allowed = targets(allowed, elements.of(expression, type_name) if expression else elements.UNKNOWN)
    components = tuple(Component(_component(url, type_name), below) for url, below in definition.components)
    return Parameter(
        type_name, definition.code, kind, expression, allowed, components, (definition.code,), definition.url
    )


def targets(stated: tuple[str, ...], facts: elements.Facts) -> tuple[str, ...]:
    """Return what a reference may point to: by the parameter and by its elements, where both say it."""
    every = structures.resource_types()
    allowed = set(every if not stated or "Resource" in stated else stated)
    if facts.targets and "Resource" not in facts.targets:
        allowed = allowed & facts.targets or allowed
    return tuple(sorted(allowed & set(every)))


def _component(url: str, type_name: str) -> Parameter:
    return parameter_of(search_parameters.by_url(url), type_name)


@cache
def _standard(type_name: str) -> Mapping[str, Parameter]:
    found = {
        code: parameter_of(definition, type_name)
        for code, definition in search_parameters.for_type(type_name).items()
        if code not in DROPPED
    }
    rows: list[tuple[Parameter, frozenset[str]]] = []  # those that have rows of their own, so far
    for code in sorted(found, key=lambda code: (len(_parts(found[code])), code)):
        parameter, parts = found[code], frozenset(_parts(found[code]))
        alike = [
            (other, theirs)
            for other, theirs in rows
            if theirs <= parts and _alike(other) == _alike(parameter)
        ]
        if parts and frozenset().union(*(theirs for _, theirs in alike)) == parts:
            found[code] = replace(parameter, sources=tuple(other.code for other, _ in alike))
        else:
            rows.append((parameter, parts))
    return found


def _parts(parameter: Parameter) -> tuple[str, ...]:
    if parameter.expression is None or parameter.kind == "special":
        return ()
    return tuple(elements.branches(parameter.expression, parameter.type_name))


def _alike(parameter: Parameter) -> tuple[object, ...]:
    """Return what two parameters must share for their rows to be the same."""
    return parameter.kind, tuple((part.parameter.kind, part.expression) for part in parameter.components)


def parameters(type_name: str) -> tuple[SearchParameter, ...]:
    """Return the definitions of R4's own parameters that a search on the type understands, by code.

    >>> [parameter.code for parameter in parameters("Binary")]
    ['_id', '_lastUpdated', '_profile', '_security', '_source', '_tag']
    """
    understood = {
        code
        for code, parameter in _standard(type_name).items()
        if (parameter.expression is not None and parameter.kind != "special")
        or code in ("_id", "_lastUpdated")
    }
    definitions = search_parameters.for_type(type_name)
    return tuple(definitions[code] for code in sorted(understood))
