"""Plain paths through JSON as closures: the innermost loops of search indexing.

A path is a tuple of steps: a JSON key (str), a predicate on the value reached (a callable that
says True, False or None), or the ordinal of the one value to keep (int). A walk takes the JSON
value at the beginning of a path and returns the list of values at its end; the list may be the
document's own and must not be changed. Walks never care about types: the plan in `extract`
knows those beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Predicate: TypeAlias = Callable[[Any, Any], bool | None]
Step: TypeAlias = str | int | Predicate
Path: TypeAlias = tuple[Step, ...]
Walk: TypeAlias = Callable[[Any, Any], Sequence[Any]]
Pairs: TypeAlias = list[tuple[str, Any]]


class Emit(Protocol):
    """(value, resource that holds it) → pairs of type name and value at the end of a path."""

    def __call__(self, element: Any, resource: Any = None, /) -> Pairs:
        """Return the pairs; `resource` is only for predicates."""
        ...


@dataclass(frozen=True, slots=True)
class Branch:
    """Values at the end of `path`, all of one type; `rooted` paths begin at the resource."""

    path: Path
    type_name: str
    rooted: bool = False


def walk(path: Path) -> Walk:
    """Return a function (value, resource) → values at the end of `path`.

    >>> walk(("name", "family"))({"name": [{"family": "A"}, {"given": ["B"]}, {"family": "C"}]}, None)
    ['A', 'C']
    """
    if not path:
        return lambda node, resource: [node]
    last = path[-1]
    if isinstance(last, str):
        return _key(last) if len(path) == 1 else _keys(walk(path[:-1]), last)
    before = walk(path[:-1])
    if isinstance(last, int):
        return _ordinal(before, last)
    return _filter(before, last)


def _key(key: str) -> Walk:
    def step(node: Any, resource: Any) -> Sequence[Any]:
        value = node.get(key)
        if value is None:
            return ()
        if type(value) is list:
            return [item for item in value if item is not None] if None in value else value
        return (value,)

    return step


def _keys(before: Walk, key: str) -> Walk:
    def step(node: Any, resource: Any) -> Sequence[Any]:
        found: list[Any] = []
        for item in before(node, resource):
            value = item.get(key)
            if value is None:
                continue
            if type(value) is list:
                found += value
            else:
                found.append(value)
        return [item for item in found if item is not None] if None in found else found

    return step


def _ordinal(before: Walk, ordinal: int) -> Walk:
    return lambda node, resource: before(node, resource)[ordinal : ordinal + 1]


def _filter(before: Walk, predicate: Predicate) -> Walk:
    return lambda node, resource: [item for item in before(node, resource) if predicate(item, resource)]


def emit(path: Path, choices: Sequence[tuple[str, str]]) -> Emit:
    """Return a function (value, resource) → (type name, value) of what `choices` name under `path`.

    `choices` are pairs of JSON key and type name.

    >>> emit(("name",), [("family", "string")])({"name": [{"family": "A"}]}, None)
    [('string', 'A')]
    """
    if len(choices) > 1:
        return _emit_choice(walk(path), choices) if path else _emit_own_choice(choices)
    ((key, type_name),) = choices
    if not path:
        return _emit_key(key, type_name)
    if len(path) == 1 and isinstance(path[0], str):
        return _emit_two(path[0], key, type_name)
    return emit_all(walk((*path, key)), type_name)


def emit_all(values: Walk, type_name: str) -> Emit:
    """Return a function that gives every value of a walk the same type name."""
    return lambda node, resource=None, /: [(type_name, value) for value in values(node, resource)]


def emit_resources(values: Walk) -> Emit:
    """Return a function that names resources by what they say they are."""
    return lambda node, resource=None, /: [
        (value.get("resourceType", "Resource"), value) for value in values(node, resource)
    ]


def _emit_key(key: str, type_name: str) -> Emit:
    def step(node: Any, resource: Any = None, /) -> Pairs:
        value = node.get(key)
        if value is None:
            return []
        if type(value) is list:
            return [(type_name, item) for item in value if item is not None]
        return [(type_name, value)]

    return step


def _emit_two(first: str, second: str, type_name: str) -> Emit:
    def step(node: Any, resource: Any = None, /) -> Pairs:
        items = node.get(first)
        if items is None:
            return []
        found: Pairs = []
        for item in items if type(items) is list else (items,):
            value = item.get(second)
            if value is None:
                continue
            if type(value) is list:
                for inner in value:
                    if inner is not None:
                        found.append((type_name, inner))
            else:
                found.append((type_name, value))
        return found

    return step


def _emit_own_choice(choices: Sequence[tuple[str, str]]) -> Emit:
    table = dict(choices)

    def step(node: Any, resource: Any = None, /) -> Pairs:
        for key, type_name in table.items():
            if key in node:
                value = node[key]
                if type(value) is list:
                    return [(type_name, item) for item in value if item is not None]
                return [(type_name, value)]
        return []

    return step


def _emit_choice(before: Walk, choices: Sequence[tuple[str, str]]) -> Emit:
    inner = _emit_own_choice(choices)

    def step(node: Any, resource: Any = None, /) -> Pairs:
        found: Pairs = []
        for item in before(node, resource):
            found += inner(item, resource)
        return found

    return step
