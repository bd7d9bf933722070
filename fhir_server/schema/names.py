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

COLUMNS: dict[str, dict[str, str]] = {
    "idx_string": {"param": "integer", "value": "text", "long": "text"},
    "idx_date": {"param": "integer", "low": "timestamptz", "high": "timestamptz"},
    "idx_number": {"param": "integer", "low": "numeric", "high": "numeric"},
    "idx_quantity": {
        "param": "integer",
        "low": "numeric",
        "high": "numeric",
        "unit": "uuid",
        "unit_code": "text",
        "unit_text": "text",
    },
    "idx_composite": {
        "param": "integer",
        "code": "text",
        "system": "text",
        "value": "text",
        "long": "text",
        "date_low": "timestamptz",
        "date_high": "timestamptz",
        "low": "numeric",
        "high": "numeric",
        "low2": "numeric",
        "high2": "numeric",
        "unit": "uuid",
        "unit_code": "text",
        "unit_text": "text",
    },
    "idx_position": {"param": "integer", "at": "point"},
    "idx_text": {"words": "tsvector", "cut": "boolean"},
}
"""The index tables, and their columns between tenant and pk with the types that they have, in the order
in which search.index gives them."""

ROWS: dict[str, tuple[str, ...]] = {table: tuple(columns) for table, columns in COLUMNS.items()}
"""The same without the types."""

MADE: dict[str, dict[str, str]] = {
    "idx_date": {
        "span": """CASE
            WHEN high AT TIME ZONE 'UTC' <= (low AT TIME ZONE 'UTC') + interval '25 hours' THEN 0
            WHEN NOT isfinite(high) THEN 4
            WHEN high AT TIME ZONE 'UTC' <= (low AT TIME ZONE 'UTC') + interval '768 hours' THEN 1
            WHEN high AT TIME ZONE 'UTC' <= (low AT TIME ZONE 'UTC') + interval '26400 hours' THEN 2
            ELSE 3 END"""
    },
}
"""Columns that an INSERT makes of the others: how long an interval is, as search.spans asks for it. A
generated column would cost a third more, because every INSERT plans it anew."""
