"""Bytes of a value field → values of the DICOM JSON model, and the character sets on the way.

PS3.5 6.1 (character sets), 6.2 (value representations); PS3.18 F.2 (how each VR looks in JSON).
Reading is tolerant: what a maker wrote wrongly comes out as text, never as an exception.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydicom.charset import decode_bytes, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # the VRs that Specific Character Set touches
ONE_VALUED = frozenset({"LT", "ST", "UT", "UR"})  # a backslash in them is a backslash
NUMBERS = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("I", 4),
    "SL": ("i", 4),
    "UV": ("Q", 8),
    "SV": ("q", 8),
    "FL": ("f", 4),
    "FD": ("d", 8),
}
PN_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
DEFAULT_CHARACTER_SET: tuple[str, ...] = ("iso8859",)
_ESCAPE = 0x1B


@lru_cache(maxsize=256)
def encodings(specific_character_set: str) -> tuple[str, ...]:
    """Return the Python codecs of the values of (0008,0005), as they stand in the data set.

    PS3.3 C.12.1.1.2. Unknown terms count as ISO 8859-1, so that nothing is lost but the look.

    >>> encodings(r"\\ISO 2022 IR 87")
    ('iso8859', 'iso2022_jp')
    >>> encodings("ISO_IR 192"), encodings("GB18030"), encodings("ISO IR 100")
    (('UTF8',), ('GB18030',), ('latin_1',))
    """
    terms = [term.strip() for term in specific_character_set.split("\\")]
    found = []
    for term in terms:
        spelled = re.sub(r"^ISO.IR.", "ISO_IR ", re.sub(r"^ISO.2022.IR.", "ISO 2022 IR ", term))
        found.append(python_encoding.get(spelled, "iso8859"))
    return tuple(found) or DEFAULT_CHARACTER_SET


def text(raw: bytes, charset: Sequence[str], vr: str = "LO") -> str:
    r"""Return the text of a value field, before it is cut at backslashes.

    >>> text(b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", ("iso8859", "iso2022_jp"), "PN")
    'Yamada^Tarou=山田^太郎'
    """
    if _ESCAPE in raw:
        try:
            return str(decode_bytes(raw, charset, set(PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)))
        except (LookupError, UnicodeError, IndexError):
            pass
    try:
        return raw.decode(charset[0])
    except (UnicodeError, LookupError):
        pass
    try:  # senders that write UTF-8 and do not say so are the most frequent liars
        return raw.decode("utf-8")
    except UnicodeError:
        return raw.decode("latin_1")


def strings(raw: bytes, vr: str, charset: Sequence[str]) -> list[str]:
    r"""Return the values of a character-string field without its padding.

    >>> strings(b"ORIGINAL\\PRIMARY \\AXIAL\0", "CS", ("iso8859",))
    ['ORIGINAL', 'PRIMARY', 'AXIAL']
    """
    decoded = text(raw, charset if vr in TEXT else DEFAULT_CHARACTER_SET, vr)
    decoded = decoded.replace("\0", "") if "\0" in decoded else decoded  # no database keeps U+0000
    if vr in ONE_VALUED:
        return [decoded.rstrip(" ")]
    return [part.strip(" ") for part in decoded.split("\\")]


def person_name(name: str) -> dict[str, str]:
    """Return one PN value as the JSON model has it (PS3.18 F.2.2).

    >>> person_name("Adams^John==")
    {'Alphabetic': 'Adams^John'}
    """
    groups = zip(PN_GROUPS, name.split("="), strict=False)
    return {group: part.strip(" ") for group, part in groups if part.strip(" ^")}


def decode(vr: str, raw: bytes, charset: Sequence[str], *, little: bool = True) -> list[Any]:
    r"""Return the values of a field as the JSON model has them; an empty list is "no value".

    `raw` is the whole value field. Bulk VRs and SQ are not for here. An empty value between
    others is None (PS3.18 F.2.5).

    >>> decode("DS", rb"0.5\-1024 ", ("iso8859",)), decode("US", b"\0\2\1\0", ("iso8859",))
    ([0.5, -1024.0], [512, 1])
    >>> decode("IS", b"7\\", ("iso8859",)), decode("AT", b"\x10\0\x20\0", ("iso8859",))
    ([7, None], ['00100020'])
    """
    if not raw:
        return []
    if vr in NUMBERS:
        code, size = NUMBERS[vr]
        count = len(raw) // size
        found = list(struct.unpack_from(f"{'<' if little else '>'}{count}{code}", raw))
        if code in "fd":
            return [_number(value) for value in found]
        return found
    if vr == "AT":
        pairs = struct.unpack_from(f"{'<' if little else '>'}{len(raw) // 4 * 2}H", raw)
        return [f"{group:04X}{element:04X}" for group, element in zip(pairs[::2], pairs[1::2], strict=True)]
    parts = strings(raw, vr, charset)
    if not any(parts):
        return []
    if vr == "PN":
        return [person_name(part) or None for part in parts]
    if vr == "DS":
        return [_decimal(part) for part in parts]
    if vr == "IS":
        return [_integer(part) for part in parts]
    return [part or None for part in parts]


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no NaN; PS3.18 F.2.3 allows the text


def _decimal(part: str) -> float | str | None:
    """Return a DS as a number; one that is none stays the text that it was (PS3.18 F.2.3.1)."""
    if not part:
        return None
    try:
        value = float(part)
    except ValueError:
        return part
    return value if math.isfinite(value) and "_" not in part else part


def _integer(part: str) -> int | str | None:
    if not part:
        return None
    try:
        return int(part) if "_" not in part and len(part) < 40 else part
    except ValueError:
        return part
