"""Cards, suggestions, actions, links: values that cannot break the specification.

CDS Hooks 2.0, "CDS Service Response". Each value checks its own rules when it is made and turns
itself into JSON without nulls and without empty members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

SUMMARY_LIMIT = 140
INDICATORS = ("info", "warning", "critical")


class CardError(ValueError):
    """A card that the specification does not allow; a mistake of ours, never shown to a client."""


@dataclass(frozen=True, slots=True)
class Coding:
    """A Coding with code and system; `display` is required where it is an override reason."""

    system: str
    code: str
    display: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the Coding as JSON."""
        _need(bool(self.system and self.code), "a Coding needs system and code")
        return _present(system=self.system, code=self.code, display=self.display)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the guidance comes from; `url` and `icon` are absolute."""

    label: str
    url: str = ""
    icon: str = ""
    topic: Coding | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the source as JSON."""
        _need(bool(self.label), "source.label is required")
        for text in (self.url, self.icon):
            _need(not text or _is_absolute(text), f"{text!r} is no absolute URL")
        return _present(
            label=self.label, url=self.url, icon=self.icon, topic=self.topic.as_json() if self.topic else None
        )


@dataclass(frozen=True, slots=True)
class Action:
    """One change inside a suggestion. `create` and `update` carry the whole resource."""

    type: str
    description: str
    resource: Mapping[str, Any] | None = None
    resource_id: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the action as JSON."""
        _need(self.type in ("create", "update", "delete"), f"{self.type!r} is no action type")
        _need(bool(self.description), "action.description is required")
        _need((self.type == "delete") == (self.resource is None), "create and update need a resource")
        _need((self.type == "delete") == bool(self.resource_id), "delete needs a resourceId")
        return _present(
            type=self.type,
            description=self.description,
            resource=dict(self.resource) if self.resource else None,
            resourceId=self.resource_id,
        )


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A set of changes that belong together; a person has to accept it."""

    label: str
    uuid: str
    actions: tuple[Action, ...] = ()
    is_recommended: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the suggestion as JSON."""
        _need(bool(self.label), "suggestion.label is required")
        return _present(
            label=self.label,
            uuid=self.uuid,
            isRecommended=self.is_recommended or None,
            actions=[action.as_json() for action in self.actions],
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A link: `absolute`, or `smart` for the launch of an app, which alone may carry a context."""

    label: str
    url: str
    type: str = "absolute"
    app_context: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the link as JSON."""
        _need(bool(self.label) and _is_absolute(self.url), "a link needs a label and an absolute URL")
        _need(self.type in ("absolute", "smart"), f"{self.type!r} is no link type")
        _need(not self.app_context or self.type == "smart", "appContext is for smart links only")
        return _present(label=self.label, url=self.url, type=self.type, appContext=self.app_context)


@dataclass(frozen=True, slots=True)
class Card:
    """One card. Raises CardError when the specification would not allow it."""

    uuid: str
    summary: str
    indicator: str
    source: Source
    detail: str = ""
    suggestions: tuple[Suggestion, ...] = ()
    selection_behavior: str = ""
    override_reasons: tuple[Coding, ...] = ()
    links: tuple[Link, ...] = ()
    extension: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _need(
            0 < len(self.summary) < SUMMARY_LIMIT,
            f"the summary has {len(self.summary)} characters, not 1 to 139",
        )
        _need(self.indicator in INDICATORS, f"{self.indicator!r} is no indicator")
        _need(
            bool(self.suggestions) == bool(self.selection_behavior), "selectionBehavior goes with suggestions"
        )
        _need(
            self.selection_behavior in ("", "at-most-one", "any"), "selectionBehavior is at-most-one or any"
        )
        recommended = sum(suggestion.is_recommended for suggestion in self.suggestions)
        _need(self.selection_behavior == "any" or recommended <= 1, "at-most-one allows one recommendation")
        _need(all(reason.display for reason in self.override_reasons), "an override reason needs a display")
        _need(all("." in name for name in self.extension), "extension names are reverse domain names")
        _need(all(isinstance(value, Mapping) for value in self.extension.values()), "extensions are objects")

    def as_json(self) -> dict[str, Any]:
        """Return the card as JSON, without null or empty members."""
        return _present(
            uuid=self.uuid,
            summary=self.summary,
            detail=self.detail,
            indicator=self.indicator,
            source=self.source.as_json(),
            suggestions=[suggestion.as_json() for suggestion in self.suggestions],
            selectionBehavior=self.selection_behavior,
            overrideReasons=[reason.as_json() for reason in self.override_reasons],
            links=[link.as_json() for link in self.links],
            extension={name: dict(value) for name, value in self.extension.items()},
        )


def response(cards: tuple[Card, ...] = ()) -> dict[str, Any]:
    """Return the body of an answer; `cards` alone may be empty. There are never systemActions.

    >>> response()
    {'cards': []}
    """
    return {"cards": [card.as_json() for card in cards]}


def _present(**members: Any) -> dict[str, Any]:
    # nothing is left out that says something: a zero does, and so does false
    return {name: value for name, value in members.items() if value or value == 0}


def _is_absolute(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("https", "http") and bool(parts.netloc)


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise CardError(message)
