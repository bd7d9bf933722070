"""history of an instance, a type or the system (R4/http.html#history)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from fhir_server.authorization.permit import permit
from fhir_server.interactions import bundle
from fhir_server.interactions.context import Context, Result
from fhir_server.model import temporal
from fhir_server.outcome import Invalid, NotFound
from fhir_server.search import paging
from fhir_server.storage import history as versions
from fhir_server.storage import reader

PARAMETERS = ("_count", "_since", "_at", "_format", "_pretty", "_cursor")
"""What may stand in the query of a history."""


def history(
    context: Context, type_name: str | None, id_: str | None, pairs: Sequence[tuple[str, str]]
) -> Result:
    """Return a page of versions, newest first, as a history Bundle.

    `_count` bounds the page, `_since` gives versions made at or after an instant, `_at` those
    that were current at some time in a date, month or year.
    Raises NotFound (404) for an id that never was, Invalid (400) for an unknown parameter.
    """
    permit(context.grant, "history", type_name)
    values = _values(pairs)
    count = _count(context, values.get("_count"))
    span = _span(context, values)
    purpose = f"history {type_name or ''} {id_ or ''}"  # the three levels are walked in different orders
    cursor = values.get("_cursor")
    after = None if cursor is None else paging.unseal(context.cursor_key(), cursor, purpose)
    if id_ is not None and type_name is not None and reader.read(context.unit, type_name, id_) is None:
        raise NotFound(f"there is no {type_name} with the id {id_!r} here", expression=type_name)
    most_bytes = context.settings.max_response_bytes
    page = versions.history(context.unit, type_name, id_, span, count, after, most_bytes)
    base = "/".join(filter(None, (context.settings.base_url, type_name, id_, "_history")))
    kept = [(name, value) for name, value in values.items() if name in ("_count", "_since", "_at")]
    links = [("self", _url(base, kept))]
    if page.after is not None:
        cursor = paging.seal(context.cursor_key(), page.after, purpose)
        links.append(("next", _url(base, [*kept, ("_cursor", cursor)])))
    text = bundle.history(context.settings, context.now(), links, page.versions, None)
    return Result(200, text=text)


def _values(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    for name, _ in pairs:
        if name not in PARAMETERS:
            raise Invalid(f"a history has no parameter {name!r}; known are {', '.join(PARAMETERS)}")
    return dict(pairs)


def _count(context: Context, text: str | None) -> int:
    if text is None:
        return context.settings.default_count
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < 1:
        raise Invalid(f"_count is {text!r}; write a whole number from 1, for example _count=50")
    return min(int(text), context.settings.max_count)


def _span(context: Context, values: dict[str, str]) -> versions.Span:
    zone = context.settings.environment.zone
    since = temporal.interval(values["_since"], zone)[0] if "_since" in values else None
    low, high = temporal.interval(values["_at"], zone) if "_at" in values else (None, None)
    return versions.Span(since, low, high)


def _url(base: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{base}?{urlencode(pairs)}" if pairs else base
