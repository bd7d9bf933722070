"""Where in a JSON text something forbidden stands: the slow and exact reading behind json_format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from fhir_server.definitions import structures
from fhir_server.outcome import Issue

MAX_DIGITS = 40  # significant digits of a number
MAX_EXPONENT = 40  # 10^±40: what jsonb writes out in full stays short
MAX_ISSUES = 20

_TOKEN = re.compile(r'[{}\[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+')
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)")
_LOW_OR_HIGH = re.compile(r"\\u[dD][89a-fA-F][0-9A-Fa-f]{2}")


def is_absurd(text: str) -> bool:
    """Return whether a JSON number has more digits or a larger exponent than we keep.

    >>> [is_absurd(text) for text in ("1.50", "1e131071", "1e-41", "0." + "1" * 41, "9" * 25)]
    [False, True, True, True, False]
    """
    exponent = re.split("[eE]", text)[-1] if "e" in text or "E" in text else "0"
    if len(text) > 200 or len(exponent) > 4:
        return True
    value = Decimal(text)
    return len(value.as_tuple().digits) > MAX_DIGITS or abs(value.adjusted()) > MAX_EXPONENT


def kind(value: Any) -> str:
    """Return what a JSON value is, for a message.

    >>> kind([]), kind(True), kind(Decimal("1.0"))
    ('an array', 'a boolean', 'a number')
    """
    if value is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def forbidden(data: bytes, max_depth: int) -> list[Issue]:
    """Return what well-formed JSON holds and may not hold, in its order, each with its place."""
    text = data.decode()
    root = re.search(r'"resourceType"\s*:\s*"([A-Za-z]+)"', text)
    issues: list[Issue] = []
    for offset, path, rule, problem in _problems(text, max_depth):
        name = root[1] if root else None
        issues.append(_issue(text, offset, problem, rule, _expression(name, path)))
        if len(issues) == MAX_ISSUES:
            break
    return issues


def place(text: str, offset: int) -> str:
    """Return line and column, both from 1, of the character at `offset`.

    >>> place("{\\n  x", 4)
    'line 2, column 3'
    """
    line, column = _coordinates(text, offset)
    return f"line {line}, column {column}"


def _coordinates(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _issue(
    text: str, offset: int, problem: str, rule: str = "json-syntax", expression: str | None = None
) -> Issue:
    line, column = _coordinates(text, offset)
    what = f"{place(text, offset)}: {problem}"
    return Issue("error", "invalid", what, expression, rule, line, column)


def _expression(root: str | None, path: list[str | int]) -> str | None:
    """Return the FHIRPath of a way through JSON: valueQuantity is the element value."""
    if root is None:
        return None
    text, at = root, root if structures.is_resource_type(root) else ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        field = structures.fields(at).get(step) if at else None
        text += f".{field.element.name.removesuffix('[x]') if field else _shortened(step)}"
        at = field.type if field else ""
    return text


def _shortened(name: str) -> str:
    return name if len(name) <= 60 else name[:60] + "…"


def _problems(text: str, max_depth: int) -> Iterator[tuple[int, list[str | int], str, str]]:
    """Yield (offset, path, rule, what is wrong); reading ends where it becomes too deep."""
    path: list[str | int] = []  # the members and places that lead to the value being read
    seen: list[set[str] | None] = []  # for each open object its member names, None for an array
    key_follows = False
    for match in _TOKEN.finditer(text):
        token, offset = match[0], match.start()
        if token in "{[":
            if len(seen) == max_depth:
                yield offset, path[:-1], "limit-depth", f"nested deeper than {max_depth} levels"
                return
            seen.append(set() if token == "{" else None)
            path.append("" if token == "{" else 0)
            key_follows = token == "{"
        elif token in "}]":
            seen.pop()
            path.pop()
            key_follows = False
        elif token == ",":
            last = path[-1]
            if isinstance(last, int):
                path[-1] = last + 1
            key_follows = seen[-1] is not None
        elif token[0] == '"':
            zero = next((found for found in _ESCAPE.finditer(token) if found[0] == "\\u0000"), None)
            if zero:
                yield offset + zero.start(), path[:], "json-text", "U+0000 cannot be stored; leave it out"
            if key_follows:
                key_follows = False
                name = msgspec.json.decode(token, type=str)
                path[-1] = name
                names = seen[-1]
                assert names is not None
                if name in names:
                    what = f"the member {_shortened(name)!r} stands twice in one object; which is meant?"
                    yield offset, path[:], "json-unique", what
                names.add(name)
        elif _NUMBER.fullmatch(token) and is_absurd(token):
            shown = token if len(token) <= 60 else f"{token[:40]}… ({len(token)} characters)"
            limits = f"more than {MAX_DIGITS} significant digits or is beyond 10^±{MAX_EXPONENT}"
            yield offset, path[:], "json-number", f"the number {shown} has {limits}"


def malformed(data: bytes, message: str, max_depth: int) -> Issue:
    """Return the issue for what msgspec refused to read, with the place in characters.

    >>> malformed(b'{"a": tru}', "JSON is malformed: invalid character (byte 9)", 64).diagnostics
    'line 1, column 10: not JSON: invalid character'
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        found = f"not UTF-8: byte 0x{data[error.start]:02x}"
        return _issue(before, len(before), found + (" (UTF-16?)" if b"\0" in data[:4] else ""))
    if not text.strip():
        what = "the body is empty; a JSON object is expected"
        return Issue("error", "invalid", what, rule="json-syntax")
    for match in _ESCAPE.finditer(text):
        if _LOW_OR_HIGH.fullmatch(match[0]) and not _in_pair(text, match.start()):
            what = f"{match[0]} is half of a surrogate pair and no character"
            return _issue(text, match.start(), what, "json-text")
    what = message.removeprefix("JSON is malformed: ")
    at = re.search(r" \(byte (\d+)\)$", what)
    if at:
        offset = len(data[: int(at[1])].decode(errors="ignore"))
        return _issue(text, offset, f"not JSON: {what[: at.start()]}")
    if "range" in what:  # an integer of more than 4300 digits
        for match in _TOKEN.finditer(text):
            if len(match[0]) > 4300 and _NUMBER.fullmatch(match[0]):
                found = f"a number has {len(match[0])} digits; {MAX_DIGITS} are kept"
                return _issue(text, match.start(), found, "json-number")
    return _issue(text, len(text), "not JSON: it ends too early")


def _in_pair(text: str, start: int) -> bool:
    """Return whether the surrogate escape at `start` has its other half beside it."""
    low = text[start + 3] in "cdefCDEF"
    other = text[start - 6 : start] if low else text[start + 6 : start + 12]
    match = _LOW_OR_HIGH.fullmatch(other)
    return match is not None and (other[3] in "89abAB") == low
