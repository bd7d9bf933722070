"""How well the words of a resource fit what is asked: `search.score`, `_sort=_score` (R4/search.html#score).

A number above 0 and at most 1: Postgres' ts_rank of the words, each place of a word counting alike,
divided by the logarithm of how many words the resource has; with several `_text` and `_content` their mean.
It depends on the resource and the question alone, so it is the same on every page, and pages go on by it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.outcome import Invalid
from fhir_server.schema.names import TENANT
from fhir_server.search import nearness
from fhir_server.search.ast import Clause, Query, Sort
from fhir_server.search.order import Key, key
from fhir_server.search.results import SCORE
from fhir_server.search.sql import Sql
from fhir_server.search.types.words import asked, together
from fhir_server.search.word_rows import WORDS

BY_LENGTH = 1  # ts_rank: divide by 1 + the logarithm of the length


def is_key(sort: Sort) -> bool:
    """Tell whether a sort key is the score."""
    return sort.parameter.code == SCORE


def key_of(query: Query, sort: Sort, number: int) -> Key:
    """Return a sort key, which may be the score or a distance, that is looked up for each candidate.

    Raises Invalid (400) for the score where no words are asked for, so that nothing has one.
    """
    if nearness.is_key(sort):
        return nearness.key_of(query, sort, number)
    if not is_key(sort):
        return key(sort, number)
    expression = rank(asked(query.clauses), "i")
    if not expression.text:
        raise Invalid("_sort=_score needs words to score by: _text or _content, not in a chain")
    join = Sql(
        f" join lateral (select {expression.text} as v from {WORDS} i where i.tenant = {TENANT} "
        f"and i.pk = r.pk) s{number} on true",
        expression.parameters,
    )
    return Key(f"s{number}.v", "real", sort.descending, False, join)


def of(query: Query) -> Sql:
    """Return the score of the resource `r` of a page; null where no words are asked for."""
    expression = rank(asked(query.clauses), "i")
    if not expression.text:
        return Sql("null::real")
    return Sql(
        f"(select {expression.text} from {WORDS} i where i.tenant = {TENANT} and i.pk = r.pk)",
        expression.parameters,
    )


def rank(clauses: Sequence[Clause], alias: str) -> Sql:
    """Return the score of a row of words, an empty text where none are asked for."""
    each = f"ts_rank('{{1,1,1,1}}', {alias}.words, %s::tsquery, {BY_LENGTH})"
    queries = tuple(together([clause]) for clause in clauses)
    if len(queries) < 2:
        return Sql(each if queries else "", queries)
    return Sql(f"(({' + '.join([each] * len(queries))}) / {len(queries)})::real", queries)


def weighed(clauses: Sequence[Clause]) -> Sql:
    """Select pk and score `v` of all rows of words that answer the clauses; each is weighed once."""
    expression = rank(clauses, "i")
    return Sql(
        f"select i.pk, {expression.text} as v from {WORDS} i where i.tenant = {TENANT} "
        "and i.words @@ %s::tsquery offset 0",
        (*expression.parameters, together(clauses)),
    )
