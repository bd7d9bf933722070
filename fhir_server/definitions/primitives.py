"""The formats of R4's primitive types (R4/datatypes.html#primitive).

A test is a callable that answers truthy for a right value; for any other it answers falsy or raises
one of FAILURES. Most are methods written in C, because every value of every write passes one. Where
the expressions of the specification are loose, they are tightened here: dates exist on the calendar,
a string has a character that is not white space (its own `[ \\r\\n\\t\\S]+` refuses a no-break
space and lets "   " pass), a uri is not empty (R4/json.html: no text is), a code has single blanks and
no tabs inside. Readings where the text leaves a choice:

- a second of 60 may follow any minute, as the expression has it: which leap seconds there were no
  server knows for times to come, and zones of half an hour move the minute;
- a string, markdown and code has at most 1,048,576 characters ("1024*1024 characters"), not bytes;
- white space in base64 stands between groups of four characters, where the expression has it;
- a canonical, url, uri may be anything without white space: R4 lets them be relative and opaque;
- white space is Unicode's in these and in codes: a no-break space is no part of a word.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

Test = Callable[[Any], object]
FAILURES = (TypeError, AttributeError)  # what a test raises when the value is no text
MAX_CHARACTERS = 1024 * 1024

_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    r"(?:(?!0000)\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    rf"|02-(?:0[1-9]|1\d|2[0-8]))|{_LEAP}-02-29)"
)
_DATE = rf"(?:{_DAY}|(?!0000)\d{{4}}(?:-(?:0[1-9]|1[0-2]))?)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
_ZONE = r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))"


def _form(pattern: str) -> Test:
    return re.compile(pattern, re.ASCII).fullmatch


def _one_word(value: Any) -> bool:
    return bool(value.split() == [value])


def _text(value: Any) -> object:
    return len(value) <= MAX_CHARACTERS and value.strip()


def _code(value: Any) -> object:
    return len(value) <= MAX_CHARACTERS and (value.split() == [value] or _CODE(value))


_CODE = re.compile(r"\S+(?: \S+)*").fullmatch


def _boolean(value: Any) -> bool:
    return value is True or value is False


def _decimal(value: Any) -> bool:
    # float: only Python callers have one, and NaN too; what json_format reads is int or Decimal.
    if value.__class__ is int:
        return True
    return isinstance(value, Decimal | float) and math.isfinite(value)


def _integer(low: int) -> Test:
    def test(value: Any) -> bool:
        return value.__class__ is int and low <= value <= 2147483647

    return test


def _base64(value: Any) -> bool:
    """White space may stand between groups of four characters; the rest is exact, padding too."""
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except AttributeError:
        return False
    except (TypeError, ValueError):
        words = value.split() if value.__class__ is str and value.isascii() else ()
        if len(words) < 2 and (not words or words[0] == value):
            return False
        if any(len(word) % 4 for word in words):
            return False
        try:
            binascii.a2b_base64("".join(words), strict_mode=True)
        except ValueError:
            return False
    return bool(value)


class Primitive(NamedTuple):
    """How to know a value of a primitive type, and how to tell a person what is expected."""

    test: Test
    expected: str


_TEXT = Primitive(_text, "a text of at most 1,048,576 characters that are not all white space")
_URI = Primitive(_one_word, "a uri, which has no white space")

PRIMITIVES: dict[str, Primitive] = {
    "base64Binary": Primitive(_base64, "base64 (RFC 4648)"),
    "boolean": Primitive(_boolean, "true or false, without quotation marks"),
    "canonical": _URI,
    "code": Primitive(_code, "a code: no white space at its ends, no two blanks in a row"),
    "date": Primitive(_form(_DATE), "a day that exists, as YYYY, YYYY-MM or YYYY-MM-DD"),
    "dateTime": Primitive(
        _form(rf"{_DATE}|{_DAY}T{_TIME}{_ZONE}"),
        "a moment that exists, as YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz (or Z)",
    ),
    "decimal": Primitive(_decimal, "a number, without quotation marks"),
    "id": Primitive(_form(r"[A-Za-z0-9\-.]{1,64}"), "1 to 64 letters, digits, '-' and '.'"),
    "instant": Primitive(
        _form(rf"{_DAY}T{_TIME}{_ZONE}"), "a moment that exists, as YYYY-MM-DDThh:mm:ss+zz:zz (or Z)"
    ),
    "integer": Primitive(_integer(-2147483648), "a whole number of 32 bits, without quotation marks"),
    "markdown": _TEXT,
    "oid": Primitive(_form(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"), "an OID as urn:oid:1.2.3"),
    "positiveInt": Primitive(_integer(1), "a whole number from 1 to 2147483647"),
    "string": _TEXT,
    "time": Primitive(_form(_TIME), "a time of day as hh:mm:ss"),
    "unsignedInt": Primitive(_integer(0), "a whole number from 0 to 2147483647"),
    "uri": _URI,
    "url": _URI,
    "uuid": Primitive(
        _form(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        "a UUID as urn:uuid:c757873d-ec9a-4326-a141-556f43239520, in small letters",
    ),
    "xhtml": Primitive(str.strip, "a <div> of XHTML"),
}

ELEMENT_ID = Primitive(PRIMITIVES["uri"].test, "a text without white space")
"""Element.id (R4/element.html#id): a string "that does not contain spaces"."""


def fits(type_name: str, value: Any) -> bool:
    """Return whether a JSON value is right for a primitive type.

    >>> fits("date", "2020-02-29"), fits("date", "2021-02-29"), fits("decimal", "1.0"), fits("boolean", 1)
    (True, False, False, False)

    Raises KeyError when there is no such primitive type.
    """
    try:
        return bool(PRIMITIVES[type_name].test(value))
    except FAILURES:
        return False
