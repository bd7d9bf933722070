"""What `_sort` must come to: each resource's sort keys, read by the hand-written table."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

from tests.support.oracle import matching, reading
from tests.support.oracle.matching import Oracle, Value
from tests.support.oracle.table import Entry
from tests.support.oracle.table import entry as entry_of


def is_ordered(oracle: Oracle, type_name: str, sort: str, ids: list[str]) -> str | None:
    """Return None where `ids` are in an order that `sort` allows, else what is wrong."""
    return are_ordered(oracle, sort, [(type_name, id_) for id_ in ids])


def are_ordered(oracle: Oracle, sort: str, ids: list[tuple[str, str]]) -> str | None:
    """Return the same for resources of several types."""
    keys = [
        [(name.startswith("-"), sort_key(oracle, kind, id_, name)) for name in sort.split(",")]
        for kind, id_ in ids
    ]
    for number, (first, second) in enumerate(pairwise(keys)):
        for (descending, a), (_, b) in zip(first, second, strict=True):
            if a == b:
                continue
            right = b is None or (a is not None and (a > b if descending else a < b))
            if not right:
                return f"{ids[number]} with {first} stands before {ids[number + 1]} with {second}"
            break
    return None


def sort_key(oracle: Oracle, type_name: str, id_: str, name: str) -> Any:
    """Return the least value of a resource, the greatest where `name` begins with a minus; None for none."""
    entry = entry_of(type_name, name.removeprefix("-"))
    words = [word for value in oracle.values(entry)[id_] for word in _words(entry, value)]
    if not words:
        return None
    return max(words) if name.startswith("-") else min(words)


def _words(entry: Entry, value: Value) -> list[Any]:
    kind, (shape, inside) = entry.kind, value
    if kind == "date":
        span = matching.date_of(shape, inside)
        return [] if span is None else [span.low]
    if kind in ("number", "quantity"):
        number = matching.number_of(shape, inside)
        return (
            [] if number is None else [number.low if isinstance(number.low, float) else Fraction(number.low)]
        )
    if kind == "string":
        return [reading.folded(word)[:200] for word in matching._words(shape, inside) if reading.folded(word)]
    if kind == "reference" and isinstance(inside, dict):
        # "where(resolve() is Patient)" is told by the text alone here, so nothing contained has a place.
        start = entry.places[0].shape.partition(":")[2]
        text = inside.get("reference")
        return [text] if text is not None and text.startswith(f"{start}/" if start else "") else []
    shape = shape.partition("@")[0]
    if shape in ("CodeableConcept", "Coding", "Identifier"):
        return [word for _, word in matching._pairs(shape, inside) if word is not None]
    if shape == "ContactPoint":
        return [inside["value"]] if "value" in inside else []
    if isinstance(inside, bool):
        return ["true" if inside else "false"]
    return [inside]
