"""search-type (R4/http.html#search): the conductor of a search, one line a stage.

    parse → narrow → compile → rows → includes → total → Bundle

An answer made of several statements reads all of them in one snapshot. The text of the
resources goes out as it is stored, unless `_summary` or `_elements` asks for a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import zip_longest
from typing import Any
from urllib.parse import urlencode

from fhir_server.authorization.permit import narrow, permit
from fhir_server.interactions import bundle, explain, named_queries, published, totals, versioned
from fhir_server.interactions.codes import SearchCodes
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.parameters import Searchable
from fhir_server.interactions.stored import StoredValues
from fhir_server.model import json_format, summary
from fhir_server.outcome import Invalid, Issue
from fhir_server.search import include, nearness, paging, results
from fhir_server.search.ast import Query
from fhir_server.search.compile import SCORE, Statement, compile, position_of
from fhir_server.search.contained import compile_contained, fragment_of, place_of
from fhir_server.search.kept import KEPT
from fhir_server.search.named import MAY
from fhir_server.search.order import Position
from fhir_server.search.parse import Reader, parse
from fhir_server.search.types.protocol import Environment
from fhir_server.storage import full_text
from fhir_server.storage.apart import whole
from fhir_server.storage.version import Version, from_search

_WORDED = re.compile(r"_(?:text|content)\b")
CURSOR = "_cursor"
"""The parameter of our paging links; it holds the whole search, sealed."""

ROUNDS = 8
"""How often `:iterate` goes on; deeper graphs are cut, and the answer says so."""

Pairs = Sequence[tuple[str, str]]


def search(context: Context, type_name: str, pairs: Pairs, *, strict: bool = True) -> Result:
    """Return one page of the resources of a type that match, as a searchset Bundle.

    With `strict` unknown parameters are refused; else they are left out, and the Bundle says so.
    Raises Invalid (400).
    """
    permit(context.grant, "search-type", type_name)
    return conduct(context, type_name, pairs, lambda asked: parsed(context, type_name, asked, strict))


def conduct(context: Context, path: str, pairs: Pairs, query_of: Callable[[Pairs], Query]) -> Result:
    """Return one page of a search as a searchset Bundle.

    `path` is its address below our base, `query_of` makes a Query of its pairs.
    """
    explained, pairs = explain.asked(pairs)
    asked, position = _opened(context, path, pairs)
    query = query_of(asked)
    if cut_words := _cut_words(context, query):
        query = replace(query, issues=(*query.issues, *cut_words))
    limit = min(query.count or context.settings.default_count, context.settings.max_count)
    if explained is not None:
        return explain.explanation(context, query, limit, position, explained)
    if query.summary == "count" or query.count == 0:
        return _counted(context, path, query)
    if query.includes or query.total != "none" or nearness.asked(query) is not None:
        context.unit.snapshot()
    most_bytes = context.settings.max_response_bytes
    statement = _statement(context, query, limit + 1, position)
    rows, matches, more = _page(context, statement, limit, most_bytes)
    included, cut = _included(context, query, matches)
    beside = published.matches(context, query)
    shown = beside if position is None else []
    counted: totals.Total | None = None
    if query.total != "none":
        whole_page = position is None and not more
        known = len(matches) + more
        counted = totals.Total(len(matches)) if whole_page else totals.total(context, query, known)
    total = None if counted is None else counted.number + len(beside)
    links = _links(context, path, query, position, rows, more)
    issues = (*query.issues, *cut, *(() if counted is None else counted.issues))
    text = bundle.searchset(
        context.settings,
        context.now(),
        links,
        [*_entries(context, query, shown, "match"), *_matches(context, query, matches, rows)],
        _entries(context, query, included, "include"),
        total,
        issues,
    )
    fragments = [] if query.contained == "false" else [fragment_of(row) for row in rows]
    return Result(200, text=text, tag=_tag([*links, fragments], [*shown, *matches, *included], total, issues))


def _statement(context: Context, query: Query, limit: int, position: Position | None) -> Statement:
    if query.contained != "false":
        return compile_contained(query, limit, position)
    return KEPT.statement(query, limit, position, context.frequencies())


def _tag(
    links: Sequence[Any], versions: Sequence[Version], total: int | None, issues: Sequence[Issue]
) -> str:
    """Return what tells two pages apart: which versions are in it, and all else that it says.

    The same versions are the same text, so nothing has to be hashed but their numbers; and as it is made
    of the answer itself, it is right whatever is written meanwhile.
    """
    said = repr((links, [(each.pk, each.version) for each in versions], total, issues))
    return blake2b(said.encode(), digest_size=12).hexdigest()


def resources(context: Context, type_name: str, pairs: Pairs) -> list[Resource]:
    """Return the first page of matches as JSON, for callers in Python; `_count` bounds it."""
    permit(context.grant, "search-type", type_name)
    query = parsed(context, type_name, pairs, strict=True)
    limit = min(query.count or context.settings.max_count, context.settings.max_count)
    _, matches, _ = _page(context, compile(query, limit, frequencies=context.frequencies()), limit, None)
    return [json_format.parse(match.text().encode()) for match in matches]


def _opened(context: Context, path: str, pairs: Pairs) -> tuple[Pairs, Position | None]:
    """Return the search and the place in it that a paging link stands for."""
    for name, value in pairs:
        if name == CURSOR:
            if other := next((name for name, _ in pairs if name not in (CURSOR, "_format", "_pretty")), None):
                raise Invalid(
                    f"{other} beside {CURSOR}: a page link holds the whole search and takes nothing more"
                )
            return paging.unseal_page(context.cursor_key(), path, value)
    return pairs, None


def parsed(context: Context, type_name: str, pairs: Pairs, strict: bool) -> Query:
    """Return the search on one type that pairs ask for, inside what the caller may see."""
    searchable = context.searchable()
    named = named_queries.asked(context.unit, type_name, pairs)
    if named is None:
        query = _read(context, type_name, pairs, strict, searchable)
    else:
        definition, own, others = named
        query = _read(context, type_name, others, strict, searchable)
        meant = _read(context, type_name, definition.filled(own), True, searchable)
        query = _together(query, meant, ((named_queries.QUERY, definition.code), *own))
    if warnings := searchable.warnings():
        query = replace(query, issues=(*query.issues, *warnings))
    return narrow(context.grant, query, reading(context, type_name))


def _together(query: Query, meant: Query, named: Pairs) -> Query:
    """Return a search with what a named query means beside it; `self` tells its name and parameters."""
    if query.contained != "false":
        raise Invalid(f"_contained={query.contained} and _query exclude each other")
    if query.summary == "text" and meant.includes:
        raise Invalid("_summary=text and what the named query includes exclude each other")
    if shaping := [name for name, _ in meant.applied if name in results.NAMES and name not in MAY]:
        raise Invalid(f"the definition of the named query has {shaping[0]}, which only who asks can give")
    return replace(
        query,
        clauses=query.clauses + meant.clauses,
        sort=query.sort or meant.sort,
        includes=tuple(dict.fromkeys(query.includes + meant.includes)),
        count=meant.count if query.count is None else query.count,
        applied=(*named, *query.applied),
        issues=(*query.issues, *meant.issues),
    )


def _read(context: Context, type_name: str, pairs: Pairs, strict: bool, searchable: Searchable) -> Query:
    settings = context.settings
    return parse(
        type_name,
        pairs,
        strict=strict,
        base_urls=settings.base_urls,
        time_zone=settings.environment.zone,
        now=context.clock(),
        registry=searchable,
        codes=SearchCodes(context),
        stored=StoredValues(context.unit.execute, context.unit.execute_prepared),
        full_text=settings.environment.full_text,
    )


def reading(context: Context, type_name: str) -> Callable[[], Reader]:
    """Return what makes a reader of criteria for those who narrow a search on a type."""
    return lambda: Reader(type_name, context.settings.environment, context.searchable())


def _cut_words(context: Context, query: Query) -> tuple[Issue, ...]:
    """Return what a search by words may lack: resources that have more of them than are indexed."""
    asked = [name for name, text in query.applied if _WORDED.search(text if name == "_filter" else name)]
    if not asked:
        return ()
    found = full_text.cut(context.unit)
    if all(name in ("_text", "_content") for name in asked):
        searched = {query.type_name} if query.parts is None else {part.type_name for part in query.parts}
        found = {name: number for name, number in found.items() if name in searched}
    if not found:
        return ()
    several = " and ".join(f"{number} {name}" for name, number in found.items())
    said = f"{several} resources have more words than are indexed; behind the first ones nothing is found"
    return (Issue("warning", "incomplete", said),)


def environment(context: Context) -> Environment:
    """Return what values mean in a search of this unit."""
    return replace(
        context.settings.environment,
        now=context.clock(),
        codes=SearchCodes(context),
        stored=StoredValues(context.unit.execute, context.unit.execute_prepared),
    )


Row = tuple[Any, ...]


def _page(
    context: Context, statement: Statement, limit: int, most_bytes: int | None
) -> tuple[list[Row], list[Version], bool]:
    """Return up to `limit` rows in the order of the search, as versions too, and whether there are more.

    They are fewer where their contents are more than `most_bytes`: the page ends there.
    """
    rows = _rows(context, statement)
    matches = whole(context.unit, (from_search(row) for row in rows[:limit]), most_bytes)
    more = len(rows) > len(matches)
    rows = rows[: len(matches)]
    return (rows[::-1], matches[::-1], more) if statement.backward else (rows, matches, more)


def _rows(context: Context, statement: Statement) -> list[Row]:
    if statement.first is not None:
        rows = _rows(context, statement.first)
        if not rows or rows[-1][0] is not None:
            return rows
    execute = context.unit.execute_prepared if statement.settled else context.unit.execute
    return execute(statement.sql, statement.parameters)


def _included(
    context: Context, query: Query, matches: Sequence[Version]
) -> tuple[list[Version], tuple[Issue, ...]]:
    """Return what _include and _revinclude add, each resource once."""
    if not query.includes:
        return [], ()
    includes = query.includes
    new = [include.Found(match.pk, match.type_name, match.id) for match in matches]
    known = {match.pk for match in matches}
    added: list[Version] = []
    most = context.settings.max_includes
    for _ in range(ROUNDS):
        if not includes or not new:
            break
        statements = include.statements(includes, new, known, most + 1, registry=context.searchable())
        new = []
        for statement in statements:
            for row in _rows(context, statement):
                version = from_search(row)
                if version.pk not in known:
                    known.add(version.pk)
                    added.append(version)
                    new.append(include.Found(version.pk, version.type_name, version.id))
        if len(added) > most:
            break
        includes = tuple(each for each in includes if each.iterate)
    most_bytes = context.settings.max_response_bytes
    fitting = whole(context.unit, added[:most], most_bytes)
    here = len(fitting) == len(added)
    followed = [*matches, *fitting] if any(each.iterate for each in query.includes) else matches
    exact = versioned.exact(context, query.includes, followed, fitting)
    fitting = whole(context.unit, exact, most_bytes)
    if not here or len(fitting) < len(exact):
        cut = f"only the first {len(fitting)} included resources are here; ask for fewer matches with _count"
        return fitting, (Issue("warning", "incomplete", cut),)
    if includes and new:
        deep = f":iterate was followed {ROUNDS} times, not further"
        return fitting, (Issue("warning", "incomplete", deep),)
    return fitting, ()


def _entries(
    context: Context,
    query: Query,
    versions: Sequence[Version],
    mode: str,
    scores: Sequence[float | None] = (),
    extensions: Mapping[int, str] = bundle.NOTHING,
) -> list[str]:
    wanted = _wanted(query)
    if wanted is None:
        return bundle.entries(context.settings, versions, mode, scores, extensions)
    return [
        bundle.entry(
            context.settings,
            version,
            _part(query, version, wanted),
            mode,
            score,
            extension=extensions.get(version.pk),
        )
        for version, score in zip_longest(versions, scores)
    ]


def _matches(context: Context, query: Query, matches: Sequence[Version], rows: Sequence[Row]) -> list[str]:
    """Return entries of what was found: contained resources under their container's address with `#id`."""
    if query.contained_type == "container" or query.contained == "false":
        distances = _distances(context, query, matches)
        return _entries(context, query, matches, "match", [row[SCORE] for row in rows], distances)
    entries: list[str] = []
    for version, row in zip(matches, rows, strict=True):
        if (fragment := fragment_of(row)) is None:
            entries += _entries(context, query, (version,), "match")
        else:
            text = _contained_text(query, version, fragment)
            entries.append(bundle.entry(context.settings, version, text, "match", fragment=fragment))
    return entries


def _distances(context: Context, query: Query, matches: Sequence[Version]) -> Mapping[int, str]:
    """Return how far each match is from what `near` names: extensions by pk (R4/location.html#search)."""
    places = nearness.asked(query)
    if places is None or not matches or query.contained != "false":
        return bundle.NOTHING
    statement = nearness.distances(places, [each.pk for each in matches])
    rows = context.unit.execute(statement.text, statement.parameters)
    return {pk: json_format.encode(nearness.told(metres)).decode() for pk, metres in rows}


def _contained_text(query: Query, version: Version, fragment: str) -> str:
    contained = json_format.parse(version.text().encode())["contained"]
    resource = next(each for each in contained if each.get("id") == fragment)
    wanted = _wanted(query)
    return json_format.encode(resource if wanted is None else summary.subset(resource, wanted)).decode()


def _wanted(query: Query) -> str | tuple[str, ...] | None:
    """Return which part of a resource is asked for; None for the whole."""
    return query.elements or (query.summary if query.summary not in (None, "false") else None)


def _part(query: Query, version: Version, wanted: str | tuple[str, ...]) -> str:
    if query.elements and version.type_name != query.type_name:
        # Names without a type were meant for the matches; an included resource may have other elements.
        wanted = summary.existing(version.type_name, query.elements)
    resource = json_format.parse(version.text().encode())
    return json_format.encode(summary.subset(resource, wanted)).decode()


def _counted(context: Context, path: str, query: Query) -> Result:
    """Return a Bundle with the number of matches and no entries (_summary=count)."""
    links = [("self", _address(context, path, query))]
    counted = totals.total(context, query)
    number = counted.number + len(published.matches(context, query))
    issues = (*query.issues, *counted.issues)
    text = bundle.searchset(context.settings, context.now(), links, (), total=number, issues=issues)
    return Result(200, text=text, tag=_tag(links, (), number, issues))


def _links(
    context: Context,
    path: str,
    query: Query,
    position: Position | None,
    rows: Sequence[Row],
    more: bool,
) -> list[bundle.Link]:
    """Return self, and the neighbours of this page as far as there are any."""
    here = _address(context, path, query)
    links = [("self", here)]
    backward = position is not None and position.backward
    place = position_of if query.contained == "false" else place_of
    if position is not None:
        links.append(("first", here))
    if rows and (more or backward):
        links.append(("next", _cursor_address(context, path, query, place(rows[-1]))))
    if rows and position is not None and (more or not backward):
        links.append(("previous", _cursor_address(context, path, query, place(rows[0], backward=True))))
    return links


def _base(context: Context, path: str) -> str:
    return f"{context.settings.base_url}/{path}" if path else context.settings.base_url


def _address(context: Context, path: str, query: Query) -> str:
    base = _base(context, path)
    return f"{base}?{urlencode(query.applied)}" if query.applied else base


def _cursor_address(context: Context, path: str, query: Query, position: Position) -> str:
    """Return a link that goes on with this search from `position`; nothing of it is readable there."""
    sealed = paging.seal_page(context.cursor_key(), path, query.applied, position)
    return f"{_base(context, path)}?{CURSOR}={sealed}"
