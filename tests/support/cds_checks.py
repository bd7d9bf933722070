"""What CDS Hooks 2.0 says of an answer, asked of its JSON by code that shares nothing with what made it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

MEMBERS = {
    "card": {"uuid", "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior",
             "overrideReasons", "links", "extension"},
    "source": {"label", "url", "icon", "topic", "extension"},
    "suggestion": {"label", "uuid", "isRecommended", "actions", "extension"},
    "action": {"type", "description", "resource", "resourceId", "extension"},
    "link": {"label", "url", "type", "appContext", "extension"},
    "coding": {"code", "system", "display", "extension"},
}  # fmt: skip


def violations(answer: Any) -> list[str]:
    """Return everything that a body of status 200 breaks; nothing for a good one."""
    return list(_answer(answer))


def _answer(answer: Any) -> Iterator[str]:
    if not isinstance(answer, dict) or not isinstance(answer.get("cards"), list):
        yield "an answer is an object with a list of cards"
        return
    if set(answer) - {"cards", "extension"}:
        yield f"unexpected: {sorted(set(answer) - {'cards', 'extension'})}"
    for card in answer["cards"]:
        yield from _card(card)
        yield from _empties(card, "card")


def _empties(value: Any, place: str) -> Iterator[str]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        if part in (None, "", [], {}):
            yield f"{place}.{name} is null or empty"
        yield from _empties(part, f"{place}.{name}")


def _object(value: Any, kind: str, texts: tuple[str, ...], required: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"a {kind} is an object"
        return
    if unknown := set(value) - MEMBERS[kind]:
        yield f"a {kind} has no {sorted(unknown)}"
    for name in texts:
        if name in value and not isinstance(value[name], str):
            yield f"{kind}.{name} is a text"
    for name in required:
        if not value.get(name):
            yield f"{kind}.{name} is required"
    extension = value.get("extension", {"a.b": {}})
    if not isinstance(extension, Mapping) or not all(
        "." in name and isinstance(each, Mapping) for name, each in extension.items()
    ):
        yield f"{kind}.extension holds objects under reverse domain names"


def _card(card: Any) -> Iterator[str]:
    texts = ("uuid", "summary", "detail", "indicator", "selectionBehavior")
    yield from _object(card, "card", texts, ("summary", "indicator", "source"))
    try:
        UUID(card["uuid"])
    except (KeyError, ValueError):
        yield "card.uuid is a UUID here, as feedback needs one"
    if len(card.get("summary", "")) >= 140:
        yield "card.summary has fewer than 140 characters"
    if card.get("indicator") not in ("info", "warning", "critical"):
        yield "card.indicator is info, warning or critical"
    if re.search(r"<[A-Za-z/!]", card.get("detail", "")):
        yield "card.detail is Markdown without HTML"
    yield from _tables(card.get("detail", ""))
    yield from _source(card.get("source"))
    suggestions = card.get("suggestions", [])
    if bool(suggestions) != ("selectionBehavior" in card):
        yield "card.selectionBehavior goes with suggestions"
    if suggestions and card.get("selectionBehavior") not in ("at-most-one", "any"):
        yield "card.selectionBehavior is at-most-one or any"
    recommended = sum(bool(each.get("isRecommended")) for each in suggestions)
    if card.get("selectionBehavior") == "at-most-one" and recommended > 1:
        yield "at most one suggestion is recommended"
    for suggestion in suggestions:
        yield from _suggestion(suggestion)
    for reason in card.get("overrideReasons", []):
        yield from _coding(reason, ("code", "system", "display"))
    for link in card.get("links", []):
        yield from _link(link)


def _tables(detail: str) -> Iterator[str]:
    """Give what is wrong with the tables: GitHub drops cells beyond the head and pads missing ones.

    https://github.github.com/gfm/#tables-extension-
    """
    for block in re.split(r"\n\s*\n", detail):
        rows = [line.strip() for line in block.splitlines() if line.strip().startswith("|")]
        if not rows:
            continue
        cells = [len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows]
        if len(rows) < 2 or not re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", rows[1]):
            yield f"a table has a delimiter row below its head: {rows[0]}"
        if len(set(cells)) != 1 or not all(row.endswith("|") for row in rows):
            yield f"the rows of a table have as many cells as its head: {rows[0]}"
        if block.strip().splitlines()[0].strip() != rows[0]:
            yield f"a table does not begin within a paragraph: {rows[0]}"


def _source(source: Any) -> Iterator[str]:
    yield from _object(source, "source", ("label", "url", "icon"), ("label",))
    if not isinstance(source, dict):
        return
    for name in ("url", "icon"):
        if name in source and not _absolute(source[name]):
            yield f"source.{name} is absolute"
    if "topic" in source:
        yield from _coding(source["topic"], ("code", "system"))


def _suggestion(suggestion: Any) -> Iterator[str]:
    yield from _object(suggestion, "suggestion", ("label", "uuid"), ("label",))
    if not isinstance(suggestion.get("isRecommended", True), bool):
        yield "suggestion.isRecommended is a boolean"
    for action in suggestion.get("actions", []):
        yield from _object(action, "action", ("type", "description", "resourceId"), ("type", "description"))
        if action.get("type") not in ("create", "update", "delete"):
            yield "action.type is create, update or delete"
        resource = action.get("resource")
        if action.get("type") == "delete":
            if resource is not None or not action.get("resourceId"):
                yield "a delete has a resourceId and no resource"
        elif not isinstance(resource, dict) or not resource.get("resourceType"):
            yield "create and update have a whole resource"


def _link(link: Any) -> Iterator[str]:
    yield from _object(link, "link", ("label", "url", "type", "appContext"), ("label", "url", "type"))
    if link.get("type") not in ("absolute", "smart") or not _absolute(link.get("url", "")):
        yield "a link is absolute or smart, its URL absolute"
    if "appContext" in link and link.get("type") != "smart":
        yield "appContext is for smart links"


def _coding(coding: Any, required: tuple[str, ...]) -> Iterator[str]:
    yield from _object(coding, "coding", ("code", "system", "display"), required)


def _absolute(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.netloc)
