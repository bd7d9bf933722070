"""Filtering, subsetting, combining, and walking the tree (N1 §5.2–5.4, §5.8)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cmp_to_key
from typing import Any

from fhir_server.fhirpath.comparison import Fault, distinct, order, single, truth
from fhir_server.fhirpath.functions.table import eager, lazy
from fhir_server.fhirpath.scope import Compiled, Scope, each, whole
from fhir_server.fhirpath.values import Collection, Element, children, key


def _where(scope: Scope, items: Collection, criteria: Compiled) -> Collection:
    return [item for item, answer in each(scope, items, criteria) if truth(answer, "where()")]


def _select(scope: Scope, items: Collection, projection: Compiled) -> Collection:
    found: Collection = []
    for _, answer in each(scope, items, projection):
        found += answer
    return found


def _repeat(scope: Scope, items: Collection, projection: Compiled) -> Collection:
    found: dict[Any, Any] = {}
    todo = items
    while todo:
        fresh: dict[Any, Any] = {}
        for item in _select(scope, todo, projection):
            mark = key(item)
            if mark not in found:
                fresh.setdefault(mark, item)
        found |= fresh
        todo = list(fresh.values())
    return list(found.values())


def _repeat_all(scope: Scope, items: Collection, projection: Compiled) -> Collection:
    found: Collection = []
    todo = items
    while todo:
        todo = _select(scope, todo, projection)
        found += todo
    return found


def _single(scope: Scope, items: Collection) -> Collection:
    if len(items) > 1:
        raise Fault(f"single() wants one item, got {len(items)}")
    return items


def _whole_number(items: Collection, name: str) -> int | None:
    value = single(items, name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise Fault(f"{name} wants an integer")
    return value


def _first(scope: Scope, items: Collection) -> Collection:
    return items[:1]


def _last(scope: Scope, items: Collection) -> Collection:
    return items[-1:]


def _tail(scope: Scope, items: Collection) -> Collection:
    return items[1:]


def _skip(scope: Scope, items: Collection, number: Collection) -> Collection:
    count = _whole_number(number, "skip()")
    return [] if count is None else items[max(0, count) :]


def _take(scope: Scope, items: Collection, number: Collection) -> Collection:
    count = _whole_number(number, "take()")
    return [] if count is None else items[: max(0, count)]


def _intersect(scope: Scope, items: Collection, other: Collection) -> Collection:
    wanted = {key(item) for item in other}
    return [item for item in distinct(items) if key(item) in wanted]


def _exclude(scope: Scope, items: Collection, other: Collection) -> Collection:
    unwanted = {key(item) for item in other}
    return [item for item in items if key(item) not in unwanted]


def _union(scope: Scope, items: Collection, other: Collection) -> Collection:
    return distinct([*items, *other])


def _combine(
    scope: Scope, items: Collection, other: Collection, preserve_order: Collection | None = None
) -> Collection:
    return [*items, *other]


def _children(scope: Scope, items: Collection) -> Collection:
    found = [child for item in items if isinstance(item, Element) for child in children(item)]
    scope.spend(len(found))
    return found


def _below(item: Element) -> Iterator[Element]:
    for child in children(item):
        yield child
        yield from _below(child)


def _descendants(scope: Scope, items: Collection) -> Collection:
    found = [child for item in items if isinstance(item, Element) for child in _below(item)]
    scope.spend(len(found))
    return found


def _aggregate(
    scope: Scope, items: Collection, aggregator: Compiled, initial: Compiled | None = None
) -> Collection:
    before = scope.total
    scope.total = [] if initial is None else initial(scope, scope.this)
    for _, answer in each(scope, items, aggregator):
        scope.total = answer
    found, scope.total = scope.total, before
    return found


def _sort(scope: Scope, items: Collection, *keys: tuple[Compiled, bool]) -> Collection:
    columns: list[tuple[list[Collection], bool]] = [
        ([answer for _, answer in each(scope, items, body)], descending) for body, descending in keys
    ] or [([[item] for item in items], False)]

    def compare(one: int, other: int) -> int:
        for values, descending in columns:
            left, right = single(values[one], "sort()"), single(values[other], "sort()")
            if left is None or right is None:  # empty comes first, whatever the direction
                answer = (left is not None) - (right is not None)
            else:
                answer = (order(left, right) or 0) * (-1 if descending else 1)
            if answer:
                return answer
        return 0

    return [items[place] for place in sorted(range(len(items)), key=cmp_to_key(compare))]


def _coalesce(scope: Scope, items: Collection, *choices: Compiled) -> Collection:
    for choice in choices:
        found = whole(scope, items, choice)
        if found:
            return found
    return []


CHAPTER = (
    lazy("where", _where, 1),
    lazy("select", _select, 1),
    lazy("repeat", _repeat, 1),
    lazy("repeatAll", _repeat_all, 1),
    eager("single", _single),
    eager("first", _first),
    eager("last", _last),
    eager("tail", _tail),
    eager("skip", _skip, 1),
    eager("take", _take, 1),
    eager("intersect", _intersect, 1),
    eager("exclude", _exclude, 1),
    eager("union", _union, 1),
    eager("combine", _combine, 1, 2),
    eager("children", _children),
    eager("descendants", _descendants),
    lazy("aggregate", _aggregate, 1, 2),
    lazy("sort", _sort, 0, 20),
    lazy("coalesce", _coalesce, 1, 20),
)
