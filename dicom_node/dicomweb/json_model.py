"""Instances as the DICOM JSON model has them: the metadata of files (PS3.18 Annex F, 10.4.1.1.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dicom_node.attributes import Attributes, read
from dicom_node.files.content import opened

INLINE_BYTES = 256
"""Binary values up to this length stand in the JSON; a request for each would cost more."""

_FAST = msgspec.json.Encoder().encode

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
    try:
        return _FAST(value)
    except (UnicodeEncodeError, OverflowError, ValueError, TypeError):  # lone surrogates, very large numbers
        pass
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
