"""Whether a value is the one that a profile fixes, or has its pattern (R4/elementdefinition.html).

`fixed[x]` is exact: what is missing there is missing here. `pattern[x]` names a part: every member
of the pattern is there, and every item of an array in the pattern is matched by some item.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

_NUMBERS = (int, float, Decimal)


def is_fixed(value: Any, wanted: Any) -> bool:
    """Return whether two JSON values are the same.

    >>> is_fixed({"code": "a"}, {"code": "a"}), is_fixed({"code": "a", "display": "A"}, {"code": "a"})
    (True, False)
    >>> is_fixed(1, True), is_fixed(Decimal("1.0"), 1)
    (False, True)
    """
    if isinstance(wanted, dict):
        return (
            isinstance(value, dict)
            and value.keys() == wanted.keys()
            and all(is_fixed(value[key], inner) for key, inner in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(value, list)
            and len(value) == len(wanted)
            and all(is_fixed(one, other) for one, other in zip(value, wanted, strict=True))
        )
    return _same(value, wanted)


def differences(value: Any, wanted: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where a value is not the fixed one: (place below it, what is there, what is wanted).

    None stands for nothing. Told are the members of objects; arrays of another length as a whole.

    >>> list(differences({"use": "home", "value": "1"}, {"use": "home", "system": "fax"}))
    [('.system', None, 'fax'), ('.value', '1', None)]
    """
    if isinstance(value, dict) and isinstance(wanted, dict):
        for key in sorted(value.keys() | wanted.keys()):
            yield from differences(value.get(key), wanted.get(key), f"{place}.{key.removeprefix('_')}")
    elif isinstance(value, list) and isinstance(wanted, list) and len(value) == len(wanted):
        for number, (one, other) in enumerate(zip(value, wanted, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif not is_fixed(value, wanted):
        yield place, value, wanted


def has_pattern(value: Any, pattern: Any) -> bool:
    """Return whether a JSON value has all that a pattern names.

    >>> concept = {"coding": [{"system": "s", "code": "a"}, {"system": "s", "code": "b"}], "text": "B"}
    >>> has_pattern(concept, {"coding": [{"code": "b"}]}), has_pattern(concept, {"coding": [{"code": "c"}]})
    (True, False)
    """
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            key in value and has_pattern(value[key], inner) for key, inner in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(value, list) and all(
            any(has_pattern(item, inner) for item in value) for inner in pattern
        )
    return _same(value, pattern)


def projected(wanted: Any, names: tuple[str, ...]) -> list[Any]:
    """Return what a fixed value or pattern says at a path below it.

    >>> projected({"coding": [{"system": "s", "code": "a"}]}, ("coding", "code"))
    ['a']
    """
    found = [wanted]
    for name in names:
        below = [item[name] for item in found if isinstance(item, dict) and name in item]
        found = [inner for item in below for inner in (item if isinstance(item, list) else [item])]
    return found


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(wanted, _NUMBERS):
        return isinstance(value, _NUMBERS) and _number(value) == _number(wanted)
    if isinstance(wanted, str):
        return isinstance(value, str) and (value == wanted or value.split() == wanted.split())
    return bool(value == wanted)


def _number(value: Any) -> Decimal | int:
    return Decimal(repr(value)) if isinstance(value, float) else value
