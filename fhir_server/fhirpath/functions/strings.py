"""Texts (N1 §5.6)."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex

from fhir_server.fhirpath.comparison import Fault, describe, single
from fhir_server.fhirpath.functions.table import eager
from fhir_server.fhirpath.scope import Scope
from fhir_server.fhirpath.values import Collection

_MAX_TEXT = 50_000_000  # characters that one function may make


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


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression: case-sensitive, and a dot matches line ends, too (§5.6.9).

    `quick` is Python's own engine, for expressions that cannot run wild: with at most one
    quantifier and no choice. The others go to an engine that gives up after a second, because
    an expression may come from outside and (a+)+ must not hold a process.
    """

    quick: re.Pattern[str] | None
    careful: regex.Pattern[str]

    def found_in(self, value: str, whole: bool) -> bool:
        """Say whether the expression matches somewhere in `value`, or all of it."""
        if self.quick is not None and len(value) < 5000:
            return (self.quick.fullmatch(value) if whole else self.quick.search(value)) is not None
        try:
            match = self.careful.fullmatch if whole else self.careful.search
            return match(value, timeout=1.0) is not None
        except TimeoutError:
            raise Fault("the regular expression takes more than a second") from None

    def replaced_in(self, value: str, replacement: str) -> str:
        """Return `value` with every match replaced; $1 and ${name} stand for groups."""
        template = replacement.replace("\\", "\\\\") if "$" not in replacement else _template(replacement)
        if len(value) * (len(replacement) + 1) > _MAX_TEXT:
            raise Fault("the replaced text would be too long")
        try:
            return str(self.careful.sub(template, value, timeout=1.0))
        except TimeoutError:
            raise Fault("the regular expression takes more than a second") from None
        except (regex.error, IndexError) as error:
            raise Fault(f"the replacement cannot be read: {error}") from None


def _template(replacement: str) -> str:
    """Return a replacement as Python writes it: \\g<1> for $1, and \\$ for a dollar sign."""
    template = re.sub(r"\\(?!\$)", r"\\\\", replacement)
    template = re.sub(r"(?<!\\)\$(\d+)", r"\\g<\1>", template)
    return re.sub(r"(?<!\\)\$\{(\w+)\}", r"\\g<\1>", template).replace(r"\$", "$")


@lru_cache(maxsize=512)
def pattern(expression: str) -> Pattern:
    """Return a compiled regular expression; raises Fault when it cannot be read."""
    if len(expression) > 2000:
        raise Fault("a regular expression may have 2000 characters")
    try:
        is_tame = sum(expression.count(sign) for sign in "*+{") <= 1 and not set("|?") & set(expression)
        quick = re.compile(expression, re.DOTALL) if is_tame else None
        return Pattern(quick, regex.compile(expression, regex.DOTALL))
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise Fault(f"the regular expression cannot be read: {error}") from None


def _replace_matches(value: str, expression: str, replacement: str) -> str:
    return pattern(expression).replaced_in(value, replacement) if expression else value


def _replace(value: str, old: str, new: str) -> str:
    if len(new) > 1 and value.count(old) * len(new) > _MAX_TEXT:
        raise Fault("the replaced text would be too long")
    return value.replace(old, new)


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
    if mark is None or not items:
        return []
    if sum(map(len, words)) + len(mark) * len(words) > _MAX_TEXT:
        raise Fault("the joined text would be too long")
    return [mark.join(words)]


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
    _texts("replace", _replace, 2),
    _texts("matches", lambda value, expression: pattern(expression).found_in(value, False), 1),
    _texts("matchesFull", lambda value, expression: pattern(expression).found_in(value, True), 1),
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
