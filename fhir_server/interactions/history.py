"""history of an instance, a type or the system (R4/http.html#history)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from fhir_server.authorization.permit import permit
from fhir_server.interactions import bundle, search_type
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.drafts import ID
from fhir_server.model import json_format, references, summary, temporal
from fhir_server.outcome import Invalid, NotFound, TooCostly
from fhir_server.search import paging
from fhir_server.search.keys import rid
from fhir_server.search.lists import FUNCTIONAL
from fhir_server.storage import history as versions
from fhir_server.storage import reader
from fhir_server.storage.version import Version

PARAMETERS = (
    "_count", "_since", "_at", "_list", "_sort", "_summary", "_elements", "_format", "_pretty", "_cursor",
)  # fmt: skip
"""What may stand in the query of a history."""

KEPT = ("_count", "_since", "_at", "_list", "_sort", "_summary", "_elements")
"""Those that the links of a page repeat."""

ORDERS = {"-_lastUpdated": False, "_lastUpdated": True}
"""What `_sort` can be, and whether the oldest come first."""


def history(
    context: Context, type_name: str | None, id_: str | None, pairs: Sequence[tuple[str, str]]
) -> Result:
    """Return a page of versions as a history Bundle, the newest first unless `_sort` says otherwise.

    `_count` bounds the page, `_since` gives versions made at or after an instant, `_at` those
    that were current at some time in a date, month or year, `_list` those of what a List names.
    Raises NotFound (404) for an id that never was, Invalid (400) for an unknown parameter.
    """
    permit(context.grant, "history", type_name)
    values = _values(pairs)
    count = _count(context, values.get("_count"))
    part = _part(values)
    span = _span(context, values)
    oldest_first = _oldest_first(values.get("_sort", "-_lastUpdated"))
    # the three levels, and both directions, are walked in different orders
    purpose = f"history {type_name or ''} {id_ or ''}{' oldest first' if oldest_first else ''}"
    cursor = values.get("_cursor")
    after = None if cursor is None else paging.unseal(context.cursor_key(), cursor, purpose)
    if id_ is not None and type_name is not None and reader.read(context.unit, type_name, id_) is None:
        raise NotFound(f"there is no {type_name} with the id {id_!r} here", expression=type_name)
    most_bytes = context.settings.max_response_bytes
    page = versions.history(
        context.unit, type_name, id_, span, count, after, most_bytes, oldest_first=oldest_first
    )
    base = "/".join(filter(None, (context.settings.base_url, type_name, id_, "_history")))
    kept = [(name, value) for name, value in values.items() if name in KEPT]
    links = [("self", _url(base, kept if cursor is None else [*kept, ("_cursor", cursor)]))]
    if cursor is not None:
        links.append(("first", _url(base, kept)))
    if page.after is not None:
        cursor = paging.seal(context.cursor_key(), page.after, purpose)
        links.append(("next", _url(base, [*kept, ("_cursor", cursor)])))
    text = bundle.history(context.settings, context.now(), links, page.versions, None, part)
    return Result(200, text=text)


def _values(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            raise Invalid(f"a history has no parameter {name!r}; known are {', '.join(PARAMETERS)}")
        if values.setdefault(name, value) != value:
            raise Invalid(f"{name} is given twice, with different values")
    return values


def _oldest_first(text: str) -> bool:
    if text not in ORDERS:
        raise Invalid(f"_sort is {text!r}; a history can be sorted by {' or '.join(ORDERS)}")
    return ORDERS[text]


def _part(values: dict[str, str]) -> Callable[[Version], str] | None:
    """Return what makes the part of a version that _summary or _elements ask for (R4/search.html#summary)."""
    mode, elements = values.get("_summary"), values.get("_elements")
    if mode is not None and mode not in SUMMARIES:
        raise Invalid(f"_summary={mode} is not possible on a history; {', '.join(SUMMARIES)} are")
    if elements is None and mode in (None, "false"):
        return None
    names = [name.strip() for name in (elements or "").split(",") if name.strip()]

    def part(version: Version) -> str:
        # an element that this type does not have may be meant for another one
        wanted = summary.existing(version.type_name, names) if names else mode or ""
        resource = json_format.parse(version.text().encode())
        return json_format.encode(summary.subset(resource, wanted)).decode()

    return part


SUMMARIES = ("true", "text", "data", "false")


def _count(context: Context, text: str | None) -> int:
    if text is None:
        return context.settings.default_count
    if not (text.isascii() and text.isdigit() and len(text) < 100) or int(text) < 1:
        raise Invalid(f"_count is {text!r}; write a whole number from 1, for example _count=50")
    return min(int(text), context.settings.max_count)


def _span(context: Context, values: dict[str, str]) -> versions.Span:
    zone = context.settings.environment.zone
    since = temporal.interval(values["_since"], zone)[0] if "_since" in values else None
    low, high = temporal.interval(values["_at"], zone) if "_at" in values else (None, None)
    among = _listed(context, values["_list"]) if "_list" in values else None
    return versions.Span(since, low, high, among)


def _listed(context: Context, id_: str) -> list[str]:
    """Return the rids of the resources of this server that a List names, or the current ones of a kind."""
    if id_ in FUNCTIONAL:
        return _current(context, id_)
    if not ID.match(id_):
        raise Invalid(
            f"_list is {id_!r}; write the id of a List that is stored here, or one of {', '.join(FUNCTIONAL)}"
        )
    permit(context.grant, "read", "List")
    version = reader.read(context.unit, "List", id_)
    if version is None or version.deleted:
        return []
    return _items(context, json_format.parse(version.text().encode()))


def _current(context: Context, name: str) -> list[str]:
    """Return the rids of what the current Lists of a kind name (R4/lifecycle.html#current)."""
    asked = FUNCTIONAL[name]
    if asked.category is not None:  # which of the entries is told by them and not by the List
        found = _all_of(context, "AllergyIntolerance", [("_list", name)], name)
        return [rid("AllergyIntolerance", each["id"]) for each in found]
    criteria = [("code", ",".join(asked.codes)), ("status", "current")]
    return [item for each in _all_of(context, "List", criteria, name) for item in _items(context, each)]


def _all_of(context: Context, type_name: str, pairs: list[tuple[str, str]], name: str) -> list[Resource]:
    found = search_type.resources(context, type_name, pairs)
    if len(found) >= context.settings.max_count:
        raise TooCostly(f"_list={name} is {len(found)} resources or more; name one List by its id")
    return found


def _items(context: Context, of_list: Resource) -> list[str]:
    found = []
    for entry in of_list.get("entry", []):
        item = references.parse(entry.get("item", {}).get("reference", ""), context.settings.base_urls)
        if item.kind == "local" and item.type is not None and item.id is not None:
            found.append(rid(item.type, item.id))
    return found


def _url(base: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{base}?{urlencode(pairs)}" if pairs else base
