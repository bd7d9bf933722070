"""The header of an ordinary instance, skimmed: the wanted elements in one loop, frequent values from memory.

Most headers are little endian, have known VRs and break off nowhere, and most of their values are those of
the image before. For these the general walk (`header.walk`, `attributes.read`) does too much; this loop takes
a sixth of its time and gives the same answer. Whatever is odd makes it give up, and the general walk
decides: it is the one that says what a data set means.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

from dicom_node.attributes import Attributes, read
from dicom_node.header import LONG_VRS, SHORT_VRS, UNDEFINED, Syntax
from dicom_node.runs import Runs
from dicom_node.values import BULK, DEFAULT_CHARACTER_SET, TEXT, decode, encodings

REMEMBERED: Final = 8192
"""Values of elements; then all are forgotten, and those that matter are soon back."""

LONGEST_REMEMBERED_BYTES: Final = 1024
_DEEPEST: Final = 1000

_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE  # as little-endian words
_DELIMITERS = 0xFFFE
_CHARACTER_SET = 0x00050008
_EXPLICIT_AT = Struct("<IHH").unpack_from
_IMPLICIT_AT = Struct("<II").unpack_from
_LONG_AT = Struct("<I").unpack_from


def _word(vr: str) -> int:
    return int.from_bytes(vr.encode(), "little")


_LONG = {_word(vr): vr in LONG_VRS for vr in LONG_VRS | SHORT_VRS}
_NAME = {_word(vr): vr for vr in LONG_VRS | SHORT_VRS}
_SQ, _CS = _word("SQ"), _word("CS")
_OF_CHARACTER_SET = frozenset(_word(vr) for vr in TEXT)
_PLAIN = frozenset(_word(vr) for vr in (LONG_VRS | SHORT_VRS) - BULK - {"SQ"})

_remembered: dict[Any, dict[str, Any]] = {}


class Wanted(NamedTuple):
    """An element that is kept: into which of the answers, under which name; its VR in the dictionary."""

    into: int
    name: str
    vr: str


class Table:
    """The elements to look for."""

    def __init__(self, wanted: Mapping[int, Wanted]) -> None:
        self.by_word = {(tag & 0xFFFF) << 16 | tag >> 16: each for tag, each in wanted.items()}
        self.last_group = max(wanted) >> 16
        self.runs = {implicit: Runs() for implicit in (False, True)}
        self.answers = 1 + max(each.into for each in wanted.values())


def skim(
    data: bytes | mmap.mmap, implicit: bool, table: Table, *, whole: bool
) -> tuple[list[Attributes], bool] | None:
    """Return the wanted elements, and whether no more can come; None when the data set is not ordinary.

    `whole` false means that `data` is only the first part of it. The values are shared: nobody may
    change them.
    """
    found: list[Attributes] = [{} for _ in range(table.answers)]
    wanted, last_group = table.by_word.get, table.last_group
    remembered = _remembered.get
    end = len(data)
    limit = end - 8
    runs = table.runs[implicit]
    runs.begin()
    known = runs.length

    def following(at: int) -> tuple[int, int] | None:
        return _unwanted(data, at, end, implicit, table)

    charset, charset_at, charset_raw = DEFAULT_CHARACTER_SET, b"", b""
    position = 0
    while position <= limit:
        if implicit:
            word, length = _IMPLICIT_AT(data, position)
            start = position + 8
            code = 0
        else:
            word, code, length = _EXPLICIT_AT(data, position)
            start = position + 8
            if (long := _LONG.get(code)) is None:
                return None
            if long:
                if start + 4 > end:
                    break
                length = _LONG_AT(data, start)[0]
                start += 4
        want = wanted(word)
        if want is None:
            if passed := known(data, position, following):
                position += passed
                continue
            if (group := word & 0xFFFF) > last_group:
                return None if group == _DELIMITERS else (found, True)
            if length == UNDEFINED:
                if not implicit and code != _SQ:
                    return None
                position = _past(data, start, end, implicit)
                if position < 0:
                    return None
                continue
            if word != _CHARACTER_SET:
                position = start + length
                continue
        elif implicit:
            code = _word(want.vr)
        if code == _SQ:
            if want is None or want.vr != "SQ":
                return None
            stop = _past(data, start, end, implicit) if length == UNDEFINED else start + length
            if stop < 0 or stop > end:
                return None
            raw = bytes(data[position:stop])
            key: Any = (raw, charset_raw, implicit)
            element = remembered(key)
            if element is None:
                reading = read(charset_at + raw, Syntax(implicit))
                if reading.problem or want.name not in reading.attributes:
                    return None
                element = reading.attributes[want.name]
                _remember(key, element, len(raw))
            found[want.into][want.name] = element
            position = stop
            continue
        stop = start + length
        if stop > end:
            break
        raw = bytes(data[start:stop])
        if word == _CHARACTER_SET:
            if code not in (0, _CS):
                return None
            charset = encodings("\\".join(str(each or "") for each in decode("CS", raw, charset)))
            charset_at, charset_raw = bytes(data[position:stop]), raw
            position = stop
            continue
        if code not in _PLAIN or want is None:
            return None
        key = (code, raw, charset_raw) if code in _OF_CHARACTER_SET else (code, raw)
        element = remembered(key)
        if element is None:
            vr = _NAME[code]
            values = decode(vr, raw, charset)
            element = {"vr": vr, "Value": values} if values else {"vr": vr}
            _remember(key, element, length)
        found[want.into][want.name] = element
        position = stop
    if whole and position != end:
        return None
    return found, whole


def _unwanted(
    data: bytes | mmap.mmap, position: int, end: int, implicit: bool, table: Table
) -> tuple[int, int] | None:
    """Return where header and value of an element end that the loop passes over; None for any other."""
    if position + 12 > end:
        return None
    if implicit:
        word, length = _IMPLICIT_AT(data, position)
        start, code = position + 8, _SQ
    else:
        word, code, length = _EXPLICIT_AT(data, position)
        start = position + 8
        if (long := _LONG.get(code)) is None:
            return None
        if long:
            length = _LONG_AT(data, start)[0]
            start += 4
    if word in table.by_word or word == _CHARACTER_SET or word & 0xFFFF > table.last_group:
        return None
    if length == UNDEFINED:
        stop = _past(data, start, end, implicit) if code == _SQ else -1
        return (stop, stop) if stop >= 0 else None
    return (start, start + length) if start + length <= end else None


def _remember(key: Any, element: dict[str, Any], size_bytes: int) -> None:
    if size_bytes <= LONGEST_REMEMBERED_BYTES:
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        _remembered[key] = element


def _past(data: bytes | mmap.mmap, position: int, end: int, implicit: bool) -> int:
    """Return where a sequence of undefined length ends, or -1 where that is not plain to see."""
    depth = 1  # odd: in a sequence, even: in an item
    while position + 8 <= end:
        word, length = _IMPLICIT_AT(data, position)
        position += 8
        if depth & 1:
            if word == _SEQUENCE_END:
                depth -= 1
                if not depth:
                    return position
            elif word != _ITEM:
                return -1
            elif length == UNDEFINED:
                depth += 1
            else:
                position += length
            continue
        if word & 0xFFFF == _DELIMITERS:
            if word != _ITEM_END:
                return -1
            depth -= 1
            continue
        if not implicit:
            code = length & 0xFFFF
            if (long := _LONG.get(code)) is None:
                return -1
            if not long:
                length >>= 16
            elif position + 4 > end:
                return -1
            else:
                length = _LONG_AT(data, position)[0]
                position += 4
                if length == UNDEFINED and code != _SQ:
                    return -1
        if length != UNDEFINED:
            position += length
        elif depth > _DEEPEST:
            return -1
        else:
            depth += 1
    return -1
