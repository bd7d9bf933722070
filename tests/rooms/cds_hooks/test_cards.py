"""Cards keep the rules of CDS Hooks 2.0 or are not made."""

from __future__ import annotations

from typing import Any

import pytest

from cds_hooks.cards import Action, Card, CardError, Coding, Link, Source, Suggestion, response
from tests.support.clause import clause

SOURCE = Source("A trial")
SUGGESTION = Suggestion("Do", "1", (Action("create", "Draft", {"resourceType": "Task"}),))


def card(**changes: Any) -> Card:
    return Card(**({"uuid": "u", "summary": "S", "indicator": "info", "source": SOURCE} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"summary": "x" * 140},
        {"summary": ""},
        {"indicator": "success"},
        {"suggestions": (SUGGESTION,)},
        {"selection_behavior": "any"},
        {"suggestions": (SUGGESTION,), "selection_behavior": "all"},
        {
            "suggestions": (
                Suggestion("a", "1", is_recommended=True),
                Suggestion("b", "2", is_recommended=True),
            ),
            "selection_behavior": "at-most-one",
        },
        {"override_reasons": (Coding("s", "c"),)},
        {"extension": {"model": {"id": "x"}}},
        {"source": Source("")},
        {"source": Source("a", url="/relative")},
        {"source": Source("a", icon="icon.png")},
        {"source": Source("a", topic=Coding("", "c"))},
        {"links": (Link("a", "relative"),)},
        {"links": (Link("a", "https://a.example/x", "other"),)},
        {"links": (Link("a", "https://a.example/x", "absolute", app_context="c"),)},
        {"suggestions": (Suggestion("", "1"),), "selection_behavior": "any"},
        {"suggestions": (Suggestion("a", "1", (Action("delete", "d"),)),), "selection_behavior": "any"},
        {"suggestions": (Suggestion("a", "1", (Action("create", "d"),)),), "selection_behavior": "any"},
        {
            "suggestions": (Suggestion("a", "1", (Action("create", "", {"a": 1}),)),),
            "selection_behavior": "any",
        },
        {
            "suggestions": (Suggestion("a", "1", (Action("move", "d", {"a": 1}),)),),
            "selection_behavior": "any",
        },
    ],
)
@clause("CDS-Hooks-2.0/#card-attributes", "what a card may hold")
def test_a_card_that_the_specification_does_not_allow_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(CardError):
        card(**changes).as_json()


@clause("CDS-Hooks-2.0/#use-of-json", "no null and no empty members")
def test_absent_members_are_left_out() -> None:
    assert card().as_json() == {
        "uuid": "u",
        "summary": "S",
        "indicator": "info",
        "source": {"label": "A trial"},
    }
    assert response() == {"cards": []}


def test_any_allows_several() -> None:
    several = tuple(Suggestion(label, label, is_recommended=True) for label in "ab")
    shown = card(suggestions=several, selection_behavior="any").as_json()
    assert [each["isRecommended"] for each in shown["suggestions"]] == [True, True]


def test_an_extension_is_an_object() -> None:
    with pytest.raises(CardError, match="objects"):
        card(extension={"org.example.x": "text"})


def test_a_full_card_as_json() -> None:
    shown = card(
        detail="**d**",
        suggestions=(SUGGESTION,),
        selection_behavior="any",
        override_reasons=(Coding("s", "c", "d"),),
        links=(Link("App", "https://a.example/launch", "smart", "context"),),
        extension={"org.example.x": {"a": 1}},
    ).as_json()
    assert shown["links"] == [
        {"label": "App", "url": "https://a.example/launch", "type": "smart", "appContext": "context"}
    ]
    assert shown["suggestions"][0]["actions"][0] == {
        "type": "create",
        "description": "Draft",
        "resource": {"resourceType": "Task"},
    }
