"""The search parameters of R4 by type and code (R4/searchparameter-registry.html)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import msgspec

from fhir_server.definitions.load import load


class SearchParameter(msgspec.Struct, frozen=True, array_like=True):
    """One search parameter as the package states it.

    `type` is string, token, reference, date, number, quantity, uri, composite or special.
    `expression` is None where the specification gives none (_text, _content, _filter, _query and
    the Patient extensions age and birthOrderBoolean). `components` of a composite are pairs of
    (url of the parameter, FHIRPath below `expression`); `by_url` resolves them. Empty
    `comparators` and `modifiers` mean that nothing is stated, so everything the type has is allowed.
    """

    url: str
    code: str
    type: str
    expression: str | None = None
    base: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    components: tuple[tuple[str, str], ...] = ()
    name: str = ""
    multiple_or: bool = True
    multiple_and: bool = True
    comparators: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()


class _Facts(msgspec.Struct):
    parameters: list[SearchParameter]
    types: dict[str, list[int]]


@cache
def _facts() -> _Facts:
    return load("search_parameters", _Facts)


@cache
def _by_url() -> dict[str, SearchParameter]:
    return {parameter.url: parameter for parameter in _facts().parameters}


def all_parameters() -> tuple[SearchParameter, ...]:
    """Return every search parameter, sorted by url."""
    return tuple(_facts().parameters)


@cache
def for_type(type_name: str) -> Mapping[str, SearchParameter]:
    """Return the parameters of a resource type by code, those of its ancestors among them.

    >>> sorted(for_type("Binary"))
    ['_content', '_filter', '_id', '_lastUpdated', '_profile', '_query', '_security', '_source', '_tag']
    >>> for_type("Observation")["code-value-quantity"].components[0][1]
    'code'

    Raises KeyError when R4 has no such concrete resource type.
    """
    facts = _facts()
    parameters = [facts.parameters[number] for number in facts.types[type_name]]
    return MappingProxyType({parameter.code: parameter for parameter in parameters})


def by_url(url: str) -> SearchParameter:
    """Return the parameter with the canonical `url`.

    >>> by_url("http://hl7.org/fhir/SearchParameter/Observation-value-quantity").type
    'quantity'

    Raises KeyError when R4 has none of that name.
    """
    return _by_url()[url]
