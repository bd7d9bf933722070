"""How often what is asked for may be there, as far as the question tells: few resources, many, or no key.

Nothing of the data is looked at. An identifier or a reference is such as few have, a code as many may.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.search import elements
from fhir_server.search.ast import All, Chain, Clause, Criterion, Either, Has
from fhir_server.search.conditions import COMPLEMENTS, by_row, is_indexed, is_on_rows

MANY_KEYS = 200  # looked up one by one, they bring what a stretch would not


def is_sparse(criteria: Sequence[Criterion]) -> bool:
    """Tell whether there is a key among the criteria that few resources have."""
    return frequency_of_all(criteria) == "few"


def frequency_of_all(criteria: Sequence[Criterion]) -> str | None:
    """Tell whether the keys that are asked for are such as few resources have, or many; None for no keys."""
    found = [_of(each) for each in criteria]
    return "few" if "few" in found else "many" if "many" in found else None


def _of(criterion: Criterion) -> str | None:
    match criterion:
        case Chain():
            return None if by_row(criterion) else "few"  # a filter would compare each key with all
        case Either(criteria):
            found = {_of(each) for each in criteria}
            if None in found:
                return "many" if is_indexed(criterion) else None
            return "many" if "many" in found else "few"
        case Has(_, _, Clause(parameter)) if parameter.code == "_id":
            return "few"
        case All(criteria):
            return frequency_of_all(criteria)
        case Clause(parameter, modifier, alternatives):
            if modifier in COMPLEMENTS or alternatives == (True,):
                return None
            if parameter.kind == "words":
                return "many"
            if parameter.code == "_id":
                return "few"
            if modifier == "missing":
                return "many"
            if parameter.kind == "special" or is_on_rows(criterion):
                return None
            if parameter.code.startswith("_") and modifier == "below" and parameter.kind == "uri":
                return None  # tried on one resource after the other
            if parameter.kind == "token":
                own = elements.facts(parameter).types
                if modifier in ("in", "above", "below"):
                    return "few" if _many_texts(alternatives) else "many"
                return "few" if modifier == "of-type" or (own and own <= {"Identifier", "id"}) else "many"
            if parameter.kind == "composite" or parameter.code.startswith("_"):
                return "many"
            return "few"
    return None


def _many_texts(alternatives: Sequence[object]) -> bool:
    """Tell whether so many keys are asked for that comparing them row by row is dearer than the index."""
    return sum(len(getattr(value, "texts", ())) for value in alternatives) > MANY_KEYS
