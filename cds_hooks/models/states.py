"""What becomes of a release: draft → shadow → active → retired, and what each step needs.

Releases are immutable, states are a list of events that only grows. One person may let a draft run in
shadow (it computes, is recorded and shows nothing), take a model back to shadow or retire it. To show
a model to clinicians takes two: one proposes, another approves; the same person twice is refused.
A monitor may demote, never promote. Every step says by whom and why.

A release that begins as demonstration answers for test data only; it is never promoted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cds_hooks.models.catalogue import Release
from fhir_server.outcome import Conflict, Invalid

DRAFT, DEMONSTRATION, SHADOW, ACTIVE, RETIRED = "draft", "demonstration", "shadow", "active", "retired"
STATES = (DRAFT, SHADOW, ACTIVE, RETIRED, DEMONSTRATION)
ACTIONS = ("assess", "propose", "withdraw", "promote", "demote", "retire")


@dataclass(frozen=True, slots=True)
class Event:
    """One step: who did what to which release, and the state after it. `pk` 0: not kept yet."""

    at: datetime
    model: str
    version: str
    digest: str
    action: str
    state: str
    actor: str
    reason: str
    pk: int = 0
    monitor: bool = False
    proposal: int | None = None
    proposer: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a release stands: its state, since which event, the open proposal, the last assessment."""

    state: str
    since: Event | None = None
    proposal: Event | None = None
    assessment: Event | None = None
    history: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants done to a release; `actor` is a name, or that of a monitor."""

    action: str
    release: Release
    actor: str
    reason: str
    at: datetime
    monitor: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)


Blocks = Callable[[Release, Standing], Sequence[str]]
"""Names what keeps a release from being shown; empty: nothing."""


def standing(release: Release, events: Iterable[Event]) -> Standing:
    """Return where a release stands after the events; those of another release of its number do not count."""
    own = [event for event in events if _is_of(event, release)]
    state, since, proposal, assessment = release.state, None, None, None
    for event in own:
        if event.action == "assess":
            assessment = event
            continue
        proposal = event if event.action == "propose" else None
        if event.state != state:
            state, since = event.state, event
    return Standing(state, since, proposal, assessment, tuple(own))


def follow(order: Order, events: Sequence[Event], blocks: Blocks) -> list[Event]:
    """Return the events that carry out an order.

    `events` are all of the model's so far. Raises Invalid for a missing name or reason, Conflict for a
    step that the state does not allow, that needs another person, or that something blocks.
    """
    actor, reason = order.actor.strip(), order.reason.strip()
    if not actor:
        raise Invalid("who does this is missing; give a name", expression="by")
    if not reason:
        raise Invalid("the reason is missing; it is kept with the step", expression="reason")
    now = standing(order.release, events)
    name = f"{order.release.model} version {order.release.version}"
    if order.monitor and order.action != "demote":
        raise Conflict(f"a monitor may demote and nothing else; {order.action} takes a person")
    if now.state == RETIRED:
        raise Conflict(f"{name} is retired; a retired release stays so, train or recalibrate a new one")

    def event(action: str, state: str, **more: Any) -> Event:
        release = order.release
        return Event(
            order.at, release.model, release.version, release.digest, action, state, actor, reason,
            monitor=order.monitor, evidence=order.evidence, **more,
        )  # fmt: skip

    match order.action, now.state:
        case "assess", _:
            return [event("assess", now.state)]
        case (("promote" | "propose"), "demonstration"):
            raise Conflict(
                f"{name} is a demonstration: it answers for test data only; train a release of your own"
            )
        case "promote", "draft":
            _refuse_unfit(name, order.release)
            return [event("promote", SHADOW)]
        case ("propose", "draft"):
            raise Conflict(f"{name} is a draft; promote it to shadow first, so that its answers can be seen")
        case "propose", "shadow":
            _refuse_blocked(name, blocks(order.release, now))
            return [event("propose", SHADOW)]
        case "promote", "shadow":
            proposal = _approvable(name, now, actor)
            _refuse_blocked(name, blocks(order.release, now))
            return [
                *_superseded(order, events),
                event("promote", ACTIVE, proposal=proposal.pk, proposer=proposal.actor),
            ]
        case "withdraw", _:
            if now.proposal is None:
                raise Conflict(f"{name} is not proposed; there is nothing to withdraw")
            return [event("withdraw", now.state)]
        case "demote", "active":
            return [event("demote", SHADOW)]
        case "retire", _:
            return [event("retire", RETIRED)]
        case (("promote" | "propose" | "demote"), _):
            raise Conflict(f"{name} is {now.state}; it cannot be {_DONE[order.action]}")
    raise Invalid(f"{order.action!r} is no step; known are {', '.join(ACTIONS)}", expression="action")


_DONE = {"promote": "promoted further", "propose": "proposed", "demote": "demoted"}


def same_person(one: str, other: str) -> bool:
    """Say whether two names are one person's, as far as letters can tell.

    >>> same_person("Ada  Lovelace ", "ada lovelace"), same_person("A. Lovelace", "C. Babbage")
    (True, False)
    """
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _approvable(name: str, now: Standing, actor: str) -> Event:
    if now.proposal is None:
        raise Conflict(f"{name} is in shadow and nobody has proposed it; a proposal comes first")
    if same_person(now.proposal.actor, actor):
        raise Conflict(
            f"{now.proposal.actor} proposed {name}; showing it takes the approval of another person"
        )
    return now.proposal


def _refuse_unfit(name: str, release: Release) -> None:
    if not release.fits:
        raise Conflict(f"{name} was made with another feature table than this program has; train it anew")


def _refuse_blocked(name: str, found: Sequence[str]) -> None:
    if found:
        raise Conflict(f"{name} cannot become active: {'; '.join(found)}")


def _superseded(order: Order, events: Sequence[Event]) -> list[Event]:
    """Take the release that is active now back to shadow: one at a time is shown."""
    latest: dict[tuple[str, str], Event] = {}
    for event in events:
        if event.action != "assess":
            latest[event.version, event.digest] = event
    release = order.release
    return [
        Event(
            order.at, event.model, event.version, event.digest, "demote", SHADOW, order.actor.strip(),
            f"version {release.version} takes its place",
        )
        for event in latest.values()
        if event.state == ACTIVE and (event.version, event.digest) != (release.version, release.digest)
    ]  # fmt: skip


def _is_of(event: Event, release: Release) -> bool:
    return (event.model, event.version, event.digest) == (release.model, release.version, release.digest)


@dataclass(frozen=True, slots=True)
class Line:
    """Which releases of a model are in use: the one that answers, and one that computes beside it."""

    serving: Release | None
    challenger: Release | None = None


def line(found: Sequence[Release], events: Sequence[Event]) -> Line:
    """Return what answers for a model: the active release, else the newest in shadow, else a demonstration.

    An active or shadow release that lies no longer on disk as it was approved is not replaced by another:
    nothing answers then. Beside an active one the newest in shadow computes, to be compared.
    """
    latest: dict[tuple[str, str], Event] = {}
    for event in events:
        if event.action != "assess":
            latest.pop((event.version, event.digest), None)  # so that the newest step stands last
            latest[event.version, event.digest] = event
    on_disk = {(release.version, release.digest): release for release in found}
    active = [key for key, event in latest.items() if event.state == ACTIVE]
    shadows = [key for key, event in latest.items() if event.state == SHADOW]
    in_shadow = on_disk[shadows[-1]].standing(SHADOW) if shadows and shadows[-1] in on_disk else None
    if active:
        serving = on_disk.get(active[-1])
        return Line(serving.standing(ACTIVE), in_shadow) if serving else Line(None)
    if shadows:
        return Line(in_shadow)
    begun = [release for release in found if release.state == DEMONSTRATION]
    begun = [release for release in begun if standing(release, events).state == DEMONSTRATION]
    return Line(max(begun, key=lambda release: int(release.version), default=None))
