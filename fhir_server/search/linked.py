"""Chains and `_has`: which of them can be tried on one resource after the other."""

from __future__ import annotations

from fhir_server.search import elements
from fhir_server.search.ast import Chain, Has, Parameter


def only_canonical(reference: Parameter) -> bool:
    """Tell whether a reference parameter points by url alone, never by Type/id."""
    types = elements.facts(reference).types
    return bool(types) and types <= {"canonical", "uri"}


def by_row(chain: Chain) -> bool:
    """Tell whether a chain can be tried on one row: to a handful of types, by address and not by url."""
    return len(chain.branches) <= 4 and not chain.urls


def is_tried(has: Has) -> bool:
    """Tell whether a `_has` can be tried on one row: where the reference is one, and by address."""
    single = len(has.reference.sources) <= 1
    inner = not isinstance(has.criterion, Has) or is_tried(has.criterion)
    return inner and single and has.url is None and not only_canonical(has.reference)
