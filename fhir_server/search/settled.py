"""What has one best plan whatever values are asked for, so that it may be kept (database/prepared.py)."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.search.ast import Clause, Criterion
from fhir_server.search.conditions import is_on_rows


def is_by_keys(criterion: Criterion) -> bool:
    """Tell whether a criterion is asked of the keys of a resource alone."""
    return (
        isinstance(criterion, Clause)
        and not is_on_rows(criterion)
        and (criterion.parameter.kind != "special" or criterion.parameter.code == "_id")
    )


def is_few_texts(probe: Sequence[Clause], clauses: Sequence[Criterion]) -> bool:
    """Tell whether a look at the rows of `probe`, and at their resources if they are few, has one best plan.

    Of the texts' index there is one range; the others have several that may be begun.
    """
    return all(each.parameter.kind == "string" for each in probe) and all(
        each in probe or is_by_keys(each) for each in clauses
    )
