"""Person names of DICOM → references that only say a name (PS3.5 6.2.1)."""

from __future__ import annotations

from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.bridge.codes import clean

Resource = dict[str, Any]


def named(found: Attributes, name: str) -> list[Resource]:
    """Return a reference for every person that an attribute names."""
    return [
        {"display": said}
        for value in found.get(name, {}).get("Value", [])
        if isinstance(value, dict) and (said := clean(spelled(value)))
    ]


def spelled(name: dict[str, Any]) -> str:
    """Return a PN value as text, the alphabetic group or else another one."""
    groups = (name.get(group) for group in ("Alphabetic", "Ideographic", "Phonetic"))
    return next((said for group in groups if group and (said := readable({"Alphabetic": group}))), "")


def readable(name: dict[str, Any]) -> str:
    """Return a PN value as people write it: prefix given middle family suffix.

    >>> readable({"Alphabetic": "Doe^John^Q^Dr"})
    'Dr John Q Doe'
    """
    family, given, middle, prefix, suffix, *_ = [*str(name.get("Alphabetic", "")).split("^"), *[""] * 5]
    return " ".join(part.strip() for part in (prefix, given, middle, family, suffix) if part.strip())
