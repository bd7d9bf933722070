"""An encoded data set → its attributes in the DICOM JSON model (PS3.18 Annex F).

One pass over the header walker, without recursion; only what is wanted is decoded. Text comes out
as Unicode whatever its character set was, also where an item brings a set of its own
(PS3.3 C.12.1.1.2), so that (0008,0005) in JSON is always ISO_IR 192 (PS3.18 F.2.1).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from dicom_node import header
from dicom_node.dictionary import hex_of, signed_by_pixels
from dicom_node.header import Bytes, Syntax
from dicom_node.values import BULK, DEFAULT_CHARACTER_SET, decode, encodings

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103

DEEPEST = 64
"""Sequences within sequences; what lies deeper is left out, since no JSON reader would get through it."""

Attributes = dict[str, Any]  # "00100020" → {"vr": "LO", "Value": ["…"]}


@dataclass(slots=True)
class Reading:
    """What a pass over a data set found: its attributes, and where and why it ended early.

    `complete` says that the end of the data set, or the last wanted tag, was reached.
    """

    attributes: Attributes = field(default_factory=dict)
    complete: bool = False
    problem: str | None = None


def read(
    data: Bytes,
    syntax: Syntax,
    *,
    wanted: Container[int] | None = None,
    into: Container[int] | None = None,
    last: int = 0xFFFFFFFF,
    whole: bool = True,
    bulk: Callable[[str], str] | None = None,
    inline_bytes: int = 0,
) -> Reading:
    """Return the attributes of an encoded data set.

    `wanted` (None: all) names the tags at the top that are kept, `into` the sequences that are
    opened, `last` the highest tag that can be wanted. With `bulk`, a binary value longer than
    `inline_bytes` becomes the URI that `bulk` makes of its path ("00091002",
    "52009229/0/00091002"); without it, binary values are left out. `whole` false means that
    `data` is only the first part of the data set. Never raises for what the data holds.
    """
    reading = Reading()
    levels = [_Level(reading.attributes, DEFAULT_CHARACTER_SET, "")]
    signed = False
    closed_at: int | None = None  # the depth of a sequence that is too deep to be opened
    try:
        for event in header.walk(data, syntax, into=into):
            kind, depth, tag, vr, start, length, _ = event
            if depth == 0:
                if tag > last:
                    reading.complete = True
                    return reading
                if wanted is not None and tag not in wanted:
                    continue
            if closed_at is not None:
                if kind == header.SEQUENCE_END and depth == closed_at:
                    closed_at = None
                continue
            level = levels[-1]
            if kind == header.VALUE:
                if tag & 0xFFFF == 0:  # group lengths are no part of the JSON model (PS3.18 F.2)
                    continue
                name = hex_of(tag)
                if start + length > len(data):
                    raise header.Malformed(f"the value of {name} ends behind the data", start)
                if vr == "SQ":
                    continue
                if vr in BULK:
                    if bulk is not None:
                        level.found[name] = _bulk(
                            data, vr, start, length, level.path + name, bulk, inline_bytes
                        )
                    continue
                if signed and vr == "US" and signed_by_pixels(tag):
                    vr = "SS"
                raw = bytes(data[start : start + length])
                values = decode(vr, raw, level.charset, little=syntax.little)
                if tag == SPECIFIC_CHARACTER_SET:
                    level.charset = encodings("\\".join(str(value or "") for value in values))
                    values = ["ISO_IR 192"]
                elif tag == PIXEL_REPRESENTATION and depth == 0:
                    signed = values[:1] == [1]
                level.found[name] = {"vr": vr, "Value": values} if values else {"vr": vr}
            elif kind == header.SEQUENCE:
                element: dict[str, Any] = {"vr": "SQ"}
                level.found[hex_of(tag)] = element
                if len(levels) > 2 * DEEPEST:
                    closed_at = depth
                    continue
                levels.append(_Level(element, level.charset, f"{level.path}{hex_of(tag)}/"))
            elif kind == header.ITEM:
                item: Attributes = {}
                items = level.found.setdefault("Value", [])
                items.append(item)
                levels.append(_Level(item, level.charset, f"{level.path}{len(items) - 1}/"))
            elif kind in (header.ITEM_END, header.SEQUENCE_END):
                levels.pop()
            elif kind == header.FRAGMENTS and bulk is not None:
                name = hex_of(tag)
                level.found[name] = {"vr": vr, "BulkDataURI": bulk(level.path + name)}
        reading.complete = whole
    except header.Malformed as malformed:
        if whole:
            reading.problem = str(malformed)
            reading.complete = True
    return reading


@dataclass(slots=True)
class _Level:
    found: dict[str, Any]
    charset: tuple[str, ...]
    path: str


def _bulk(
    data: Bytes, vr: str, start: int, length: int, path: str, bulk: Callable[[str], str], inline_bytes: int
) -> dict[str, Any]:
    if not length:
        return {"vr": vr}
    if length > inline_bytes:
        return {"vr": vr, "BulkDataURI": bulk(path)}
    return {"vr": vr, "InlineBinary": base64.b64encode(bytes(data[start : start + length])).decode()}
