"""Conditions: criteria that say on what a write works (R4/http.html#ccreate, #cond-update, #cdelete).

Conditional writes never race each other: before the search, a unit takes advisory locks and holds them
until it commits. One is that of the canonical form of its criteria (the parsed search, its clauses
sorted, so that order and escapes do not matter). The others are those of the identifiers that its
criteria ask for and that its own body carries: so whoever would write what another one's criteria look
for by identifier waits for him, however the two are spelled. What a match found is locked and looked at
again (`hold`). A plain create takes none of these locks; docs/concurrency.md says what that means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fhir_server.database.unit_of_work import RunAgain
from fhir_server.interactions.codes import SearchCodes
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.stored import StoredValues
from fhir_server.outcome import Invalid, MultipleMatches
from fhir_server.search import results
from fhir_server.search.ast import Clause, Query
from fhir_server.search.compile import compile_ids
from fhir_server.search.parse import parse
from fhir_server.storage import writer
from fhir_server.storage.version import Version

COUNTED = 10_000
"""How far matches are counted that are too many."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """Parsed criteria on one type, and how they were written."""

    type_name: str
    text: str
    query: Query

    def __str__(self) -> str:
        return f"{self.type_name}?{self.text}"


def criteria(context: Context, type_name: str, text: str, *, countable: bool = False) -> Criteria:
    """Parse criteria such as `identifier=urn:a|1`, strictly; with `countable` they may have a `_count`.

    Raises Invalid (400) for criteria that are empty, unknown, or ask for sorting, paging or includes.
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
        stored=StoredValues(context.unit.execute),
    )
    if not query.clauses:
        raise Invalid(
            f"the criteria {text!r} name no search parameter; give for example identifier=system|value",
            expression=type_name,
        )
    for name, _ in query.applied:
        if name.partition(":")[0] in results.NAMES and not (countable and name == "_count"):
            raise Invalid(
                f"{name} shapes the answer of a search; criteria of a write take what a resource must match",
                expression=type_name,
            )
    return Criteria(type_name, text, query)


def lock(context: Context, asked: Iterable[Criteria], bodies: Iterable[Resource | None] = ()) -> None:
    """Lock all criteria of a unit; to be called once, before the first of them is searched.

    `bodies` are the resources that it will write where its criteria match nothing.
    """
    names = [name for criteria in asked for name in _asked_for(criteria.query)]
    context.unit.lock([*names, *(name for body in bodies if body is not None for name in _carried(body))])


def _asked_for(query: Query) -> Iterator[str]:
    """Yield the names of the locks of criteria."""
    yield query.canonical()
    for clause in query.clauses:
        if isinstance(clause, Clause) and clause.parameter.code == "identifier":
            for value in clause.alternatives:
                if isinstance(code := getattr(value, "code", None), str) and code:
                    yield f"{query.type_name} identifier {code}"


def _carried(resource: Resource) -> Iterator[str]:
    """Yield the names of the locks of the identifiers that a resource carries.

    >>> list(_carried({"resourceType": "Patient", "identifier": [{"system": "urn:a", "value": "1"}]}))
    ['Patient identifier 1']
    """
    found = resource.get("identifier")
    for identifier in found if isinstance(found, list) else [found]:
        if isinstance(identifier, dict) and isinstance(value := identifier.get("value"), str):
            yield f"{resource.get('resourceType')} identifier {value}"


def match(context: Context, criteria: Criteria) -> str | None:
    """Return the id of the one resource that the criteria match, None when there is none.

    Raises MultipleMatches (412).
    """
    found = _ids(context, criteria, 2)
    if len(found) > 1:
        raise MultipleMatches(
            f"{criteria} matches several resources, for example {found[0]} and {found[1]}; "
            "it may match one at most",
            expression=criteria.type_name,
        )
    return found[0] if found else None


def match_several(context: Context, criteria: Criteria, most: int) -> list[str]:
    """Return the ids of all resources that the criteria match, sorted.

    Raises MultipleMatches (412) when they are more than `most`, and says how many they are.
    """
    found = _ids(context, criteria, most + 1)
    if len(found) > most:
        found = _ids(context, criteria, COUNTED + 1)
        many = f"more than {COUNTED}" if len(found) > COUNTED else f"{len(found)}"
        raise MultipleMatches(
            f"{criteria} matches {many} resources, but {most} at most may be deleted at once "
            "(setting max_conditional_deletes, and _count where it is less); nothing was deleted. "
            "Narrow the criteria, or delete by id",
            expression=criteria.type_name,
        )
    return sorted(found)


def hold(context: Context, criteria: Criteria, ids: Sequence[str]) -> dict[str, Version]:
    """Lock what the criteria matched and return its versions; the unit begins again where that changed.

    Between the search and the lock somebody may have changed or deleted it by its id.
    """
    locked = writer.lock(context.unit, [(criteria.type_name, id_) for id_ in ids])
    still_match(context, criteria, ids)
    return {id_: version for (_, id_), version in locked.items()}


def still_match(context: Context, criteria: Criteria, ids: Sequence[str]) -> None:
    """Begin the unit again unless the criteria still match what is now locked, and nothing else."""
    if sorted(_ids(context, criteria, len(ids) + 1)) != sorted(ids):
        raise RunAgain


def _ids(context: Context, criteria: Criteria, limit: int) -> list[str]:
    statement = compile_ids(criteria.query, limit=limit)
    return [row[0] for row in context.unit.execute(statement.sql, statement.parameters)]
