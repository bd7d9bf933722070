"""A search in words: what became of its criteria, and in which shapes of statement its page is found.

For people who ask why a search is slow (docs/search.md, `_explain`). Words name parameters and counts;
the values stand in the statement.
"""

from __future__ import annotations

from fhir_server.search import absence, chart, ranged
from fhir_server.search.ast import All, Chain, Clause, Criterion, Either, Has, Not, Query
from fhir_server.search.conditions import COMPLEMENTS
from fhir_server.search.types.protocol import OnResource, Row, Texts
from fhir_server.search.types.table import TYPES

SHAPES = (
    ("as v from idx_text", "score: all resources that have the words are weighed, the best are taken"),
    (
        ranged.PART.expression,
        "range: the rows of one range of one index in their order, until the page is full",
    ),
    ("p as materialized", "few rows: if few fulfil the condition that tells most, those and their resources"),
    ("t as materialized", "targets: if the chain leads to few resources, those that refer to them"),
    ("h as materialized", "holders: if few have what _has asks for, what they refer to"),
    ("w as materialized", "stretch: the next resources in order are looked at, which may fill the page"),
    ("r.pk + 0", "keys: all that have the keys, by the GIN index, then put in order"),
)
WALK = "walk: resources in order, one after the other, until the page is full"
CHART = "chart: the patient's resources, newest first, by an index of their own"


def criteria(query: Query) -> list[str]:
    """Return what became of each criterion.

    >>> from fhir_server.search.parse import parse
    >>> criteria(parse("Patient", [("gender:not", "male")]))
    ['Patient.gender:not, a token: all else but those with the key']
    """
    parts = query.parts if query.parts is not None else (query,)
    return [criterion(each) for part in parts for each in part.clauses]


def criterion(criterion_: Criterion) -> str:
    """Return what became of one criterion."""
    match criterion_:
        case Clause():
            return _clause(criterion_)
        case Chain(reference, branches):
            inside = "; ".join(f"{target} with {criterion(each)}" for target, each in branches)
            return f"{reference.type_name}.{reference.code} leads to ({inside}): keys made of what is found"
        case Has(reference, _, inside_):
            return f"{reference.type_name}.{reference.code} comes from one with ({criterion(inside_)})"
        case Either(each):
            return " or ".join(f"({criterion(one)})" for one in each)
        case All(each):
            return " and ".join(f"({criterion(one)})" for one in each)
        case Not(inside_):
            return f"not ({criterion(inside_)})"


def _clause(clause: Clause) -> str:
    parameter, kind = clause.parameter, TYPES[clause.parameter.kind]
    name = f"{parameter.type_name}.{parameter.code}{f':{clause.modifier}' if clause.modifier else ''}"
    said = f"{name}, a {parameter.kind}"
    if parameter.sources and parameter.sources != (parameter.code,):
        said += f" (of {' and '.join(parameter.sources)})"
    if parameter.kind == "words":
        return f"{name}: words of the resource, by the index of words"
    if clause.modifier == "missing":
        if clause.alternatives[0] and absence.is_kept(parameter):
            return f"{said}: the key that says there is no value"
        absent = " is not there" if clause.alternatives[0] else ""
        return f"{said}: the key that says there is a value{absent}"
    matches = [kind.where(value, kind.columns) for value in clause.alternatives]
    keys = sum(len(each.texts) for each in matches if isinstance(each, Texts)) * max(
        1, len(parameter.sources)
    )
    found = []
    if keys:
        found.append("the key" if keys == 1 else f"one of {keys} keys")
    if any(isinstance(each, Row) for each in matches):
        found.append(f"a row of {kind.table}")
    if any(isinstance(each, OnResource) for each in matches):
        found.append("the resource's own row")
    words = " or ".join(found) or "nothing: no value can fulfil it"
    return f"{said}: {'all else but those with ' if clause.modifier in COMPLEMENTS else ''}{words}"


def shapes(query: Query, sql: str) -> list[str]:
    """Return the shapes that a page's statement is made of, in the order in which they are tried.

    >>> from fhir_server.search.compile import compile
    >>> from fhir_server.search.parse import parse
    >>> query = parse("Patient", [("gender", "male")])
    >>> [words.partition(":")[0] for words in shapes(query, compile(query, 20).sql)]
    ['stretch', 'keys']
    """
    if query.parts is None and chart.asked(query) is not None:
        return [CHART]
    found = [words for sign, words in SHAPES if sign in sql]
    whole = query.parts is None and (SHAPES[-1][1] in found or SHAPES[1][1] in found)
    return found if whole else [*found, WALK]
