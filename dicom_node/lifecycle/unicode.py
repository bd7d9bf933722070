"""A data set whose texts become UTF-8 (ISO_IR 192), because what is to be written into it needs that.

PS3.3 C.12.1.1.2, PS3.5 6.1.2.3. Every text before the pixel data is decoded by the set that rules where it
stands and encoded anew; sequences and items come out with undefined lengths, all else as it was.
"""

from __future__ import annotations

from struct import pack

from dicom_node import header
from dicom_node.header import Bytes, Syntax
from dicom_node.lifecycle.rewrite import NotWritable, begin_of, coded
from dicom_node.values import DEFAULT_CHARACTER_SET, TEXT, encodings, text

SPECIFIC_CHARACTER_SET = 0x00080005
_UNDEFINED = 0xFFFFFFFF


def unicoded(data: Bytes, syntax: Syntax) -> tuple[bytes, int]:
    """Return the data set up to its pixel data in UTF-8, and where in `data` the rest begins.

    Raises NotWritable when a text grows beyond what its element can hold, header.Malformed.
    """
    made = bytearray()
    order = "<" if syntax.little else ">"
    charsets = [DEFAULT_CHARACTER_SET]
    declared = False
    for kind, depth, tag, vr, start, length, implicit in header.walk(data, syntax):
        if depth == 0 and not declared and tag >= SPECIFIC_CHARACTER_SET:
            made += coded(SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 192", syntax)
            declared = True
        if depth == 0 and tag >= header.PIXEL_DATA:
            return bytes(made), begin_of(data, tag, start, syntax.little)
        around = Syntax(implicit=implicit, little=syntax.little)
        if kind == header.SEQUENCE:
            charsets.append(charsets[-1])
            made += coded(
                tag, "SQ", b"", Syntax(_outside(data, tag, start, syntax), syntax.little), _UNDEFINED
            )
        elif kind == header.ITEM:
            charsets.append(charsets[-1])
            made += pack(f"{order}HHI", 0xFFFE, 0xE000, _UNDEFINED)
        elif kind in (header.ITEM_END, header.SEQUENCE_END):
            charsets.pop()
            made += pack(f"{order}HHI", 0xFFFE, 0xE00D if kind == header.ITEM_END else 0xE0DD, 0)
        elif kind == header.FRAGMENTS:
            end = start
            for at, size in header.fragments(data, start, little=syntax.little):
                end = at + size
            made += bytes(data[begin_of(data, tag, start, syntax.little) : end + 8])
        elif tag == SPECIFIC_CHARACTER_SET:
            charsets[-1] = encodings(bytes(data[start : start + length]).decode("latin_1").strip("\0 "))
        elif tag & 0xFFFF == 0:
            continue  # a group length that would be wrong now
        elif vr in TEXT:
            raw = text(bytes(data[start : start + length]), charsets[-1], vr).encode()
            raw += b" " * (len(raw) % 2)
            if len(raw) > 0xFFFF and not around.implicit and vr not in ("UC", "UT"):
                raise NotWritable("a text of the data set is too long for its element once it is UTF-8")
            made += coded(tag, vr, raw, around)
        else:
            made += bytes(data[begin_of(data, tag, start, syntax.little) : start + length])
    return bytes(made), len(data)


def _outside(data: Bytes, tag: int, start: int, syntax: Syntax) -> bool:
    """Whether the header of a sequence has no VR: its content may be encoded otherwise (PS3.5 6.2.2)."""
    return begin_of(data, tag, start, syntax.little) == start - 8
