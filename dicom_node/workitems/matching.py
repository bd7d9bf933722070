"""Keys of a worklist query → SQL on the attributes of workitems (PS3.4 C.2.2.2, PS3.18 8.3.4).

Single value, list of UIDs, wild card, range of dates and times, and into sequences at any depth; one
value, or one item, that matches is enough. Moments compare as they are written, in the zone that they
are written in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.index.matching import like
from dicom_node.workitems.refusals import Unfit

_DEEPEST = 8
_RANGED = ("DA", "TM", "DT")


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute by its tags from the outside in, and the value to match."""

    path: tuple[str, ...]
    value: str


def key(name: str, value: str) -> Key:
    """Return the key that a parameter names: keywords or tags, with dots into sequences. Raises Unfit.

    >>> key("ReferencedRequestSequence.AccessionNumber", "A1").path
    ('0040A370', '00080050')
    """
    tags = [tag_of(part) for part in name.split(".")]
    if not tags or None in tags or len(tags) > _DEEPEST:
        raise Unfit(f"{name[:80]!r} names no attribute; write a keyword (PatientID) or a tag (00100020)")
    return Key(tuple(hex_of(tag) for tag in tags if tag is not None), value)


def condition(keys: Sequence[Key], document: str) -> tuple[str, list[Any]]:
    """Return SQL that holds where `document`, a jsonb expression, matches all keys; and its values."""
    parts, values = ["true"], list[Any]()
    for one in keys:
        value = one.value.strip()
        if value in ("", "*"):
            continue
        part, more = _along(one.path, value, document, 0)
        parts.append(part)
        values.extend(more)
    return " AND ".join(parts), values


def _along(path: tuple[str, ...], value: str, document: str, depth: int) -> tuple[str, list[Any]]:
    alias = f"v{depth}"
    if len(path) > 1:
        inner, values = _along(path[1:], value, f"{alias}.value", depth + 1)
    else:
        inner, values = _compared(vr_of(int(path[0], 16)), value, f"{alias}.value")
    each = f"jsonb_array_elements({document} #> %s) {alias}"
    return f"EXISTS (SELECT FROM {each} WHERE {inner})", [[path[0], "Value"], *values]


def _compared(vr: str, value: str, element: str) -> tuple[str, list[Any]]:
    plain = f"({element} #>> '{{}}')"
    if vr == "UI":
        return f"{plain} = ANY(%s)", [[one.strip() for one in re.split(r"[\\,]", value) if one.strip()]]
    if vr == "PN":
        groups = "Alphabetic", "Ideographic", "Phonetic"
        any_group = " OR ".join(f"lower({element} ->> '{group}') LIKE lower(%s)" for group in groups)
        return f"({any_group})", [like(value)] * len(groups)
    if vr in _RANGED:
        low, high = _span(vr, value)
        # what a value leaves open is all of it: 2026 means every moment of that year
        return f'{plain} COLLATE "C" >= %s AND {plain} COLLATE "C" <= %s || \'~\'', [low, high]
    if "*" in value or "?" in value:
        return f"{plain} LIKE %s", [like(value)]
    return f"{plain} = %s", [value]


def _span(vr: str, value: str) -> tuple[str, str]:
    r"""Return the least and the greatest value of a range; a hyphen may also begin a zone.

    >>> _span("DA", "20260101-20260131"), _span("DT", "2026-"), _span("DT", "20260101120000-0500")
    (('20260101', '20260131'), ('2026', '~'), ('20260101120000-0500', '20260101120000-0500'))
    """
    if not re.fullmatch(r"[0-9.:+-]+", value):
        raise Unfit("a date or time is written in digits, a range with a hyphen between two of them")
    if vr == "DT" and re.fullmatch(r"\d{14}(?:\.\d+)?-(?:0\d|1[0-4])\d\d", value):
        return value, value
    if vr == "DT" and (zoned := re.fullmatch(r"(\d+(?:\.\d+)?[+-]\d{4})?-(\d+(?:\.\d+)?[+-]\d{4})?", value)):
        return zoned[1] or "", zoned[2] or "~"
    low, hyphen, high = value.partition("-")
    if not hyphen:
        return value, value
    return low, high or "~"
