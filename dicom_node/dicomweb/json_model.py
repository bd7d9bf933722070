"""Instances as the DICOM JSON model has them: metadata of files, and bulk data by its path.

PS3.18 Annex F, 10.4.1.1.2 (metadata), 10.4.1.1.5 (bulk data).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicom_node import header
from dicom_node.attributes import Attributes, read
from dicom_node.dictionary import hex_of
from dicom_node.files.content import Content, opened
from dicom_node.header import FRAGMENTS, ITEM, ITEM_END, SEQUENCE, SEQUENCE_END, VALUE

INLINE_BYTES = 256
"""Binary values up to this length stand in the JSON; a request for each would cost more."""

AVAILABLE_TRANSFER_SYNTAX = "00083002"


def metadata(path: Path, address: str) -> Attributes:
    """Return all attributes of a kept file; its bulk data lies below `address`."""
    with opened(path) as content:
        reading = read(
            content.data,
            content.syntax,
            bulk=lambda tags: f"{address}/bulkdata/{tags}",
            inline_bytes=INLINE_BYTES,
        )
        found = reading.attributes
        found[AVAILABLE_TRANSFER_SYNTAX] = {"vr": "UI", "Value": [content.transfer_syntax]}
        return dict(sorted(found.items()))


def encode(value: Any) -> bytes:
    """Return JSON as bytes, as short as it can be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def array(values: Iterator[Any]) -> Iterator[bytes]:
    """Yield a JSON array piece by piece, one value each.

    >>> b"".join(array(iter([1, 2])))
    b'[1,2]'
    """
    opening = b"["
    for value in values:
        yield opening + encode(value)
        opening = b","
    yield b"]" if opening == b"," else b"[]"


def bulk_data(content: Content, path: str) -> tuple[int, int] | None:
    """Return (start, length) of the value at a path like 52009229/0/00091002, or None.

    Encapsulated pixel data is given as its items, from the offset table to the last fragment.
    """
    wanted = path.split("/")
    trail: list[str] = []
    items: list[int] = []
    for event in header.walk(content.data, content.syntax):
        name = hex_of(event.tag)
        if event.kind == SEQUENCE:
            trail.append(name)
            items.append(-1)
        elif event.kind == ITEM:
            items[-1] += 1
            trail.append(str(items[-1]))
        elif event.kind in (ITEM_END, SEQUENCE_END):
            trail.pop()
            if event.kind == SEQUENCE_END:
                items.pop()
        elif event.kind in (VALUE, FRAGMENTS) and name == wanted[-1] and [*trail, name] == wanted:
            if event.kind == VALUE:
                return event.start, event.length
            end = event.start
            for start, length in header.fragments(content.data, event.start, little=content.syntax.little):
                end = start + length
            return event.start, end - event.start
    return None
