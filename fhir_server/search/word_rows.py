"""Conditions on idx_text, which has the words of a resource in one row (search/readable.py)."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.schema.names import TENANT
from fhir_server.search.ast import Clause
from fhir_server.search.sql import Sql, select
from fhir_server.search.types.words import together

WORDS = "idx_text"


def has_words(alias: str, name: str, clauses: Sequence[Clause], at_hand: bool) -> Sql:
    """Return that the words of a resource answer all of the clauses; `name` is a free alias.

    Where resources are `at_hand` the words of each are looked at, in a subselect that is never turned
    round into a join; else the index is free to find them.
    """
    own, query = f"{name}.tenant = {TENANT} and {name}.pk = {alias}.pk", together(clauses)
    if at_hand:
        return Sql(
            f"coalesce((select {name}.words @@ %s::tsquery from {WORDS} {name} where {own}), false)", (query,)
        )
    return Sql(f"exists (select from {WORDS} {name} where {own} and {name}.words @@ %s::tsquery)", (query,))


def words_source(clauses: Sequence[Clause]) -> Sql:
    """Select the pks of the rows of words that answer all of the clauses."""
    condition = Sql(f"i.tenant = {TENANT} and i.words @@ %s::tsquery", (together(clauses),))
    return select("i.pk", f"{WORDS} i", condition)
