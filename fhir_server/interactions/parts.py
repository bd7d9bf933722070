"""A part of one resource: `_summary` and `_elements` of a read (R4/search.html#summary, #elements)."""

from __future__ import annotations

from fhir_server.model import json_format, summary
from fhir_server.outcome import Invalid

SUMMARIES = ("true", "text", "data", "false")
"""The forms of `_summary` that one resource has (R4/search.html#summary)."""


def reduced(text: bytes, mode: str | None, elements: str | None) -> bytes:
    """Apply `_summary` and `_elements` to one resource (R4/search.html#summary, #elements).

    >>> reduced(b'{"resourceType":"Basic","id":"7","code":{}}', None, None)
    b'{"resourceType":"Basic","id":"7","code":{}}'

    Raises Invalid (400) for a form that one resource does not have.
    """
    if mode is not None and mode not in SUMMARIES:
        raise Invalid(f"_summary={mode} is not possible on one resource; {', '.join(SUMMARIES)} are")
    if elements:
        wanted = [name.strip() for name in elements.split(",") if name.strip()]
        return json_format.encode(summary.subset(json_format.parse(text), wanted))
    if mode in (None, "false"):
        return text
    return json_format.encode(summary.subset(json_format.parse(text), mode))
