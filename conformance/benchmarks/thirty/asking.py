"""Asking the thirty: the same data on all sides, the same answers first, and only then the clock.

An answer is compared with the ids that the hand-written statement finds. Up to 1,000 matches are read
page by page: all of them must be there, none twice, and in the order of the sort keys. Of larger
answers the first 1,000 must be among the matches, and in that order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg2

from conformance.benchmarks import load, plans
from conformance.benchmarks.data import Resource, compact, stream
from conformance.benchmarks.plans import Work
from conformance.benchmarks.postgres import Database
from conformance.benchmarks.rounds import Differ, Outcome, measure
from conformance.benchmarks.targets import Target
from conformance.benchmarks.thirty import tables
from conformance.benchmarks.thirty.queries import HANDS
from conformance.benchmarks.thirty.questions import LOINC, VALUE_SETS, Question, url_of, value_set

_COMPARED = 3  # sets of values a question
_READ_UP_TO = 1000
_EXPLAINED = 4
_BATCHES, _BATCH = 12, 20
_NEVER = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Compared:
    """How an answer agreed: `verdict` is equal, refused, differs or failed; hits are of the first values."""

    verdict: str
    hits: float = 0.0
    detail: str = ""


@dataclass(slots=True)
class Answered:
    """What was found about one question: agreement, figures and work, each by the name of a side."""

    question: Question
    compared: dict[str, Compared] = field(default_factory=dict)
    outcome: Outcome | None = None
    work: dict[str, Work] = field(default_factory=dict)

    def right(self, side: Target) -> bool:
        """Tell whether a side gives the right answer."""
        return self.compared[side.name].verdict == "equal"


@dataclass(frozen=True, slots=True)
class Asked:
    """A side that answers, and the floor that holds the same data (itself when it is the floor)."""

    side: Target
    floor: Target


def store_by_hand(database: Database, resources: Iterable[Resource]) -> int:
    """Fill the hand-made tables of a floor, whatever was in them; indexes come last."""
    with closing(psycopg2.connect(database.url)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {', '.join(tables.tables())}")
            cursor.execute(tables.SCHEMA)
            sets = [(url_of(name), f"{LOINC}|{code}") for name, codes in VALUE_SETS.items() for code in codes]
            cursor.executemany("INSERT INTO value_sets VALUES (%s, %s)", sets)
        count = tables.store(connection, resources)
        with connection, connection.cursor() as cursor:
            cursor.execute(tables.INDEXES)
    return count


def write_value_sets(sides: Sequence[Target]) -> None:
    """Store on each side what `:in` asks for."""
    for side in sides:
        for name in VALUE_SETS:
            _put(side, value_set(name))


def recent(sides: Sequence[Target], floors: Sequence[Target], seed: int) -> list[str]:
    """Write the same 240 Observations to all sides in batches; return moments between the batches."""
    known = [one for one in stream(seed, 4000) if one["resourceType"] == "Observation"]
    mark, moments = f"Copied at {time.time_ns()}", []
    for floor in floors:
        assert floor.database is not None
        floor.database.rows("DELETE FROM components WHERE observation LIKE 'bench-recent-%'")
        floor.database.rows("DELETE FROM observations WHERE id LIKE 'bench-recent-%'")
    for batch in range(_BATCHES):
        made = [
            {**known[number], "id": f"bench-recent-{number}", "note": [{"text": mark}]}
            for number in range(batch * _BATCH, (batch + 1) * _BATCH)
        ]
        moments.append(_between())
        for side in sides:
            for one in made:
                _put(side, one)
        for floor in floors:
            _insert(floor, made)
    return moments


def _between() -> str:
    """Return a moment with at least some milliseconds to everything before and after."""
    time.sleep(0.02)
    found = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    time.sleep(0.02)
    return found


def _insert(floor: Target, made: Sequence[Resource]) -> None:
    assert floor.database is not None
    with closing(psycopg2.connect(floor.database.url)) as connection:
        tables.store(connection, made)
        ids = [one["id"] for one in made]
        with connection, connection.cursor() as cursor:
            cursor.execute("UPDATE observations SET recent = now() WHERE id = ANY(%s)", (ids,))


def _put(side: Target, resource: Resource) -> None:
    path = f"{side.prefix}/{resource['resourceType']}/{resource['id']}"
    answer = load.ask(side.address, load.request("PUT", path, compact(resource), host=side.host))
    if answer.status not in (200, 201):
        raise Differ(f"{side.name} answered {answer.status} to {path}: {answer.body[:300]!r}")


def ask(
    questions: Sequence[Question],
    asked: Sequence[Asked],
    found: list[Answered],
    *,
    rounds: int,
    count: int,
    longest_s: float,
    say: Callable[[str], None],
) -> None:
    """Compare all questions, then explain and measure each on the sides that answer it right; fill `found`.

    Rows and buffers come before the clock: they stay true on a busy machine, and when a run is cut short.
    """
    for question in questions:
        say(f"comparing {question.name}")
        one = Answered(question)
        for each in asked:
            one.compared[each.side.name] = (
                Compared("equal") if each.side is each.floor else compare(question, each.side, each.floor)
            )
        found.append(one)
    for each in asked:
        if each.side.database is not None:
            say(f"plans of {each.side.name}")
            _explain(found, each)
    for one in found:
        say(one.question.name)
        sides = [each.side for each in asked if one.right(each.side)]
        journey = one.question.journey(count=count)
        try:
            one.outcome = measure(journey, sides, rounds=rounds, longest_s=longest_s, settle_s=0.05)
        except (Differ, load.Broken) as error:
            for side in sides:
                if side.name in str(error):
                    one.compared[side.name] = Compared("failed", detail=str(error)[:300])


def _explain(answered: Sequence[Answered], asked: Asked) -> None:
    """Note what the statements of a side do for each question that it answers right."""
    side, right = asked.side, [one for one in answered if one.right(asked.side)]
    assert side.database is not None
    if side is asked.floor:
        for one in right:
            one.work[side.name] = work_by_hand(one.question, side.database)
        return
    journeys = [one.question.journey(count=1) for one in right]
    for one, work in zip(right, plans.explain(journeys, side, most=_EXPLAINED), strict=True):
        one.work[side.name] = work


def compare(question: Question, side: Target, floor: Target) -> Compared:
    """Compare the answers to some of a question's values with what the floor's statement finds."""
    hits = []
    for sent in question.sent()[:_COMPARED]:
        try:
            compared = _compare_one(question, sent[1], side, floor)
        except (load.Broken, OSError, ValueError, KeyError) as error:
            return Compared("failed", detail=f"{sent[1]}: {error}")
        if compared.verdict != "equal":
            return compared
        hits.append(compared.hits)
    return Compared("equal", sum(hits) / len(hits))


def _compare_one(question: Question, path: str, side: Target, floor: Target) -> Compared:
    if question.whole:
        bundle = _page(side, path)
        if isinstance(bundle, Compared):
            return bundle
        by_hand = _page(floor, path, question.key)
        assert not isinstance(by_hand, Compared), by_hand
        mine, theirs = _all_ids(bundle), _all_ids(by_hand)
        if mine != theirs:
            return Compared("differs", detail=f"{path}: too much {sorted(mine - theirs)[:3]}, "
                            f"missing {sorted(theirs - mine)[:3]}")  # fmt: skip
        return Compared("equal", len(mine))
    expected = _by_hand(question, path, floor)
    found, total = _walk(side, path)
    if isinstance(found, Compared):
        return found
    return _judge(path, found, total if question.total else None, expected)


def _judge(path: str, found: list[str], total: int | None, expected: dict[str, Any]) -> Compared:
    """Hold what a side found against id → sort key.

    >>> _judge("/X", ["b", "a"], None, {"a": 2, "b": 1}).verdict
    'equal'
    >>> _judge("/X", ["a"], None, {"a": 2, "b": 1}).detail
    '/X: 1 of 2 matches'
    """
    if len(set(found)) < len(found):
        return Compared("differs", detail=f"{path}: a resource twice")
    if strange := [one for one in found if one not in expected]:
        return Compared(
            "differs", detail=f"{path}: {len(strange)} of {len(found)} do not match, as {strange[0]}"
        )
    if len(found) < min(len(expected), _READ_UP_TO):
        return Compared("differs", detail=f"{path}: {len(found)} of {len(expected)} matches")
    keys = [expected[one] for one in found]
    if keys and keys[0] is not None and keys != sorted(expected.values())[: len(keys)]:
        return Compared("differs", detail=f"{path}: in another order")
    if total is not None and total != len(expected):
        return Compared("differs", detail=f"{path}: a total of {total}, not {len(expected)}")
    return Compared("equal", len(expected))


def _by_hand(question: Question, path: str, floor: Target) -> dict[str, Any]:
    assert floor.database is not None
    return dict(floor.database.rows(HANDS[question.key].everything(), _values(question, path)))


def _values(question: Question, path: str) -> Any:
    parts = urlsplit(path)
    return {**HANDS[question.key].read(parse_qs(parts.query), "/fhir" + parts.path), "count": _NEVER}


def work_by_hand(question: Question, database: Database) -> Work:
    """Return what the hand-written statements of a question do."""
    hand, statements = HANDS[question.key], []
    sent = question.sent()[:_EXPLAINED]
    for _, path, *_ in sent:
        values = {**_values(question, path), "count": 20}
        if hand.total:
            statements.append((f"SELECT count(*) {hand.found}", values))
        statements.append((hand.page(), values))
        if hand.after:
            ids = [row[1] for row in database.rows(hand.page(), values)]
            statements += [(f"SELECT t.content {more}", {**values, "ids": ids}) for _, more in hand.after]
    return plans.explain_by_hand(database, statements, len(sent))


def _walk(side: Target, path: str) -> tuple[list[str] | Compared, int | None]:
    """Return the ids of the matches, page by page, up to _READ_UP_TO of them, and the total."""
    following: str | None = side.prefix + path.replace("_count=20", "_count=500")
    found: list[str] = []
    total = None
    while following and len(found) < _READ_UP_TO:
        bundle = _page(side, following.removeprefix(side.prefix))
        if isinstance(bundle, Compared):
            return bundle, None
        total = bundle.get("total", total)
        found += [entry["resource"]["id"] for entry in bundle.get("entry", ())
                  if entry.get("search", {}).get("mode", "match") == "match"]  # fmt: skip
        following = next_of(bundle)
    return found[:_READ_UP_TO], total


def next_of(bundle: Resource) -> str | None:
    """Return the path and query of a Bundle's next page."""
    for link in bundle.get("link", ()):
        if link["relation"] == "next":
            parts = urlsplit(str(link["url"]))
            return parts.path + (f"?{parts.query}" if parts.query else "")
    return None


def _page(side: Target, path: str, key: str = "") -> Resource | Compared:
    headers = (("X-Question", key),) if key else ()
    answer = load.ask(side.address, load.request("GET", side.prefix + path, host=side.host, headers=headers))
    if answer.status == 200:
        bundle: Resource = json.loads(answer.body)
        return bundle
    verdict = "refused" if answer.status in (400, 403, 404, 405, 422, 501) else "failed"
    return Compared(verdict, detail=f"{answer.status} {_words(answer.body)}")


def _words(body: bytes) -> str:
    """Return what an OperationOutcome says, or the beginning of whatever it is."""
    try:
        issues = json.loads(body)["issue"]
        return "; ".join(one.get("diagnostics") or one.get("details", {}).get("text", "") for one in issues)[
            :300
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return body[:200].decode(errors="replace")


def _all_ids(bundle: Resource) -> set[str]:
    found = [entry["resource"] for entry in bundle.get("entry", ())
             if entry.get("search", {}).get("mode") != "outcome"]  # fmt: skip
    return {f"{one['resourceType']}/{one['id']}" for one in found}


def page_number(question: Question, side: Target, number: int) -> str | None:
    """Return the address of page `number` of a question's first values; None when there are fewer."""
    following: str | None = question.sent()[0][1]
    for _ in range(number - 1):
        bundle = _page(side, str(following))
        if isinstance(bundle, Compared) or (following := next_of(bundle)) is None:
            return None
        following = following.removeprefix(side.prefix)
    return following
