"""The terminology part of tools/distil.py: code systems, value sets and enumerated bindings."""

from __future__ import annotations

from typing import Any


def parts(
    code_systems: list[dict[str, Any]], value_sets: list[dict[str, Any]], types: dict[str, Any]
) -> dict[str, Any]:
    """Return file name → content."""
    return {}
