"""Texts (N1 §5.6)."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fhir_server.fhirpath.functions.table import eager
from fhir_server.fhirpath.operators import Fault, describe, single
from fhir_server.fhirpath.scope import Scope
from fhir_server.fhirpath.values import Collection


def text(items: Collection, name: str) -> str | None:
    """Return the one text of `items`, None when empty; raises Fault for anything else."""
    value = single(items, name)
    if value is None or isinstance(value, str):
        return value
    if items and (said := getattr(items[0], "value", None)) is not None and isinstance(said, str):
        return said  # a FHIR date or time is written as text, and R4's invariants treat it so
    raise Fault(f"{name} works on a text, got {describe(items[0])}")


def _number(items: Collection, name: str) -> int | None:
    value = single(items, name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise Fault(f"{name} wants an integer")
    return value


def _of_texts(name: str, run: Callable[..., Any], count: int) -> Callable[..., Collection]:
    """Return a function that is empty as soon as the input or an argument is."""

    def function(scope: Scope, items: Collection, *arguments: Collection) -> Collection:
        values = [text(each, name) for each in (items, *arguments)]
        if any(value is None for value in values):
            return []
        found = run(*values)
        if found is None:
            return []
        return found if isinstance(found, list) else [found]

    return function


def _texts(name: str, run: Callable[..., Any], count: int = 0) -> Any:
    return eager(name, _of_texts(f"{name}()", run, count), count)


def _substring(
    scope: Scope, items: Collection, start: Collection, length: Collection | None = None
) -> Collection:
    value, first = text(items, "substring()"), _number(start, "substring()")
    if value is None or first is None or not 0 <= first < len(value):
        return []
    count = None if length is None else _number(length, "substring()")
    return [value[first:] if count is None else value[first : first + max(0, count)]]


@lru_cache(maxsize=512)
def pattern(expression: str) -> re.Pattern[str]:
    """Return a compiled regular expression: case-sensitive, and a dot matches line ends, too (§5.6.9)."""
    if len(expression) > 2000:
        raise Fault("a regular expression may have 2000 characters")
    try:
        return re.compile(expression, re.DOTALL)
    except (re.error, RecursionError, OverflowError) as error:
        raise Fault(f"the regular expression cannot be read: {error}") from None


def _replace_matches(value: str, expression: str, replacement: str) -> str:
    if not expression:
        return value
    # $1 and ${name} are written as in other engines, Python says \g<1>
    template = re.sub(r"\\(?!\$)", r"\\\\", replacement)
    template = re.sub(r"(?<!\\)\$(\d+)", r"\\g<\1>", template)
    template = re.sub(r"(?<!\\)\$\{(\w+)\}", r"\\g<\1>", template).replace(r"\$", "$")
    try:
        return pattern(expression).sub(template, value)
    except (re.error, IndexError) as error:
        raise Fault(f"the replacement cannot be read: {error}") from None


def _split(scope: Scope, items: Collection, separator: Collection) -> Collection:
    value, mark = text(items, "split()"), text(separator, "split()")
    if value is None or mark is None:
        return []
    found = value.split(mark) if mark else list(value)
    scope.spend(len(found))
    return list(found)


def _join(scope: Scope, items: Collection, separator: Collection | None = None) -> Collection:
    mark = "" if separator is None else text(separator, "join()")
    words = [word for word in (text([item], "join()") for item in items) if word is not None]
    return [] if mark is None or not items else [mark.join(words)]


def _encode(value: str, form: str) -> str | None:
    data = value.encode()
    if form == "hex":
        return data.hex()
    if form == "base64":
        return base64.b64encode(data).decode()
    return base64.urlsafe_b64encode(data).decode() if form == "urlbase64" else None


def _decode(value: str, form: str) -> str | None:
    try:
        if form == "hex":
            return bytes.fromhex(value).decode()
        if form == "base64":
            return base64.b64decode(value, validate=True).decode()
        return base64.urlsafe_b64decode(value).decode() if form == "urlbase64" else None
    except (ValueError, binascii.Error):
        return None


def _escape(value: str, form: str) -> str | None:
    if form == "html":
        return html.escape(value)
    return json.dumps(value, ensure_ascii=False)[1:-1] if form == "json" else None


def _unescape(value: str, form: str) -> str | None:
    if form == "html":
        return html.unescape(value)
    return _JSON_ESCAPE.sub(_unescape_one, value) if form == "json" else None


_JSON_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])')


def _unescape_one(match: re.Match[str]) -> str:
    found: str = json.loads(f'"{match.group()}"')
    return found


CHAPTER = (
    _texts("indexOf", lambda value, other: value.find(other), 1),
    _texts("lastIndexOf", lambda value, other: value.rfind(other), 1),
    eager("substring", _substring, 1, 2),
    _texts("startsWith", lambda value, other: value.startswith(other), 1),
    _texts("endsWith", lambda value, other: value.endswith(other), 1),
    _texts("contains", lambda value, other: other in value, 1),
    _texts("upper", str.upper),
    _texts("lower", str.lower),
    _texts("replace", lambda value, old, new: value.replace(old, new), 2),
    _texts("matches", lambda value, expression: pattern(expression).search(value) is not None, 1),
    _texts("matchesFull", lambda value, expression: pattern(expression).fullmatch(value) is not None, 1),
    _texts("replaceMatches", _replace_matches, 2),
    _texts("length", len),
    _texts("toChars", list),
    _texts("trim", str.strip),
    eager("split", _split, 1),
    eager("join", _join, 0, 1),
    _texts("encode", _encode, 1),
    _texts("decode", _decode, 1),
    _texts("escape", _escape, 1),
    _texts("unescape", _unescape, 1),
)
