"""States of a model: two persons before anything is shown, one or a monitor to take it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cds_hooks.models import attributes, blocks, states
from cds_hooks.models.catalogue import Release
from cds_hooks.models.states import Event
from fhir_server.outcome import Conflict, Invalid
from tests.support.models import ASSESSED, draft, order, shipped


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return draft(tmp_path)


class Book:
    """Events in a list, numbered as the database does it."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def do(
        self, action: str, release: Release, actor: str = "Ada Lovelace", **more: object
    ) -> Sequence[Event]:
        made = states.follow(order(action, release, actor, **more), self.events, blocks.blocks)
        for event in made:
            self.events.append(replace(event, pk=len(self.events) + 1))
        return made

    def state(self, release: Release) -> str:
        return states.standing(release, self.events).state


@pytest.fixture
def book(release: Release) -> Book:
    """A release in shadow that was assessed."""
    book = Book()
    book.do("assess", release, evidence=ASSESSED)
    book.do("promote", release)
    return book


def test_the_way_of_a_release(book: Book, release: Release) -> None:
    assert book.state(release) == "shadow"
    book.do("propose", release)
    assert book.state(release) == "shadow", "proposed is not shown"
    (event,) = book.do("promote", release, "Charles Babbage")
    assert (event.state, event.proposer, event.actor) == ("active", "Ada Lovelace", "Charles Babbage")
    assert event.proposal == book.events[-2].pk
    book.do("demote", release)
    assert book.state(release) == "shadow"
    book.do("retire", release)
    assert book.state(release) == "retired"
    for action in ("promote", "propose", "demote", "assess", "retire"):
        with pytest.raises(Conflict, match="is retired"):
            book.do(action, release)


@pytest.mark.parametrize("same", ["Ada Lovelace", "ada  lovelace ", "ADA LOVELACE", "Ａda Lovelace"])
def test_one_person_cannot_do_both(book: Book, release: Release, same: str) -> None:
    book.do("propose", release)
    with pytest.raises(Conflict, match="takes the approval of another person"):
        book.do("promote", release, same)
    assert book.state(release) == "shadow"


def test_without_a_proposal_nothing_is_approved(book: Book, release: Release) -> None:
    with pytest.raises(Conflict, match="nobody has proposed"):
        book.do("promote", release, "Charles Babbage")
    book.do("propose", release)
    book.do("withdraw", release, "Charles Babbage")
    with pytest.raises(Conflict, match="nobody has proposed"):
        book.do("promote", release, "Charles Babbage")


def test_a_proposal_does_not_outlive_a_demotion(book: Book, release: Release) -> None:
    book.do("propose", release)
    book.do("promote", release, "Charles Babbage")
    book.do("demote", release)
    with pytest.raises(Conflict, match="nobody has proposed"):
        book.do("promote", release, "Charles Babbage")


def test_a_draft_is_seen_in_shadow_first(release: Release) -> None:
    with pytest.raises(Conflict, match="promote it to shadow first"):
        Book().do("propose", release)


def test_a_demonstration_is_never_promoted_and_may_be_retired() -> None:
    book, release = Book(), shipped()
    for action in ("promote", "propose"):
        with pytest.raises(Conflict, match="is a demonstration"):
            book.do(action, release)
    assert states.line([release], book.events).serving == release
    book.do("retire", release)
    assert states.line([release], book.events).serving is None


def test_a_monitor_demotes_and_does_nothing_else(book: Book, release: Release) -> None:
    with pytest.raises(Conflict, match="takes a person"):
        book.do("propose", release, "drift monitor", monitor=True)
    book.do("propose", release)
    book.do("promote", release, "Charles Babbage")
    (event,) = book.do("demote", release, "drift monitor", monitor=True, reason="O/E 1.31")
    assert (event.monitor, event.state, event.reason) == (True, "shadow", "O/E 1.31")
    with pytest.raises(Conflict, match=r"a monitor demoted it \(O/E 1.31\) and it was not evaluated since"):
        book.do("propose", release)
    book.do("assess", release, evidence=ASSESSED)
    book.do("propose", release)


@pytest.mark.parametrize(("actor", "reason"), [(" ", "because"), ("Ada", "  ")])
def test_who_and_why_are_needed(release: Release, actor: str, reason: str) -> None:
    with pytest.raises(Invalid, match="missing"):
        Book().do("promote", release, actor, reason=reason)


def test_a_release_of_another_feature_table_goes_nowhere(book: Book, tmp_path: Path) -> None:
    other = draft(tmp_path, "5", schema_sha256="0" * 64)
    with pytest.raises(Conflict, match="another feature table"):
        book.do("promote", other)
    assert "another feature table" in blocks.blocks(other, states.standing(other, []))[0]


def test_one_release_at_a_time_is_shown(book: Book, release: Release, tmp_path: Path) -> None:
    book.do("propose", release)
    book.do("promote", release, "Charles Babbage")
    newer = draft(tmp_path, "3")
    for action in ("assess", "promote", "propose"):
        book.do(action, newer, evidence=ASSESSED)
    line = states.line([release, newer], book.events)
    assert line.serving is not None
    assert line.challenger is not None
    assert (line.serving.version, line.serving.state) == ("2", "active")
    assert (line.challenger.version, line.challenger.state) == ("3", "shadow")
    first, second = book.do("promote", newer, "Charles Babbage")
    assert (first.version, first.state, first.reason) == ("2", "shadow", "version 3 takes its place")
    assert (second.version, second.state) == ("3", "active")
    after = states.line([release, newer], book.events)
    assert after.serving is not None
    assert after.serving.version == "3"


def test_an_approved_release_that_was_exchanged_answers_no_longer(
    book: Book, release: Release, tmp_path: Path
) -> None:
    book.do("propose", release)
    book.do("promote", release, "Charles Babbage")
    (tmp_path / "other").mkdir()
    exchanged = draft(tmp_path / "other", "2", title="another one")
    assert exchanged.sha256 == release.sha256
    assert states.line([exchanged, shipped()], book.events).serving is None, "no other takes its place"
    assert states.standing(exchanged, book.events).state == "draft"


# What blocks ------------------------------------------------------------------------------------
def test_not_assessed_where_it_is_not_allowed_blocks(tmp_path: Path) -> None:
    texts = dict(shipped().card["source_attributes"]) | {
        "25-references-on-effect-on-outcomes": "Not assessed."
    }
    release, book = draft(tmp_path, source_attributes=texts), Book()
    book.do("assess", release, evidence=ASSESSED)
    book.do("promote", release)
    with pytest.raises(Conflict, match="25-references-on-effect-on-outcomes is not assessed"):
        book.do("propose", release)


def test_without_an_evaluation_on_data_of_the_place_nothing_is_shown(release: Release) -> None:
    book = Book()
    book.do("promote", release)
    with pytest.raises(Conflict) as raised:
        book.do("propose", release)
    said = str(raised.value)
    assert "not evaluated on data of this place" in said
    for key in attributes.MAY_LACK:
        assert key in said


def test_unfairness_in_its_making_blocks_too(tmp_path: Path) -> None:
    evaluation = dict(shipped().card["evaluation"])
    women = evaluation["subgroups"]["women"] | {"observed_over_expected_ci": [1.3, 1.5]}
    evaluation["subgroups"] = evaluation["subgroups"] | {"women": women}
    release, book = draft(tmp_path, evaluation=evaluation), Book()
    book.do("assess", release, evidence=ASSESSED)
    book.do("promote", release)
    with pytest.raises(Conflict, match="fairness: women"):
        book.do("propose", release)


def test_unfairness_blocks_and_says_where(release: Release) -> None:
    book = Book()
    unfair = ASSESSED | {"fairness": {"blocked": ["women: O/E 1.4 (1.3 to 1.5)"]}}
    book.do("assess", release, evidence=unfair)
    book.do("promote", release)
    with pytest.raises(Conflict, match=r"fairness: women: O/E 1.4"):
        book.do("propose", release)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {}}, "the hash of its training data"),
        ({"code_sha256": ""}, "the hash of the code that trained it"),
        ({"individual_effects": "published"}, "the gate for that has not passed"),
        (
            {"individual_effects": "x", "gates": {"verdicts": {"a": {"accepted": False}}}},
            "the gate for that has not passed",
        ),
    ],
)
def test_missing_evidence_blocks(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    release, book = draft(tmp_path, **changes), Book()
    book.do("assess", release, evidence=ASSESSED)
    book.do("promote", release)
    with pytest.raises(Conflict, match=words):
        book.do("propose", release)


def test_a_block_that_comes_after_the_proposal_stops_the_approval(book: Book, release: Release) -> None:
    book.do("propose", release)
    book.do("assess", release, evidence=ASSESSED | {"fairness": {"blocked": ["men: O/E 0.6"]}})
    with pytest.raises(Conflict, match="fairness: men"):
        book.do("promote", release, "Charles Babbage")
