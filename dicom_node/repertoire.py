r"""Text → the bytes of a character set: how a peer is told what it can read.

PS3.3 C.12.1.1.2 (the terms of (0008,0005)), PS3.5 6.1.2.4 and 6.1.2.5 (code extensions: escape sequences,
and where they end by themselves). The other direction is in `values`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

UNICODE: Final = "ISO_IR 192"
"""The set that says everything; what another one cannot say is sent in this."""

Encoder = Callable[[str, bool], bytes]
"""(text, whether it is a PN) → bytes. Raises UnicodeEncodeError for what the set cannot say."""

# term without its prefix → (Python codec, escape sequence that brings it into G1); PS3.3 table C.12-2 and -3
_ONE_BYTE: Final = {
    "100": ("latin_1", b"\x1b-A"),
    "101": ("iso8859_2", b"\x1b-B"),
    "109": ("iso8859_3", b"\x1b-C"),
    "110": ("iso8859_4", b"\x1b-D"),
    "144": ("iso8859_5", b"\x1b-L"),
    "127": ("iso8859_6", b"\x1b-G"),
    "126": ("iso8859_7", b"\x1b-F"),
    "138": ("iso8859_8", b"\x1b-H"),
    "148": ("iso8859_9", b"\x1b-M"),
    "203": ("iso8859_15", b"\x1b-b"),
    "166": ("tis_620", b"\x1b-T"),
    "13": ("shift_jis", b"\x1b)I"),
}
_NAMED: Final = {"ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
_IN_NAME: Final = re.compile(r"([\^=\\\r\n\f\t])")
_IN_TEXT: Final = re.compile(r"([\\\r\n\f\t])")
_ASCII, _ROMAJI = b"\x1b(B", b"\x1b(J"


@dataclass(frozen=True, slots=True)
class _Set:
    """One coded set: where it is brought to, by which escape sequence, and what it makes of a sign."""

    left: bool  # G0, where ASCII stands otherwise; else G1
    escape: bytes
    say: Callable[[str], bytes]  # b"" when it cannot


def known(character_set: str) -> bool:
    r"""Whether text can be written in this set, given as the values of (0008,0005).

    >>> known(r"\ISO 2022 IR 87"), known("GB18030"), known(""), known("ISO_IR 999")
    (True, True, True, False)
    """
    return encoder(character_set) is not None


@lru_cache(maxsize=256)
def encoder(character_set: str) -> Encoder | None:
    r"""Return what writes text in a set, or None when there is no such set.

    >>> encoder(r"\ISO 2022 IR 87")("Yamada^Tarou=山田^太郎", True)
    b'Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B'
    """
    terms = [term.strip() for term in character_set.split("\\")]
    if len(terms) == 1 and "2022" not in terms[0]:
        return _single(terms[0])
    numbers = [_number(term) for term in terms]
    if any(number is None for number in numbers):
        return None
    return _extended(tuple(str(number) for number in numbers))


def _number(term: str) -> str | None:
    """Return the registration number in a term of ISO 2022, "6" for an empty one.

    >>> _number("ISO 2022 IR 87"), _number(""), _number("ISO_IR 192")
    ('87', '6', None)
    """
    if not term:
        return "6"
    match = re.fullmatch(r"ISO.(?:2022.)?IR.(\d+)", term)
    return match[1] if match and (match[1] == "6" or match[1] in _ONE_BYTE or match[1] in _MORE) else None


def _single(term: str) -> Encoder | None:
    if term in ("", "ISO_IR 6", "ISO IR 6"):
        return lambda text, name: text.encode("ascii")
    codec = _NAMED.get(term)
    if codec is None:
        match = re.fullmatch(r"ISO.IR.(\d+)", term)
        if match is None or match[1] not in _ONE_BYTE:
            return None
        codec = _ONE_BYTE[match[1]][0]
        if match[1] == "13":
            return _katakana
    return lambda text, name: text.encode(codec)


def _katakana(text: str, name: bool) -> bytes:
    """Say text in JIS X 0201: Latin letters and half-width katakana, one byte each."""
    raw = text.encode("shift_jis")
    if len(raw) != len(text) or "¥" in text or "‾" in text:  # both would be read as other signs
        raise UnicodeEncodeError("iso_ir_13", text, 0, len(text), "not in JIS X 0201")
    return raw


def _extended(numbers: tuple[str, ...]) -> Encoder:
    """Return an encoder with code extensions: the first set is there at the beginning of every part.

    Parts end at the delimiters of names and at the ends of lines and values (PS3.5 6.1.2.5.3); there
    everything is as at the beginning, and we say so by an escape sequence where one set stood in G0.
    """
    home = _ROMAJI if numbers[0] == "13" else _ASCII
    sets = [found for number in numbers if (found := _set(number)) is not None]
    first = _set(numbers[0])

    def part(text: str) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        out = bytearray()
        left: _Set | None = None
        right = first
        for sign in text:
            if sign < "\x80":
                if left is not None:
                    out += home
                    left, right = None, None
                out += sign.encode("ascii")
                continue
            for wanted in (left, right, *sets):
                if wanted is not None and (said := wanted.say(sign)):
                    break
            else:
                raise UnicodeEncodeError("iso2022", text, 0, len(text), "in none of the sets")
            # readers differ in what they remember of the other half, so it is told anew after each change
            if wanted.left and left is not wanted:
                out += wanted.escape
                left, right = wanted, None
            elif not wanted.left and right is not wanted:
                out += (home if left is not None else b"") + wanted.escape
                left, right = None, wanted
            out += said
        if left is not None:
            out += home
            right = None
        if first is not None and right is not first:
            out += first.escape
        return bytes(out)

    def whole(text: str, name: bool) -> bytes:
        parts = (_IN_NAME if name else _IN_TEXT).split(text)
        return b"".join(map(part, parts))

    return whole


@lru_cache(maxsize=64)
def _set(number: str) -> _Set | None:
    if number in _MORE:
        return _MORE[number]
    if number not in _ONE_BYTE:
        return None
    codec, escape = _ONE_BYTE[number]
    return _Set(False, escape, lambda sign: _one(sign, codec))


def _one(sign: str, codec: str) -> bytes:
    raw = sign.encode(codec, "ignore")
    return raw if len(raw) == 1 and raw >= b"\xa0" else b""


@lru_cache(maxsize=8192)
def _kanji(sign: str) -> bytes:
    raw = sign.encode("iso2022_jp", "ignore")
    return raw[3:5] if raw.startswith(b"\x1b$B") else b""


@lru_cache(maxsize=8192)
def _rare_kanji(sign: str) -> bytes:
    raw = sign.encode("iso2022_jp_2", "ignore")
    return raw[4:6] if raw.startswith(b"\x1b$(D") else b""


@lru_cache(maxsize=8192)
def _two(sign: str, codec: str) -> bytes:
    raw = sign.encode(codec, "ignore")
    return raw if len(raw) == 2 and raw[0] > 0xA0 and raw[1] > 0xA0 else b""


_MORE: Final = {  # PS3.3 table C.12-4: sets of two bytes
    "87": _Set(True, b"\x1b$B", _kanji),
    "159": _Set(True, b"\x1b$(D", _rare_kanji),
    "149": _Set(False, b"\x1b$)C", lambda sign: _two(sign, "euc_kr")),
    "58": _Set(False, b"\x1b$)A", lambda sign: _two(sign, "gb2312")),
}
