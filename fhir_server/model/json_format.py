"""FHIR JSON bytes ↔ plain values, exactly (R4/json.html).

Objects are dicts, whole numbers int, everything with a point or an exponent Decimal. What is
written is read back digit for digit: 1.50 stays 1.50 and 1.0e2 stays 1.0e2.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from fhir_server.model import json_scan
from fhir_server.outcome import Invalid, Issue

MAX_DEPTH = 64
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Written(Decimal):
    """A decimal whose spelling str() would not give back: 1.0e2, 1E5, 0.0000001."""

    __slots__ = ("text",)
    text: str


class _AbsurdNumber(Exception):
    """A number of more digits or a larger exponent than the database should see."""


def number(text: str) -> Decimal:
    """Return the exact value of a JSON number that has a point or an exponent.

    >>> number("1.50"), float(number("1.0e2")), encode(number("1.0e2"))
    (Decimal('1.50'), 100.0, b'1.0e2')
    """
    if len(text) < 9 and "e" not in text and "E" not in text:
        return Decimal(text)
    if json_scan.is_absurd(text):
        raise _AbsurdNumber(text)
    value = Decimal(text)
    if str(value) == text:
        return value
    written = Written(value)
    written.text = text
    return written


def _spell(value: Any) -> msgspec.Raw:
    if isinstance(value, Decimal):
        return msgspec.Raw(getattr(value, "text", str(value)).encode())
    raise TypeError(f"{type(value).__name__} is no value of FHIR JSON")


_decode = msgspec.json.Decoder(float_hook=number).decode
_skim = msgspec.json.Decoder(float_hook=len).decode
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=_spell).encode

_WHITESPACE = b" \t\r\n"
_TO_BRACES = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * (json_scan.MAX_DIGITS + 1)


def encode(value: Any) -> bytes:
    """Return `value` as compact JSON, decimals as they were written.

    >>> encode({"value": parse(b'{"a": 1.50}')["a"]})
    b'{"value":1.50}'
    """
    return _encode(value)


def parse(data: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the JSON object in `data`.

    >>> parse(b'{"resourceType": "Patient", "multipleBirthInteger": 2}')
    {'resourceType': 'Patient', 'multipleBirthInteger': 2}
    >>> parse(b'{"id": "a", "id": "b"}')
    Traceback (most recent call last):
    fhir_server.outcome.Invalid: line 1, column 13: the member 'id' stands twice in one object; ...

    Raises Invalid, naming line and column, for what is not JSON in UTF-8, for anything but an object,
    and for what JSON allows and FHIR or the database does not: a member twice, U+0000, lone
    surrogates, objects nested deeper than `max_depth`, numbers of more than 40 significant digits
    or beyond 10^±40.
    """
    value = parse_value(data, max_depth=max_depth)
    if type(value) is not dict:
        what = f"line 1, column 1: a JSON object is expected here, not {json_scan.kind(value)}"
        raise Invalid(issues=[Issue("error", "invalid", what, rule="json-kind")])
    return value


def parse_value(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the JSON value in `data`: an object, or what a JSON Patch is, an array.

    >>> parse_value(b'[{"op": "remove", "path": "/active"}]')
    [{'op': 'remove', 'path': '/active'}]

    Raises Invalid for what `parse` refuses, but for what the value is.
    """
    if data.startswith(BYTE_ORDER_MARK):
        data = data[3:]
    try:
        value = _decode(data)
    except (_AbsurdNumber, RecursionError):
        raise Invalid(issues=_refused(data, max_depth)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(issues=[json_scan.malformed(data, str(error), max_depth)]) from None
    if _is_suspicious(data, value, max_depth):
        issues = json_scan.forbidden(data, max_depth)
        if issues:
            raise Invalid(issues=issues)
    return value


def _refused(data: bytes, max_depth: int) -> list[Issue]:
    """Return what is wrong with a body whose reading ended early; the rest of it may be no JSON at all."""
    try:
        _skim(data)
    except RecursionError:
        pass  # well-formed as far as it was read, and that is deeper than `max_depth`
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [json_scan.malformed(data, str(error), max_depth)]
    return json_scan.forbidden(data, max_depth)


def _is_suspicious(data: bytes, value: Any, max_depth: int) -> bool:
    """Return whether `data` may hold what is forbidden, at a small part of the cost of knowing where.

    Written again, the value is as long as the source less white space and needless escapes. A
    member that stood twice is written once, so equal length means that there is none.
    """
    if (b"\\" in data and b"\\u0000" in data) or _MANY_DIGITS in data.translate(_TO_ZERO):
        return True
    again = _encode(value)
    if len(again) != len(data):
        skeleton = _skeleton(data)
        if len(again) != len(data) - len(skeleton) + len(
            skeleton.translate(None, _WHITESPACE)
        ) and skeleton.count(b":") != _skeleton(again).count(b":"):
            return True
    return data.count(b"{") + data.count(b"[") > max_depth and _depth(data) > max_depth


def _skeleton(data: bytes) -> bytes:
    """Return well-formed JSON without its strings.

    >>> _skeleton(b'{"a": ["{", 1.5, "\\\\""]}')
    b'{: [, 1.5, ]}'
    """
    return b"".join(_without_escapes(data).split(b'"')[::2])


def _without_escapes(data: bytes) -> bytes:
    """Return well-formed JSON in which every quotation mark begins or ends a string."""
    return data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data


def _depth(data: bytes) -> int:
    """Return how deep well-formed JSON nests: innermost pairs are taken away, round after round.

    >>> _depth(b'{"a":["{[{",{"b":[]}],"c":{}}'), _depth(b'')
    (4, 0)
    """
    brackets = _without_escapes(data).translate(_TO_BRACES, _NO_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:  # a string holds brackets, and still has a quotation mark on either side of them
        brackets = b"".join(brackets.split(b'"')[::2])
    depth = 0
    while brackets:
        brackets = brackets.replace(b"{}", b"")
        depth += 1
    return depth
