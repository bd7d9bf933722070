"""An expression's text → tokens (N1, appendix B, the lexical rules)."""

from __future__ import annotations

import re
from typing import NamedTuple

from fhir_server.fhirpath.errors import FhirPathSyntaxError

_TIME = r"\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?"
_TOKEN = re.compile(
    rf"""
      (?P<space> [ \t\r\n]+ | //[^\r\n]* | /\*.*?\*/ )
    | (?P<dateTime> @\d{{4}}(?:-\d\d(?:-\d\d)?)?T(?:{_TIME}(?:Z|[+-]\d\d:\d\d)?)? )
    | (?P<date> @\d{{4}}(?:-\d\d(?:-\d\d)?)? )
    | (?P<time> @T{_TIME} )
    | (?P<long> \d+L\b )
    | (?P<number> \d+(?:\.\d+)? )
    | (?P<string> '(?:[^'\\]|\\.)*' )
    | (?P<identifier> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<delimited> `(?:[^`\\]|\\.)*` | "(?:[^"\\]|\\.)*" )
    | (?P<variable> \$(?:this|index|total)\b )
    | (?P<symbol> <= | >= | != | !~ | /(?!\*) | [()\[\]{{}}.,+\-*&|=~<>%] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_MAX_DIGITS = 200
_ESCAPED = {"f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Token(NamedTuple):
    """A token: its kind, its text (unquoted, escapes undone) and its offset."""

    kind: str
    text: str
    position: int


def tokens(text: str) -> list[Token]:
    """Return the tokens of `text`, closed by one of kind "end".

    >>> [token.text for token in tokens("name.given // all of them")]
    ['name', '.', 'given', '']
    """
    found: list[Token] = []
    position, end = 0, len(text)
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise FhirPathSyntaxError(_reason(text, position), text, position)
        kind = match.lastgroup or ""
        value = match.group()
        if kind in ("string", "delimited"):
            found.append(Token(kind, unescape(value[1:-1]), position))
        elif kind in ("dateTime", "date", "time"):
            found.append(Token(kind, value[1:], position))
        elif kind in ("number", "long") and len(value) > _MAX_DIGITS:
            what = f"a number of {len(value)} digits; {_MAX_DIGITS} are read"
            raise FhirPathSyntaxError(what, text, position)
        elif kind != "space":
            found.append(Token(kind, value, position))
        position = match.end()
    found.append(Token("end", "", end))
    return found


def unescape(text: str) -> str:
    """Return the text that a quoted one stands for (N1 §4.1.3).

    An escape that the specification does not list stands for the character itself.

    >>> unescape(r"P\\u0065ter\\'s")
    "Peter's"
    """
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    escape = match.group(1)
    if len(escape) == 5:
        return chr(int(escape[1:], 16))
    return _ESCAPED.get(escape, escape)


def _reason(text: str, position: int) -> str:
    if text.startswith("/*", position):
        return "this comment is never closed with */"
    sign = text[position]
    if sign in "'`\"":
        return f"this text is never closed with {sign}"
    if sign == "@":
        return "expected a date, dateTime or time like @2020-01-31, @2020-01-31T10:30:00Z or @T10:30"
    return f"unexpected character {sign!r}"
