"""Existence (N1 §5.1)."""

from __future__ import annotations

from fhir_server.fhirpath.comparison import Fault, describe, distinct, truth
from fhir_server.fhirpath.functions.table import eager, lazy
from fhir_server.fhirpath.scope import Compiled, Scope, each
from fhir_server.fhirpath.values import Collection, key, system


def _empty(scope: Scope, items: Collection) -> Collection:
    return [not items]


def _exists(scope: Scope, items: Collection, criteria: Compiled | None = None) -> Collection:
    if criteria is None:
        return [bool(items)]
    found = [item for item, answer in each(scope, items, criteria) if truth(answer, "exists()")]
    return [bool(found)]


def _all(scope: Scope, items: Collection, criteria: Compiled) -> Collection:
    answers = [truth(answer, "all()") for _, answer in each(scope, items, criteria)]
    return [all(answers)]


def _booleans(items: Collection, name: str) -> list[bool]:
    found = []
    for item in items:
        value = system(item)
        if not isinstance(value, bool):
            raise Fault(f"{name} works on booleans, got {describe(item)}")
        found.append(value)
    return found


def _all_true(scope: Scope, items: Collection) -> Collection:
    return [all(_booleans(items, "allTrue()"))]


def _any_true(scope: Scope, items: Collection) -> Collection:
    return [any(_booleans(items, "anyTrue()"))]


def _all_false(scope: Scope, items: Collection) -> Collection:
    return [not any(_booleans(items, "allFalse()"))]


def _any_false(scope: Scope, items: Collection) -> Collection:
    return [not all(_booleans(items, "anyFalse()"))]


def _within(few: Collection, many: Collection) -> bool:
    known = {key(item) for item in many}
    return all(key(item) in known for item in few)


def _subset_of(scope: Scope, items: Collection, other: Collection) -> Collection:
    return [_within(items, other)]


def _superset_of(scope: Scope, items: Collection, other: Collection) -> Collection:
    return [_within(other, items)]


def _count(scope: Scope, items: Collection) -> Collection:
    return [len(items)]


def _distinct(scope: Scope, items: Collection) -> Collection:
    return distinct(items)


def _is_distinct(scope: Scope, items: Collection) -> Collection:
    return [len({key(item) for item in items}) == len(items)]


def _not(scope: Scope, items: Collection) -> Collection:
    answer = truth(items, "not()")
    return [] if answer is None else [not answer]


CHAPTER = (
    eager("empty", _empty),
    lazy("exists", _exists, 0, 1),
    lazy("all", _all, 1),
    eager("allTrue", _all_true),
    eager("anyTrue", _any_true),
    eager("allFalse", _all_false),
    eager("anyFalse", _any_false),
    eager("subsetOf", _subset_of, 1),
    eager("supersetOf", _superset_of, 1),
    eager("count", _count),
    eager("distinct", _distinct),
    eager("isDistinct", _is_distinct),
    eager("not", _not),
)
