"""JSON Patch (RFC 6902) with JSON Pointers (RFC 6901) on plain values.

A patch is read once (`operations`) and applied to copies (`apply`), so it may be applied again.
Numbers are compared by their value and kept as they are written: 1.50 passes a test for 1.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_server.model.json_format import MAX_DEPTH
from fhir_server.outcome import Invalid, TooCostly, TooLarge, Unprocessable

MAX_OPERATIONS = 10_000
MAX_SIZE = 64 * 1024 * 1024
"""Characters, and 8 for each value, that a patch may put in or compare, the resource included."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,15}")
_ESCAPE = re.compile(r"~(?![01])")
_FAR = 80


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `number` counts from 0, `path` and `source` (its "from") are pointers as written."""

    number: int
    op: str
    path: str
    source: str
    value: Any

    def __str__(self) -> str:
        return f"operation {self.number} ({self.op} {_short(self.path)!r})"


class Budget:
    """What may still be put in and compared."""

    __slots__ = ("_left", "_most")

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, value: Any, what: str) -> None:
        """Take the size of a value off; raises TooLarge (413) when nothing is left."""
        waiting = [value]
        left = self._left
        while waiting:
            one = waiting.pop()
            left -= 8
            if isinstance(one, str):
                left -= len(one)
            elif isinstance(one, dict):
                left -= sum(map(len, one))
                waiting.extend(one.values())
            elif isinstance(one, list):
                waiting.extend(one)
            if left < 0:
                raise TooLarge(
                    f"{what}: with it the resource and what the patch puts in or compares come to more than "
                    f"{self._most} characters; send a smaller patch, or the whole resource by PUT"
                )
        self._left = left


def operations(patch: Any, most: int = MAX_OPERATIONS) -> tuple[Operation, ...]:
    """Return the operations of a JSON Patch document, a JSON array (RFC 6902 section 3).

    >>> operations([{"op": "remove", "path": "/name/0"}])[0]
    Operation(number=0, op='remove', path='/name/0', source='', value=None)

    Raises Invalid (400) for what is no patch, TooCostly (422) for more than `most` operations.
    """
    if not isinstance(patch, list):
        raise Invalid(
            f"a JSON Patch is an array of operations, this is {_kind(patch)}; "
            'write [{"op": "replace", "path": "/active", "value": true}]'
        )
    if len(patch) > most:
        raise TooCostly(
            f"the patch has {len(patch)} operations; at most {most} are taken, send it in several patches"
        )
    return tuple(_operation(number, member) for number, member in enumerate(patch))


def _operation(number: int, member: Any) -> Operation:
    if not isinstance(member, dict):
        raise Invalid(f"operation {number} is {_kind(member)}; an operation is an object with op and path")
    op = member.get("op")
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise Invalid(f"operation {number} has the op {_told(op)}; it can be {', '.join(_OPERATIONS)}")
    for name in ("path", "from") if op in ("move", "copy") else ("path",):
        pointer = member.get(name)
        if not isinstance(pointer, str):
            there = f"the {name} {_told(pointer)}" if name in member else f"no {name}"
            raise Invalid(f"operation {number} ({op}) has {there}; a pointer such as /name/0 is expected")
        if (pointer and pointer[0] != "/") or _ESCAPE.search(pointer):
            raise Invalid(
                f"operation {number} ({op}): {_short(pointer)!r} is no JSON Pointer; it begins with / and "
                "writes ~ as ~0 and / as ~1 (RFC 6901), and the empty text is the whole resource"
            )
    if op in ("add", "replace", "test") and "value" not in member:
        raise Invalid(f"operation {number} ({op} {_short(member['path'])!r}) has no value")
    source = member["from"] if op in ("move", "copy") else ""
    return Operation(number, op, member["path"], source, member.get("value"))


def apply(
    document: Any, patch: Sequence[Operation], *, max_size: int = MAX_SIZE, max_depth: int = MAX_DEPTH
) -> Any:
    """Return what the operations make of a document, one after the other; the document stays as it is.

    >>> apply({"given": ["Ann"]}, operations([{"op": "add", "path": "/given/-", "value": "Eve"}]))
    {'given': ['Ann', 'Eve']}

    Raises Unprocessable (422) for an operation that cannot be carried out, a test that fails and what
    would nest deeper than `max_depth`; TooLarge (413) beyond `max_size`.
    """
    target = _Target(document, Budget(max_size), max_depth)
    for operation in patch:
        target.apply(operation)
    return target.document


class _Target:
    """The document while it is being patched."""

    __slots__ = ("budget", "document", "max_depth")

    def __init__(self, document: Any, budget: Budget, max_depth: int) -> None:
        budget.spend(document, "the resource")
        self.document = copied(document)
        self.budget = budget
        self.max_depth = max_depth

    def apply(self, operation: Operation) -> None:
        """Carry out one operation."""
        steps = _steps(operation.path)
        match operation.op:
            case "add":
                self._put(operation, steps, self._taken_in(operation, steps, operation.value))
            case "remove":
                self._remove(operation, operation.path, steps)
            case "replace":
                value = self._taken_in(operation, steps, operation.value)
                self._find(operation, operation.path, steps)
                self._replace(steps, value)
            case "copy":
                found = self._find(operation, operation.source, _steps(operation.source))
                self._put(operation, steps, self._taken_in(operation, steps, found))
            case "move":
                self._move(operation, steps)
            case _:
                found = self._find(operation, operation.path, steps)
                self.budget.spend(operation.value, str(operation))
                if not equal(found, operation.value):
                    raise Unprocessable(
                        f"{operation} failed: {_told(found)} stands there, "
                        f"{_told(operation.value)} was expected; nothing was changed"
                    )

    def _taken_in(self, operation: Operation, steps: list[str], value: Any) -> Any:
        """Return a copy of a value that may be put in; each is paid for."""
        self.budget.spend(value, str(operation))
        self._check_depth(operation, steps, value)
        return copied(value)

    def _check_depth(self, operation: Operation, steps: list[str], value: Any) -> None:
        level, depth = [value], len(steps)
        while (
            level := [
                inner
                for one in level
                if isinstance(one, dict | list)
                for inner in (one.values() if isinstance(one, dict) else one)
            ]
            if depth <= self.max_depth
            else []
        ):
            depth += 1
        if depth > self.max_depth:
            raise Unprocessable(f"{operation} would nest the resource deeper than {self.max_depth} levels")

    def _find(self, operation: Operation, pointer: str, steps: list[str]) -> Any:
        """Return what stands at a pointer; it must be there."""
        found = self.document
        for place, step in enumerate(steps):
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and _INDEX.fullmatch(step) and int(step) < len(found):
                found = found[int(step)]
            else:
                raise self._missing(operation, pointer, steps[: place + 1], found)
        return found

    def _missing(self, operation: Operation, pointer: str, steps: list[str], around: Any) -> Unprocessable:
        """Return the refusal of a pointer that leads nowhere, with what stands where it ends."""
        parent = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps[:-1])
        where = f"at {_short(parent)!r}" if parent else "at the top"
        if isinstance(around, dict):
            there = f"an object with {_short(', '.join(around)) or 'no members'}"
        elif isinstance(around, list):
            count = f"{len(around)} item{'' if len(around) == 1 else 's'}"
            there = f"an array of {count}, counted from 0"
        else:
            there = _told(around)
        return Unprocessable(
            f"{operation} cannot be carried out: {_short(pointer)!r} is not there; "
            f"{where} stands {there}, without {_short(steps[-1])!r}"
        )

    def _put(self, operation: Operation, steps: list[str], value: Any) -> None:
        """Add a value that is ours (RFC 6902 section 4.1)."""
        if not steps:
            self.document = value
            return
        parent = self._find(operation, operation.path, steps[:-1])
        last = steps[-1]
        if isinstance(parent, dict):
            parent[last] = value
        elif isinstance(parent, list) and last == "-":
            parent.append(value)
        elif isinstance(parent, list) and _INDEX.fullmatch(last) and int(last) <= len(parent):
            parent.insert(int(last), value)
        else:
            raise self._missing(operation, operation.path, steps, parent)

    def _replace(self, steps: list[str], value: Any) -> None:
        """Put a value in the place of one that is known to be there."""
        if not steps:
            self.document = value
            return
        parent = self.document
        for step in steps[:-1]:
            parent = parent[step] if isinstance(parent, dict) else parent[int(step)]
        parent[steps[-1] if isinstance(parent, dict) else int(steps[-1])] = value

    def _remove(self, operation: Operation, pointer: str, steps: list[str]) -> Any:
        if not steps:
            raise Unprocessable(f"{operation} would remove the whole resource; DELETE does that")
        found = self._find(operation, pointer, steps)
        parent = self._find(operation, pointer, steps[:-1])
        del parent[steps[-1] if isinstance(parent, dict) else int(steps[-1])]
        return found

    def _move(self, operation: Operation, steps: list[str]) -> None:
        source = _steps(operation.source)
        if len(steps) > len(source) and steps[: len(source)] == source:
            raise Unprocessable(
                f"{operation} cannot be carried out: {_short(operation.source)!r} would move into itself"
            )
        found = self._find(operation, operation.source, source)
        if source == steps:
            return
        if len(steps) > len(source):  # only then does anything come to stand deeper
            self.budget.spend(found, str(operation))
            self._check_depth(operation, steps, found)
        self._remove(operation, operation.source, source)
        self._put(operation, steps, found)


_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")


def copied(value: Any) -> Any:
    """Return a copy of a JSON value; numbers, which never change, are shared."""
    if isinstance(value, dict):
        return {name: copied(member) for name, member in value.items()}
    if isinstance(value, list):
        return [copied(member) for member in value]
    return value


def equal(one: Any, other: Any) -> bool:
    """Say whether two JSON values are equal (RFC 6902 section 4.6): numbers by value, objects in any order.

    >>> equal({"a": 1, "b": Decimal("1.50")}, {"b": Decimal("1.5"), "a": Decimal("1.0")}), equal(1, True)
    (True, False)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return one == other
    return type(one) is type(other) and bool(one == other)


def _steps(pointer: str) -> list[str]:
    """Return the reference tokens of a pointer, unescaped.

    >>> _steps("/a~1b/~01"), _steps("")
    (['a/b', '~1'], [])
    """
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return "nothing" if value is None else f"the value {_told(value)}"


def _told(value: Any) -> str:
    """Return a value as JSON says it, as much of it as a sentence can carry."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | Decimal):
        return _short(getattr(value, "text", str(value)))
    if isinstance(value, str):
        return f'"{_short(value)}"'
    if isinstance(value, dict):
        return f"an object with {_short(', '.join(value)) or 'no members'}"
    return f"an array of {len(value)}"


def _short(text: str) -> str:
    return text if len(text) <= _FAR else f"{text[:_FAR]}…"
