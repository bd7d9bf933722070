"""A Version: one stored state of one resource (R4/http.html#versions), as text.

The database gives `content` and `meta` as JSON text and nobody parses them on the way out:
`text` puts resourceType, id and meta in front of the stored members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.definitions.structures import type_name

METHODS = {"C": "POST", "U": "PUT", "P": "PATCH", "D": "DELETE"}
"""The stored letter of the interaction that made a version, and its HTTP verb."""

COLUMNS = (
    "r.pk, r.type, r.id, r.version, "
    "to_char(r.last_updated AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), "
    "r.method::text, r.meta::text, r.content::text"
)
"""What a statement selects (from a table or subquery called r) so that `from_row` can read it."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version: `content` is None when the version is a deletion.

    `last_updated` is a FHIR instant with milliseconds in UTC; `method` is POST, PUT, PATCH or
    DELETE; `meta` holds what the client gave beside versionId and lastUpdated.
    """

    pk: int
    type_name: str
    id: str
    version: int
    last_updated: str
    method: str
    meta: str | None
    content: str | None

    @property
    def deleted(self) -> bool:
        """Say whether this version is a deletion."""
        return self.content is None

    @property
    def address(self) -> str:
        """Return the relative address, for instance Patient/7."""
        return f"{self.type_name}/{self.id}"

    def text(self) -> str:
        """Return the whole resource as JSON text.

        >>> Version(1, "Patient", "7", 2, "2026-01-02T03:04:05.678Z", "PUT", None, '{"active": true}').text()
        '{"resourceType":"Patient","id":"7","meta":{"versionId":"2",\
"lastUpdated":"2026-01-02T03:04:05.678Z"},"active": true}'
        """
        if self.content is None:
            raise ValueError(f"{self.address} version {self.version} is a deletion and has no body")
        more = f",{self.meta[1:-1]}" if self.meta else ""
        rest = f",{self.content[1:]}" if len(self.content) > 2 else "}"
        return (
            f'{{"resourceType":"{self.type_name}","id":"{self.id}","meta":{{"versionId":"{self.version}",'
            f'"lastUpdated":"{self.last_updated}"{more}}}{rest}'
        )


def from_row(row: Sequence[Any]) -> Version:
    """Return the version that a row of `COLUMNS` holds; further columns are left alone."""
    pk, type_code, id_, version, last_updated, method, meta, content = row[:8]
    return Version(pk, type_name(type_code), id_, version, last_updated, METHODS[method], meta, content)
