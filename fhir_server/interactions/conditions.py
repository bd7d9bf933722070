"""Conditions: criteria that shall match one resource at most (R4/http.html#ccreate, #cond-update).

Identical criteria never race: before the search, a unit takes the advisory lock of their
canonical form (the parsed search, its clauses sorted, so that order and escapes do not
matter) and holds it until it commits. A plain create that happens to fit somebody's criteria
takes no such lock: against those nothing is promised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fhir_server.interactions.codes import SearchCodes
from fhir_server.interactions.context import Context
from fhir_server.outcome import Invalid, MultipleMatches
from fhir_server.search.ast import Query
from fhir_server.search.compile import compile_ids
from fhir_server.search.parse import parse


@dataclass(frozen=True, slots=True)
class Criteria:
    """Parsed criteria on one type, and how they were written."""

    type_name: str
    text: str
    query: Query


def criteria(context: Context, type_name: str, text: str) -> Criteria:
    """Parse criteria such as `identifier=urn:a|1`, strictly.

    Raises Invalid (400) for criteria that are empty, unknown, or ask for sorting or paging.
    """
    # some clients repeat the type, as an example of the specification does: Patient?identifier=…
    text = text.removeprefix(type_name).removeprefix("?")
    pairs = parse_qsl(text, keep_blank_values=True)
    settings = context.settings
    query = parse(
        type_name,
        pairs,
        base_urls=settings.base_urls,
        time_zone=settings.environment.zone,
        now=context.clock(),
        registry=context.searchable(),
        codes=SearchCodes(context),
    )
    if not query.clauses:
        raise Invalid(
            f"the criteria {text!r} name no search parameter; give for example identifier=system|value",
            expression=type_name,
        )
    return Criteria(type_name, text, query)


def lock(context: Context, all_criteria: Iterable[Criteria]) -> None:
    """Lock all criteria of a unit; to be called once, before the first of them is searched."""
    context.unit.lock(criteria.query.canonical() for criteria in all_criteria)


def match(context: Context, criteria: Criteria) -> str | None:
    """Return the id of the one resource that the criteria match, None when there is none.

    Raises MultipleMatches (412).
    """
    statement = compile_ids(criteria.query, limit=2)
    rows = context.unit.execute(statement.sql, statement.parameters)
    if len(rows) > 1:
        raise MultipleMatches(
            f"{criteria.type_name}?{criteria.text} matches several resources, for example "
            f"{rows[0][0]} and {rows[1][0]}; it may match one at most",
            expression=criteria.type_name,
        )
    return rows[0][0] if rows else None
