"""The search parameters of each type: those of R4 and those that clients have stored.

A parameter whose expression is a union of other parameters' expressions (Observation.combo-code is
code or component-code) has no rows of its own: `sources` names the parameters whose rows answer it.
So is one that says the same as another (Patient.phonetic and Patient.name).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from fhir_server.definitions import search_parameters, structures
from fhir_server.definitions.search_parameters import SearchParameter
from fhir_server.search import elements
from fhir_server.search.ast import Component, Parameter

# In R4's list, but not searched through the index; see types/special.py.
SPECIAL = frozenset({"_id", "_lastUpdated", "_text", "_content", "_query", "_filter", "near"})
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

    def remove(self, type_name: str, code: str) -> None:
        """Forget a stored parameter; one that is not there is no error."""
        self._stored.get(type_name, {}).pop(code, None)

    def version(self, type_name: str) -> frozenset[Parameter]:
        """Return the stored parameters of a type: what compiled indexers must be equal in."""
        return frozenset(self._stored.get(type_name, {}).values())


def parameter_of(definition: SearchParameter, type_name: str) -> Parameter:
    """Return what a definition means on one of its types, its own rows assumed."""
    kind = "special" if definition.code in SPECIAL else definition.type
    targets = definition.target
    if kind == "reference" and (not targets or "Resource" in targets):
        targets = structures.resource_types()
    expression = definition.expression
    if expression is not None:
        expression = " | ".join(elements.branches(expression, type_name)) or None
    components = tuple(Component(_component(url, type_name), below) for url, below in definition.components)
    return Parameter(
        type_name, definition.code, kind, expression, targets, components, (definition.code,), definition.url
    )


def _component(url: str, type_name: str) -> Parameter:
    return parameter_of(search_parameters.by_url(url), type_name)


@cache
def _standard(type_name: str) -> Mapping[str, Parameter]:
    found = {
        code: parameter_of(definition, type_name)
        for code, definition in search_parameters.for_type(type_name).items()
        if code not in DROPPED
    }
    plain: dict[tuple[object, ...], str] = {}
    for code in sorted(found):
        parts = _parts(found[code])
        if len(parts) == 1:
            plain.setdefault((*_alike(found[code]), parts[0]), code)
    return {code: _with_sources(parameter, plain) for code, parameter in found.items()}


def _parts(parameter: Parameter) -> tuple[str, ...]:
    if parameter.expression is None or parameter.kind == "special":
        return ()
    return tuple(elements.branches(parameter.expression, parameter.type_name))


def _alike(parameter: Parameter) -> tuple[object, ...]:
    """Return what two parameters must share for their rows to be the same."""
    return parameter.kind, tuple((part.parameter.kind, part.expression) for part in parameter.components)


def _with_sources(parameter: Parameter, plain: Mapping[tuple[object, ...], str]) -> Parameter:
    sources = [plain.get((*_alike(parameter), part)) for part in _parts(parameter)]
    if not sources or None in sources:
        return parameter
    named = tuple(dict.fromkeys(code for code in sources if code is not None))
    return Parameter(
        parameter.type_name,
        parameter.code,
        parameter.kind,
        parameter.expression,
        parameter.targets,
        parameter.components,
        named,
        parameter.url,
    )
