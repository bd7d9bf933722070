"""What statements written as text need of the tables: names and the order of columns.

Apart from the tables themselves, so that no process that serves has to load SQLAlchemy (0.2 s,
20 MB); tests hold both against each other.
"""

from __future__ import annotations

RESOURCE = "resource"
CONTAINED = "contained"
VERSION = "resource_version"
TENANT = 0
"""One tenant for now; the column is in every key."""

INLINE_BYTES = 64 * 1024
"""The largest content that comes with its row to a page; Postgres knows the length without unpacking it."""

PAGE_CONTENT = (
    f"case when octet_length(v.content) <= {INLINE_BYTES} then v.content "
    "when v.content is not null then '' end"
)
"""What a page selects of contents of versions `v`: a large one is an empty text, for storage.apart."""

ROWS: dict[str, tuple[str, ...]] = {
    "idx_string": ("param", "value", "long"),
    "idx_date": ("param", "low", "high"),
    "idx_number": ("param", "low", "high"),
    "idx_quantity": ("param", "low", "high", "unit", "unit_code", "unit_text"),
    "idx_composite": (
        "param",
        "code",
        "system",
        "value",
        "long",
        "date_low",
        "date_high",
        "low",
        "high",
        "low2",
        "high2",
        "unit",
        "unit_code",
        "unit_text",
    ),
    "idx_position": ("param", "at"),
    "idx_text": ("words", "cut"),
}
"""The index tables, and their columns between tenant and pk in the order in which search.index gives them."""
