"""Texts stand out from what they stand on, by day and by night (WCAG 2.2, 1.4.3: 4.5 to 1)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fhir_server.console

CSS = (Path(str(fhir_server.console.__file__)).parent / "static" / "console.css").read_text()
TEXTS = ("ink", "soft", "faint", "accent", "jade")
GROUNDS = ("paper", "card", "wash")
KINDS = (
    "encounters", "conditions", "observations", "medications", "reports", "procedures",
    "immunizations", "imaging",
)  # fmt: skip
PAIRS = [
    *((text, ground) for text in TEXTS for ground in GROUNDS),
    ("accent", "accent-wash"), ("jade", "jade-wash"), ("alert", "alert-wash"), ("warn", "warn-wash"),
    ("alert", "card"), ("card", "accent"), ("card", "jade"),
    ("added-ink", "added"), ("removed-ink", "removed"),
]  # fmt: skip


def colours(scheme: str) -> dict[str, str]:
    """Return the colours of a scheme by name."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_texts(scheme: str, text: str, ground: str) -> None:
    found = colours(scheme)
    assert contrast(found[text], found[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_marks(scheme: str, kind: str) -> None:
    """WCAG 2.2, 1.4.11: 3 to 1 for marks."""
    found = colours(scheme)
    assert contrast(found[kind], found["card"]) >= 3
