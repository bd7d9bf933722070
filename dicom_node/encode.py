r"""The DICOM JSON model → an encoded data set, in any transfer syntax that has no pictures in it.

PS3.5 chapter 7 (elements, sequences, items), 6.2 (value representations), Annex A (transfer syntaxes);
PS3.18 Annex F (the model). The other direction is `attributes.read`.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from dicom_node import header
from dicom_node.attributes import DEEPEST, Attributes
from dicom_node.dictionary import vr_of
from dicom_node.repertoire import UNICODE, Encoder, encoder
from dicom_node.values import NUMBERS, PN_GROUPS, TEXT

_CHARACTER_SET: Final = "00080005"
_WITH_LONG_LENGTH: Final = frozenset(
    {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
)
_PADDED_WITH_ZERO: Final = frozenset({"UI", "OB", "UN", "OW", "OD", "OF", "OL", "OV"})
_WORD_BYTES: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_BINARY: Final = frozenset({"OB", "UN", *_WORD_BYTES})
_ITEM: Final = (0xFFFE, 0xE000)
_LONGEST_SHORT: Final = 0xFFFE


class Unsayable(ValueError):
    """A value that its VR cannot hold; the text names the element, never the value."""


def encode(attributes: Attributes, transfer_syntax: str, *, character_set: str = UNICODE) -> bytes:
    r"""Return the encoded data set, its elements in order and its sequences of defined length.

    `character_set` is what (0008,0005) shall say, values apart by a backslash, "" for none; text that
    it cannot say, or a set that nobody knows, makes all of the data set ISO_IR 192. What `attributes`
    say of a character set is not looked at: they are Unicode. Group lengths are left out. Raises
    Unsayable for values that their VR cannot hold, and for bulk data that is not in `attributes`.

    >>> name = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Abbott^Ann"}]}}
    >>> encode(name, "1.2.840.10008.1.2.1", character_set="")
    b'\x10\x00\x10\x00PN\n\x00Abbott^Ann'
    """
    syntax = header.syntax_of(transfer_syntax)
    try:
        if encoder(character_set) is None:
            raise UnicodeEncodeError("dicom", "", 0, 0, "no such set")
        raw = Writer(syntax.implicit, syntax.little, character_set).data_set(attributes)
    except UnicodeEncodeError:
        raw = Writer(syntax.implicit, syntax.little, UNICODE).data_set(attributes)
    return deflated(raw) if syntax.deflated else raw


def _unicode(text: str, name: bool) -> bytes:
    return text.encode("utf-8", "replace")


def deflated(raw: bytes) -> bytes:
    """Return an encoded data set as PS3.5 A.5 has it, of even length."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = stream.compress(raw) + stream.flush()
    return packed + b"\0" if len(packed) % 2 else packed


class Writer:
    """Writes elements in one encoding and one character set, which must be one that is known."""

    def __init__(self, implicit: bool, little: bool, character_set: str) -> None:
        self._implicit = implicit
        self._character_set = character_set
        self.text: Encoder = _unicode if character_set == UNICODE else encoder(character_set) or _unicode
        """How text is said. Raises UnicodeEncodeError."""
        self._order = order = "<" if little else ">"
        self._little = little
        self._long: Callable[[int], bytes] = struct.Struct(f"{order}I").pack
        self._short: Callable[[int], bytes] = struct.Struct(f"{order}H").pack
        self._item = struct.Struct(f"{order}HH").pack(*_ITEM)

    def data_set(self, attributes: Attributes) -> bytes:
        """Return the data set with its character set said."""
        if self._character_set:
            terms = self._character_set.split("\\")
            attributes = {**attributes, _CHARACTER_SET: {"vr": "CS", "Value": terms}}
        else:
            attributes = {name: value for name, value in attributes.items() if name != _CHARACTER_SET}
        return self._elements(attributes, 0)

    def _elements(self, attributes: Attributes, depth: int) -> bytes:
        return b"".join(
            [
                self.element(name, attributes[name], depth)
                for name in sorted(attributes)
                if name[4:] != "0000" and (not depth or name != _CHARACTER_SET)
            ]
        )

    def element(self, name: str, element: dict[str, Any], depth: int = 0) -> bytes:
        """Return one element with its head."""
        vr = element.get("vr") or vr_of(int(name, 16))
        try:
            raw = self._value(vr, element, depth)
        except (struct.error, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, (UnicodeEncodeError, Unsayable)):
                raise
            raise Unsayable(f"the value of {name} is none of VR {vr}") from None
        if len(raw) % 2:
            raw += b"\0" if vr in _PADDED_WITH_ZERO else b" "
        return self._head(name, vr, len(raw)) + raw

    def _head(self, name: str, vr: str, length: int) -> bytes:
        tag = _tag(name, self._order)
        if self._implicit:
            return tag + self._long(length)
        if vr in _WITH_LONG_LENGTH:
            return tag + vr.encode("ascii") + b"\0\0" + self._long(length)
        if length > _LONGEST_SHORT:  # PS3.5 6.2.2: too long for its VR, so it goes as UN
            return tag + b"UN\0\0" + self._long(length)
        return tag + vr.encode("ascii") + self._short(length)

    def _value(self, vr: str, element: dict[str, Any], depth: int) -> bytes:
        values = element.get("Value")
        if vr == "SQ":
            return self._items(values or (), depth)
        if values is None or vr in _BINARY:
            return self._bulk(vr, element)
        if vr == "PN":
            text = "\\".join(map(_name, values)) if len(values) > 1 else _name(values[0]) if values else ""
            return text.encode("ascii") if text.isascii() else self.text(text, True)
        if vr in NUMBERS:
            code = NUMBERS[vr][0]
            numbers = [_number(value, code) for value in values if value is not None]
            return struct.pack(f"{self._order}{len(numbers)}{code}", *numbers)
        if vr == "AT":
            tags = [int(value, 16) for value in values if value]
            return b"".join(struct.pack(f"{self._order}HH", tag >> 16, tag & 0xFFFF) for tag in tags)
        text = _joined(values)
        if text.isascii():
            return text.encode("ascii")
        return self.text(text, False) if vr in TEXT else text.encode("latin_1", "replace")

    def _items(self, items: Iterable[Attributes], depth: int) -> bytes:
        if depth >= DEEPEST:
            raise Unsayable(f"more than {DEEPEST} sequences within each other")
        out: list[bytes] = []
        for item in items:
            raw = self._elements(item or {}, depth + 1)
            out += (self._item, self._long(len(raw)), raw)
        return b"".join(out)

    def _bulk(self, vr: str, element: dict[str, Any]) -> bytes:
        if "BulkDataURI" in element:
            raise Unsayable("bulk data stands behind its address, not in the attributes")
        raw = base64.b64decode(element.get("InlineBinary") or "", validate=True)
        size = _WORD_BYTES.get(vr, 1)
        if self._little or size == 1:
            return raw
        return b"".join(raw[at : at + size][::-1] for at in range(0, len(raw), size))


@lru_cache(maxsize=8192)
def _tag(name: str, order: str) -> bytes:
    tag = int(name, 16)
    return struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)


def _name(value: Any) -> str:
    """Return one PN as the data set has it.

    >>> _name({"Alphabetic": "Yamada^Tarou", "Phonetic": "やまだ^たろう"})
    'Yamada^Tarou==やまだ^たろう'
    """
    if not value:
        return ""
    if isinstance(value, str):
        return value
    if len(value) == 1 and "Alphabetic" in value:
        return str(value["Alphabetic"])
    return "=".join(str(value.get(group) or "") for group in PN_GROUPS).rstrip("=")


def _joined(values: list[Any]) -> str:
    if len(values) == 1:
        value = values[0]
        return value if isinstance(value, str) else _plain(value)
    return "\\".join([value if isinstance(value, str) else _plain(value) for value in values])


def _plain(value: Any) -> str:
    """Return a value of IS or DS as text, a number in at most 16 signs (PS3.5 6.2).

    >>> _plain(0.5), _plain(-1024.0), _plain(7), _plain(None), _plain(1 / 3)
    ('0.5', '-1024', '7', '', '0.33333333333333')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        text = repr(value).removesuffix(".0")
        digits = 16
        while len(text) > 16:
            digits -= 1
            text = f"{value:.{digits}g}"
        return text
    if isinstance(value, (dict, list)):
        raise TypeError("no text")
    return str(value)


def _number(value: Any, code: str) -> Any:
    return float(value) if code in "fd" else int(value)
