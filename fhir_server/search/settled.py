"""What has one best plan whatever values are asked for, so that it may be kept (database/prepared.py)."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.search.ast import All, Chain, Clause, Criterion, Either, Has
from fhir_server.search.conditions import is_indexed, is_on_rows

FEW_ROWS = frozenset({"string", "number", "quantity", "composite", "words"})
"""Kinds whose rows are found by one range of one index, or by GIN; dates have five stretches."""


def is_by_keys(criterion: Criterion) -> bool:
    """Tell whether a criterion is asked of the keys of a resource alone."""
    return (
        isinstance(criterion, Clause)
        and not is_on_rows(criterion)
        and (criterion.parameter.kind != "special" or criterion.parameter.code == "_id")
    )


def is_linked_by_keys(criterion: Criterion) -> bool:
    """Tell whether a criterion is asked of keys alone, of the resource or of what references lead to."""
    match criterion:
        case Chain(_, branches):
            return all(is_linked_by_keys(each) for _, each in branches)
        case Has():
            return is_linked_by_keys(criterion.criterion)
        case Either(criteria) | All(criteria):
            return all(map(is_linked_by_keys, criteria))
    return is_by_keys(criterion)


def is_tried_on_few(criteria: Sequence[Criterion]) -> bool:
    """Tell whether keys say which resources are looked at, so that rows are asked of each of these alone."""
    keyed = [each for each in criteria if is_by_keys(each)]
    rows = [each for each in criteria if isinstance(each, Clause) and is_on_rows(each)]
    return len(keyed) + len(rows) == len(criteria) and any(map(is_indexed, keyed))


def is_few_rows(probe: Sequence[Clause], clauses: Sequence[Criterion]) -> bool:
    """Tell whether a look at the rows of `probe`, and at their few resources, has one best plan."""
    return all(each.parameter.kind in FEW_ROWS for each in probe) and all(
        each in probe or is_by_keys(each) for each in clauses
    )
