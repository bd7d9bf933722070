"""Many data sets of one shape: what they share is encoded once, values go in as the database gives them.

For the answers of a C-FIND. A value is the text of its JSON array (PS3.18 F.2.2), as `jsonb ->> 'Value'`
writes it; the usual ones, a single text or number, are taken out of it without a parser. What is unusual
takes the way of `encode`, whose answers these are to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

from dicom_node import header
from dicom_node.attributes import Attributes
from dicom_node.dictionary import vr_of
from dicom_node.encode import Writer, deflated
from dicom_node.repertoire import UNICODE, encoder

_CHARACTER_SET: Final = "00080005"
_TEXTS: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DT", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"}
)
_SET_APPLIES: Final = frozenset({"LO", "LT", "PN", "SH", "ST"})
_NAME_BEGINS: Final = '[{"Alphabetic": "'
_LONGEST_NUMBER: Final = 16
_LONGEST: Final = 0xFFFE


class _Place(NamedTuple):
    """A place in the data set: what always stands there, or the value of which number goes in how."""

    name: str
    fixed: bytes
    number: int  # -1: fixed, -2: told
    vr: str
    tag: bytes
    empty: bytes


class Form:
    """The shape: `fixed` elements, one for each of `names` in their order, and those that are `told`."""

    def __init__(
        self,
        fixed: Attributes,
        names: Sequence[str],
        told: Sequence[str],
        transfer_syntax: str,
        character_set: str,
    ) -> None:
        self._fixed, self._names, self._told = fixed, names, told
        self._syntax = header.syntax_of(transfer_syntax)
        self._length = Struct("<I" if self._syntax.implicit else "<H" if self._syntax.little else ">H").pack
        self._ways = [self._way(character_set)] if encoder(character_set) else []
        if character_set != UNICODE:
            self._ways.append(self._way(UNICODE))

    def encode(self, values: Sequence[str | None], told: Mapping[str, dict[str, Any]]) -> bytes:
        """Return a data set; a text that its character set cannot say makes it ISO_IR 192."""
        for writer, places in self._ways[:-1]:
            try:
                return self._finished(writer, places, values, told)
            except UnicodeEncodeError:
                pass
        writer, places = self._ways[-1]
        return self._finished(writer, places, values, told)

    def _finished(
        self,
        writer: Writer,
        places: Sequence[_Place],
        values: Sequence[str | None],
        told: Mapping[str, dict[str, Any]],
    ) -> bytes:
        out: list[bytes] = []
        length = self._length
        for name, fixed, number, vr, tag, empty in places:
            if number < 0:
                out.append(fixed if number == -1 else writer.element(name, told[name]))
                continue
            value = values[number]
            if value is None:
                out.append(empty)
                continue
            text = simple(value, vr) if vr in _TEXTS else None
            if text is None:
                out.append(writer.element(name, {"vr": vr, "Value": json.loads(value)}))
                continue
            if text.isascii():
                raw = text.encode("ascii")
            elif vr in _SET_APPLIES:
                raw = writer.text(text, vr == "PN")
            else:
                raw = text.encode("latin_1", "replace")
            if len(raw) % 2:
                raw += b"\0" if vr == "UI" else b" "
            if len(raw) > _LONGEST:
                out.append(writer.element(name, {"vr": vr, "Value": json.loads(value)}))
                continue
            out.append(tag)
            out.append(length(len(raw)))
            out.append(raw)
        whole = b"".join(out)
        return deflated(whole) if self._syntax.deflated else whole

    def _way(self, character_set: str) -> tuple[Writer, list[_Place]]:
        writer = Writer(self._syntax.implicit, self._syntax.little, character_set)
        fixed = {**self._fixed}
        if character_set:
            fixed[_CHARACTER_SET] = {"vr": "CS", "Value": character_set.split("\\")}
        places = [
            _Place(name, writer.element(name, value), -1, "", b"", b"") for name, value in fixed.items()
        ]
        places += [_Place(name, b"", -2, "", b"", b"") for name in self._told]
        for number, name in enumerate(self._names):
            vr = vr_of(int(name, 16))
            empty = writer.element(name, {"vr": vr})
            tag = empty[:4] if self._syntax.implicit else empty[:6]
            places.append(_Place(name, b"", number, vr, tag, empty))
        return writer, sorted(places)


def simple(value: str, vr: str) -> str | None:
    """Return the one text or number in a JSON array, or None when a parser has to look at it.

    >>> simple('["CT"]', "CS"), simple('[{"Alphabetic": "Abbott^Ann"}]', "PN"), simple("[512]", "IS")
    ('CT', 'Abbott^Ann', '512')
    >>> simple('["CT", "SR"]', "CS"), simple("[null]", "DA"), simple("[1, 2]", "IS")
    (None, None, None)
    """
    if "\\" in value:
        return None
    if vr == "PN":
        if value.startswith(_NAME_BEGINS) and value.endswith('"}]') and value.count('"') == 4:
            return value[len(_NAME_BEGINS) : -3]
        return None
    if value[1:2] == '"':
        return value[2:-2] if value.count('"') == 2 else None
    bare = value[1:-1]
    if len(bare) <= _LONGEST_NUMBER and "," not in bare and bare[-1:].isdigit() and vr in ("IS", "DS"):
        return bare
    return None
